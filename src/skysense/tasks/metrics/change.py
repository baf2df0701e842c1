"""Change between two dates, with or without classes.

Letters: M images, K classes, P groups, R resamples, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.example import UNLABELLED, Change, Target
from skysense.errors import InputError
from skysense.probes.metrics import mean_where
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
)
from skysense.tasks.metrics.segment import measures, per_class
from skysense.tasks.predictions import ChangeMap, Prediction

_CHANGED = 1
_CONSTANT = {"nothing changed": 0, "everything changed": _CHANGED}


@dataclass(frozen=True)
class _Binary:
    confusion: Confusion
    bins: Binned


class ChangeDetection(Accumulator[_Binary]):
    """Changed or not, by pixel; what is likelier than not is answered as changed.

    Metrics, all of the class of change: F1 (the headline), precision, recall and IoU; overall accuracy (OA) and
    expected calibration error (ECE) of both. All pixels of all images are counted together. The classes are
    ``(unchanged, changed)``. The own score of an image is the IoU of change; of one without change, neither true nor
    answered, it is 1.
    """

    task = "change"

    def __init__(self, classes: Sequence[str] = ("unchanged", "changed")) -> None:
        super().__init__(classes)
        if len(classes) != 2:
            raise InputError(f"change without classes has two classes, unchanged and changed; got {len(classes)}")

    def _look(self, target: Target, prediction: Prediction, size: tuple[int, int]) -> _Binary:
        return _binary(expect(target, Change, "label"), expect(prediction, ChangeMap, "answer"), size)

    def _summary(
        self, looks: Sequence[_Binary], place_M: NDArray[np.int64], places: int, majority: int | None
    ) -> Summary:
        confusions = [look.confusion for look in looks]
        counts = counts_of(confusions, place_M, places, 2)
        error = calibration_error([look.bins for look in looks], place_M, places)

        def values(weights_RP: Floats) -> dict[str, dict[str, Floats]]:
            weighted = counts.weighted(weights_RP)
            constants = {name: _of_change(constant_answer(weighted, answer)) for name, answer in _CONSTANT.items()}
            return {MODEL: _of_change(weighted) | {"ECE": error(weights_RP)}} | constants

        total = counts.weighted(np.ones(places))
        return Summary(
            values,
            _own(counts_of(confusions, np.arange(len(looks)), len(looks), 2)),
            per_class(total),
            _pixels(total),
            matrix_of(confusions, 2),
            reliability_of([look.bins for look in looks]),
        )


@dataclass(frozen=True)
class _Semantic:
    binary: _Binary
    changed: Confusion
    after: Confusion


class SemanticChange(Accumulator[_Semantic]):
    """Where something changed and what it became, as DynamicEarthNet judges it (Toker et al., CVPR 2022, arXiv
    2203.12560, and its evaluation code).

    Binary change (BC) is the IoU of the class of change over all pixels, those without a known change left out.
    Semantic change (SC) looks at pixels that truly changed, whether that was noticed or not, and compares the classes
    of the later date there: the IoU of each class within these pixels, averaged over classes that are true there.
    The semantic change segmentation score (SCS; the headline) is the mean of the two. All pixels of all images are
    counted together. The published code derives the change of an answer from its two maps of classes; here it is the
    answer's own, what is likelier than not. Further metrics: F1 of change, mIoU and OA of the later map (of all its
    labelled pixels), and the expected calibration error (ECE) of change. The own score of an image is the IoU of
    change, as in `ChangeDetection`.
    """

    task = "semantic-change"

    def _look(self, target: Target, prediction: Prediction, size: tuple[int, int]) -> _Semantic:
        truth, answer = expect(target, Change, "label"), expect(prediction, ChangeMap, "answer")
        after_HW, answer_HW = expect_mask(truth.after_HW, size, "label"), expect_mask(answer.after_HW, size, "answer")
        labelled_HW, classes = after_HW != UNLABELLED, len(self.classes)
        binary = _binary(truth, answer, size)
        changed_HW = truth.changed_HW[: size[0], : size[1]] == _CHANGED
        return _Semantic(
            binary,
            confusion_of(after_HW, answer_HW, labelled_HW & changed_HW, classes),
            confusion_of(after_HW, answer_HW, labelled_HW, classes),
        )

    def _summary(
        self, looks: Sequence[_Semantic], place_M: NDArray[np.int64], places: int, majority: int | None
    ) -> Summary:
        classes, bins = len(self.classes), [look.binary.bins for look in looks]
        binaries, afters = [look.binary.confusion for look in looks], [look.after for look in looks]
        binary = counts_of(binaries, place_M, places, 2)
        changed = counts_of([look.changed for look in looks], place_M, places, classes)
        after = counts_of(afters, place_M, places, classes)
        error = calibration_error(bins, place_M, places)

        def values(weights_RP: Floats) -> dict[str, dict[str, Floats]]:
            where, what = binary.weighted(weights_RP), changed.weighted(weights_RP)
            later = measures(after.weighted(weights_RP))
            found = _of_semantic_change(where, what) | {name: later[name] for name in ("mIoU", "OA")}
            answers = {MODEL: found | {"ECE": error(weights_RP)}}
            if majority is not None:
                always = constant_answer(what, majority)
                for name, answer in _CONSTANT.items():
                    baseline = _of_semantic_change(constant_answer(where, answer), always)
                    answers[f"{name}, always {self.classes[majority]}"] = baseline
            return answers

        ones = np.ones(places)
        total, within = after.weighted(ones), changed.weighted(ones)
        return Summary(
            values,
            _own(counts_of(binaries, np.arange(len(looks)), len(looks), 2)),
            {"IoU where it changed": _iou_within(within)} | per_class(total),
            _pixels(binary.weighted(ones)),
            matrix_of(afters, classes),
            reliability_of(bins),
        )


def _iou_within(within: ClassCounts) -> Floats:
    """IoU of each class over pixels that truly changed, NaN for a class that is not true there."""
    return np.where(within.true > 0, within.iou(), np.nan)


def _binary(target: Change, answer: ChangeMap, size: tuple[int, int]) -> _Binary:
    truth_HW = expect_mask(target.changed_HW, size, "label")
    if answer.changed_HW.shape != target.changed_HW.shape:
        raise InputError(f"the answer must be of the size of the label; got {answer.changed_HW.shape}")
    changed_HW = answer.changed_HW[: size[0], : size[1]]
    answer_HW, labelled_HW = (changed_HW > 0.5).astype(np.uint8), truth_HW != UNLABELLED
    confusion = confusion_of(truth_HW, answer_HW, labelled_HW, 2)
    confidence = np.maximum(changed_HW, 1 - changed_HW)[labelled_HW]
    return _Binary(confusion, binned(confidence, truth_HW[labelled_HW] == answer_HW[labelled_HW]))


def _of_change(counts: ClassCounts) -> dict[str, Floats]:
    named = {"F1": counts.f1(), "precision": counts.precision(), "recall": counts.recall(), "IoU": counts.iou()}
    return {name: values[..., _CHANGED] for name, values in named.items()} | {"OA": counts.accuracy()}


def _of_semantic_change(binary: ClassCounts, changed: ClassCounts) -> dict[str, Floats]:
    change = binary.iou()[..., _CHANGED]
    semantic = mean_where(_iou_within(changed), changed.true > 0)
    return {"SCS": (change + semantic) / 2, "BC": change, "SC": semantic, "F1 of change": binary.f1()[..., _CHANGED]}


def _own(each: ClassCounts) -> list[float]:
    iou_M = each.iou()[:, _CHANGED]
    return np.where(np.isnan(iou_M) & (each.true.sum(axis=1) > 0), 1.0, iou_M).tolist()


def _pixels(total: ClassCounts) -> dict[str, int]:
    return {"labelled pixels": int(total.true.sum()), "changed pixels": int(total.true[_CHANGED])}
