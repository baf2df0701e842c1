"""Imagery of one sensor, not yet on any grid: what every way of keeping it comes down to.

Letters: T frames, C bands, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.sensors import Sensor


@dataclass
class Look:
    """One frame of a window.

    Attributes:
        frame: which of the stack.
        values_CHW: in the sensor's unit.
        seen_HW: bool, observed.
        clear_HW: bool, cloud-free, where known.
    """

    frame: int
    values_CHW: NDArray
    seen_HW: NDArray[np.bool_]
    clear_HW: NDArray[np.bool_] | None = None


@dataclass
class Lost:
    """A frame that could not be read in a window, and why."""

    frame: int
    why: InputError


class StackReader(Protocol):
    """Reads windows of an open stack on the grid it was opened on; belongs to one thread."""

    pixels_not_finite: int
    """Observed pixels with NaN or infinite values so far; they count as no-data."""

    def read(self, frames: Sequence[int], window: Window) -> list[Look | Lost]:
        """Frames, each over the same window of pixels; a frame that lies elsewhere shows nothing."""
        ...


class Stack(Protocol):
    """Frames of one sensor; can be pickled.

    Attributes:
        name: what messages call it.
        sensor: what its pixels are, as the model reads them.
        dates: ``(T,)`` ascending; NaT only of a single frame.
        lattices: a grid of pixels for every raster or mosaic, one per frame and resolution; many may be equal.
        notes: what a person should know about how it was understood.
        simulated: pixels are made up.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def sensor(self) -> Sensor: ...  # noqa: D102
    @property
    def dates(self) -> NDArray[np.datetime64]: ...  # noqa: D102
    @property
    def lattices(self) -> tuple[Grid, ...]: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def simulated(self) -> bool: ...  # noqa: D102

    def files(self) -> list[dict[str, Any]]:
        """Its files with size and time of change, plain values for JSON."""
        ...

    def hows(self, pixels: Grid) -> tuple[str, ...]:
        """What happens to pixels on their way to a grid, in words; empty if they stay as they are."""
        ...

    def decoded_bytes(self, metres: float, frames: int) -> int:
        """Of the tiles that GDAL decodes for a window of a side on the ground and so many frames."""
        ...

    def open(self, pixels: Grid) -> AbstractContextManager[StackReader]:
        """Open the files for reading on a grid of pixels."""
        ...
