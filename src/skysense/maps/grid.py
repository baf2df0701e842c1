"""The grid of a map: cells (or pixels) on the ground, with the full affine of the imagery they come from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from affine import Affine

from skysense.geo import Window


@dataclass(frozen=True)
class Grid:
    """Rows and columns on the ground.

    Attributes:
        crs: of the map, as rasterio gives it.
        transform: from (column, row) to map units: origin, pixel size, rotation.
        height, width: rows and columns.
    """

    crs: Any
    transform: Affine
    height: int
    width: int

    def finer(self, factor: int) -> Grid:
        """The same ground with cells cut into ``factor`` x ``factor`` pixels."""
        return Grid(self.crs, _scaled(self.transform, 1 / factor), self.height * factor, self.width * factor)

    def coarser(self, factor: int) -> Grid:
        """Same origin and rotation, pixels ``factor`` times larger; a ragged last row or column counts."""
        height, width = math.ceil(self.height / factor), math.ceil(self.width / factor)
        return Grid(self.crs, _scaled(self.transform, factor), height, width)

    def part(self, window: Window) -> Grid:
        """A rectangle of it; may hang over the borders."""
        a, b, _, d, e, _ = self.transform[:6]
        x, y = self.at(window.col, window.row)
        return Grid(self.crs, Affine(a, b, x, d, e, y), window.height, window.width)

    def at(self, col: Any, row: Any) -> tuple[Any, Any]:
        """Map units of places on the grid (numbers or arrays); 0, 0 is its first corner."""
        a, b, c, d, e, f = self.transform[:6]
        return a * col + b * row + c, d * col + e * row + f

    def where(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Column and row of places in map units (numbers or arrays), not rounded; the way back of `at`."""
        a, b, c, d, e, f = (~self.transform)[:6]
        return a * x + b * y + c, d * x + e * y + f

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in map units; of a rotated grid those of its corners."""
        corners = [self.at(col, row) for col in (0, self.width) for row in (0, self.height)]
        x, y = [corner[0] for corner in corners], [corner[1] for corner in corners]
        return min(x), min(y), max(x), max(y)


def _scaled(transform: Affine, factor: float) -> Affine:
    a, b, c, d, e, f = transform[:6]
    return Affine(a * factor, b * factor, c, d * factor, e * factor, f)
