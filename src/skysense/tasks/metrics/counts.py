"""Counts of pixels or images by class, and the measures that follow from them.

Of a group of images only three numbers per class are kept, the hits on the diagonal of its confusion matrix and the
sums of its rows and columns: every measure follows from them, for any weighting of groups.

Letters: K classes, P groups, R resamples, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.example import UNLABELLED
from skysense.errors import InputError
from skysense.probes.metrics import mean_where

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Confusion:
    """The cells of a confusion matrix that are not zero: an image has few classes.

    Attributes:
        cell: int64 true class times K plus the answered class.
        count: int64.
    """

    cell: NDArray[np.int64]
    count: NDArray[np.int64]


@dataclass(frozen=True)
class ClassCounts:
    """Of each class, with any axes before the last.

    Attributes:
        hits: true and answered.
        true: true, whatever the answer.
        answered: answered, whatever the truth.
    """

    hits: Floats
    true: Floats
    answered: Floats

    def weighted(self, weights_RP: Floats) -> ClassCounts:
        """Counts ``(R, K)`` of weighted groups, of counts ``(P, K)``."""
        return ClassCounts(weights_RP @ self.hits, weights_RP @ self.true, weights_RP @ self.answered)

    def accuracy(self) -> Floats:
        """Overall accuracy (OA): the share that is answered rightly."""
        return ratio(self.hits.sum(axis=-1), self.true.sum(axis=-1))

    def iou(self) -> Floats:
        """Intersection over union of each class; NaN for a class that is neither in the truth nor in the answers."""
        return ratio(self.hits, self.true + self.answered - self.hits)

    def f1(self) -> Floats:
        """F1 of each class: twice the hits over true and answered; NaN as `iou`."""
        return ratio(2 * self.hits, self.true + self.answered)

    def precision(self) -> Floats:
        """Share of what is answered that is right, by class; NaN for a class that is never answered."""
        return ratio(self.hits, self.answered)

    def recall(self) -> Floats:
        """Share of what is true that is answered, by class; NaN for a class that is not in the truth."""
        return ratio(self.hits, self.true)


def ratio(part: Floats, whole: Floats) -> Floats:
    """Quotient, NaN where there is nothing to divide by."""
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)


def mean_defined(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN."""
    return mean_where(values, ~np.isnan(values))


def confusion_of(
    truth_HW: NDArray[np.uint8], answer_HW: NDArray[np.uint8], labelled_HW: NDArray[np.bool_], classes: int
) -> Confusion:
    """Count pixels by true and answered class.

    Args:
        truth_HW: class of each pixel.
        answer_HW: class that was answered.
        labelled_HW: pixels to count.
        classes: how many there are.

    Raises:
        InputError: a counted pixel has no class of these.
    """
    truth, answer = truth_HW[labelled_HW], answer_HW[labelled_HW]
    for kind, values in (("label", truth), ("answer", answer)):
        if values.size and int(values.max()) >= classes:
            raise InputError(
                f"a {kind} is {int(values.max())} and there are {classes} classes",
                fix=f"Classes are 0 .. {classes - 1}; pixels without a label are {UNLABELLED}",
            )
    count = np.bincount(truth.astype(np.int64) * classes + answer, minlength=classes * classes)
    cell = np.flatnonzero(count)
    return Confusion(cell, count[cell])


def counts_of(confusions: Sequence[Confusion], place: NDArray[np.int64], places: int, classes: int) -> ClassCounts:
    """Add up confusion matrices to counts ``(P, K)``.

    Args:
        confusions: of each image.
        place: group of each image.
        places: P.
        classes: K.
    """
    counts = ClassCounts(*(np.zeros((places, classes)) for _ in range(3)))
    for confusion, group in zip(confusions, place, strict=True):
        true, answered = np.divmod(confusion.cell, classes)
        right = true == answered
        np.add.at(counts.true[group], true, confusion.count)
        np.add.at(counts.answered[group], answered, confusion.count)
        counts.hits[group][true[right]] += confusion.count[right]
    return counts


def matrix_of(confusions: Sequence[Confusion], classes: int) -> NDArray[np.int64]:
    """Add up confusion matrices to one ``(K, K)``, rows are the truth."""
    total = np.zeros(classes * classes, np.int64)
    for confusion in confusions:
        total[confusion.cell] += confusion.count
    return total.reshape(classes, classes)


def constant_answer(counts: ClassCounts, answer: int) -> ClassCounts:
    """The counts that follow if one class is answered everywhere: hits and answers are given up, the truth stays."""
    hits, answered = np.zeros_like(counts.true), np.zeros_like(counts.true)
    hits[..., answer] = counts.true[..., answer]
    answered[..., answer] = counts.true.sum(axis=-1)
    return ClassCounts(hits, counts.true, answered)
