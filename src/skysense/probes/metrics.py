"""Metrics that can be resampled: each says what it needs per place once, then answers for many weightings of places.

Letters: M examples, J those that are positive, P test places, K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from skysense.data.places_layout import Kind
from skysense.probes.outcomes import Outcome

Resampled = Callable[[NDArray[np.floating]], NDArray[np.floating]]
"""Weights of places ``(R, P)`` to the values of a metric ``(R,)``; NaN where it is not defined."""

Metric = Callable[[Outcome], Resampled]


def accuracy(outcome: Outcome) -> Resampled:
    """Share of examples whose likeliest class is the true one."""
    hits_P = np.bincount(outcome.place_M, outcome.answer_M == outcome.truth, minlength=len(outcome.places))
    count_P = np.bincount(outcome.place_M, minlength=len(outcome.places))
    return lambda weights_RP: (weights_RP @ hits_P) / (weights_RP @ count_P)


def macro_f1(outcome: Outcome) -> Resampled:
    """F1 of each class that occurs in the truth, averaged."""
    classes = outcome.scores_MK.shape[1]
    confusion_PKK = np.zeros((len(outcome.places), classes, classes))
    np.add.at(confusion_PKK, (outcome.place_M, outcome.truth, outcome.answer_M), 1)

    def values(weights_RP: NDArray[np.floating]) -> NDArray[np.floating]:
        confusion_RKK = np.tensordot(weights_RP, confusion_PKK, axes=1)
        true_RK, answered_RK = confusion_RKK.sum(axis=2), confusion_RKK.sum(axis=1)
        hits_RK = np.diagonal(confusion_RKK, axis1=1, axis2=2)
        f1_RK = 2 * hits_RK / np.maximum(true_RK + answered_RK, 1e-12)
        return mean_where(f1_RK, true_RK > 0)

    return values


def place_recall(outcome: Outcome) -> Resampled:
    """Recall of each class that occurs in a place, averaged over these classes, then over places."""
    classes = outcome.scores_MK.shape[1]
    shape = (len(outcome.places), classes)
    count_PK, hits_PK = np.zeros(shape), np.zeros(shape)
    np.add.at(count_PK, (outcome.place_M, outcome.truth), 1)
    np.add.at(hits_PK, (outcome.place_M, outcome.truth), outcome.answer_M == outcome.truth)
    recall_P = mean_where(hits_PK / np.maximum(count_PK, 1), count_PK > 0)
    return lambda weights_RP: (weights_RP @ recall_P) / weights_RP.sum(axis=1)


def mean_average_precision(outcome: Outcome) -> Resampled:
    """Average precision of each class with a positive, averaged; tied scores count as one threshold."""
    orders = []
    for scores_M, truth_M in zip(outcome.scores_MK.T, outcome.truth.T, strict=True):
        order = np.argsort(-scores_M, kind="stable")
        ordered_M, hits_J = -scores_M[order], np.flatnonzero(truth_M[order])
        ordered_J = ordered_M[hits_J]  # precision counts where there is a hit; a tie ends with its last example
        last_J, last_hit_J = (
            np.searchsorted(ordered, ordered_J, side="right") - 1 for ordered in (ordered_M, ordered_J)
        )
        orders.append((outcome.place_M[order], hits_J, last_J, last_hit_J))

    def values(weights_RP: NDArray[np.floating]) -> NDArray[np.floating]:
        precision_RK, positive_RK = [], []
        for place_M, hits_J, last_J, last_hit_J in orders:
            weights_RM = np.take(weights_RP, place_M, axis=1)
            weights_RJ = weights_RM[:, hits_J]
            seen_RJ = weights_RM.cumsum(axis=1)[:, last_J]
            precision_RJ = weights_RJ.cumsum(axis=1)[:, last_hit_J] / np.maximum(seen_RJ, 1e-12)
            positive = weights_RJ.sum(axis=1)
            precision_RK.append((weights_RJ * precision_RJ).sum(axis=1) / np.maximum(positive, 1e-12))
            positive_RK.append(positive > 0)
        return mean_where(np.stack(precision_RK, axis=1), np.stack(positive_RK, axis=1))

    return values


def mean_where(values: NDArray[np.floating], defined: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Mean over the last axis of what is defined, NaN if nothing is."""
    count = defined.sum(axis=-1)
    total = np.where(defined, values, 0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


METRICS: dict[Kind, dict[str, Metric]] = {
    "scene": {"accuracy": accuracy, "macro F1": macro_f1},
    "multilabel": {"mAP": mean_average_precision},
    "mask": {"place recall": place_recall, "macro F1": macro_f1},
}
"""The metrics of each kind of task; the first is the main one."""
