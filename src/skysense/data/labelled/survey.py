"""Reading every example once: what can be read, how often classes occur, what the numbers of the imagery are like.

Letters: T time, C bands, K classes, H W pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import UNLABELLED, Boxes, Change, Example, OrientedBoxes, Target, Task
from skysense.errors import InputError
from skysense.observation import Series
from skysense.sensors import Sensor, Unit, looks_offset

Progress = Callable[[int, int], None]
"""Called with the number of items read and of all."""

FAR = 1.5
"""So many standard deviations between the mean of a band and that of its sensor are worth a warning."""
_NARROW = 5.0  # a spread so many times smaller or larger than the sensor's is, too


@dataclass(frozen=True)
class Failure:
    """An item that could not be read, and why."""

    item: str
    message: str


@dataclass
class BandStatistics:
    """Of the observed pixels of one sensor.

    Attributes:
        sensor: which.
        count: pixels.
        total_C, squares_C: sums of values and of their squares.
        low_C, high_C: least and greatest value.
        offset: frames that seem to carry the offset of Sentinel-2 processing baseline 04.00, and frames in all.
    """

    sensor: Sensor
    count: int = 0
    total_C: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    squares_C: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    low_C: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    high_C: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    offset: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, series: Series) -> None:
        """Count in the observed pixels of a series."""
        if not series.valid.any():
            return
        if not self.count:
            bands = len(self.sensor.bands)
            self.total_C, self.squares_C = np.zeros(bands), np.zeros(bands)
            self.low_C, self.high_C = np.full(bands, np.inf), np.full(bands, -np.inf)
        self.count += int(series.valid.sum())
        whole = bool(series.valid.all())
        for band in range(len(self.sensor.bands)):
            values = series.values[:, band]
            seen_N = (values.ravel() if whole else values[series.valid]).astype(np.float64)
            self.total_C[band] += seen_N.sum()
            self.squares_C[band] += seen_N @ seen_N
            self.low_C[band] = min(self.low_C[band], seen_N.min())
            self.high_C[band] = max(self.high_C[band], seen_N.max())
        if self.sensor.unit is Unit.REFLECTANCE_1E4:
            self.offset[0] += looks_offset(series.values, series.valid)
            self.offset[1] += 1

    @property
    def mean_C(self) -> NDArray[np.float64]:
        """Mean by band, in the sensor's unit."""
        return self.total_C / self.count

    @property
    def std_C(self) -> NDArray[np.float64]:
        """Standard deviation by band."""
        return np.sqrt(np.maximum(self.squares_C / self.count - self.mean_C**2, 0))

    def warnings(self) -> list[str]:
        """What looks unlike the imagery that the sensor's encoder knows."""
        found = []
        away_C = (self.mean_C - self.sensor.mean) / np.array(self.sensor.std)
        wide_C = np.maximum(self.std_C, 1e-9) / np.array(self.sensor.std)
        far = [band for band, away in zip(self.sensor.bands, away_C, strict=True) if abs(away) > FAR]
        if far:
            found.append(
                f"{self.sensor.name}: the mean of {', '.join(far)} is more than {FAR:g} standard deviations from that "
                "of the sensor: is the unit right?"
            )
        odd = [band for band, one in zip(self.sensor.bands, wide_C, strict=True) if not 1 / _NARROW < one < _NARROW]
        if odd:
            found.append(
                f"{self.sensor.name}: {', '.join(odd)} spread far less or more than the sensor's: is the scale right?"
            )
        if self.sensor.unit is Unit.UINT8 and self.high_C.max() <= 16:
            found.append(
                f"{self.sensor.name}: no value is above {self.high_C.max():g} of 255: was it stretched wrongly?"
            )
        if self.offset[0]:
            found.append(
                f"{self.sensor.name}: in {self.offset[0]} of {self.offset[1]} images every band stays above 900: is "
                "the offset of processing baseline 04.00 still in? Subtract 1000"
            )
        return found


@dataclass
class Survey:
    """What reading every example has shown.

    Attributes:
        data: without what could not be read.
        failures: what could not be read.
        items: number of items by split.
        items_K: by split, items in which each class occurs.
        amount_K: by split, pixels (masks), boxes or items of each class.
        bands: by name of the sensor.
        sizes: how often images have which height and width.
        classes_of: by item, the classes that occur.
        copies: names of items with the same pixels in different splits.
        box_sides: by split, square roots of the areas of boxes that count, label pixels.
    """

    data: LabelledData
    failures: list[Failure] = field(default_factory=list)
    items: Counter[str] = field(default_factory=Counter)
    items_K: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    amount_K: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    bands: dict[str, BandStatistics] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    classes_of: dict[str, list[int]] = field(default_factory=dict)
    copies: list[tuple[str, str]] = field(default_factory=list)
    box_sides: dict[str, list[float]] = field(default_factory=dict)

    def warnings(self) -> list[str]:
        """What a person should look at before learning from this."""
        found = []
        train_K = self.items_K.get("train")
        if train_K is not None:
            names = self.data.classes
            absent = [names[index] for index in np.flatnonzero(train_K == 0)]
            if absent:
                found.append(f"no training example has {', '.join(absent)}: it cannot be learned")
        if self.data.task == "classification" and len(set(map(str, self.classes_of.values()))) == len(self.classes_of):
            found.append("no class has two images: is each folder a place rather than a class? Then name the format")
        for one, other in self.copies[:5]:
            found.append(f"{one} and {other} are the same image in different splits: the result would be too good")
        if len(self.copies) > 5:
            found.append(f"and {len(self.copies) - 5} more images that are in two splits")
        for statistics in self.bands.values():
            found += statistics.warnings()
        return found


def survey(data: LabelledData, progress: Progress | None = None) -> Survey:
    """Read every example of a data set once.

    Args:
        data: with or without splits.
        progress: called after every item.

    Raises:
        InputError: not one of them can be read.
    """
    seen = Survey(data)
    first_with: dict[bytes, Item] = {}
    kept = []
    for item, example in _each(data, seen.failures, progress):
        kept.append(item)
        split = item.split or "no split"
        amount_K = amounts(example.target, len(data.classes), data.task)
        zeros_K = np.zeros(len(data.classes), np.int64)
        seen.items[split] += 1
        seen.items_K[split] = seen.items_K.get(split, zeros_K) + (amount_K > 0)
        seen.amount_K[split] = seen.amount_K.get(split, zeros_K) + amount_K
        seen.classes_of[item.name] = np.flatnonzero(amount_K).tolist()
        seen.sizes[example.size] += 1
        seen.box_sides.setdefault(split, []).extend(box_sides(example.target))
        for sample in (example.sample, example.after):
            for series in () if sample is None else sample.series.values():
                seen.bands.setdefault(series.sensor.name, BandStatistics(series.sensor)).add(series)
        twin = first_with.setdefault(fingerprint(example), item)
        if twin.split != item.split:
            seen.copies.append((f"{twin.name} ({twin.split})", f"{item.name} ({item.split})"))
    if seen.failures:
        seen.data = replace(data, items=tuple(kept))
    return seen


def readable(data: LabelledData, progress: Progress | None = None) -> tuple[LabelledData, list[Failure]]:
    """A data set without the items that cannot be read, and which those are.

    Args:
        data: the data set.
        progress: called after every item, since every file is read once.

    Raises:
        InputError: not one of them can be read.
    """
    failures: list[Failure] = []
    kept = tuple(item for item, _ in _each(data, failures, progress))
    return replace(data, items=kept), failures


def check_copies(data: LabelledData, progress: Progress | None = None) -> None:
    """Refuse splits that share an image, whatever its name; items that cannot be read are passed over.

    Raises:
        InputError: two items of different splits have the same pixels; the message names them.
    """
    seen: dict[bytes, Item] = {}
    for item, example in _each(data, [], progress):
        twin = seen.setdefault(fingerprint(example), item)
        if twin.split != item.split:
            raise InputError(
                f"{data.title}: {twin.name} ({twin.split}) and {item.name} ({item.split}) are the same image",
                fix="Keep it in one split",
            )


def _each(data: LabelledData, failures: list[Failure], progress: Progress | None) -> Iterator[tuple[Item, Example]]:
    found = False
    for number, item in enumerate(data.items, 1):
        try:
            example = data.read_item(item)
        except InputError as error:
            failures.append(Failure(item.name, str(error)))
        else:
            found = True
            yield item, example
        if progress is not None:
            progress(number, len(data.items))
    if not found:
        first = f"; the first: {failures[0].message}" if failures else ""
        raise InputError(f"{data.title} holds no example that can be read{first}")


def fingerprint(example: Example) -> bytes:
    """The same for examples of the same pixels."""
    state = blake2b(digest_size=16)
    for sample in (example.sample, example.after):
        for key, series in sorted(() if sample is None else sample.series.items()):
            state.update(f"{key} {series.values.shape} {series.values.dtype}".encode())
            state.update(np.ascontiguousarray(series.values).tobytes())
            state.update(np.packbits(series.valid).tobytes())
    return state.digest()


def amounts(target: Target, classes: int, task: Task) -> NDArray[np.int64]:
    """How much of each class an example holds: pixels of masks, boxes, or 1.

    Args:
        target: of the example.
        classes: K.
        task: of the data set.

    Returns:
        ``(K,)``; pixels without label and boxes to be ignored are not counted.
    """
    if isinstance(target, Boxes | OrientedBoxes):
        return np.bincount(target.label_N[~target.ignore_N], minlength=classes)
    if isinstance(target, Change):
        masks = [target.changed_HW] if task == "change" else [target.before_HW, target.after_HW]
        return sum((_pixels(mask, classes) for mask in masks if mask is not None), np.zeros(classes, np.int64))
    if isinstance(target, np.ndarray):
        return target.astype(np.int64) if task == "multilabel" else _pixels(target, classes)
    return np.bincount([target], minlength=classes)


def box_sides(target: Target) -> list[float]:
    """Square roots of the areas of boxes that count; nothing for labels that are no boxes."""
    if isinstance(target, Boxes):
        sides_N2 = target.corners_N4[:, 2:] - target.corners_N4[:, :2]
    elif isinstance(target, OrientedBoxes):
        corners = target.corners_N42
        sides_N2 = np.linalg.norm(corners[:, 1:3] - corners[:, :2], axis=-1)
    else:
        return []
    return np.sqrt(sides_N2.prod(axis=1))[~target.ignore_N].tolist()


def _pixels(mask_HW: NDArray, classes: int) -> NDArray[np.int64]:
    return np.bincount(mask_HW[mask_HW != UNLABELLED].ravel(), minlength=classes)
