"""Crops of France in series of Sentinel-2 and Sentinel-1 with an image of SPOT: PASTIS-HD.

A pixel of Sentinel is a cell, and labels are one per cell. The image of SPOT has ten pixels along a cell; where it is
read, it becomes the 32 pixels that the high-resolution encoder takes for a cell.

Letters: T time, C bands, H W pixels, h w cells.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import CRSError
from rasterio.warp import transform as reproject

from skysense.data.labelled.classes import MaskValues
from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import Example
from skysense.data.labelled.padding import pad_mask, pad_sample
from skysense.data.labelled.pictures import tile_name, tile_windows
from skysense.data.places_layout import Split
from skysense.datasets.bands import Named
from skysense.datasets.card import card
from skysense.datasets.layout import find_root, need_files
from skysense.errors import InputError
from skysense.files import read_json
from skysense.geo import CELL_HR_PX, Window
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A, Modality, Sensor

NAME = "pastis-mm"
BANDS: Mapping[str, tuple[Sensor, tuple[str, ...]]] = {
    "S2": (SENTINEL2_L2A, ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")),
    "S1A": (SENTINEL1, ("VV", "VH", "VV-VH")),
    "S1D": (SENTINEL1, ("VV", "VH", "VV-VH")),
    "SPOT": (OPTICAL_HR, ("R", "G", "B")),
}
"""What the files hold, by the name of the part."""
SPOT_PX = 10
"""Pixels of SPOT along a cell."""
TILE = 1024
"""Pixels of the high-resolution image: a whole patch is 4096 of them, too many to read for every view of it."""
FOLDS: Mapping[int, Split] = {1: "train", 2: "train", 3: "train", 4: "val", 5: "test"}
"""The first of the five official rotations, the one that the field reports where it reports only one."""

_VOID = 19
_NOTHING = SENTINEL2_L2A.plausible[0]  # no-data is -10000, and what was resampled beside it lies between
_FILES = {
    "S2": "DATA_S2/S2_{}.npy",
    "S1A": "DATA_S1A/S1A_{}.npy",
    "S1D": "DATA_S1D/S1D_{}.npy",
    "SPOT": "DATA_SPOT/PASTIS_SPOT6_RVB_1M00_2019/SPOT6_RVB_1M00_2019_{}.tif",
    "labels": "ANNOTATIONS/TARGET_{}.npy",
}
_SERIES: Mapping[Modality, tuple[str, ...]] = {"s2": ("S2",), "s1": ("S1A", "S1D")}


@dataclass(frozen=True)
class Patch:
    """What is known about a patch beside its pixels.

    Attributes:
        number: that its files are called by.
        split: by its fold.
        lon, lat: of its centre, WGS 84 degrees.
        dates: by name of the series, in the order of the frames.
    """

    number: str
    split: Split
    lon: float
    lat: float
    dates: Mapping[str, NDArray[np.datetime64]]


def read_pastis_mm(source: Path, *, tile: int = TILE) -> LabelledData:
    """PASTIS-HD by cells of 10 m: folds 1 to 3 to learn from, 4 for validation, 5 for testing.

    Args:
        source: its folder.
        tile: side of what is read at once, in pixels of the high-resolution image: 32 for each pixel of Sentinel.

    Raises:
        InputError: PASTIS without Sentinel-1 or without SPOT, or files that are missing.
    """
    root = _root(source)
    patches = _patches(root / "metadata.geojson")
    for where in _FILES.values():
        files = [root / where.format(patch.number) for patch in patches]
        need_files(files, f"files {where.format('*')}", root, NAME)
    height, width = _cells(root, patches)
    items: list[Item] = []
    windows: dict[str, tuple[str, Window]] = {}
    corners = tile_windows(height * CELL_HR_PX, width * CELL_HR_PX, tile)
    for patch in patches:
        for window in corners:
            name = patch.number if len(corners) == 1 else tile_name(patch.number, window)
            items.append(Item(name, patch.number, patch.split, patch.lon, patch.lat))
            windows[name] = (patch.number, Window(*(value // CELL_HR_PX for value in vars(window).values())))
    about = card(NAME)
    reader = PatchReader(root, {patch.number: patch for patch in patches}, windows, (height, width))
    return LabelledData(about.title, about.task, about.classes, tuple(items), reader)


@dataclass(frozen=True)
class PatchReader:
    """Reads one example.

    Attributes:
        root: of the data set.
        patches: by number.
        windows: of every item the patch and the part of it, in cells.
        cells: height and width of a patch.
    """

    root: Path
    patches: Mapping[str, Patch]
    windows: Mapping[str, tuple[str, Window]]
    cells: tuple[int, int]

    def __call__(self, item: Item) -> Example:
        """Read an example; see `LabelledData.read`."""
        number, area = self.windows[item.name]
        found: dict[Modality, Series | None] = {"hr": self._image(number, area)}
        for key, names in _SERIES.items():
            found[key] = self._series(self.patches[number], names, area)
        series = {key: one for key, one in found.items() if one is not None}
        if not series:
            raise InputError("has labels, but nothing was observed there", file=self._file("labels", number))
        sample = pad_sample(Sample(item.name, series, lon=item.lon, lat=item.lat))
        mask_hw = pad_mask(self._labels(number, area), sample.grid)
        return Example(item.name, sample, mask_hw, 1, (area.height, area.width))

    def _file(self, part: str, number: str) -> Path:
        return self.root / _FILES[part].format(number)

    def _labels(self, number: str, area: Window) -> NDArray[np.uint8]:
        """Classes of the cells: the first of three channels."""
        file = self._file("labels", number)
        rows, cols = area.slices()
        classes_hw = np.array(_stored(file, (3, *self.cells))[0, rows, cols])
        if classes_hw.dtype.kind not in "iu" or classes_hw.min() < 0 or classes_hw.max() > _VOID:
            raise InputError(f"holds other numbers than the classes 0 .. {_VOID}", file=file)
        return MaskValues(tuple(range(_VOID)), (_VOID,)).decode(classes_hw, file)

    def _series(self, patch: Patch, names: Sequence[str], area: Window) -> Series | None:
        """Frames of one or two orbits, in the order of time; those without anything observed are left out."""
        read = [self._frames(patch, name, area) for name in names]
        values_TChw = np.concatenate([values for values, _ in read])
        seen_Thw = np.concatenate([seen for _, seen in read])
        dates_T = np.concatenate([patch.dates[name] for name in names])
        kept = np.flatnonzero(seen_Thw.any(axis=(1, 2)))
        if not len(kept):
            return None
        order = kept[np.argsort(dates_T[kept], kind="stable")]
        return Series(BANDS[names[0]][0], values_TChw[order], dates_T[order], seen_Thw[order])

    def _frames(self, patch: Patch, name: str, area: Window) -> tuple[NDArray, NDArray[np.bool_]]:
        """Values ``(T, C, h, w)`` and what was observed ``(T, h, w)``, as they lie in a file."""
        sensor, bands = BANDS[name]
        file = self._file(name, patch.number)
        stored = _stored(file, (len(patch.dates[name]), len(bands), *self.cells))
        rows, cols = area.slices()
        values_TChw = sensor.select(stored[:, :, rows, cols], bands, axis=1, file=file)
        if values_TChw.dtype == np.float16:
            values_TChw = values_TChw.astype(np.float32)
        seen_Thw = np.isfinite(values_TChw).all(axis=1)
        if name == "S2":
            seen_Thw &= (values_TChw >= _NOTHING).all(axis=1)
        values_TChw = np.where(seen_Thw[:, None], values_TChw, 0).astype(values_TChw.dtype)
        if seen_Thw.any():
            sensor.check(values_TChw, seen_Thw, file=file)
        return values_TChw, seen_Thw

    def _image(self, number: str, area: Window) -> Series | None:
        """The image of SPOT with 32 pixels along a cell; only its year is known."""
        sensor, bands = BANDS["SPOT"]
        image = Named(self._file("SPOT", number), bands, sensor)
        head = image.head()
        height, width = (side * SPOT_PX for side in self.cells)
        if (head.height, head.width) != (height, width):
            raise InputError(f"is {head.height} x {head.width} px; a patch is {height} x {width} px", file=image.file)
        rows, cols = _Taps.of(area.row, area.height, height), _Taps.of(area.col, area.width, width)
        values_CHW, seen_HW = image.read(Window(rows.first, cols.first, rows.length, cols.length))
        if not seen_HW.any():
            return None
        valid_HW = seen_HW[rows.nearest][:, cols.nearest]
        fine_CHW = np.empty((len(values_CHW), *valid_HW.shape), np.uint8)
        for band_HW, fine_HW in zip(values_CHW, fine_CHW, strict=True):  # one at a time: numbers in between are large
            across_HW = _between(band_HW.T, cols).T
            np.rint(_between(across_HW, rows), out=fine_HW, casting="unsafe")
        return Series(sensor, fine_CHW[None], np.array(["NaT"], "datetime64[D]"), valid_HW[None])


@dataclass(frozen=True)
class _Taps:
    """Between which pixels of SPOT the pixels of the high-resolution image lie, along one axis.

    Attributes:
        first, length: the pixels of SPOT that are needed.
        low, high: for each pixel its neighbours, counted from ``first``.
        share: of the higher of the two.
    """

    first: int
    length: int
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    share: NDArray[np.float32]

    @classmethod
    def of(cls, start: int, cells: int, length: int) -> _Taps:
        """Those of so many cells from one on, in an image of so many pixels."""
        fine = np.arange(start * CELL_HR_PX, (start + cells) * CELL_HR_PX)
        place = (fine + 0.5) * SPOT_PX / CELL_HR_PX - 0.5
        below = np.floor(place).astype(np.int64)
        low, high = (neighbour.clip(0, length - 1) for neighbour in (below, below + 1))
        first = int(low[0])
        return cls(first, int(high[-1]) - first + 1, low - first, high - first, (place - below).astype(np.float32))

    @property
    def nearest(self) -> NDArray[np.int64]:
        return np.where(self.share < 0.5, self.low, self.high)


def _between(values_HW: NDArray, rows: _Taps) -> NDArray[np.float32]:
    """Rows between rows, linearly."""
    low = values_HW[rows.low].astype(np.float32)
    return np.add(low, rows.share[:, None] * (values_HW[rows.high] - low), dtype=np.float32)


def _root(source: Path) -> Path:
    """The folder; other releases of PASTIS are told by their name."""
    root = find_root(source, ("metadata.geojson", "DATA_S2", "ANNOTATIONS"), NAME)
    for folders, is_only in ((("DATA_S1A", "DATA_S1D"), "PASTIS, of Sentinel-2 alone"), (("DATA_SPOT",), "PASTIS-R")):
        missing = [folder for folder in folders if not (root / folder).is_dir()]
        if missing:
            raise InputError(
                f"is {is_only}: {', '.join(missing)} of PASTIS-HD is missing",
                file=root,
                fix=f"Add it. See where to get it with: skysense datasets show {NAME}",
            )
    return root


def _cells(root: Path, patches: Sequence[Patch]) -> tuple[int, int]:
    """Height and width of the patches, by the first whose labels can be opened."""
    for patch in patches:
        try:
            shape = _stored(root / _FILES["labels"].format(patch.number), None).shape
        except InputError:
            continue
        if len(shape) == 3:
            return int(shape[1]), int(shape[2])
    raise InputError("holds no labels (ANNOTATIONS/TARGET_*.npy) that can be read", file=root, fix="Get it again")


def _stored(file: Path, shape: tuple[int, ...] | None) -> NDArray:
    """An array as it lies on disk; what is taken of it is read.

    Args:
        file: ``.npy``.
        shape: that it must have; None for any.

    Raises:
        InputError: missing, truncated, foreign or of another shape.
    """
    try:
        stored = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError("is missing, truncated or no array of numbers", file=file, fix="Get it again") from error
    if not isinstance(stored, np.ndarray) or (shape is not None and stored.shape != shape):
        found = getattr(stored, "shape", type(stored).__name__)
        raise InputError(f"is {found}; {shape} is expected, by the dates and the size of the patches", file=file)
    return stored


def _patches(file: Path) -> list[Patch]:
    """What metadata.geojson says, by number.

    Raises:
        InputError: it is something else, or of a release without Sentinel-1.
    """
    content = read_json(file)
    try:
        crs = content.get("crs", {}).get("properties", {}).get("name", "OGC:CRS84")
        features = sorted(content["features"], key=lambda one: int(one["properties"]["ID_PATCH"]))
        x, y = zip(*(_centre(one["geometry"]["coordinates"]) for one in features), strict=True)
        lon, lat = reproject(crs, "EPSG:4326", x, y)
        return [_patch(one["properties"], file, lon=lon[place], lat=lat[place]) for place, one in enumerate(features)]
    except (AttributeError, KeyError, TypeError, ValueError, SyntaxError, CRSError) as error:
        raise InputError(f"is not the list of patches of PASTIS ({error!r})", file=file, fix="Get it again") from error


def _patch(about: Mapping[str, Any], file: Path, *, lon: float, lat: float) -> Patch:
    missing = [name for names in _SERIES.values() for name in names if f"dates-{name}" not in about]
    if missing:
        raise InputError(
            f"has no dates of {', '.join(missing)}: it is that of another release",
            file=file,
            fix="Take metadata.geojson of PASTIS-HD",
        )
    dates = {name: _dates(about[f"dates-{name}"]) for names in _SERIES.values() for name in names}
    return Patch(str(int(about["ID_PATCH"])), FOLDS[int(about["Fold"])], lon, lat, dates)


def _dates(told: Any) -> NDArray[np.datetime64]:
    """``{"0": 20180924, ...}`` in the order of its keys; some programs make a text of it when they copy the file."""
    if isinstance(told, str):
        try:
            told = json.loads(told)
        except json.JSONDecodeError:
            told = ast.literal_eval(told)
    days = [str(told[key]) for key in sorted(told, key=int)]
    return np.array([f"{day[:4]}-{day[4:6]}-{day[6:]}" for day in days], "datetime64[D]")


def _centre(coordinates: Any) -> tuple[float, float]:
    """Of a polygon or several."""
    while not isinstance(coordinates[0][0], int | float):
        coordinates = [point for ring in coordinates for point in ring]
    low, high = np.min(coordinates, axis=0), np.max(coordinates, axis=0)
    return (low[0] + high[0]) / 2, (low[1] + high[1]) / 2
