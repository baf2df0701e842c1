"""Reading every example once: what can be read, how often classes occur, what the numbers of the imagery are like.

Every example is reduced to a `Summary`, here or in other processes, and the summaries are added up in the order of the
items: however many processes read, the result is the same. There may be a million examples, so little is kept of each.

Letters: N items, T time, C bands, K classes, k bytes with a bit for each class, H W pixels.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from skysense.data.labelled.dataset import Item, LabelledData, split_codes
from skysense.data.labelled.example import UNLABELLED, Boxes, Change, Example, OrientedBoxes, Target, Task
from skysense.errors import InputError
from skysense.observation import Series
from skysense.sensors import Modality, Sensor, Unit, looks_offset

Found = TypeVar("Found")

Progress = Callable[[int, int], None]
"""Called with the number of items read and of all."""

FAR = 1.5
"""So many standard deviations between the mean of a band and that of its sensor are worth a warning."""
_NARROW = 5.0  # a spread so many times smaller or larger than the sensor's is, too
_AT_ONCE = 16  # what is found in so many examples travels together from another process
_DIGEST = 16  # bytes


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

    @classmethod
    def of(cls, series: Series) -> BandStatistics:
        """Of the observed pixels of one series."""
        found = cls(series.sensor)
        if not series.valid.any():
            return found
        found.count = int(series.valid.sum())
        whole = bool(series.valid.all())
        rows = []
        for band in range(len(series.sensor.bands)):
            values = series.values[:, band]
            seen_N = (values.ravel() if whole else values[series.valid]).astype(np.float64)
            rows.append((seen_N.sum(), seen_N @ seen_N, seen_N.min(), seen_N.max()))
        found.total_C, found.squares_C, found.low_C, found.high_C = np.array(rows, np.float64).T
        if series.sensor.unit is Unit.REFLECTANCE_1E4:
            found.offset = [int(looks_offset(series.values, series.valid)), 1]
        return found

    def add(self, other: BandStatistics) -> None:
        """Count in other pixels of the sensor."""
        if not other.count:
            return
        if not self.count:
            bands = len(self.sensor.bands)
            self.total_C, self.squares_C = np.zeros(bands), np.zeros(bands)
            self.low_C, self.high_C = np.full(bands, np.inf), np.full(bands, -np.inf)
        self.count += other.count
        self.total_C, self.squares_C = self.total_C + other.total_C, self.squares_C + other.squares_C
        self.low_C, self.high_C = np.minimum(self.low_C, other.low_C), np.maximum(self.high_C, other.high_C)
        self.offset = [one + more for one, more in zip(self.offset, other.offset, strict=True)]

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


@dataclass(frozen=True)
class Summary:
    """What is counted of one example.

    Attributes:
        amount_K: how much of each class, see `amounts`.
        size: height and width without padding, label pixels.
        per_cell: label pixels on the side of a cell.
        modalities: sensors of its imagery.
        bands: of each series, of the later date too.
        box_sides: see `box_sides`.
        digest: see `fingerprint`.
    """

    amount_K: NDArray[np.int64]
    size: tuple[int, int]
    per_cell: int
    modalities: tuple[Modality, ...]
    bands: tuple[BandStatistics, ...]
    box_sides: array[float]
    digest: bytes


def summary(example: Example, classes: int, task: Task) -> Summary:
    """Count one example.

    Args:
        example: of a data set.
        classes: K.
        task: of the data set.
    """
    imagery = [example.sample] if example.after is None else [example.sample, example.after]
    return Summary(
        amounts(example.target, classes, task),
        example.size,
        example.per_cell,
        tuple(example.sample.series),
        tuple(BandStatistics.of(series) for sample in imagery for series in sample.series.values()),
        box_sides(example.target),
        fingerprint(example),
    )


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
        per_cell: how often there are how many label pixels on the side of a cell.
        modalities: examples with each sensor.
        occurs_Nk: uint8, per item of ``data`` a bit for each class that occurs, see `has`.
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
    per_cell: Counter[int] = field(default_factory=Counter)
    modalities: Counter[Modality] = field(default_factory=Counter)
    occurs_Nk: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    copies: list[tuple[str, str]] = field(default_factory=list)
    box_sides: dict[str, array[float]] = field(default_factory=dict)

    def add(self, split: str, one: Summary) -> None:
        """Count in an example: all but what is known of single items."""
        zeros_K = np.zeros(len(self.data.classes), np.int64)
        self.items[split] += 1
        self.items_K[split] = self.items_K.get(split, zeros_K) + (one.amount_K > 0)
        self.amount_K[split] = self.amount_K.get(split, zeros_K) + one.amount_K
        self.sizes[one.size] += 1
        self.per_cell[one.per_cell] += 1
        self.modalities.update(one.modalities)
        self.box_sides.setdefault(split, array("d")).extend(one.box_sides)
        for bands in one.bands:
            self.bands.setdefault(bands.sensor.name, BandStatistics(bands.sensor)).add(bands)

    def has(self, index: int) -> NDArray[np.bool_]:
        """In which items of ``data`` a class occurs, by its index."""
        return np.unpackbits(self.occurs_Nk[:, index // 8 : index // 8 + 1], axis=1)[:, index % 8].astype(bool)

    def warnings(self) -> list[str]:
        """What a person should look at before learning from this."""
        found = []
        train_K = self.items_K.get("train")
        if train_K is not None:
            names = self.data.classes
            absent = [names[index] for index in np.flatnonzero(train_K == 0)]
            if absent:
                found.append(f"no training example has {', '.join(absent)}: it cannot be learned")
        if self.data.task == "classification" and np.sum([*self.items_K.values()], axis=0).max() == 1:
            found.append("no class has two images: is each folder a place rather than a class? Then name the format")
        for one, other in self.copies[:5]:
            found.append(f"{one} and {other} are the same image in different splits: the result would be too good")
        if len(self.copies) > 5:
            found.append(f"and {len(self.copies) - 5} more images that are in two splits")
        for statistics in self.bands.values():
            found += statistics.warnings()
        return found


def survey(data: LabelledData, progress: Progress | None = None, *, workers: int = 0) -> Survey:
    """Read every example of a data set once.

    Args:
        data: with or without splits.
        progress: called after every item.
        workers: processes that read; 0 to read in this one. The result is the same.

    Raises:
        InputError: not one of them can be read.
    """
    seen, count, classes = Survey(data), len(data), len(data.classes)
    read_N = np.ones(count, bool)
    occurs_Nk = np.zeros((count, -(-classes // 8)), np.uint8)
    digest_N = np.zeros(count, f"S{_DIGEST}")
    for row, (item, found) in enumerate(
        _each(data, partial(summary, classes=classes, task=data.task), progress, workers)
    ):
        if isinstance(found, Failure):
            seen.failures.append(found)
            read_N[row] = False
        else:
            seen.add(item.split or "no split", found)
            occurs_Nk[row], digest_N[row] = np.packbits(found.amount_K > 0), found.digest
    if seen.failures:
        seen.data, occurs_Nk, digest_N = data.take(read_N), occurs_Nk[read_N], digest_N[read_N]
    seen.occurs_Nk, seen.copies = occurs_Nk, _copies(seen.data, digest_N)
    return seen


def _copies(data: LabelledData, digest_N: NDArray[np.bytes_]) -> list[tuple[str, str]]:
    """Items of another split than the first with the same pixels, after that one."""
    split_N = split_codes(data.items)
    _, first, inverse = np.unique(digest_N, return_index=True, return_inverse=True)
    twin_N = first[inverse]
    rows = np.flatnonzero(split_N[twin_N] != split_N)
    pairs = (
        (data.items[twin], data.items[row]) for twin, row in zip(twin_N[rows].tolist(), rows.tolist(), strict=True)
    )
    return [(f"{twin.name} ({twin.split})", f"{item.name} ({item.split})") for twin, item in pairs]


def readable(data: LabelledData, progress: Progress | None = None) -> tuple[LabelledData, list[Failure]]:
    """A data set without the items that cannot be read, and which those are.

    Args:
        data: the data set.
        progress: called after every item, since every file is read once.

    Raises:
        InputError: not one of them can be read.
    """
    found = [one for _, one in _each(data, lambda example: None, progress)]
    return data.take(np.array([one is None for one in found])), [one for one in found if one is not None]


def check_copies(data: LabelledData, progress: Progress | None = None) -> None:
    """Refuse splits that share an image, whatever its name; items that cannot be read are passed over.

    Raises:
        InputError: two items of different splits have the same pixels; the message names them.
    """
    seen: dict[bytes, Item] = {}
    for item, found in _each(data, fingerprint, progress):
        twin = item if isinstance(found, Failure) else seen.setdefault(found, item)
        if twin.split != item.split:
            raise InputError(
                f"{data.title}: {twin.name} ({twin.split}) and {item.name} ({item.split}) are the same image",
                fix="Keep it in one split",
            )


class _Findings(Dataset[Found | Failure], Generic[Found]):
    """What is found in each example, or why it cannot be read; it may be copied into other processes."""

    def __init__(self, data: LabelledData, find: Callable[[Example], Found]) -> None:
        self.data, self.find = data, find

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Found | Failure:
        item = self.data.items[index]
        try:
            example = self.data.read_item(item)
        except InputError as error:
            return Failure(item.name, str(error))
        return self.find(example)


def _each(
    data: LabelledData, find: Callable[[Example], Found], progress: Progress | None, workers: int = 0
) -> Iterator[tuple[Item, Found | Failure]]:
    """Every item with what is found in it, in their order."""
    findings = _Findings(data, find)
    every: Iterable[Found | Failure] = map(findings.__getitem__, range(len(data)))
    if workers:
        loader = DataLoader(
            findings,
            batch_size=_AT_ONCE,
            num_workers=workers,
            collate_fn=list,
            generator=torch.Generator(),  # else it draws from the one that learning draws from
        )
        every = (found for some in loader for found in some)
    first: Failure | None = None
    failed = 0
    for number, (item, found) in enumerate(zip(data.items, every, strict=True), 1):
        if isinstance(found, Failure):
            first, failed = first or found, failed + 1
        yield item, found
        if progress is not None:
            progress(number, len(data))
    if failed == len(data):
        said = "" if first is None else f"; the first: {first.message}"
        raise InputError(f"{data.title} holds no example that can be read{said}")


def fingerprint(example: Example) -> bytes:
    """The same for examples of the same pixels."""
    state = blake2b(digest_size=_DIGEST)
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


def box_sides(target: Target) -> array[float]:
    """Square roots of the areas of boxes that count; nothing for labels that are no boxes."""
    if isinstance(target, Boxes):
        sides_N2 = target.corners_N4[:, 2:] - target.corners_N4[:, :2]
    elif isinstance(target, OrientedBoxes):
        corners = target.corners_N42
        sides_N2 = np.linalg.norm(corners[:, 1:3] - corners[:, :2], axis=-1)
    else:
        return array("d")
    return array("d", np.sqrt(sides_N2.prod(axis=1))[~target.ignore_N].tolist())


def _pixels(mask_HW: NDArray, classes: int) -> NDArray[np.int64]:
    return np.bincount(mask_HW[mask_HW != UNLABELLED].ravel(), minlength=classes)
