"""Where the cells of a map lie on the Earth, and which cell a position lies in.

Letters: N cells or positions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from skysense.errors import InputError
from skysense.maps.grid import Grid

_STRIP = 1 << 20  # cells that are looked at at once
EARTH_RADIUS = 6_371_008.8
"""Mean radius of the Earth, metres (IUGG): distances are those on a sphere, true to 0.5 %."""


class Ground:
    """Positions of the cells of a grid.

    Raises:
        InputError: a CRS without longitudes and latitudes.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        try:
            crs = CRS.from_user_input(grid.crs.to_wkt() if hasattr(grid.crs, "to_wkt") else grid.crs)
            self._to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        except ProjError as error:
            raise InputError(f"the map has no positions on the Earth: {error}") from error
        self._geographic = crs.is_geographic

    def lonlat(self, row_N: NDArray, col_N: NDArray) -> NDArray[np.float64]:
        """Longitude and latitude ``(N, 2)`` of the middles of cells, degrees, WGS 84."""
        x_N, y_N = self.grid.at(np.asarray(col_N) + 0.5, np.asarray(row_N) + 0.5)
        lon_N, lat_N = self._to_degrees.transform(x_N, y_N)
        return np.stack([(np.asarray(lon_N) + 180) % 360 - 180, lat_N], axis=-1)

    def on_grid(self, lonlat_N2: NDArray[np.float64]) -> NDArray[np.float64]:
        """Column and row ``(N, 2)`` of positions, not rounded; infinite where the CRS does not reach."""
        lon_N, lat_N = np.asarray(lonlat_N2, np.float64).T
        x_N, y_N = self._to_degrees.transform(lon_N, lat_N, direction="INVERSE")
        reached_N = np.isfinite(x_N) & np.isfinite(y_N)
        x_N, y_N = np.where(reached_N, x_N, 0), np.where(reached_N, y_N, 0)
        if self._geographic:  # the same meridian has many longitudes: the one nearest to the map
            middle, _ = self.grid.at(self.grid.width / 2, self.grid.height / 2)
            x_N = x_N - 360 * np.round((x_N - middle) / 360)
        return np.where(reached_N[:, None], np.stack(self.grid.where(x_N, y_N), axis=-1), np.inf)

    def cells(self, lonlat_N2: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Row and column of the cells that positions lie in, and whether they lie on the map."""
        col_N, row_N = self.on_grid(lonlat_N2).T
        inside_N = (row_N >= 0) & (row_N < self.grid.height) & (col_N >= 0) & (col_N < self.grid.width)
        row_N, col_N = np.where(inside_N, row_N, 0), np.where(inside_N, col_N, 0)
        return np.floor(row_N).astype(np.int64), np.floor(col_N).astype(np.int64), inside_N

    def cells_in(self, polygon: Any, most: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the cells whose middle lies in a polygon.

        Of a polygon that holds no middle, the cell that it lies in. Its edges are straight on the map.

        Args:
            polygon: of shapely, in degrees.
            most: about how many cells are wanted; of a polygon with more in its bounds every second, fourth, ... row
                and column is looked at, the same ones for all polygons. None: all of them.
        """
        import shapely

        drawn = shapely.transform(polygon, self.on_grid)
        west, north, east, south = drawn.bounds
        if not np.isfinite(drawn.bounds).all():  # the CRS does not reach there
            return np.empty(0, np.int64), np.empty(0, np.int64)
        rows = np.arange(max(int(np.floor(north)), 0), min(int(np.ceil(south)), self.grid.height))
        cols = np.arange(max(int(np.floor(west)), 0), min(int(np.ceil(east)), self.grid.width))
        step = 1
        while most is not None and (len(rows) // step) * (len(cols) // step) > most:
            step *= 2
        rows, cols = rows[rows % step == 0], cols[cols % step == 0]
        shapely.prepare(drawn)
        found_N2 = [np.empty((0, 2), np.int64)]
        high = max(1, _STRIP // max(len(cols), 1))
        for first in range(0, len(rows), high):
            row_n, col_n = (one.ravel() for one in np.meshgrid(rows[first : first + high], cols, indexing="ij"))
            inside_n = shapely.contains_xy(drawn, col_n + 0.5, row_n + 0.5)
            found_N2.append(np.stack([row_n[inside_n], col_n[inside_n]], axis=1))
        row_N, col_N = np.concatenate(found_N2).T
        if not len(row_N):
            at = shapely.point_on_surface(drawn)
            row, col = math.floor(at.y), math.floor(at.x)
            if 0 <= row < self.grid.height and 0 <= col < self.grid.width:
                return np.array([row]), np.array([col])
        return row_N, col_N

    @property
    def cell_metres(self) -> float:
        """Side of a cell in the middle of the map: the root of its area."""
        row, col = self.grid.height // 2, self.grid.width // 2
        here, right, below = self.lonlat(np.array([row, row, row + 1]), np.array([col, col + 1, col]))
        return float(np.sqrt(metres_between(here[None], right)[0] * metres_between(here[None], below)[0]))


def metres_between(lonlat_N2: NDArray[np.float64], lonlat_2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances ``(N,)`` of positions from one, on a sphere (haversine)."""
    lon_N, lat_N = np.radians(lonlat_N2).T
    lon, lat = np.radians(lonlat_2)
    half_N = np.sin((lat_N - lat) / 2) ** 2 + np.cos(lat_N) * np.cos(lat) * np.sin((lon_N - lon) / 2) ** 2
    return 2 * EARTH_RADIUS * np.arcsin(np.sqrt(half_N.clip(0, 1)))
