"""What the screen shows of the ground: a rectangle in Web Mercator, and where its pixels lie on the grid of a map.

Letters: H W pixels of the screen, n m control points.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from skysense.maps.grid import Grid

MERCATOR, DEGREES = "EPSG:3857", "EPSG:4326"
LIMIT = math.pi * 6_378_137.0
"""Half the side of the square world of Web Mercator, metres."""
TILE = 256
_EVERY = 32  # pixels between control points: the projection is bent so little that lines between them are exact enough
_FAR = 1e12  # stands for a place that the other projection does not have; on no map


@dataclass(frozen=True)
class View:
    """A rectangle of the screen on the ground.

    Attributes:
        left, bottom, right, top: metres in Web Mercator.
        height, width: pixels.
    """

    left: float
    bottom: float
    right: float
    top: float
    height: int
    width: int

    @classmethod
    def tile(cls, zoom: int, column: int, row: int) -> View:
        """A tile of 256 pixels by its usual numbers: zoom, x eastward, y southward."""
        side = 2 * LIMIT / 2**zoom
        left, top = column * side - LIMIT, LIMIT - row * side
        return cls(left, top - side, left + side, top, TILE, TILE)


@dataclass(frozen=True)
class Positions:
    """Where the pixels of a view lie on a grid.

    Attributes:
        row_HW, col_HW: fractions of pixels of the grid; 0, 0 is its first corner.
        step: pixels of the grid per pixel of the screen.
    """

    row_HW: NDArray[np.float64]
    col_HW: NDArray[np.float64]
    step: float


def positions(view: View, grid: Grid) -> Positions:
    """Where the centres of a view's pixels lie on a grid, interpolated between exact control points."""
    down_Hn, rows_n = _between(view.height)
    across_Wm, cols_m = _between(view.width)
    x_m = view.left + cols_m / view.width * (view.right - view.left)
    y_n = view.top - rows_n / view.height * (view.top - view.bottom)
    x_nm, y_nm = np.meshgrid(x_m, y_n)
    row, col = _row_col(grid, *projected(MERCATOR, grid.crs, x_nm.ravel(), y_nm.ravel()))
    shape = x_nm.shape
    row_HW, col_HW = (down_Hn @ axis.reshape(shape) @ across_Wm.T for axis in (row, col))
    middle_r, middle_c = view.height // 2, view.width // 2
    step = math.hypot(
        float(row_HW[middle_r, middle_c] - row_HW[middle_r, middle_c - 1]),
        float(col_HW[middle_r, middle_c] - col_HW[middle_r, middle_c - 1]),
    )
    return Positions(row_HW, col_HW, step)


def _between(length: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights ``(length, n)`` of the control points for every pixel centre, and where the control points are."""
    count = max(2, math.ceil(length / _EVERY) + 1)
    at_n = np.linspace(0, length, count)
    place = (np.arange(length) + 0.5) * (count - 1) / length
    before = np.floor(place).astype(int)
    weights = np.zeros((length, count))
    rows = np.arange(length)
    weights[rows, before] = 1 - (place - before)
    weights[rows, before + 1] = place - before
    return weights, at_n


def projected(
    source: Any, target: Any, x_N: NDArray[np.float64], y_N: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places in another CRS, longitudes first; infinite where it does not have them.

    Args:
        source: CRS of the places.
        target: CRS wanted.
        x_N: eastings or longitudes.
        y_N: northings or latitudes.
    """
    with _one_at_a_time:
        return _transformer(str(source), str(target)).transform(x_N, y_N)


_one_at_a_time = threading.Lock()  # PROJ's objects belong to one thread, and making one takes longer than waiting


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def lonlat_bounds(grid: Grid) -> tuple[float, float, float, float]:
    """West, south, east, north of a grid in degrees: of points along its border, so that bent sides are inside."""
    along = np.linspace(0, 1, 21)
    edge = np.concatenate([np.stack([along, np.full(21, side)], 1) for side in (0, 1)])
    col, row = (np.concatenate([edge, edge[:, ::-1]]) * (grid.width, grid.height)).T
    a, b, c, d, e, f = grid.transform[:6]
    x, y = a * col + b * row + c, d * col + e * row + f
    lon, lat = projected(grid.crs, DEGREES, x, y)
    return float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())


def on_grid(grid: Grid, lon: float, lat: float) -> tuple[float, float]:
    """Row and column of a position, in fractions of pixels; may lie off the grid."""
    row, col = _row_col(grid, *projected(DEGREES, grid.crs, np.array([lon]), np.array([lat])))
    return float(row[0]), float(col[0])


def _row_col(
    grid: Grid, x_N: NDArray[np.float64], y_N: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b, c, d, e, f = (~grid.transform)[:6]
    x_N, y_N = (np.nan_to_num(axis, nan=_FAR, posinf=_FAR, neginf=-_FAR) for axis in (x_N, y_N))
    return d * x_N + e * y_N + f, a * x_N + b * y_N + c
