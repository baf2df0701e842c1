"""What the page can show: anything with layers, levels of overviews, and windows to read."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from numpy.typing import NDArray

from skysense.geo import Window
from skysense.maps.grid import Grid


class Raster(Protocol):
    """A map of ours (`skysense.maps.product.read.Product`) or imagery (`skysense.viewer.imagery.Imagery`).

    Attributes:
        path: the file or folder; tells rasters apart.
    """

    @property
    def path(self) -> Path:
        """See above."""
        ...

    def pixels(self, layer: str, level: int = 0) -> Grid:
        """The grid of a layer at a level of its overviews; 0 is the finest, each next one half as fine."""
        ...

    def levels(self, layer: str) -> int:
        """How many levels it has."""
        ...

    def read(self, layer: str, window: Window, level: int = 0) -> NDArray:
        """Stored numbers ``(K, h, w)`` of a window of that grid; may be asked by several threads."""
        ...
