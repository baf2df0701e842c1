"""What the engine asks of imagery: a grid of cells, and the pixels of any window of them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.observation import Sample
from skysense.sensors import Modality, Sensor


class UnreadableWindow(InputError):
    """Part of a source that cannot be used; the rest of it can."""


class SourceReader(Protocol):
    """Reads windows of an open source; belongs to the thread that opened it."""

    pixels_not_finite: int
    """Observed pixels with NaN or infinite values so far; they count as no-data."""
    lost: list[str]
    """Frames that could not be read and were left out of a window since the caller last emptied it, for people."""

    def read(self, window: Window) -> Sample:
        """The imagery under a window of cells; what lies outside is padded and marked as not observed.

        A sensor without an observed pixel there is left out, unless it would be the last. The region is the caller's
        to set; there is no position.

        Raises:
            UnreadableWindow: the file is damaged there, or holds values that the sensor cannot measure.
        """
        ...


class Source(Protocol):
    """Imagery of one or several sensors over one piece of ground; can be pickled, for processes that share the work.

    Attributes:
        name: what messages call it.
        grid: of cells; everything is read on it.
        sensors: what it holds, by modality.
        notes: what a person should know about how it was understood.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def grid(self) -> Grid: ...  # noqa: D102
    @property
    def sensors(self) -> dict[Modality, Sensor]: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102

    def about(self) -> dict[str, Any]:
        """What goes into the metadata of a map: per sensor its files, bands and dates; plain values for JSON.

        Two sources that differ in any file, its size or its time of change, differ here: a run goes on only with the
        same.
        """
        ...

    def decoded_bytes(self, cells: int) -> int:
        """Of the tiles that GDAL decodes for a window of so many cells along a side; 0 if it does not read here."""
        ...

    def open(self) -> AbstractContextManager[SourceReader]:
        """Open the files for reading windows."""
        ...
