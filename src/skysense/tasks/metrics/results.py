"""What an evaluation found, and how two evaluations on the same images differ; written as JSON and read back.

Letters: K classes, Q bins of confidence, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.example import Task
from skysense.errors import InputError
from skysense.probes.intervals import Interval, corrected

FORMAT = 1


@dataclass(frozen=True)
class Reliability:
    """What happened among answers of like confidence, in bins of equal width from 0 to 1.

    Attributes:
        count_Q: answers in each bin.
        confidence_Q: their mean confidence, NaN in an empty bin.
        right_Q: share of them that was right, NaN in an empty bin.
    """

    count_Q: NDArray[np.floating]
    confidence_Q: NDArray[np.floating]
    right_Q: NDArray[np.floating]


@dataclass(frozen=True)
class ImageScore:
    """How well one image was answered.

    Attributes:
        name: of the image.
        score: 0 .. 1; what it is depends on the task, see its accumulator.
    """

    name: str
    score: float


@dataclass(frozen=True)
class Results:
    """What an evaluation found. Measures are shares (0 .. 1), NaN where there was nothing to judge by.

    Attributes:
        task: kind of the labels.
        classes: names by class index.
        headline: the metric that is published for the task, one of ``metrics``.
        metrics: by name, on all images, with a 95 % interval that resamples groups.
        baselines: by what is answered without looking at the image: the metrics of that answer.
        per_class: by measure, a value for each class.
        confusion_KK: counts, rows are the truth and columns the answer; None where a task has none.
        reliability: None where answers have no confidence.
        counts: how many images, groups and labels of each kind.
        worst, best: images by their own score, the worst and the best first.
        draws_R: by metric, its value on each resample; groups are drawn in the same way in each evaluation.
        drawn_on: fingerprint of the names of images and groups.
    """

    task: Task
    classes: tuple[str, ...]
    headline: str
    metrics: Mapping[str, Interval]
    baselines: Mapping[str, Mapping[str, Interval]]
    per_class: Mapping[str, tuple[float, ...]]
    confusion_KK: NDArray[np.int64] | None
    reliability: Reliability | None
    counts: Mapping[str, int]
    worst: tuple[ImageScore, ...]
    best: tuple[ImageScore, ...]
    draws_R: Mapping[str, NDArray[np.floating]]
    drawn_on: str

    def __post_init__(self) -> None:
        if self.headline not in self.metrics:
            known = ", ".join(self.metrics)
            raise InputError(f"{self.headline!r} is no metric of {self.task}", fix=f"There are: {known}")

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain content of a JSON file; what is not defined becomes null."""
        reliability = self.reliability
        return {
            "format": FORMAT,
            "task": self.task,
            "classes": list(self.classes),
            "headline": self.headline,
            "metrics": _intervals(self.metrics),
            "baselines": {name: _intervals(metrics) for name, metrics in self.baselines.items()},
            "per_class": {name: [_null(value) for value in values] for name, values in self.per_class.items()},
            "confusion": None if self.confusion_KK is None else self.confusion_KK.tolist(),
            "reliability": reliability
            and {
                "count": reliability.count_Q.tolist(),
                "confidence": [_null(value) for value in reliability.confidence_Q.tolist()],
                "right": [_null(value) for value in reliability.right_Q.tolist()],
            },
            "counts": dict(self.counts),
            "worst": [[image.name, image.score] for image in self.worst],
            "best": [[image.name, image.score] for image in self.best],
            # one line a metric: as a list it would fill the file with thousands of lines
            "draws": {name: " ".join(f"{value:.7g}" for value in draws) for name, draws in self.draws_R.items()},
            "drawn_on": self.drawn_on,
        }

    @classmethod
    def from_json(cls, content: Any) -> Results:
        """Read what `to_json` made.

        Raises:
            InputError: it is something else, or of a later format.
        """
        try:
            if content["format"] != FORMAT:
                raise InputError(f"results have format {content['format']}; this version reads {FORMAT}")
            if content["task"] not in get_args(Task):
                raise InputError(f"results are of an unknown task: {content['task']!r}")
            reliability, confusion = content["reliability"], content["confusion"]
            return cls(
                task=content["task"],
                classes=tuple(content["classes"]),
                headline=content["headline"],
                metrics=_read_intervals(content["metrics"]),
                baselines={name: _read_intervals(metrics) for name, metrics in content["baselines"].items()},
                per_class={name: tuple(_numbers(values).tolist()) for name, values in content["per_class"].items()},
                confusion_KK=None if confusion is None else np.array(confusion, np.int64),
                reliability=reliability
                and Reliability(*(_numbers(reliability[name]) for name in ("count", "confidence", "right"))),
                counts=dict(content["counts"]),
                worst=tuple(ImageScore(str(name), float(score)) for name, score in content["worst"]),
                best=tuple(ImageScore(str(name), float(score)) for name, score in content["best"]),
                draws_R={name: np.array(text.split(), float) for name, text in content["draws"].items()},
                drawn_on=content["drawn_on"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError("is not the results of an evaluation (truncated or foreign)") from error


def difference(a: Results, b: Results, metric: str) -> Interval:
    """The difference a - b of a metric with its 95 % interval, each resample drawn from the same groups for both.

    Raises:
        InputError: they were evaluated on different images or with different resamples, or one lacks the metric.
    """
    if a.drawn_on != b.drawn_on:
        raise InputError(
            "two evaluations were made on different images and cannot be compared",
            fix="Evaluate both models on the same split",
        )
    missing = [results for results in (a, b) if metric not in results.metrics]
    if missing:
        raise InputError(f"{metric!r} is no metric of {missing[0].task}", fix=f"There are: {', '.join(a.metrics)}")
    value, drawn_R = a.metrics[metric].value - b.metrics[metric].value, a.draws_R[metric] - b.draws_R[metric]
    return corrected(value, drawn_R, a.metrics[metric].n_places, least=-1.0)


def _intervals(metrics: Mapping[str, Interval]) -> dict[str, Any]:
    return {
        name: {"value": _null(one.value), "lo": _null(one.lo), "hi": _null(one.hi), "groups": one.n_places}
        for name, one in metrics.items()
    }


def _read_intervals(content: Mapping[str, Any]) -> dict[str, Interval]:
    found = {}
    for name, one in content.items():
        value, lo, hi = _numbers([one["value"], one["lo"], one["hi"]]).tolist()
        found[name] = Interval(value, lo, hi, int(one["groups"]))
    return found


def _null(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], float)
