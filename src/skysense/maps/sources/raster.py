"""One raster file of a series: what its bands, numbers and place are, and its pixels.

Letters: C bands, H W pixels.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from skysense.data.geotiff import alpha_is_data, band_names, check_unit, observed, opened
from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.source import UnreadableWindow
from skysense.maps.sources.dates import day_of_file
from skysense.maps.sources.numbers import AS_STORED, Numbers
from skysense.sensors import SENSORS, Sensor, Unit

_OPEN_FILES = 400  # of the 1024 that a process may usually have open; with a file its decoded tiles are forgotten
_WORDS = re.compile(r"[^A-Za-z0-9]+")
_BANDS = {band.upper(): band for sensor in SENSORS.values() for band in sensor.bands}


@dataclass(frozen=True)
class Tiling:
    """How the pixels of a file are kept.

    Attributes:
        height, width: of a tile or a strip.
        together: bands that are decoded along with any of them; 1 where each has tiles of its own.
    """

    height: int
    width: int
    together: int


@dataclass(frozen=True, kw_only=True)
class Raster:
    """What is known of a file without reading its pixels.

    Attributes:
        path: of the file.
        sensor: what its pixels are.
        bands: those of the sensor that it holds, by the sensor's names.
        indexes: their 1-based positions in the file.
        grid: of its pixels.
        tiling: how they are kept.
        stored: number type in the file.
        date: acquisition day, NaT if unknown.
        alpha_is_data: a band is marked as alpha but has another name, so it is no mask.
        numbers: how its numbers become those of the sensor's unit.
        simulated: its pixels are made up.
    """

    path: Path
    sensor: Sensor
    bands: tuple[str, ...]
    indexes: tuple[int, ...]
    grid: Grid
    tiling: Tiling
    stored: str
    date: np.datetime64
    alpha_is_data: bool = False
    numbers: Numbers = AS_STORED
    simulated: bool = False

    @property
    def dtype(self) -> np.dtype:
        """Number type of its values."""
        return self.numbers.dtype(self.stored)

    def decoded_bytes(self, side: float) -> int:
        """Of the tiles that a window of so many pixels along a side may touch, wherever it lies."""
        tiling, grid = self.tiling, self.grid
        rows = min(math.ceil(side / tiling.height) + 1, math.ceil(grid.height / tiling.height))
        cols = min(math.ceil(side / tiling.width) + 1, math.ceil(grid.width / tiling.width))
        bands = max(tiling.together, len(self.indexes))
        return rows * cols * tiling.height * tiling.width * bands * np.dtype(self.stored).itemsize

    def read(self, files: OpenFiles, window: Window) -> tuple[NDArray, NDArray[np.bool_], int]:
        """The pixels of a window that lies on the file.

        Returns:
            ``(C, H, W)`` in the sensor's unit, ``(H, W)`` bool observed, and how many observed pixels are not finite;
            these count as not observed.

        Raises:
            UnreadableWindow: the file is damaged there, or holds values that the sensor cannot measure.
        """
        box = RasterWindow(window.col, window.row, window.width, window.height)
        try:
            dataset = files.get(self.path)
            stored_CHW = dataset.read(self.indexes, window=box)
            seen_HW = observed(dataset, self.indexes, self.sensor, box, ignore_alpha=self.alpha_is_data)
        except (RasterioError, MemoryError, InputError) as error:
            where = f"rows {window.row}.. columns {window.col}.."
            raise UnreadableWindow(f"{where} cannot be read", file=self.path) from error
        values_CHW, seen_HW, not_finite = self.numbers.understood(stored_CHW, seen_HW)
        reason = implausible(values_CHW, seen_HW, self.sensor)
        if reason is not None:
            raise UnreadableWindow(f"rows {window.row}.. columns {window.col}.. {reason}", file=self.path)
        return values_CHW, seen_HW, not_finite


def implausible(values_CHW: NDArray, seen_HW: NDArray[np.bool_], sensor: Sensor) -> str | None:
    """Why values cannot be those of a sensor; None if they can."""
    if values_CHW.dtype == np.uint8 or not seen_HW.any():
        return None
    seen = values_CHW[:, seen_HW]
    low, high = sensor.plausible
    if seen.min() >= low and seen.max() <= high:
        return None
    return f"hold {seen.min():g} .. {seen.max():g}; {sensor.name} lies within {low:g} .. {high:g} {sensor.unit}"


class OpenFiles:
    """Datasets that are open, the last used of them; belongs to one thread."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, tuple[AbstractContextManager[Any], Any]] = OrderedDict()

    def get(self, path: Path) -> Any:
        """A dataset.

        Raises:
            InputError: it cannot be opened.
        """
        if path not in self._open:
            if len(self._open) >= _OPEN_FILES:
                self._close(next(iter(self._open)))
            manager = opened(path)
            self._open[path] = manager, manager.__enter__()
        self._open.move_to_end(path)
        return self._open[path][1]

    def close(self) -> None:
        """Close all of them."""
        for path in list(self._open):
            self._close(path)

    def _close(self, path: Path) -> None:
        manager, _ = self._open.pop(path)
        manager.__exit__(None, None, None)


@dataclass(frozen=True)
class Header:
    """What a file says before anybody has decided what it is.

    Attributes:
        path: of the file.
        folders: names to look for a date in: the file's and those of folders around it, inner first.
        names: of its bands.
        tags: upper-case names.
        alpha_is_data, alpha_notes: see `skysense.data.geotiff.alpha_is_data`.
        dtypes: of its bands.
        grid: of its pixels.
        tiling: how they are kept.
    """

    path: Path
    folders: tuple[str, ...]
    names: tuple[str, ...]
    tags: dict[str, str]
    alpha_is_data: bool
    alpha_notes: tuple[str, ...]
    dtypes: tuple[str, ...]
    grid: Grid
    tiling: Tiling

    @property
    def sensor(self) -> str | None:
        """Name of the sensor that the file declares."""
        return self.tags.get("SKYSENSE_SENSOR")


def read_header(path: Path, root: Path | None = None) -> Header:
    """Look at a file.

    Args:
        path: a raster.
        root: the folder in which it was found, if a folder was named.

    Raises:
        InputError: no readable raster, no CRS or geotransform.
    """
    inner = () if root is None else path.relative_to(root).parts[-2::-1]
    with opened(path) as dataset:
        _check_place(dataset, path)
        names = band_names(dataset)
        if dataset.count == 1 and not dataset.descriptions[0]:
            names = [_band_in_name(path.stem) or names[0]]
        no_alpha, alpha_notes = alpha_is_data(dataset)
        return Header(
            path=path,
            folders=(path.stem, *inner),
            names=tuple(names),
            tags={key.upper(): value for key, value in dataset.tags().items()},
            alpha_is_data=no_alpha,
            alpha_notes=alpha_notes,
            dtypes=tuple(dataset.dtypes),
            grid=Grid(dataset.crs, dataset.transform, dataset.height, dataset.width),
            tiling=_tiling(dataset),
        )


def as_raster(
    header: Header, sensor: Sensor, bands: Sequence[str], *, unit: Unit | str | None, date: str | None
) -> tuple[Raster, tuple[str, ...]]:
    """A file as one of a series of a sensor, and what a person should know about how it was understood.

    Args:
        header: of the file.
        sensor: what it is of.
        bands: those of the sensor that are to be taken from it.
        unit: of its numbers, where the file does not say it.
        date: ``YYYY-MM-DD``, where the file does not say it.

    Raises:
        InputError: a unit that is missing or another one, a number type that does not fit, a date that is none.
    """
    own = sensor.plain_names(header.names)
    indexes = tuple(own.index(band) + 1 for band in bands)
    check_unit(
        sensor,
        unit or header.tags.get("SKYSENSE_UNIT"),
        {header.dtypes[index - 1] for index in indexes},
        header.path,
    )
    day, note = day_of_file(date, header.tags, header.path, header.folders, sensor.modality)
    raster = Raster(
        path=header.path,
        sensor=sensor,
        bands=tuple(bands),
        indexes=indexes,
        grid=header.grid,
        tiling=header.tiling,
        stored=str(np.result_type(*(header.dtypes[index - 1] for index in indexes))),
        date=day,
        alpha_is_data=header.alpha_is_data,
        simulated=header.tags.get("SKYSENSE_SIMULATED") == "yes",
    )
    return raster, (note, *header.alpha_notes)


def _band_in_name(stem: str) -> str | None:
    """``T32TQM_20220715T103031_B04_10m`` is B04: the last word that is the name of a band."""
    for word in reversed(_WORDS.split(stem)):
        plain = re.sub(r"^B0", "B", word.upper())
        if plain in _BANDS or plain == "SCL":
            return plain
    return None


def _tiling(dataset: Any) -> Tiling:
    by_pixel = dataset.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE") == "PIXEL"
    height, width = dataset.block_shapes[0]
    return Tiling(height, width, dataset.count if by_pixel else 1)


def _check_place(dataset: Any, path: Path) -> None:
    if dataset.crs is None:
        raise InputError(
            "has no CRS, and a map needs one", file=path, fix=f"Assign it: rio edit-info --crs EPSG:32632 {path.name}"
        )
    if dataset.transform.is_identity:
        raise InputError(
            "has a CRS but no geotransform, so nobody knows where its pixels lie",
            file=path,
            fix="Assign it: gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM, or rio edit-info --transform",
        )
