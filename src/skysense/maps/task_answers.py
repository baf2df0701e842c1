"""Answers windows with an adapted model: classes, changes, objects.

A window is made ready as an example is for training and evaluation (`Reading`), and judged by the same `Predictor`;
what is blended, stored and drawn is the same whichever task it is.

Letters: B windows, K classes, h w cells, H W pixels of the label grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from skysense.data.labelled.example import Example, Task
from skysense.maps.answer import Regions, Rows, Scores, WindowAnswer
from skysense.maps.features import regions_of
from skysense.maps.pairs import Pair
from skysense.maps.product.layer import Layer
from skysense.maps.task_layers import TaskLayers
from skysense.observation import Sample
from skysense.tasks.adapted import Adapted, load_adapted
from skysense.tasks.detection.boxes import Found
from skysense.tasks.detection.merge import picked
from skysense.tasks.heads import Answer

OF_WHOLE: tuple[Task, ...] = ("classification", "multilabel")
"""Tasks with one answer for a window."""
_SHOWN = 0.5
"""A cell counts as observed if so much of it is, as for the model."""


@dataclass(frozen=True)
class TaskRecipe:
    """Answers of an adapted model, in any process.

    Attributes:
        model: the model on its device, or its file, which every process then loads by itself.
        device: where a file is loaded to.
        flips: average over mirror images; as the model was adapted if None.
        probabilities, uncertainty: see `TaskLayers`.
    """

    model: Adapted | Path
    device: str = "cpu"
    flips: bool | None = None
    probabilities: bool = False
    uncertainty: bool = False

    def build(self) -> TaskAnswerer:
        """Load the model if it is a file.

        Raises:
            InputError: no such file, or no adapted model.
        """
        adapted = self.model if isinstance(self.model, Adapted) else load_adapted(self.model, self.device)
        return TaskAnswerer(adapted, self)


class TaskAnswerer:
    """An adapted model that answers windows.

    Args:
        adapted: the model.
        recipe: what is wanted of it.

    Attributes:
        flips: whether it averages over mirror images.
        per_cell: pixels of the map along a cell.
    """

    def __init__(self, adapted: Adapted, recipe: TaskRecipe) -> None:
        self.adapted, self._reading = adapted, adapted.reading
        self.flips = adapted.config.flips if recipe.flips is None else recipe.flips
        self._predictor = adapted.predictor(flips=self.flips)
        self._of_whole = adapted.task in OF_WHOLE
        self.per_cell = 1 if self._of_whole else adapted.per_cell
        self._layers = TaskLayers(
            adapted.task, adapted.classes, self.per_cell, recipe.probabilities, recipe.uncertainty
        )
        self._regions = regions_of(adapted.encoder.model)

    @property
    def scores(self) -> Scores:
        """Probabilities of the task; none of detectors."""
        return self._layers.scores

    @property
    def layers(self) -> tuple[Layer, ...]:
        """See `TaskLayers`."""
        return self._layers.layers

    @property
    def device(self) -> torch.device:
        """That of the model."""
        return next(self.adapted.encoder.parameters()).device

    @property
    def regions(self) -> Regions | None:
        """Those of the model."""
        return self._regions

    def __call__(self, samples: Sequence[Sample]) -> list[WindowAnswer]:
        """Judge windows; of a pair of dates only what both show counts."""
        examples = [self._example(sample) for sample in samples]
        answers = self._predictor.answers(examples)
        return [self._answer(*one) for one in zip(samples, answers, strict=True)]

    def encode(self, blended: Rows) -> dict[str, NDArray]:
        """See `TaskLayers.encode`."""
        return self._layers.encode(blended)

    def _example(self, sample: Sample) -> Example:
        """A window as the model reads it, without a label."""
        of_sensors: Literal[1, 32] = 32 if "hr" in self._reading.sensors else 1
        per_cell = of_sensors if self._of_whole else cast(Literal[1, 32], self.adapted.per_cell)
        seen_HW = _observed(sample, sample.grid, per_cell)
        size = _extent(seen_HW, axis=0), _extent(seen_HW, axis=1)  # what is no padding: a detector ends its boxes there
        before, after = (sample.before, sample.after) if isinstance(sample, Pair) else (sample, None)
        later = None if after is None else self._reading.sample(after)
        return Example(sample.name, self._reading.sample(before), 0, per_cell, size, later)

    def _answer(self, sample: Sample, answer: Answer) -> WindowAnswer:
        seen_HW = _observed(sample, sample.grid, self.per_cell)
        if isinstance(answer, Found):
            return WindowAnswer(found=_seen(answer, seen_HW))
        maps = {}
        for name, scores in answer.items():
            values = scores.float().cpu().numpy()
            if name == "changed":
                values = values[1:]  # the probability that it did not is the rest
            if self._of_whole:
                values = np.broadcast_to(values[:, None, None], (len(values), *seen_HW.shape))
            maps[name] = values, seen_HW
        return WindowAnswer(maps)


def _observed(sample: Sample, grid: tuple[int, int], per_cell: int) -> NDArray[np.bool_]:
    """Where any sensor saw anything on any day ``(H, W)``, of a pair of dates on both."""
    seen_HW = np.zeros((grid[0] * per_cell, grid[1] * per_cell), bool)
    for series in sample.series.values():
        valid_HW = series.valid.any(axis=0)
        factor = per_cell // series.sensor.cell_px
        if factor > 1:
            valid_HW = valid_HW.repeat(factor, axis=0).repeat(factor, axis=1)
        elif factor == 0:
            side = series.sensor.cell_px // per_cell
            shares_HW = valid_HW.reshape(len(seen_HW), side, -1, side).mean(axis=(1, 3))
            valid_HW = shares_HW >= _SHOWN
        seen_HW |= valid_HW
    if isinstance(sample, Pair):
        seen_HW &= _observed(sample.after, grid, per_cell)
    return seen_HW


def _seen(found: Found, seen_HW: NDArray[np.bool_]) -> Found:
    """Objects whose middle was observed: what a model says of no-data, or beyond the area of a map, is made up."""
    boxes_NP = found.boxes_NP
    middle_N2 = (boxes_NP[:, :2] + boxes_NP[:, 2:]) / 2 if boxes_NP.shape[1] == 4 else boxes_NP[:, :2]
    col_N, row_N = middle_N2.floor().long().cpu().numpy().T
    height, width = seen_HW.shape
    kept_N = torch.from_numpy(seen_HW[row_N.clip(0, height - 1), col_N.clip(0, width - 1)])
    return picked(found, kept_N.to(boxes_NP.device))


def _extent(seen_HW: NDArray[np.bool_], axis: int) -> int:
    """How far the last row (axis 0) or column (axis 1) reaches of which anything was observed."""
    places = seen_HW.nonzero()[axis]
    return int(places.max()) + 1 if len(places) else 0
