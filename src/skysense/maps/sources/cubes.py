"""A series kept in several cubes, e.g. one a year: joined in time, and in ground where they show the same day.

Letters: T frames, C bands, H W pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.sources.cube import CubeReader, CubeStack
from skysense.maps.sources.cube_open import cube_stack
from skysense.maps.sources.named import Entry
from skysense.maps.sources.stack import Look, Lost
from skysense.sensors import Modality, Sensor

Piece = tuple[int, int]
"""A cube, and one of its frames."""


@dataclass(frozen=True)
class CubeSeries:
    """Frames of one sensor in several cubes, see `skysense.maps.sources.stack.Stack`.

    Attributes:
        root: the folder of the first of them, which messages name.
        cubes: in the order in which they show where they overlap.
        days: of the frames, ascending.
        pieces: of every frame.
    """

    root: Path
    cubes: tuple[CubeStack, ...]
    days: tuple[np.datetime64, ...]
    pieces: tuple[tuple[Piece, ...], ...]

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.root)

    @property
    def sensor(self) -> Sensor:
        """What all of them are of."""
        return self.cubes[0].sensor

    @property
    def dates(self) -> NDArray[np.datetime64]:
        """``(T,)`` ascending."""
        return np.array(self.days, "datetime64[D]")

    @property
    def lattices(self) -> tuple[Grid, ...]:
        """Those of all cubes."""
        return tuple(grid for cube in self.cubes for grid in cube.lattices)

    @property
    def dtype(self) -> np.dtype:
        """Number type of all frames."""
        return np.result_type(*(cube.dtype for cube in self.cubes))

    @property
    def notes(self) -> tuple[str, ...]:
        """One for all of them."""
        when = f"{self.days[0]} .. {self.days[-1]}" if len(self.days) > 1 else str(self.days[0])
        count = f"{len(self.days)} date{'s' if len(self.days) > 1 else ''}"
        return (f"{self.sensor.name}: {len(self.cubes)} cubes, {count}, {when}",)

    @property
    def simulated(self) -> bool:
        """Whether any of the pixels are made up."""
        return any(cube.simulated for cube in self.cubes)

    def files(self) -> list[dict[str, Any]]:
        """Every cube as one."""
        return [file for cube in self.cubes for file in cube.files()]

    def hows(self, pixels: Grid) -> tuple[str, ...]:
        """What happens to pixels on their way to a grid, in words."""
        return tuple(dict.fromkeys(how for cube in self.cubes for how in cube.hows(pixels)))

    def decoded_bytes(self, metres: float, frames: int) -> int:
        """None: cubes are not read by GDAL."""
        return 0

    @contextmanager
    def open(self, pixels: Grid) -> Iterator[CubeSeriesReader]:
        """Open for reading on a grid of pixels."""
        with ExitStack() as opened:
            yield CubeSeriesReader(self, [opened.enter_context(cube.open(pixels)) for cube in self.cubes])


class CubeSeriesReader:
    """Reads frames out of open cubes."""

    def __init__(self, stack: CubeSeries, readers: Sequence[CubeReader]) -> None:
        self.stack, self._readers = stack, readers

    @property
    def pixels_not_finite(self) -> int:
        """Observed pixels with NaN or infinite values so far; they count as no-data."""
        return sum(reader.pixels_not_finite for reader in self._readers)

    @pixels_not_finite.setter
    def pixels_not_finite(self, count: int) -> None:
        for reader in self._readers:
            reader.pixels_not_finite, count = count, 0

    def read(self, frames: Sequence[int], window: Window) -> list[Look | Lost]:
        """Frames over a window of pixels, of each cube all at once."""
        wanted: dict[int, list[int]] = defaultdict(list)
        for frame in frames:
            for cube, inner in self.stack.pieces[frame]:
                wanted[cube].append(inner)
        found: dict[Piece, Look | Lost] = {}
        for cube, inners in wanted.items():
            found |= {(cube, one.frame): one for one in self._readers[cube].read(inners, window)}
        return [self._one(frame, [found[piece] for piece in self.stack.pieces[frame]]) for frame in frames]

    def _one(self, frame: int, pieces: Sequence[Look | Lost]) -> Look | Lost:
        """A frame of its pieces: where the first is no-data the next one shows; lost if any of them is."""
        looks = []
        for piece in pieces:
            if isinstance(piece, Lost):
                return Lost(frame, piece.why)
            looks.append(piece)
        values, seen, clear = looks[0].values_CHW.astype(self.stack.dtype, copy=False), looks[0].seen_HW, None
        for look in looks[1:]:
            fresh = look.seen_HW & ~seen
            values, seen = np.where(fresh, look.values_CHW, values).astype(self.stack.dtype, copy=False), seen | fresh
        clears = [look.clear_HW for look in looks if look.clear_HW is not None]
        if len(clears) == len(looks):
            clear, before = clears[0], looks[0].seen_HW
            for look, other in zip(looks[1:], clears[1:], strict=True):
                clear, before = np.where(before, clear, other), before | look.seen_HW
        return Look(frame, values, seen, clear)


def cube_series(paths: Sequence[Path], said: Entry, reads: Mapping[Modality, Sensor]) -> CubeSeries:
    """Understand several cubes of one sensor, each as `cube_stack` does.

    Args:
        paths: in the order in which they show where they overlap.
        said: sensor, unit and date, where the cubes do not say them.
        reads: sensors that the model reads.

    Raises:
        InputError: as `cube_stack`; cubes of several sensors; one without a date in a series of Sentinel imagery.
        MissingExtra: xarray or zarr is not installed.
    """
    cubes = tuple(cube_stack(path, said, reads) for path in paths)
    first = cubes[0]
    for cube in cubes[1:]:
        if cube.sensor != first.sensor:
            raise InputError(
                f"is {cube.sensor.name}, {first.path.name} is {first.sensor.name}: a list is a series of one sensor",
                file=cube.path,
                fix=f"Write {{{first.sensor.modality}: {first.path.name}, {cube.sensor.modality}: {cube.path.name}}}",
            )
    by_day: dict[str, list[Piece]] = defaultdict(list)  # by text: no NaT is equal to another
    for number, cube in enumerate(cubes):
        for frame, day in enumerate(cube.days):
            if np.isnat(day) and first.sensor.modality != "hr":
                fix = "Give it a coordinate time, or put the date into its name (20220715 or 2022-07-15)"
                what = f"does not say when it was taken, and it is one of {len(cubes)} cubes of {first.sensor.name}"
                raise InputError(what, file=cube.path, fix=fix)
            by_day[str(day)].append((number, frame))
    days, pieces = zip(*sorted(by_day.items()), strict=True)
    return CubeSeries(paths[0].parent, cubes, tuple(np.datetime64(day, "D") for day in days), tuple(map(tuple, pieces)))
