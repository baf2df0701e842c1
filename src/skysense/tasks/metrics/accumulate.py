"""What the accumulators of all tasks share: images are looked at one by one, then judged together.

Letters: M images, P groups, R resamples, K classes.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.example import Target, Task
from skysense.errors import InputError
from skysense.probes.intervals import RESAMPLES, Interval, corrected, draws
from skysense.tasks.metrics.results import ImageScore, Reliability, Results
from skysense.tasks.predictions import Prediction

SHOWN = 8
"""Images that are named as the worst and as the best."""

MODEL = "model"

Values = Callable[[NDArray[np.floating]], Mapping[str, Mapping[str, NDArray[np.floating]]]]
"""Weights of groups ``(R, P)`` to the values ``(R,)`` of metrics by name, NaN where one is not defined: those of
`MODEL`, then those of each baseline."""

Look = TypeVar("Look")
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Summary:
    """What a task makes of the images; see `Results` for what has the same name there.

    Attributes:
        values: of the metrics; the first one of the model is the headline.
        own_M: score of each image, NaN where there is nothing to judge it by.
    """

    values: Values
    own_M: Sequence[float]
    per_class: Mapping[str, NDArray[np.floating]]
    counts: Mapping[str, int]
    confusion_KK: NDArray[np.int64] | None = None
    reliability: Reliability | None = None


class Accumulator(ABC, Generic[Look]):
    """Collects from each image the few numbers that its task is judged by, never its pixels.

    Accumulators of several processes are merged; they can be pickled. An image whose name is already there is left
    out: samplers hand out some images twice so that every process has equally many.

    Args:
        classes: names by class index.

    Raises:
        InputError: no class.
    """

    task: ClassVar[Task]

    def __init__(self, classes: Sequence[str]) -> None:
        if not classes:
            raise InputError("there is no class to judge answers by")
        self.classes = tuple(classes)
        self._images: dict[str, tuple[str, Look]] = {}

    def __len__(self) -> int:
        return len(self._images)

    def add(self, name: str, group: str, target: Target, prediction: Prediction, size: tuple[int, int]) -> None:
        """Look at one image.

        Args:
            name: of the image, unique.
            group: images of one group lie on the same ground; intervals resample groups.
            target: the label.
            prediction: the answer.
            size: height and width of the part of the label grid that is no padding; nothing beyond is counted.

        Raises:
            InputError: label or answer are of another task, size or number of classes.
        """
        if name in self._images:
            return
        try:
            self._images[name] = group, self._look(target, prediction, size)
        except InputError as error:
            raise InputError(f"{name}: {error.what}", file=error.file, fix=error.fix) from error

    def merge(self, other: Accumulator[Look]) -> None:
        """Take over the images of another accumulator.

        Raises:
            InputError: it is of another task or other classes.
        """
        if (self.task, self.classes) != (other.task, other.classes):
            raise InputError(f"answers of {other.task} cannot be added to those of {self.task} with other classes")
        self._images = other._images | self._images

    def results(
        self,
        training_K: NDArray[np.integer] | None = None,
        *,
        headline: str | None = None,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> Results:
        """Judge what was answered.

        Args:
            training_K: labels of each class in training (images or pixels): baselines answer the most frequent one.
            headline: the metric to lead with; the usual one of the task by default.
            resamples: draws of groups for the intervals.
            seed: of the draws. Only evaluations with the same number and seed can be compared.

        Raises:
            InputError: no image was added, or there is no such metric.
        """
        if not self._images:
            raise InputError("nothing was evaluated: no image was added")
        names = sorted(self._images)  # whatever process looked at which image
        groups, place_M = np.unique([self._images[name][0] for name in names], return_inverse=True)
        looks = [self._images[name][1] for name in names]
        majority = None if training_K is None else int(np.argmax(training_K))
        summary = self._summary(looks, place_M.astype(np.int64), len(groups), majority)
        answers, draws_R = _resampled(summary.values, len(groups), resamples, seed)
        metrics = answers.pop(MODEL)
        scored = [ImageScore(*one) for one in zip(names, map(float, summary.own_M), strict=True) if one[1] == one[1]]
        ranked = sorted(scored, key=lambda image: (image.score, image.name))
        seen = "\n".join(f"{name}\t{self._images[name][0]}" for name in names) + f"\n{resamples} {seed}"
        return Results(
            task=self.task,
            classes=self.classes,
            headline=headline or next(iter(metrics)),
            metrics=metrics,
            baselines=answers,
            per_class={name: tuple(map(float, values)) for name, values in summary.per_class.items()},
            confusion_KK=summary.confusion_KK,
            reliability=summary.reliability,
            counts={"images": len(names), "groups": len(groups), **summary.counts},
            worst=tuple(ranked[:SHOWN]),
            best=tuple(ranked[: -SHOWN - 1 : -1]),
            draws_R=draws_R,
            drawn_on=hashlib.sha256(seen.encode()).hexdigest()[:16],
        )

    def least_score(self) -> float | None:
        """The score from which on answers are best kept; None for tasks whose answers are not chosen by a score."""
        return None

    @abstractmethod
    def _look(self, target: Target, prediction: Prediction, size: tuple[int, int]) -> Look:
        """The numbers to keep of an image."""

    @abstractmethod
    def _summary(self, looks: Sequence[Look], place_M: NDArray[np.int64], places: int, majority: int | None) -> Summary:
        """What they come to.

        Args:
            looks: of each image, by name.
            place_M: group of each image.
            places: number of groups.
            majority: the most frequent class in training, if known.
        """


def expect(what: object, kind: type[Kind], role: str) -> Kind:
    """Check what was given as a label or an answer.

    Raises:
        InputError: it is of another kind.
    """
    if not isinstance(what, kind):
        raise InputError(f"the {role} must be {kind.__name__}; got {type(what).__name__}")
    return what


def expect_mask(mask: object, size: tuple[int, int], role: str) -> NDArray[np.uint8]:
    """Check a mask and leave out its padding.

    Raises:
        InputError: it is no mask of classes, or smaller than its image.
    """
    array = expect(mask, np.ndarray, role)
    if array.dtype != np.uint8 or array.ndim != 2 or array.shape[0] < size[0] or array.shape[1] < size[1]:
        raise InputError(f"the {role} must be (H, W) uint8 of at least {size}; got {array.shape} {array.dtype}")
    return cast(NDArray[np.uint8], array[: size[0], : size[1]])


def _resampled(
    values: Values, places: int, resamples: int, seed: int
) -> tuple[dict[str, dict[str, Interval]], dict[str, NDArray[np.floating]]]:
    """Metrics of all answers on all groups with their intervals, and those of the model on each resample."""
    blocks = [values(weights_RP) for weights_RP in draws(places, resamples=resamples, seed=seed)]
    answers: dict[str, dict[str, Interval]] = {}
    draws_R: dict[str, NDArray[np.floating]] = {}
    for answer, metrics in values(np.ones((1, places))).items():
        drawn_R = {name: np.concatenate([block[answer][name] for block in blocks]) for name in metrics}
        answers[answer] = {name: corrected(float(one[0]), drawn_R[name], places) for name, one in metrics.items()}
        if answer == MODEL:
            draws_R = drawn_R
    return answers, draws_R
