"""A series kept as a cube, in Zarr or NetCDF, of which only what a window needs is read.

Letters: T frames, C bands, H W pixels.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.places_read import NETCDF_LOCK
from skysense.errors import InputError, need
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.source import UnreadableWindow
from skysense.maps.sources.align import Meaning, Placement, place
from skysense.maps.sources.cube_axes import Axes, Ground
from skysense.maps.sources.files import NOT_CLEAR
from skysense.maps.sources.numbers import AS_STORED, Numbers
from skysense.maps.sources.raster import implausible
from skysense.maps.sources.stack import Look, Lost
from skysense.sensors import Sensor, Unit

_BROKEN = (OSError, EOFError, RuntimeError, ValueError, KeyError, zlib.error)  # what damaged chunks raise


@dataclass(frozen=True)
class Layers:
    """Bands of a variable.

    Attributes:
        variable: its name.
        axes: its dimensions.
        ground: where its pixels lie.
        bands: of the sensor, in this order; empty for a mask.
        indexes: positions of these along the band axis.
        numbers: how its numbers become those of the unit.
        stored: their number type.
    """

    variable: str
    axes: Axes
    ground: Ground
    bands: tuple[str, ...] = ()
    indexes: tuple[int, ...] = ()
    numbers: Numbers = AS_STORED
    stored: str = "uint8"


@dataclass(frozen=True)
class CubeStack:
    """Frames of one sensor in a cube, see `skysense.maps.sources.stack.Stack`.

    Attributes:
        path: of the cube.
        sensor: what its pixels are.
        days: of the frames, ascending.
        order: positions of the frames along the time axis.
        layers: all bands of the sensor.
        valid, clear, classes: variables that say what was observed and cloud-free, where there are some.
        notes: what a person should know.
        simulated: pixels are made up.
    """

    path: Path
    sensor: Sensor
    days: tuple[np.datetime64, ...]
    order: tuple[int, ...]
    layers: tuple[Layers, ...]
    valid: Layers | None = None
    clear: Layers | None = None
    classes: Layers | None = None
    notes: tuple[str, ...] = ()
    simulated: bool = False

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path)

    @property
    def dates(self) -> NDArray[np.datetime64]:
        """``(T,)`` ascending."""
        return np.array(self.days, "datetime64[D]")

    @property
    def lattices(self) -> tuple[Grid, ...]:
        """One per variable."""
        return tuple(layers.ground.grid for layers in self.layers)

    @property
    def dtype(self) -> np.dtype:
        """Number type of all frames."""
        return np.result_type(*(layers.numbers.dtype(layers.stored) for layers in self.layers))

    def files(self) -> list[dict[str, Any]]:
        """The cube as one: number of files, bytes in all, time of the last change."""
        inner = [path for path in self.path.rglob("*") if path.is_file()] if self.path.is_dir() else [self.path]
        states = [path.stat() for path in inner]
        size, changed = sum(one.st_size for one in states), max(one.st_mtime_ns for one in states)
        return [{"name": self.path.name, "files": len(inner), "size": size, "mtime_ns": changed}]

    def hows(self, pixels: Grid) -> tuple[str, ...]:
        """What happens to pixels on their way to a grid, in words."""
        said = []
        for layers in self.layers:
            how = self.placement(layers, pixels).how
            if how is not None:
                said.append(how if len(self.layers) == 1 else f"{', '.join(layers.bands)}: {how}")
        return tuple(said)

    def decoded_bytes(self, metres: float, frames: int) -> int:
        """None: cubes are not read by GDAL."""
        return 0

    def placement(self, layers: Layers, pixels: Grid) -> Placement:
        """How a variable is brought onto a grid."""
        repeat = self.sensor.modality != "hr"
        if not layers.bands:
            return place(layers.ground.grid, pixels, repeat=repeat, meaning="classes")
        meaning: Meaning = "decibel" if self.sensor.unit is Unit.DECIBEL else "values"
        return place(layers.ground.grid, pixels, repeat=repeat, meaning=meaning)

    @contextmanager
    def open(self, pixels: Grid) -> Iterator[CubeReader]:
        """Open for reading on a grid of pixels."""
        with opened_cube(self.path) as dataset:
            yield CubeReader(self, pixels, dataset)


@contextmanager
def opened_cube(path: Path) -> Iterator[Any]:
    """An open cube, whose numbers are those that are stored.

    Raises:
        InputError: it cannot be opened.
        MissingExtra: xarray or zarr is not installed.
    """
    xarray = need("xarray", "maps")
    zarr = path.suffix.lower() == ".zarr" or path.is_dir()
    if zarr:
        need("zarr", "maps")
    if not path.exists():
        raise InputError("does not exist", file=path, fix="Give another file")
    how = {"engine": "zarr", "consolidated": _consolidated(path)} if zarr else {"engine": "netcdf4"}
    try:
        with _turn(path):
            dataset = xarray.open_dataset(path, chunks=None, cache=False, mask_and_scale=False, **how)
    except _BROKEN as error:
        what = f"is not a cube that can be read (foreign or truncated): {' '.join(str(error).split())[:120]}"
        raise InputError(what, file=path, fix="Get it again, or give another file") from error
    with dataset:
        yield dataset


def _consolidated(path: Path) -> bool:
    """Whether the metadata of a Zarr group is kept in one place; xarray warns if it has to find out by itself."""
    head = path / "zarr.json"
    return (path / ".zmetadata").is_file() or (head.is_file() and b'"consolidated_metadata"' in head.read_bytes())


def _turn(path: Path) -> Any:
    """The NetCDF library crashes when two threads use it at once."""
    return nullcontext() if path.is_dir() else NETCDF_LOCK


class CubeReader:
    """Reads frames out of an open cube."""

    def __init__(self, stack: CubeStack, pixels: Grid, dataset: Any) -> None:
        self.stack, self.pixels_not_finite = stack, 0
        self._pixels, self._dataset = pixels, dataset
        self._placements: dict[str, Placement] = {}

    def read(self, frames: Sequence[int], window: Window) -> list[Look | Lost]:
        """Frames over a window of pixels, all at once; one by one if that fails, to lose only those that are broken."""
        try:
            return self._read(frames, window)
        except UnreadableWindow as error:
            if len(frames) == 1:
                return [Lost(frames[0], error)]
            return [look for frame in frames for look in self.read([frame], window)]

    def _read(self, frames: Sequence[int], window: Window) -> list[Look | Lost]:
        stack, count = self.stack, len(frames)
        bands: dict[str, NDArray] = {}
        seen = np.ones((count, window.height, window.width), bool)
        for layers in stack.layers:
            values, observed, reasons = self._values(layers, frames, window)
            if reasons:
                raise reasons[0]
            for at, band in enumerate(layers.bands):
                bands[band] = values[:, at]
            seen &= observed
        values = np.stack([bands[band] for band in stack.sensor.bands], axis=1).astype(stack.dtype, copy=False)
        clear = None
        if stack.valid is not None:
            seen &= self._mask(stack.valid, frames, window) != 0
        if stack.clear is not None:
            clear = seen & (self._mask(stack.clear, frames, window) != 0)
        elif stack.classes is not None:
            classes = self._mask(stack.classes, frames, window)
            seen &= ~np.isin(classes, (0, 1))
            clear = seen & ~np.isin(classes, NOT_CLEAR)
        return [
            Look(frame, values[at], seen[at], None if clear is None else clear[at]) for at, frame in enumerate(frames)
        ]

    def _values(
        self, layers: Layers, frames: Sequence[int], window: Window
    ) -> tuple[NDArray, NDArray[np.bool_], list[UnreadableWindow]]:
        """Bands of a variable ``(T, C, H, W)`` on the window, and where they were observed ``(T, H, W)``."""
        shape = (len(frames), len(layers.bands), window.height, window.width)
        found = self._stored(layers, frames, window)
        if found is None:
            return np.zeros(shape, layers.numbers.dtype(layers.stored)), np.zeros((shape[0], *shape[2:]), bool), []
        stored, inside, needed = found
        pieces, masks, reasons = [], [], []
        for frame in stored:
            values, seen, bad = layers.numbers.understood(frame, inside)
            self.pixels_not_finite += bad
            reason = implausible(values, seen, self.stack.sensor)
            if reason is not None:
                reasons.append(
                    UnreadableWindow(f"rows {needed.row}.. columns {needed.col}.. {reason}", file=self.stack.path)
                )
            pieces.append(values)
            masks.append(seen)
        values, seen = self._placement(layers).bring(np.concatenate(pieces), np.stack(masks), needed, window)
        return values.reshape(shape), seen, reasons

    def _mask(self, layers: Layers, frames: Sequence[int], window: Window) -> NDArray:
        """A mask ``(T, H, W)`` on the window, 0 outside."""
        shape = (len(frames), window.height, window.width)
        found = self._stored(layers, frames, window)
        if found is None:
            return np.zeros(shape, np.uint8)
        stored, inside, needed = found
        layers_NHW, masks = stored[:, 0], np.broadcast_to(inside, (len(stored), *inside.shape))
        values, seen = self._placement(layers).bring(layers_NHW, masks, needed, window)
        return np.where(seen, values, 0)

    def _stored(
        self, layers: Layers, frames: Sequence[int], window: Window
    ) -> tuple[NDArray, NDArray[np.bool_], Window] | None:
        """Stored numbers ``(T, C, h, w)`` under a window, where there are any ``(h, w)``, and the window read."""
        grid = layers.ground.grid
        needed = self._placement(layers).needs(window)
        inside = None if needed is None else needed.intersect(Window(0, 0, grid.height, grid.width))
        if needed is None or inside is None:
            return None
        read = self._slab(layers, frames, inside)
        at = Window(inside.row - needed.row, inside.col - needed.col, inside.height, inside.width).slices()
        whole = np.zeros((*read.shape[:2], needed.height, needed.width), read.dtype)
        whole[..., at[0], at[1]] = read
        there = np.zeros((needed.height, needed.width), bool)
        there[at] = True
        return whole, there, needed

    def _slab(self, layers: Layers, frames: Sequence[int], inside: Window) -> NDArray:
        axes, ground = layers.axes, layers.ground
        rows, cols = inside.slices()
        if ground.flip_y:
            rows = slice(ground.grid.height - rows.stop, ground.grid.height - rows.start)
        if ground.flip_x:
            cols = slice(ground.grid.width - cols.stop, ground.grid.width - cols.start)
        where: dict[str, Any] = {axes.y: rows, axes.x: cols}
        if axes.time is not None:
            where[axes.time] = _tidy([self.stack.order[frame] for frame in frames])
        if axes.band is not None and layers.indexes:
            where[axes.band] = _tidy(layers.indexes)
        try:
            with _turn(self.stack.path):
                read = self._dataset[layers.variable].isel(where).transpose(*axes.order).values
        except _BROKEN as error:
            where_text = f"rows {inside.row}.. columns {inside.col}.. of {layers.variable}"
            raise UnreadableWindow(f"{where_text} cannot be read", file=self.stack.path) from error
        read = read if axes.time is not None else read[None]
        read = read if axes.band is not None else read[:, None]
        return read[..., :: -1 if ground.flip_y else 1, :: -1 if ground.flip_x else 1]

    def _placement(self, layers: Layers) -> Placement:
        if layers.variable not in self._placements:
            self._placements[layers.variable] = self.stack.placement(layers, self._pixels)
        return self._placements[layers.variable]


def _tidy(indexes: Sequence[int]) -> slice | list[int]:
    """A slice if the positions follow each other: those are read best."""
    first, last = indexes[0], indexes[-1]
    return slice(first, last + 1) if list(indexes) == list(range(first, last + 1)) else list(indexes)
