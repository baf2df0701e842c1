"""From one reference system to another, and where windows lie on the Earth: what geo-context goes by."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from skysense.geo import Window
from skysense.maps.grid import Grid

if TYPE_CHECKING:
    from pyproj import Transformer


DEGREES = "EPSG:4326"
"""Longitude and latitude, in this order wherever coordinates are swapped for others here."""


@lru_cache(maxsize=64)
def between(source: Any, target: Any) -> Transformer:
    """The way from one reference system to another, x before y; where it does not reach it gives infinity.

    Args:
        source: as rasterio gives it, or a text.
        target: likewise.
    """
    from pyproj import Transformer

    first, last = (one if isinstance(one, str) else one.to_wkt() for one in (source, target))
    return Transformer.from_crs(first, last, always_xy=True)


class Positions:
    """WGS 84 positions on a grid of cells.

    Args:
        grid: of the cells.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def centre(self, window: Window) -> tuple[float | None, float | None]:
        """Longitude and latitude of the middle of what a window shows of the grid; None where the CRS has none."""
        row = (window.row + min(window.row + window.height, self._grid.height)) / 2
        col = (window.col + min(window.col + window.width, self._grid.width)) / 2
        lon, lat = between(self._grid.crs, DEGREES).transform(*self._grid.at(col, row))
        return (lon, lat) if math.isfinite(lon) and math.isfinite(lat) else (None, None)
