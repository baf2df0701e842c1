"""Semantic segmentation: a class for each pixel.

Letters: M images, K classes, P groups, R resamples, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.example import UNLABELLED, Target
from skysense.tasks.metrics.accumulate import MODEL, Accumulator, Summary, expect, expect_mask
from skysense.tasks.metrics.calibration import Binned, binned, calibration_error, reliability_of
from skysense.tasks.metrics.counts import (
    ClassCounts,
    Confusion,
    Floats,
    confusion_of,
    constant_answer,
    counts_of,
    matrix_of,
    mean_defined,
)
from skysense.tasks.predictions import ClassMap, Prediction


@dataclass(frozen=True)
class _Pixels:
    confusion: Confusion
    bins: Binned


class Segmentation(Accumulator[_Pixels]):
    """A class per pixel; pixels without a label do not count.

    Metrics: intersection over union averaged over classes (mIoU; the headline), overall accuracy of pixels (OA), F1
    averaged over classes (mean F1), and expected calibration error (ECE). All pixels are counted together. A class
    counts if it is in the truth or in the answers: one that is only answered counts as zero. The own score of an image
    is its mIoU.
    """

    task = "segmentation"

    def _look(self, target: Target, prediction: Prediction, size: tuple[int, int]) -> _Pixels:
        answer = expect(prediction, ClassMap, "answer")
        truth_HW, answer_HW = expect_mask(target, size, "label"), expect_mask(answer.answer_HW, size, "answer")
        labelled_HW = truth_HW != UNLABELLED
        confusion = confusion_of(truth_HW, answer_HW, labelled_HW, len(self.classes))
        confidence = answer.confidence_HW[: size[0], : size[1]][labelled_HW]
        return _Pixels(confusion, binned(confidence, truth_HW[labelled_HW] == answer_HW[labelled_HW]))

    def _summary(
        self, looks: Sequence[_Pixels], place_M: NDArray[np.int64], places: int, majority: int | None
    ) -> Summary:
        classes, confusions = len(self.classes), [look.confusion for look in looks]
        counts = counts_of(confusions, place_M, places, classes)
        error = calibration_error([look.bins for look in looks], place_M, places)

        def values(weights_RP: Floats) -> dict[str, dict[str, Floats]]:
            weighted = counts.weighted(weights_RP)
            answers = {MODEL: measures(weighted) | {"ECE": error(weights_RP)}}
            if majority is not None:
                answers[f"always {self.classes[majority]}"] = measures(constant_answer(weighted, majority))
            return answers

        total = counts.weighted(np.ones(places))
        return Summary(
            values,
            image_iou(confusions, classes),
            per_class(total),
            {"labelled pixels": int(total.true.sum())},
            matrix_of(confusions, classes),
            reliability_of([look.bins for look in looks]),
        )


def measures(counts: ClassCounts) -> dict[str, Floats]:
    """The metrics of counts ``(R, K)``."""
    return {"mIoU": mean_defined(counts.iou()), "OA": counts.accuracy(), "mean F1": mean_defined(counts.f1())}


def per_class(total: ClassCounts) -> dict[str, Floats]:
    """The table of counts ``(K,)``, with the share of all labelled pixels that are of a class."""
    share_K = total.true / max(total.true.sum(), 1)
    return {
        "IoU": total.iou(),
        "F1": total.f1(),
        "precision": total.precision(),
        "recall": total.recall(),
        "share of pixels": share_K,
    }


def image_iou(confusions: Sequence[Confusion], classes: int) -> list[float]:
    """MIoU of each image for itself, NaN without a labelled pixel."""
    each = counts_of(confusions, np.arange(len(confusions)), len(confusions), classes)
    return mean_defined(each.iou()).tolist()
