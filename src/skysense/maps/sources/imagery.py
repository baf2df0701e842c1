"""Sensors on one grid of cells: what the engine reads, see `skysense.maps.source`.

Letters: T frames, C bands, H W pixels, h w cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.geotiff import pixel_metres
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.source import UnreadableWindow
from skysense.maps.sources.area import Cut
from skysense.maps.sources.stack import Look, Lost, Stack, StackReader
from skysense.observation import Sample, Series
from skysense.probes.prepare import spread
from skysense.sensors import MODALITIES, Modality, Sensor


@dataclass(frozen=True)
class Imagery:
    """Stacks of frames on one grid, see `skysense.maps.source.Source`.

    Attributes:
        name: what messages call it.
        grid: of cells.
        stacks: imagery by sensor.
        notes: what a person should know about how it was understood.
        frames: most frames of a sensor in a window, as evenly spread in time as what was observed allows; all of a
            sensor that is not named.
        cut: cells outside are no-data.
        area: a hash of the area, for `about`.
    """

    name: str
    grid: Grid
    stacks: Mapping[Modality, Stack]
    notes: tuple[str, ...] = ()
    frames: Mapping[Modality, int] = field(default_factory=dict)
    cut: Cut | None = None
    area: str | None = None

    @property
    def sensors(self) -> dict[Modality, Sensor]:
        """What it holds, by modality."""
        return {key: self.stacks[key].sensor for key in MODALITIES if key in self.stacks}

    def about(self) -> dict[str, Any]:
        """Per sensor its files, bands and dates; plain values."""
        about: dict[str, Any] = {"name": self.name, "sensors": {}}
        for key, sensor in self.sensors.items():
            stack = self.stacks[key]
            about["sensors"][key] = {
                "sensor": sensor.name,
                "bands": list(sensor.bands),
                "dates": [None if np.isnat(day) else str(day) for day in stack.dates],
                "files": stack.files(),
            }
        if any(stack.simulated for stack in self.stacks.values()):
            about["simulated"] = True
        if self.area is not None:
            about["area"] = self.area
        if self.frames:
            about["frames"] = dict(self.frames)
        return about

    def decoded_bytes(self, cells: int) -> int:
        """Of all sensors, in as many frames as a window may have."""
        metres = cells * pixel_metres(self.grid)
        return sum(
            stack.decoded_bytes(metres, self.frames.get(key, len(stack.dates))) for key, stack in self.stacks.items()
        )

    @contextmanager
    def open(self) -> Iterator[ImageryReader]:
        """Open the files for reading windows. A reader belongs to the thread that opened it."""
        with ExitStack() as open_stacks:
            readers = {
                key: open_stacks.enter_context(self.stacks[key].open(self.grid.finer(sensor.cell_px)))
                for key, sensor in self.sensors.items()
            }
            yield ImageryReader(self, readers)


class ImageryReader:
    """Reads windows, see `skysense.maps.source.SourceReader`."""

    def __init__(self, imagery: Imagery, readers: Mapping[Modality, StackReader]) -> None:
        self.imagery = imagery
        self.lost: list[str] = []
        self._readers = readers

    @property
    def pixels_not_finite(self) -> int:
        """Observed pixels with NaN or infinite values so far; they count as no-data."""
        return sum(reader.pixels_not_finite for reader in self._readers.values())

    @pixels_not_finite.setter
    def pixels_not_finite(self, count: int) -> None:
        for reader in self._readers.values():
            reader.pixels_not_finite, count = count, 0

    def read(self, window: Window) -> Sample:
        """The imagery under a window of cells; what lies outside is padded and marked as not observed.

        Frames and sensors without an observed pixel there are left out, but for one.

        Raises:
            UnreadableWindow: nothing is left of it.
        """
        imagery = self.imagery
        inside = window.intersect(Window(0, 0, imagery.grid.height, imagery.grid.width))
        if inside is None:
            raise UnreadableWindow(f"window {window} lies outside the scene", file=imagery.name)
        within_hw = None if imagery.cut is None else imagery.cut.inside(imagery.grid.part(inside))
        series: dict[Modality, Series] = {}
        empty: dict[Modality, Series] = {}
        lost: list[Lost] = []
        for key, sensor in imagery.sensors.items():
            looks, broken = self._looks(key, inside, within_hw)
            lost += broken
            seen = [look for look in looks if look.seen_HW.any()]
            if seen:
                series[key] = _series(sensor, imagery.stacks[key].dates, seen, window, inside)
            elif looks:
                empty[key] = _series(sensor, imagery.stacks[key].dates, looks[:1], window, inside)
        if not series and lost:
            raise UnreadableWindow(lost[0].why.what, file=lost[0].why.file)
        self.lost += [str(one.why) for one in lost]
        found = series or dict(list(empty.items())[:1])
        return Sample(f"{imagery.name} {window.row},{window.col}", found)

    def _looks(
        self, key: Modality, inside: Window, within_hw: NDArray[np.bool_] | None
    ) -> tuple[list[Look], list[Lost]]:
        """Frames of a sensor over a window, ascending, and those that could not be read."""
        stack, cell_px = self.imagery.stacks[key], self.imagery.sensors[key].cell_px
        within = None if within_hw is None else within_hw.repeat(cell_px, axis=0).repeat(cell_px, axis=1)
        looks: list[Look] = []
        lost: list[Lost] = []
        left = np.arange(len(stack.dates))
        limit = self.imagery.frames.get(key, len(left))
        seen = 0
        while len(left) and seen < limit:  # those that show nothing make room for others
            chosen = left[spread(stack.dates[left], limit - seen)]
            left = np.setdiff1d(left, chosen)
            for one in self._readers[key].read(chosen.tolist(), inside.scaled(cell_px)):
                if isinstance(one, Lost):
                    lost.append(one)
                    continue
                if within is not None:
                    one.seen_HW = one.seen_HW & within
                    one.clear_HW = None if one.clear_HW is None else one.clear_HW & within
                seen += bool(one.seen_HW.any())
                looks.append(one)
        looks.sort(key=lambda look: look.frame)
        return [_one_image(looks)] if key == "hr" and len(looks) > 1 else looks, lost


def _one_image(looks: Sequence[Look]) -> Look:
    """The high-resolution image of a window: the frame that shows most, the later of equals; others fill its gaps."""
    first, *others = sorted(looks, key=lambda look: (-int(look.seen_HW.sum()), -look.frame))
    values, seen = first.values_CHW, first.seen_HW
    for other in others:
        fresh = other.seen_HW & ~seen
        if fresh.any():
            values, seen = np.where(fresh, other.values_CHW, values), seen | fresh
    return Look(first.frame, values, seen)


def _series(
    sensor: Sensor, dates: NDArray[np.datetime64], looks: Sequence[Look], window: Window, inside: Window
) -> Series:
    """Frames padded to a window that hangs over the map."""
    wanted, there = window.scaled(sensor.cell_px), inside.scaled(sensor.cell_px)
    rows = slice(there.row - wanted.row, there.row - wanted.row + there.height)
    cols = slice(there.col - wanted.col, there.col - wanted.col + there.width)
    size = (len(looks), wanted.height, wanted.width)
    values = np.zeros((size[0], len(sensor.bands), *size[1:]), looks[0].values_CHW.dtype)
    valid = np.zeros(size, bool)
    clear = None if any(look.clear_HW is None for look in looks) else np.zeros(size, bool)
    for at, look in enumerate(looks):
        values[at, :, rows, cols] = look.values_CHW
        valid[at, rows, cols] = look.seen_HW
        if clear is not None:
            clear[at, rows, cols] = look.clear_HW
    return Series(sensor, values, dates[[look.frame for look in looks]], valid, clear)
