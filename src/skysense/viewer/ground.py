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
from pyproj import CRS, Transformer

from skysense.maps.grid import Grid

MERCATOR, DEGREES = "EPSG:3857", "EPSG:4326"
LIMIT = math.pi * 6_378_137.0
"""Half the side of the square world of Web Mercator, metres."""
NORTHMOST = math.degrees(math.atan(math.sinh(math.pi)))
"""Latitude of the upper edge of that world; the lower one lies as far south."""
TILE = 256
_EVERY = 32  # pixels between control points: the projection is bent so little that lines between them are exact enough
_DEGREES = 4.0  # and degrees, at most: around a pole it is bent more
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
    down_Hn, rows_n = _between(view.height, (view.top - view.bottom) * 180 / LIMIT)
    across_Wm, cols_m = _between(view.width, (view.right - view.left) * 180 / LIMIT)
    x_m = view.left + cols_m / view.width * (view.right - view.left)
    y_n = view.top - rows_n / view.height * (view.top - view.bottom)
    x_nm, y_nm = np.meshgrid(x_m, y_n)
    east_N, north_N = x_nm.ravel(), y_nm.ravel()
    row, col = _row_col(grid, *projected(MERCATOR, grid.crs, east_N, north_N), east_N * (180 / LIMIT))
    shape = x_nm.shape
    row_HW, col_HW = (down_Hn @ axis.reshape(shape) @ across_Wm.T for axis in (row, col))
    middle_r, middle_c = view.height // 2, view.width // 2
    step = math.hypot(
        float(row_HW[middle_r, middle_c] - row_HW[middle_r, middle_c - 1]),
        float(col_HW[middle_r, middle_c] - col_HW[middle_r, middle_c - 1]),
    )
    return Positions(row_HW, col_HW, step)


def _between(length: int, degrees: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights ``(length, n)`` of the control points for every pixel centre, and where the control points are.

    Args:
        length: of a side of a view, pixels.
        degrees: that it would be along the equator.
    """
    count = max(2, math.ceil(length / _EVERY) + 1, math.ceil(degrees / _DEGREES) + 1)
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
    """West, south, east, north of a grid in degrees: of points along its border, so that bent sides are inside.

    West is less than east. A grid across the antimeridian ends east of 180 or begins west of -180, and one with a pole
    in it goes all around. All are NaN of a grid that lies nowhere.
    """
    there, back = np.linspace(0, 1, 21), np.linspace(1, 0, 21)
    near, far = np.zeros(21), np.ones(21)
    around_4n2 = np.stack([[there, near], [far, there], [back, far], [near, back]]).transpose(0, 2, 1)
    col, row = (np.concatenate([[(0.5, 0.5)], *around_4n2]) * (grid.width, grid.height)).T
    lon, lat = projected(grid.crs, DEGREES, *grid.at(col, row))
    if not (np.isfinite(lon) & np.isfinite(lat)).all():
        return _bounds_on_earth(grid)
    middle, lon, lat = lon[0], np.unwrap(lon[1:], period=360), lat[1:]
    lon = lon + 360 * np.round((middle - (lon.min() + lon.max()) / 2) / 360)
    west, south, east, north = float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())
    for pole in (-90.0, 90.0):
        if _has_pole(grid, pole):
            west, south, east, north = -180.0, min(south, pole), 180.0, max(north, pole)
    return west, south, east, north


def _bounds_on_earth(grid: Grid) -> tuple[float, float, float, float]:
    """Bounds of what lies on the Earth of a grid that reaches beyond it, as that of a geostationary satellite."""
    row, col = (axis.ravel() for axis in np.meshgrid(*(np.linspace(0, n, 301) for n in (grid.height, grid.width))))
    lon, lat = projected(grid.crs, DEGREES, *grid.at(col, row))
    there = np.isfinite(lon) & np.isfinite(lat)
    if not there.any():
        return math.nan, math.nan, math.nan, math.nan
    lon, lat = lon[there], lat[there]
    lon = nearest_turn(lon, lon[len(lon) // 2], 360)
    return float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())


def _has_pole(grid: Grid, lat: float) -> bool:
    """Whether a pole lies inside a grid; in degrees it is a side, not a place."""
    if _turn(grid) is not None:
        return False
    row, col = on_grid(grid, 0.0, lat)
    return 0 < row < grid.height and 0 < col < grid.width


def nearest_turn(angle: Any, near: Any, turn: float) -> Any:
    """Angles (numbers or arrays) by those of their many names, a turn apart, that are nearest to others."""
    return angle - turn * np.round((angle - near) / turn)


@lru_cache(maxsize=64)
def _turn_of(crs: str) -> float | None:
    known = CRS.from_user_input(crs)
    return math.tau / known.axis_info[0].unit_conversion_factor if known.is_geographic else None


def _turn(grid: Grid) -> float | None:
    """What once around the Earth is in the units of a grid of longitudes; None of other grids."""
    return _turn_of(str(grid.crs))


def on_grid(grid: Grid, lon: float, lat: float) -> tuple[float, float]:
    """Row and column of a position, in fractions of pixels; may lie off the grid."""
    lon_1, lat_1 = np.array([lon]), np.array([lat])
    row, col = _row_col(grid, *projected(DEGREES, grid.crs, lon_1, lat_1), lon_1)
    return float(row[0]), float(col[0])


def _row_col(
    grid: Grid, x_N: NDArray[np.float64], y_N: NDArray[np.float64], lon_N: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Row and column of places in the CRS of a grid.

    In degrees a place has many longitudes. Those taken lie together as the places do (``lon_N``, not torn apart
    anywhere), and all of them as near to the grid as whole turns bring them.
    """
    a, b, c, d, e, f = (~grid.transform)[:6]
    turn = _turn(grid)
    if turn is not None:
        wanted_N = lon_N * (turn / 360)
        middle, _ = grid.at(grid.width / 2, grid.height / 2)
        with np.errstate(invalid="ignore"):  # places that the CRS does not have
            x_N = nearest_turn(x_N, wanted_N, turn) - turn * np.round((wanted_N.mean() - middle) / turn)
    x_N, y_N = (np.nan_to_num(axis, nan=_FAR, posinf=_FAR, neginf=-_FAR) for axis in (x_N, y_N))
    return d * x_N + e * y_N + f, a * x_N + b * y_N + c
