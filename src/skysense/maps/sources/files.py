"""A series kept as raster files: those of one day are one frame, completing each other in bands or in ground.

Letters: T frames, C bands, H W pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.geotiff import pixel_metres
from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.sources.align import Meaning, Placement, place
from skysense.maps.sources.raster import OpenFiles, Raster
from skysense.maps.sources.sheets import Sheet, sheets_of
from skysense.maps.sources.stack import Look, Lost
from skysense.sensors import Sensor, Unit

CLASSES = "SCL"
NOT_CLEAR = (0, 1, 3, 8, 9, 10)
"""Classes of Sentinel-2's scene classification that are no clear sight: none, defective, shadow, cloud, cirrus."""

MASK_SUFFIX = ".msk"
"""What GDAL adds to the name of a raster for a mask in a file of its own; it counts like one inside."""
_MOST_PIXELS = 2**22
"""Of a band, held at a time to make up a window: imagery of centimetres must not fill the memory."""


@dataclass(frozen=True)
class Group:
    """Bands of a frame that are kept together.

    Attributes:
        bands: of the sensor.
        sheets: the ground; where the first is no-data the next one shows.
    """

    bands: tuple[str, ...]
    sheets: tuple[Sheet, ...]


@dataclass(frozen=True)
class Frame:
    """What was seen on one day.

    Attributes:
        date: NaT if unknown.
        groups: all bands of the sensor, each once.
        classes: Sentinel-2's scene classification, where there is one.
    """

    date: np.datetime64
    groups: tuple[Group, ...]
    classes: Group | None = None


@dataclass(frozen=True)
class FileStack:
    """Frames of one sensor in raster files, see `skysense.maps.sources.stack.Stack`."""

    name: str
    sensor: Sensor
    frames: tuple[Frame, ...]
    root: Path
    notes: tuple[str, ...] = ()

    @property
    def dates(self) -> NDArray[np.datetime64]:
        """``(T,)`` ascending."""
        return np.array([frame.date for frame in self.frames], "datetime64[D]")

    @property
    def lattices(self) -> tuple[Grid, ...]:
        """Of every mosaic of every frame."""
        return tuple(sheet.grid for frame in self.frames for group in frame.groups for sheet in group.sheets)

    @cached_property
    def dtype(self) -> np.dtype:
        """Number type of all frames: windows that come side by side must not differ."""
        return np.result_type(*(raster.dtype for raster in self._rasters() if raster.bands != (CLASSES,)))

    @property
    def simulated(self) -> bool:
        """Whether any of the pixels are made up."""
        return any(raster.simulated for raster in self._rasters())

    def files(self) -> list[dict[str, Any]]:
        """Names below the folder that was named, sizes, times of change; of masks that are files of their own too."""
        listed = [self.root] if self.root.is_file() else []
        rasters = dict.fromkeys([*listed, *(raster.path for raster in self._rasters())])
        masks = [path.with_name(path.name + MASK_SUFFIX) for path in rasters]
        found = []
        for path in [*rasters, *(mask for mask in masks if mask.exists())]:
            inside = path.is_relative_to(self.root) and path != self.root
            name = path.relative_to(self.root).as_posix() if inside else path.name
            state = path.stat()
            found.append({"name": name, "size": state.st_size, "mtime_ns": state.st_mtime_ns})
        return found

    def hows(self, pixels: Grid) -> tuple[str, ...]:
        """What happens to pixels on their way to a grid, in words."""
        found: dict[str, set[str]] = defaultdict(set)
        for frame in self.frames:
            for group in frame.groups:
                for sheet in group.sheets:
                    how = _placed(sheet, pixels, self.sensor).how
                    if how is not None:
                        found[how] |= set(group.bands)
        every = set(self.sensor.bands)
        return tuple(
            how if bands == every else f"{', '.join(band for band in self.sensor.bands if band in bands)}: {how}"
            for how, bands in found.items()
        )

    def decoded_bytes(self, metres: float, frames: int) -> int:
        """Of the frames that take most; of a mosaic a window is taken to lie in one raster."""

        def of_group(group: Group) -> int:
            every = (raster for sheet in group.sheets for raster in sheet.rasters)
            return max(raster.decoded_bytes(metres / pixel_metres(raster.grid)) for raster in every)

        of_frames = [
            sum(map(of_group, (*frame.groups, *([frame.classes] if frame.classes else [])))) for frame in self.frames
        ]
        return sum(sorted(of_frames, reverse=True)[:frames])

    @contextmanager
    def open(self, pixels: Grid) -> Iterator[FileStackReader]:
        """Open for reading on a grid of pixels."""
        files = OpenFiles()
        try:
            yield FileStackReader(self, pixels, files)
        finally:
            files.close()

    def _rasters(self) -> Iterator[Raster]:
        for frame in self.frames:
            for group in (*frame.groups, *([frame.classes] if frame.classes else [])):
                for sheet in group.sheets:
                    yield from sheet.rasters


class FileStackReader:
    """Reads frames out of files."""

    def __init__(self, stack: FileStack, pixels: Grid, files: OpenFiles) -> None:
        self.stack, self.pixels_not_finite = stack, 0
        self._files = files
        self._pixels = pixels
        self._placements: dict[tuple[int, int, int], Placement] = {}

    def read(self, frames: Sequence[int], window: Window) -> list[Look | Lost]:
        """Frames over a window of pixels."""
        found: list[Look | Lost] = []
        for frame in frames:
            try:
                found.append(self._read(frame, window))
            except InputError as error:
                found.append(Lost(frame, error))
        return found

    def _read(self, index: int, window: Window) -> Look:
        frame, sensor = self.stack.frames[index], self.stack.sensor
        layers: dict[str, NDArray] = {}
        masks = []
        for number, group in enumerate(frame.groups):
            values_CHW, seen_HW = self._group(index, number, group, window)
            layers |= dict(zip(group.bands, values_CHW, strict=True))
            masks.append(seen_HW)
        values = np.stack([layers[band] for band in sensor.bands]).astype(self.stack.dtype, copy=False)
        seen = np.any(masks, axis=0) if sensor.modality == "hr" else np.all(masks, axis=0)
        clear = None
        if frame.classes is not None:
            classes_CHW, known_HW = self._group(index, -1, frame.classes, window)
            seen &= ~(known_HW & np.isin(classes_CHW[0], (0, 1)))
            clear = seen & known_HW & ~np.isin(classes_CHW[0], NOT_CLEAR)
        return Look(index, values, seen, clear)

    def _group(self, frame: int, number: int, group: Group, window: Window) -> tuple[NDArray, NDArray[np.bool_]]:
        shape = (window.height, window.width)
        values: NDArray | None = None
        seen = np.zeros(shape, bool)
        for at, sheet in enumerate(group.sheets):
            brought = self._brought(sheet, self._placement((frame, number, at), sheet, group), window)
            if brought is None:
                continue
            some_CHW, some_HW = brought
            fresh = some_HW & ~seen
            values = some_CHW if values is None else np.where(fresh, some_CHW, values)
            seen |= fresh
            if seen.all():
                break
        if values is None:
            values = np.zeros((len(group.bands), *shape), np.uint8)
        return values, seen

    def _brought(self, sheet: Sheet, placement: Placement, window: Window) -> tuple[NDArray, NDArray[np.bool_]] | None:
        """Pixels of a sheet on a window; in parts where very many of them make up the window."""
        needed = placement.needs(window)
        if needed is None:
            return None
        if needed.height * needed.width > _MOST_PIXELS and window.height > 1:
            return self._in_halves(sheet, placement, window)
        read = sheet.read(self._files, needed)
        if read is None:
            return None
        values_CHW, seen_HW, not_finite = read
        self.pixels_not_finite += not_finite
        values_CHW, seen_MHW = placement.bring(values_CHW, seen_HW[None], needed, window)
        return values_CHW, seen_MHW[0]

    def _in_halves(
        self, sheet: Sheet, placement: Placement, window: Window
    ) -> tuple[NDArray, NDArray[np.bool_]] | None:
        upper = window.height // 2
        halves = [
            replace(window, height=upper),
            replace(window, row=window.row + upper, height=window.height - upper),
        ]
        found = [self._brought(sheet, placement, half) for half in halves]
        some = next((one for one in found if one is not None), None)
        if some is None:
            return None
        values, masks = [], []
        for half, one in zip(halves, found, strict=True):
            shape = (half.height, half.width)
            values.append(np.zeros((len(some[0]), *shape), some[0].dtype) if one is None else one[0])
            masks.append(np.zeros(shape, bool) if one is None else one[1])
        return np.concatenate(values, axis=1), np.concatenate(masks)

    def _placement(self, key: tuple[int, int, int], sheet: Sheet, group: Group) -> Placement:
        if key not in self._placements:
            self._placements[key] = _placed(
                sheet, self._pixels, self.stack.sensor, "classes" if group.bands == (CLASSES,) else None
            )
        return self._placements[key]


def _placed(sheet: Sheet, pixels: Grid, sensor: Sensor, meaning: Meaning | None = None) -> Placement:
    usual: Meaning = "decibel" if sensor.unit is Unit.DECIBEL else "values"
    return place(sheet.grid, pixels, repeat=sensor.modality != "hr", meaning=meaning or usual)


def frames_of(rasters: Sequence[Raster], sensor: Sensor) -> tuple[list[Frame], list[str]]:
    """Files put together by day.

    Args:
        rasters: of one sensor, in the order in which they show.
        sensor: what they are of.

    Returns:
        Frames in the order of time, and notes on what was left out.

    Raises:
        InputError: no frame has all bands, or files without a date in a series.
    """
    _check_dates(rasters, sensor)
    by_day: dict[str, list[Raster]] = defaultdict(list)  # by text: no NaT is equal to another
    for raster in rasters:
        by_day[str(raster.date)].append(raster)
    frames, notes = [], []
    for _, files in sorted(by_day.items()):
        day = files[0].date
        groups, coarse = _groups(files)
        missing = [band for band in sensor.bands if not any(band in group.bands for group in groups)]
        notes += coarse
        if missing:
            notes.append(f"{_of(day)} is left out: no file of it holds {', '.join(missing)}")
            continue
        frames.append(Frame(day, tuple(group for group in groups if group.bands != (CLASSES,)), _classes(groups)))
    if not frames:
        raise InputError(
            f"has no day with all bands of {sensor.name} ({', '.join(sensor.bands)}); {notes[-1]}",
            file=rasters[0].path,
            fix="Describe the bands by name, or name the files after them (B02.tif, ...)",
        )
    return frames, notes


def _of(day: np.datetime64) -> str:
    return "what has no date" if np.isnat(day) else str(day)


def _classes(groups: Sequence[Group]) -> Group | None:
    return next((group for group in groups if group.bands == (CLASSES,)), None)


def _check_dates(rasters: Sequence[Raster], sensor: Sensor) -> None:
    """Refuse files without a date, unless they can only be one frame."""
    undated = [raster for raster in rasters if np.isnat(raster.date)]
    if not undated or sensor.modality == "hr":
        return
    bands = [band for raster in rasters for band in raster.bands]
    if len(undated) == len(rasters) and len(bands) == len(set(bands)):
        return
    raise InputError(
        f"does not say when it was taken, and it is one of {len(rasters)} files of {sensor.name}",
        file=undated[0].path,
        fix="Put the date into its name (20220715 or 2022-07-15), tag it SKYSENSE_DATE=2022-07-15, or, if all of them "
        "are of one day, pass the date",
    )


def _groups(files: Sequence[Raster]) -> tuple[list[Group], list[str]]:
    """Files of one day by bands; of a band that is there in several pixel sizes, only the finest."""
    finest: dict[str, float] = {}
    for raster in files:
        for band in raster.bands:
            finest[band] = min(finest.get(band, np.inf), pixel_metres(raster.grid))
    together: dict[tuple[str, ...], list[Raster]] = defaultdict(list)
    notes = []
    for raster in files:
        if pixel_metres(raster.grid) > 1.25 * max(finest[band] for band in raster.bands):
            notes.append(f"{raster.path.name} is not used: its bands are there in finer pixels")
        else:
            together[raster.bands].append(raster)
    groups: list[Group] = []
    taken: set[str] = set()
    for bands, rasters in sorted(together.items(), key=lambda entry: -len(entry[0])):
        if taken & set(bands):
            raise InputError(
                f"holds {', '.join(sorted(taken & set(bands)))}, which another file of {_of(files[0].date)} holds "
                "together with other bands",
                file=rasters[0].path,
                fix="Let the files of one day hold the same bands, or each band once",
            )
        taken |= set(bands)
        groups.append(Group(bands, sheets_of(rasters)))
    return groups, notes
