"""Scene classification: one class of an image, or several.

Letters: M images, K classes, P groups, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.example import Target
from skysense.errors import InputError
from skysense.probes.metrics import Resampled, mean_average_precision, mean_where
from skysense.probes.outcomes import Outcome
from skysense.tasks.metrics.accumulate import MODEL, Accumulator, Summary, expect
from skysense.tasks.metrics.calibration import binned, calibration_error, reliability_of
from skysense.tasks.metrics.counts import ClassCounts, Floats, constant_answer, mean_defined, ratio
from skysense.tasks.predictions import ClassScores, Prediction

_CELLS = 2_000_000
"""Numbers that an intermediate result may have: of many images, fewer resamples are looked at in one go."""


@dataclass(frozen=True)
class _OneClass:
    truth: int
    answer: int
    rank: int
    confidence: float
    of_truth: float


class Classification(Accumulator[_OneClass]):
    """One class per image.

    Metrics: overall accuracy (OA, also called top-1; the headline), the share of images whose class is among the five
    likeliest (with more than five classes), macro F1 over classes that are in the truth or the answers (as scikit-learn
    and torchmetrics have it), and expected calibration error (ECE). Of equal scores the lower class comes first. The
    own score of an image is the probability of its true class.
    """

    task = "classification"

    def _look(self, target: Target, prediction: Prediction, size: tuple[int, int]) -> _OneClass:
        scores_K = _scores(prediction, len(self.classes))
        if isinstance(target, np.ndarray) or not isinstance(target, int | np.integer):
            raise InputError(f"the label must be a class; got {type(target).__name__}")
        truth = int(target)
        if not 0 <= truth < len(self.classes):
            raise InputError(f"the label is class {truth} and there are {len(self.classes)} classes")
        order_K = np.argsort(-scores_K, kind="stable")
        answer, rank = int(order_K[0]), int(np.flatnonzero(order_K == truth)[0])
        return _OneClass(truth, answer, rank, float(scores_K[answer]), float(scores_K[truth]))

    def _summary(
        self, looks: Sequence[_OneClass], place_M: NDArray[np.int64], places: int, majority: int | None
    ) -> Summary:
        classes = len(self.classes)
        truth_M, answer_M = (np.array([getattr(look, name) for look in looks]) for name in ("truth", "answer"))
        right_M, confidence_M = truth_M == answer_M, np.array([look.confidence for look in looks])
        counts = ClassCounts(*(np.zeros((places, classes)) for _ in range(3)))
        np.add.at(counts.true, (place_M, truth_M), 1)
        np.add.at(counts.answered, (place_M, answer_M), 1)
        np.add.at(counts.hits, (place_M[right_M], truth_M[right_M]), 1)
        count_P = counts.true.sum(axis=1)
        among_P = np.bincount(place_M, np.array([look.rank < 5 for look in looks]), places)
        bins = [binned(confidence_M[[at]], right_M[[at]]) for at in range(len(looks))]
        error = calibration_error(bins, place_M, places)

        def values(weights_RP: Floats) -> dict[str, dict[str, Floats]]:
            weighted = counts.weighted(weights_RP)
            found = _measures(weighted)
            if classes > 5:
                found["top-5"] = ratio(weights_RP @ among_P, weights_RP @ count_P)
            answers = {MODEL: found | {"ECE": error(weights_RP)}}
            if majority is not None:
                answers[f"always {self.classes[majority]}"] = _measures(constant_answer(weighted, majority))
            return answers

        total = counts.weighted(np.ones(places))
        matrix_KK = np.zeros((classes, classes), np.int64)
        np.add.at(matrix_KK, (truth_M, answer_M), 1)
        return Summary(
            values,
            [look.of_truth for look in looks],
            {"F1": total.f1(), "precision": total.precision(), "recall": total.recall(), "images": total.true},
            {},
            matrix_KK,
            reliability_of(bins),
        )


@dataclass(frozen=True)
class _Labels:
    truth_K: NDArray[np.bool_]
    scores_K: NDArray[np.float64]


class MultiLabel(Accumulator[_Labels]):
    """Any number of classes per image.

    Metrics: mean average precision (mAP; the headline), macro over classes with a positive and micro over all pairs of
    image and class; F1 of what is likelier than not, macro and micro; expected calibration error (ECE) of each
    probability against its label. Tied scores are one threshold, as scikit-learn has it. The own score of an image is
    the mean probability that was given to what is so, over classes.
    """

    task = "multilabel"

    def _look(self, target: Target, prediction: Prediction, size: tuple[int, int]) -> _Labels:
        scores_K = _scores(prediction, len(self.classes))
        truth_K = expect(target, np.ndarray, "label")
        if truth_K.shape != scores_K.shape:
            raise InputError(f"the label must say of {len(self.classes)} classes which apply; got {truth_K.shape}")
        return _Labels(truth_K.astype(bool), scores_K)

    def _summary(
        self, looks: Sequence[_Labels], place_M: NDArray[np.int64], places: int, majority: int | None
    ) -> Summary:
        truth_MK, scores_MK = np.stack([look.truth_K for look in looks]), np.stack([look.scores_K for look in looks])
        answer_MK, classes = scores_MK > 0.5, len(self.classes)
        counts = ClassCounts(*(np.zeros((places, classes)) for _ in range(3)))
        for into, what_MK in zip(
            (counts.hits, counts.true, counts.answered), (truth_MK & answer_MK, truth_MK, answer_MK), strict=True
        ):
            np.add.at(into, place_M, what_MK)
        images_P = np.bincount(place_M, minlength=places)
        macro = _average_precision(places, place_M, truth_MK, scores_MK)
        micro = _average_precision(places, place_M.repeat(classes), truth_MK.reshape(-1, 1), scores_MK.reshape(-1, 1))
        bins = [binned(look.scores_K, look.truth_K) for look in looks]
        error = calibration_error(bins, place_M, places)

        def values(weights_RP: Floats) -> dict[str, dict[str, Floats]]:
            weighted = counts.weighted(weights_RP)
            together = ClassCounts(*(part.sum(axis=-1) for part in (weighted.hits, weighted.true, weighted.answered)))
            found = {
                "mAP": macro(weights_RP),
                "micro mAP": micro(weights_RP),
                "macro F1": mean_defined(weighted.f1()),
                "micro F1": together.f1(),
                "ECE": error(weights_RP),
            }
            # without looking, every threshold answers all images or none: precision is prevalence
            share_RK = weighted.true / (weights_RP @ images_P)[:, None]
            return {MODEL: found, "the same for every image": {"mAP": mean_where(share_RK, weighted.true > 0)}}

        total = counts.weighted(np.ones(places))
        each = np.ones((1, places))
        average_K = [
            _average_precision(places, place_M, truth_MK[:, [k]], scores_MK[:, [k]])(each)[0] for k in range(classes)
        ]
        return Summary(
            values,
            np.where(truth_MK, scores_MK, 1 - scores_MK).mean(axis=1).tolist(),
            {
                "AP": np.array(average_K),
                "F1": total.f1(),
                "precision": total.precision(),
                "recall": total.recall(),
                "images": total.true,
            },
            {"labels": int(total.true.sum())},
            None,
            reliability_of(bins),
        )


def _measures(counts: ClassCounts) -> dict[str, Floats]:
    return {"OA": counts.accuracy(), "macro F1": mean_defined(counts.f1())}


def _average_precision(
    places: int, place: NDArray[np.int64], truth: NDArray[np.bool_], scores: NDArray[np.float64]
) -> Resampled:
    values = mean_average_precision(Outcome(tuple(map(str, range(places))), place, truth.astype(np.int64), scores))
    rows = max(1, _CELLS // len(place))

    def in_blocks(weights_RP: Floats) -> Floats:
        return np.concatenate([values(weights_RP[at : at + rows]) for at in range(0, len(weights_RP), rows)])

    return in_blocks


def _scores(prediction: Prediction, classes: int) -> NDArray[np.float64]:
    scores_K = expect(prediction, ClassScores, "answer").scores_K.astype(np.float64)
    if scores_K.shape != (classes,) or not np.isfinite(scores_K).all():
        raise InputError(f"the answer must be {classes} finite scores; got {scores_K.shape}")
    return scores_K
