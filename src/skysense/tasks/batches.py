"""Examples side by side, as tensors: imagery for the encoder, labels for the head.

Letters: B examples, N boxes, K classes, H W pixels of the label grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import Boxes, Change, Example, OrientedBoxes
from skysense.errors import InputError
from skysense.geo import RegionTable
from skysense.observation import Batch, Sample, collate
from skysense.probes.prepare import prepare
from skysense.sensors import Modality, Sensor
from skysense.tasks.detection.boxes import Truth


@dataclass
class Labels:
    """Labels of a batch; those of its task are there.

    Attributes:
        class_B: int64 class.
        classes_BK: float32, 1 where a class applies.
        mask_BHW: int64 class per pixel, 255 for none.
        boxes: per example.
        changed_BHW: int64 1 or 0, 255 for none.
        before_BHW, after_BHW: int64 class per pixel of either date.
    """

    class_B: Tensor | None = None
    classes_BK: Tensor | None = None
    mask_BHW: Tensor | None = None
    boxes: list[Truth] | None = None
    changed_BHW: Tensor | None = None
    before_BHW: Tensor | None = None
    after_BHW: Tensor | None = None

    def to(self, device: torch.device | str) -> Labels:
        """The same on another device."""
        moved = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        for name, value in moved.items():
            if isinstance(value, Tensor):
                moved[name] = value.to(device, non_blocking=True)
        if self.boxes is not None:
            moved["boxes"] = [Truth(*(part.to(device) for part in vars(one).values())) for one in self.boxes]
        return Labels(**moved)


@dataclass
class LabelledBatch:
    """Examples of one size.

    Attributes:
        batch: imagery; of two dates, all of the earlier before all of the later.
        labels: of all.
        grid: height and width of the label grid, padding included.
        sizes: per example, the part that is no padding.
    """

    batch: Batch
    labels: Labels
    grid: tuple[int, int]
    sizes: list[tuple[int, int]]

    def to(self, device: torch.device | str) -> LabelledBatch:
        """The same on another device."""
        return replace(self, batch=self.batch.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Reading:
    """How imagery is made ready for an encoder.

    Attributes:
        sensors: what the encoders read; other sensors of a place are left out.
        regions: of the model, to look up the geo-context of a position.
        frames: most frames per modality.
        clear_only: use cloud-free pixels only, where that is known.
    """

    sensors: Mapping[Modality, Sensor]
    regions: RegionTable
    frames: Mapping[Modality, int]
    clear_only: bool = False

    def ready(self, example: Example) -> Example:
        """The same example as the model reads it; the label grid of a class of the whole follows the sensors.

        Raises:
            InputError: none of the sensors is there, or one lacks a band.
        """
        after = None if example.after is None else self.sample(example.after)
        ready = replace(example, sample=self.sample(example.sample), after=after)
        target = example.target
        if isinstance(target, int) or (isinstance(target, np.ndarray) and target.ndim == 1):
            per_cell: Literal[1, 32] = 32 if "hr" in self.sensors else 1
            rows, cols = (-(-side * per_cell // example.per_cell) for side in example.size)
            ready = replace(ready, per_cell=per_cell, size=(rows, cols))
        return ready

    def prepared(self, data: LabelledData) -> LabelledData:
        """A data set that reads its examples ready."""
        return replace(data, read_item=_Ready(self, data.read_item))

    def sample(self, sample: Sample) -> Sample:
        """Imagery as the model reads it: its sensors and bands, few enough frames, the region of its position.

        Raises:
            InputError: none of the sensors is there, or one lacks a band.
        """
        if not set(sample.series) & set(self.sensors):
            raise InputError(f"{sample.name} has {', '.join(sample.series)}, and none of {', '.join(self.sensors)}")
        chosen = sample.only(tuple(self.sensors)).read_as(self.sensors)
        ready = prepare(chosen, self.frames, clear_only=self.clear_only)
        return replace(ready, region=self.regions.slot(sample.lon, sample.lat))


@dataclass(frozen=True)
class _Ready:
    """Reads an item and makes it ready; it may be copied into other processes."""

    reading: Reading
    read_item: Callable[[Item], Example]

    def __call__(self, item: Item) -> Example:
        return self.reading.ready(self.read_item(item))


def batch_of(examples: Sequence[Example]) -> LabelledBatch:
    """Examples that are ready, side by side.

    Raises:
        InputError: examples of different sizes.
    """
    sizes = [example.size for example in examples]
    return LabelledBatch(imagery_of(examples), labels_of(examples), examples[0].grid, sizes)


def imagery_of(examples: Sequence[Example]) -> Batch:
    """The imagery of examples that are ready; of two dates, all of the earlier before all of the later.

    Raises:
        InputError: examples of different sizes.
    """
    later = [example.after for example in examples if example.after is not None]
    return collate([*(example.sample for example in examples), *later])


def labels_of(examples: Sequence[Example]) -> Labels:
    """The labels of examples of one task."""
    targets = [example.target for example in examples]
    first = targets[0]
    if isinstance(first, Boxes | OrientedBoxes):
        return Labels(boxes=[box_truth(one) for one in targets if isinstance(one, Boxes | OrientedBoxes)])
    if isinstance(first, Change):
        changes = [one for one in targets if isinstance(one, Change)]
        return Labels(
            changed_BHW=_stacked([one.changed_HW for one in changes]),
            before_BHW=_stacked([one.before_HW for one in changes]),
            after_BHW=_stacked([one.after_HW for one in changes]),
        )
    if isinstance(first, np.ndarray) and first.ndim == 2:
        return Labels(mask_BHW=_stacked([np.asarray(one) for one in targets]))
    if isinstance(first, np.ndarray):
        return Labels(classes_BK=torch.from_numpy(np.stack([np.asarray(one, np.float32) for one in targets])))
    return Labels(class_B=torch.tensor(targets))


def box_truth(boxes: Boxes | OrientedBoxes) -> Truth:
    """Boxes as tensors; oriented ones as centre, sides and angle."""
    labels, ignore = torch.from_numpy(boxes.label_N), torch.from_numpy(boxes.ignore_N)
    if isinstance(boxes, Boxes):
        return Truth(torch.from_numpy(boxes.corners_N4), labels, ignore)
    from skysense.tasks.rotated.boxes import smallest_rectangles

    return Truth(smallest_rectangles(torch.from_numpy(boxes.corners_N42)), labels, ignore)


def _stacked(masks: Sequence[np.ndarray | None]) -> Tensor | None:
    some = [mask for mask in masks if mask is not None]
    return torch.from_numpy(np.stack(some).astype(np.int64)) if len(some) == len(masks) else None
