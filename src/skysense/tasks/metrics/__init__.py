"""What adapted models are judged by: an accumulator per task, looking at images one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skysense.data.labelled.example import Task
from skysense.tasks.metrics.accumulate import Accumulator
from skysense.tasks.metrics.change import ChangeDetection, SemanticChange
from skysense.tasks.metrics.classify import Classification, MultiLabel
from skysense.tasks.metrics.detect import Detection, OrientedDetection
from skysense.tasks.metrics.segment import Segmentation

_ACCUMULATORS: dict[Task, type[Accumulator[Any]]] = {
    one.task: one
    for one in (
        Classification,
        MultiLabel,
        Segmentation,
        Detection,
        OrientedDetection,
        ChangeDetection,
        SemanticChange,
    )
}


def accumulator(task: Task, classes: Sequence[str]) -> Accumulator[Any]:
    """An empty accumulator.

    Args:
        task: kind of the labels.
        classes: names by class index; of change without classes, those of what is unchanged and of what is changed.
    """
    return _ACCUMULATORS[task](classes)
