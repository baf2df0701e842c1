"""Land cover of 75 areas in 24 months, from Planet, Sentinel-2 and Sentinel-1: DynamicEarthNet.

Labels lie on the pixels of Planet (3 m), which are taken for those of the high-resolution image: 32 of them are the
side of a cell. Images of Sentinel are averaged onto these cells, whatever grid they lie on. Where Sentinel-2 is alone,
a pixel of the labels is a cell, so that nothing of its detail is lost.

Letters: C bands, H W pixels of Planet, h w cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from skysense.data.geotiff import STRICT, opened
from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import UNLABELLED, Change, Example
from skysense.data.labelled.head import Head, head_of, read_head
from skysense.data.labelled.imagery import Part, stretched
from skysense.data.labelled.padding import grown, pad_mask, pad_sample
from skysense.data.labelled.pairs import differs
from skysense.data.labelled.pictures import tile_name, tile_windows
from skysense.data.places_layout import Split
from skysense.datasets.bands import Named
from skysense.datasets.card import card
from skysense.datasets.cells import beneath, overlaps
from skysense.datasets.dynamicearthnet_files import Month, find_months
from skysense.errors import InputError
from skysense.geo import Window
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A, Modality, Sensor, Unit

PLANET_BANDS = ("B", "G", "R", "NIR")
"""In the files, as the authors' reader has it."""
SENTINEL2_BANDS = ("B2", "B3", "B4", "B8", "B5", "B6", "B7", "B8A", "B11", "B12", "B1", "B9")
"""NOT verified: nobody published the order. It is the only usual one that suits the published means of the bands."""
SENTINEL1_BANDS = ("VV", "VH", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
"""NOT verified: nobody published what the eight bands are. The unit is taken to be dB."""
STRETCH = (0.0, 3000.0)
"""Reflectance x 10^4 that becomes 0 and 255: up to the mean and two standard deviations of red, the widest band."""

PLANET = Sensor(
    name="planet-fusion",
    modality="hr",
    bands=OPTICAL_HR.bands,
    unit=Unit.REFLECTANCE_1E4,
    gsd=3.0,
    mean=(1042.59, 915.62, 671.26),
    std=(957.96, 715.55, 596.94),
    plausible=(-2000, 20000),  # published are -485 .. 11084; signed, since it may dip below zero
)
"""What the files of Planet hold; the model never sees it, only what is stretched to 8 bits."""
_ARCHIVES: Mapping[Modality, str] = {"hr": "planet", "s2": "sentinel2", "s1": "sentinel1"}
_SNOW = 6  # the seventh band of labels: too rare to be learned or judged
_LABEL_BANDS = 7
_Tile = tuple[Window | None, float | None, float | None]
"""A part of an area, with longitude and latitude of its centre."""


def read_dynamicearthnet_planet(source: Path, *, tile: int | None = None) -> LabelledData:
    """Land cover from the image of Planet of the same day."""
    return _segmentation(source, "dynamicearthnet-planet", ("hr",), tile)


def read_dynamicearthnet_s2(source: Path, *, tile: int | None = None) -> LabelledData:
    """Land cover from the image of Sentinel-2 of the same month."""
    return _segmentation(source, "dynamicearthnet-s2", ("s2",), tile)


def read_dynamicearthnet_mm(source: Path, *, tile: int | None = None) -> LabelledData:
    """Land cover from the images of Planet, Sentinel-2 and Sentinel-1; of a month without Sentinel from the rest."""
    return _segmentation(source, "dynamicearthnet-mm", ("hr", "s2", "s1"), tile)


def read_dynamicearthnet_change(
    source: Path, *, sensor: str = SENTINEL2_L2A.name, tile: int | None = None
) -> LabelledData:
    """What changes from each month to the next; ``sensor`` says whose images are read.

    Raises:
        InputError: also for a sensor that is neither Planet (optical-hr) nor Sentinel-2.
    """
    known: Mapping[str, Modality] = {OPTICAL_HR.name: "hr", SENTINEL2_L2A.name: "s2"}
    if sensor not in known:
        raise InputError(f"sensor {sensor!r} cannot be read here; known are {', '.join(known)}")
    name, keys = "dynamicearthnet-change", (known[sensor],)
    found, notes = find_months(source, [_ARCHIVES[key] for key in keys], name)
    usable = {month.name for month in found if _ARCHIVES[keys[0]] in month.images}
    pairs = {}
    lacking: Counter[Split] = Counter()
    for earlier, later in pairwise(found):
        if not later.follows(earlier):
            continue
        if {earlier.name, later.name} <= usable:
            pairs[f"{earlier.name}..{later.month}"] = (earlier, later)
        else:
            lacking[earlier.split] += 1
    notes = (*notes, *_left_out(lacking, "pairs of months", keys))
    return replace(_laid_out(name, keys, pairs, tile, notes), left_out=lacking)


def _segmentation(source: Path, name: str, keys: Sequence[Modality], tile: int | None) -> LabelledData:
    found, notes = find_months(source, [_ARCHIVES[key] for key in keys], name)
    usable = {month.name: (month,) for month in found if month.images}
    lacking = Counter(month.split for month in found if not month.images)
    if "hr" in keys:
        notes = (*notes, *(_without(found, key) for key in keys if any(_lacks(month, key) for month in found)))
    notes = (*notes, *_left_out(lacking, "labelled months", keys))
    return replace(_laid_out(name, keys, usable, tile, notes), left_out=lacking)


def _lacks(month: Month, key: Modality) -> bool:
    return _ARCHIVES[key] not in month.images


def _without(months: Sequence[Month], key: Modality) -> str:
    return f"{sum(_lacks(month, key) for month in months)} of {len(months)} months have no image of {_ARCHIVES[key]}"


def _left_out(lacking: Mapping[Split, int], what: str, keys: Sequence[Modality]) -> tuple[str, ...]:
    """A note on what has nothing to be told from."""
    if not lacking:
        return ()
    counts = ", ".join(f"{count} for {split}" for split, count in lacking.items())
    return (f"{what} without an image of {_ARCHIVES[keys[0]]} are left out: {counts}",)


def _laid_out(
    name: str,
    keys: Sequence[Modality],
    months: Mapping[str, tuple[Month, ...]],
    tile: int | None,
    notes: tuple[str, ...],
) -> LabelledData:
    """Items and their reader; one head per area tells sizes and places."""
    items: list[Item] = []
    parts: dict[str, Part] = {}
    grounds: dict[str, list[_Tile]] = {}
    for picture, dates in months.items():
        area, file = dates[0].area, dates[0].label
        if area not in grounds:
            grounds[area] = _ground(file, tile)
        for window, lon, lat in grounds[area]:
            item = picture if window is None else tile_name(picture, window)
            items.append(Item(item, area, dates[0].split, lon, lat))
            parts[item] = Part(picture, file, window)
    about = card(name)
    reader = MonthReader(tuple(keys), parts, months, 1 if tuple(keys) == ("s2",) else 32)
    return LabelledData(about.title, about.task, about.classes, tuple(items), reader, notes=notes)


def _ground(label: Path, tile: int | None) -> list[_Tile]:
    """Tiles of an area, or all of it; of a file that cannot be opened reading says."""
    try:
        head = read_head(label)
    except InputError:
        return [(None, None, None)]
    if tile is None or max(head.height, head.width) <= tile:
        return [(None, *head.position(Window(0, 0, head.height, head.width)))]
    return [(window, *head.position(window)) for window in tile_windows(head.height, head.width, tile)]


@dataclass(frozen=True)
class MonthReader:
    """Reads one example: of one month, or of two months what changed.

    Attributes:
        modalities: whose images are read.
        parts: what each item is read from: the part of the (earlier) labels.
        months: one or two by name of the picture.
        per_cell: pixels of the labels on the side of a cell.
    """

    modalities: tuple[Modality, ...]
    parts: Mapping[str, Part]
    months: Mapping[str, tuple[Month, ...]]
    per_cell: Literal[1, 32]

    def __call__(self, item: Item) -> Example:
        """Read an example; see `LabelledData.read`."""
        part = self.parts[item.name]
        read = [self._month(item, part, month) for month in self.months[part.picture]]
        sample, mask_HW, size = read[0]
        if len(read) == 1:
            return Example(item.name, sample, mask_HW, self.per_cell, size)
        after, after_HW, later = read[1]
        if later != size:
            raise InputError("is of another size than the month before", file=self.months[part.picture][1].label)
        target = Change(differs(mask_HW, after_HW), mask_HW, after_HW)
        return Example(item.name, sample, target, self.per_cell, size, after)

    def _month(self, item: Item, part: Part, month: Month) -> tuple[Sample, NDArray[np.uint8], tuple[int, int]]:
        """Imagery and labels, both padded, and the size of what is no padding."""
        mask_HW, head, area = read_label(month.label, part)
        series: dict[Modality, Series] = {}
        for key in self.modalities:
            file = month.images.get(_ARCHIVES[key])
            read = _sentinel2_alone if self.per_cell == 1 else _READ[key]
            one = None if file is None else read(file, head, area, np.datetime64(f"{month.month}-01", "D"))
            if one is not None:
                series[key] = one
        if not series:
            raise InputError("has labels, but in its part of the images nothing was observed", file=month.label)
        sample = pad_sample(Sample(item.name, series, lon=item.lon, lat=item.lat))
        rows, cols = (side * self.per_cell for side in sample.grid)
        ground = head.footprint(area)
        if ground is not None:
            ground = grown(ground, rows / area.height, cols / area.width)
        placed = Sample(item.name, sample.series, lon=item.lon, lat=item.lat, footprint=ground)
        return placed, pad_mask(mask_HW, (rows, cols)), (area.height, area.width)


def read_label(file: Path, part: Part) -> tuple[NDArray[np.uint8], Head, Window]:
    """Classes of a month; pixels of snow and ice and those of no class have no label.

    Args:
        file: seven bands, one per class, 255 where it is.
        part: of it.

    Returns:
        Class indices ``(H, W)``, where the labels lie, and the part of them that was read.

    Raises:
        InputError: missing, damaged, or labels of another kind.
    """
    with rasterio.Env(**STRICT), opened(file) as dataset:
        if dataset.count != _LABEL_BANDS or set(dataset.dtypes) != {"uint8"}:
            raise InputError(
                f"has {dataset.count} bands of {dataset.dtypes[0]}; labels have {_LABEL_BANDS} of uint8, one per class",
                file=file,
                fix="Is this another version of the data set?",
            )
        head = head_of(dataset)
        area = part.area(head.height, head.width)
        try:
            bands_CHW = dataset.read(window=RasterWindow(area.col, area.row, area.width, area.height))
        except RasterioError as error:
            raise InputError("is truncated or damaged", file=file, fix="Get it again") from error
    foreign = bands_CHW[(bands_CHW != 0) & (bands_CHW != 255)]
    if foreign.size:
        raise InputError(f"holds {foreign[0]}; bands of labels hold 0 and 255", file=file)
    mask_HW = np.full(bands_CHW.shape[1:], UNLABELLED, np.uint8)
    for band, is_HW in enumerate(bands_CHW == 255):  # where two are set the later counts, as for the authors
        mask_HW[is_HW] = band if band < _SNOW else UNLABELLED
    return mask_HW, head, area


def _planet(file: Path, ground: Head, area: Window, day: np.datetime64) -> Series | None:
    """The image of a day, stretched to 8 bits."""
    image = Named(file, PLANET_BANDS, PLANET, ("int16", "uint16"))
    head = image.head()
    if (head.height, head.width) != (ground.height, ground.width):
        raise InputError(
            f"is {head.height} x {head.width} px, its labels are {ground.height} x {ground.width} px", file=file
        )
    values_CHW, seen_HW = image.read(area)
    return _series(OPTICAL_HR, stretched(values_CHW, *STRETCH), seen_HW, day)


def _sentinel2(file: Path, ground: Head, area: Window, day: np.datetime64) -> Series | None:
    """Reflectance of a month, averaged over cells; the day is not known, the first stands for it."""
    found = _cells(Named(file, SENTINEL2_BANDS, SENTINEL2_L2A), ground, area, power=False)
    return None if found is None else _series(SENTINEL2_L2A, *found, day)


def _sentinel2_alone(file: Path, ground: Head, area: Window, day: np.datetime64) -> Series | None:
    """Reflectance of a month beneath the centre of each pixel of the labels."""
    image = Named(file, SENTINEL2_BANDS, SENTINEL2_L2A)
    head = image.head()
    rows_H, cols_W = beneath(head, ground, area, file)
    inside_H, inside_W = (rows_H >= 0) & (rows_H < head.height), (cols_W >= 0) & (cols_W < head.width)
    if not (inside_H.any() and inside_W.any()):
        return None
    top, left = int(rows_H[inside_H].min()), int(cols_W[inside_W].min())
    height, width = int(rows_H[inside_H].max()) + 1 - top, int(cols_W[inside_W].max()) + 1 - left
    values_CHW, seen_HW = image.read(Window(top, left, height, width))
    rows_H, cols_W = (rows_H - top).clip(0, height - 1), (cols_W - left).clip(0, width - 1)
    seen_HW = seen_HW[rows_H][:, cols_W] & inside_H[:, None] & inside_W
    return _series(SENTINEL2_L2A, np.where(seen_HW, values_CHW[:, rows_H][:, :, cols_W], 0), seen_HW, day)


def _sentinel1(file: Path, ground: Head, area: Window, day: np.datetime64) -> Series | None:
    """Backscatter of a month, its power averaged over cells; the day is not known, the first stands for it."""
    found = _cells(Named(file, SENTINEL1_BANDS, SENTINEL1), ground, area, power=True)
    return None if found is None else _series(SENTINEL1, *found, day)


_READ = {"hr": _planet, "s2": _sentinel2, "s1": _sentinel1}


def _cells(
    image: Named, ground: Head, area: Window, *, power: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """Means ``(C, h, w)`` over the cells of a part of the labels; None where the image has nothing of it.

    Args:
        image: what to average.
        ground: of the labels.
        area: the part of the labels.
        power: decibels are averaged as the power that they stand for.
    """
    grids = overlaps(image.head(), ground, area, image.file)
    if grids.pixels is None:
        return None
    values_CHW, seen_HW = image.read(grids.pixels)
    if not power:
        return grids.means(values_CHW, seen_HW)
    power_Chw, valid_hw = grids.means(10 ** (values_CHW.astype(np.float64) / 10), seen_HW)
    return 10 * np.log10(np.where(valid_hw, power_Chw, 1)), valid_hw


def _series(sensor: Sensor, values_CHW: NDArray, seen_HW: NDArray[np.bool_], day: np.datetime64) -> Series | None:
    if not seen_HW.any():
        return None
    return Series(sensor, values_CHW[None], np.array([day], "datetime64[D]"), seen_HW[None])
