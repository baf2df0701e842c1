"""Where things are: footprints, windows on the cell lattice, blending, region cells.

One cell of the lattice is 10 m: 32 x 32 pixels of the high-resolution image, one pixel of Sentinel-1 and -2, one fused
feature. Windows start on cells, and their sides are multiples of four cells because the Sentinel encoders read patches
of 4 x 4 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from skysense.errors import ConfigError, InputError

if TYPE_CHECKING:
    from pyproj import Transformer

CELL_METRES = 10.0
CELL_HR_PX = 32
WINDOW_CELLS = 4

REGION_METRES = 65_536.0
"""Side of a region cell: (2^16 m)^2 = 4295 km^2, the region size the paper states (specification 1.6)."""
_EQUAL_AREA = "EPSG:6933"  # EASE-Grid 2.0, cylindrical equal-area over the whole globe
_REGION_COLUMNS = 1024  # more than the 530 columns of the globe: id = row * columns + column stays unique
_TILES = 64  # Web-Mercator tiles per side at zoom 6
_MERCATOR_LIMIT = math.degrees(math.atan(math.sinh(math.pi)))  # 85.05 degrees: there the map becomes a square


@dataclass(frozen=True)
class Footprint:
    """The ground an array covers.

    Attributes:
        bounds: left, bottom, right, top in units of the CRS.
        crs: anything pyproj understands, e.g. ``"EPSG:32632"``.
    """

    bounds: tuple[float, float, float, float]
    crs: str


@dataclass(frozen=True)
class Window:
    """A rectangle on a grid: first row, first column, height, width (in cells, unless said otherwise)."""

    row: int
    col: int
    height: int
    width: int

    def scaled(self, factor: int) -> Window:
        """The same ground on a grid ``factor`` times finer."""
        return Window(self.row * factor, self.col * factor, self.height * factor, self.width * factor)

    def slices(self) -> tuple[slice, slice]:
        """Row and column slices."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    def intersect(self, other: Window) -> Window | None:
        """The common ground of two windows, or None."""
        top, left = max(self.row, other.row), max(self.col, other.col)
        bottom = min(self.row + self.height, other.row + other.height)
        right = min(self.col + self.width, other.col + other.width)
        return Window(top, left, bottom - top, right - left) if bottom > top and right > left else None


def check_position(lon: float | None, lat: float | None, *, file: str | None = None) -> None:
    """Refuse a position off the Earth, or half a position.

    Raises:
        InputError: lon outside -180 .. 180, lat outside -90 .. 90, not finite, or only one of them given.
    """
    if lon is None and lat is None:
        return
    if lon is None or lat is None:
        raise InputError("has only one of lon and lat", file=file)
    if not (math.isfinite(lon) and math.isfinite(lat) and -180 <= lon <= 180 and -90 <= lat <= 90):
        raise InputError(
            f"position lon {lon:g}, lat {lat:g} is outside lon -180..180, lat -90..90 (WGS 84 degrees)",
            file=file,
            fix="Are lon and lat swapped, or in metres?",
        )


def cover(height: int, width: int, size: int, stride: int) -> list[Window]:
    """Windows of ``size`` every ``stride`` that cover a grid; the last of a row or column ends at the edge.

    A grid smaller than ``size`` gets one window that hangs over its right or bottom edge.

    Raises:
        InputError: if a stride larger than the window would leave gaps.
    """
    if not 0 < stride <= size:
        raise InputError(f"stride {stride} must lie within 1 .. {size} (the window), or ground is left out")

    def starts(length: int) -> list[int]:
        regular = list(range(0, max(length - size, 0) + 1, stride))
        return regular if regular[-1] + size >= length else [*regular, length - size]

    return [Window(row, col, size, size) for row in starts(height) for col in starts(width)]


def raised_cosine(size: int, overlap: int) -> NDArray[np.float32]:
    """Weights ``(size,)`` of a window that blends over ``overlap`` at both ends and never reaches zero.

    Two neighbours that overlap by exactly ``overlap`` have weights that add up to one.

    Raises:
        InputError: if the two ramps would meet.
    """
    if not 0 <= 2 * overlap <= size:
        raise InputError(f"overlap {overlap} must be at most half of the window ({size})")
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(overlap) + 0.5) / max(overlap, 1))
    return np.concatenate([ramp, np.ones(size - 2 * overlap), ramp[::-1]]).astype(np.float32)


def utm_crs(lon: float, lat: float) -> str:
    """The UTM zone of a position, plain 6 degrees wide, or polar stereographic beyond 84 N and 80 S."""
    if -80 <= lat <= 84:
        return f"EPSG:{(32600 if lat >= 0 else 32700) + min(int((lon + 180) // 6) + 1, 60)}"
    return "EPSG:32661" if lat > 0 else "EPSG:32761"


@lru_cache(maxsize=1)
def _to_equal_area() -> Transformer:
    from pyproj import Transformer

    return Transformer.from_crs("EPSG:4326", _EQUAL_AREA, always_xy=True)


def equal_area(lon: float, lat: float) -> tuple[float, float]:
    """Metres east and north of a position on a map of the whole Earth whose areas are true (EASE-Grid 2.0)."""
    check_position(lon, lat)
    x, y = _to_equal_area().transform(lon, lat)
    return x, y


def equal_area_of(lonlat_N2: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same of ``(N, 2)`` positions at once."""
    lon_N, lat_N = lonlat_N2.T
    for index in np.flatnonzero(~((np.abs(lon_N) <= 180) & (np.abs(lat_N) <= 90)))[:1]:
        check_position(*lonlat_N2[index].tolist())
    return np.stack(_to_equal_area().transform(lon_N, lat_N), axis=1)


def region_cell(lon: float, lat: float) -> int:
    """The equal-area 65.536 km cell a position lies in (specification Q1, second reading).

    Args:
        lon: degrees east, WGS 84.
        lat: degrees north, WGS 84.

    Returns:
        A non-negative id, the same everywhere and for ever.
    """
    x, y = equal_area(lon, lat)
    row, col = math.floor(y / REGION_METRES) + 512, math.floor(x / REGION_METRES) + 512
    return row * _REGION_COLUMNS + col


def lonlat_of(xy_N2: NDArray[np.float64]) -> NDArray[np.float64]:
    """The way back: degrees ``(N, 2)`` of metres on the map whose areas are true."""
    x_N, y_N = xy_N2.T
    return np.stack(_to_equal_area().transform(x_N, y_N, direction="INVERSE"), axis=1)


def region_cells(lonlat_N2: NDArray[np.float64]) -> NDArray[np.int64]:
    """`region_cell` of ``(N, 2)`` positions at once."""
    col_N, row_N = np.floor(equal_area_of(lonlat_N2) / REGION_METRES).astype(np.int64).T + 512
    return row_N * _REGION_COLUMNS + col_N


def region_grid(cell: int) -> tuple[int, int]:
    """Row (northward) and column (eastward) of a region cell; the corner of 512, 512 is lon 0, lat 0."""
    return divmod(cell, _REGION_COLUMNS)


def region_at(row: int, col: int) -> int:
    """The region cell of a row and a column; the way back of `region_grid`."""
    return row * _REGION_COLUMNS + col


@lru_cache(maxsize=1)
def _region_borders() -> tuple[list[float], list[float]]:
    """Longitudes west of every column and latitudes south of every row, in degrees."""
    metres = (np.arange(_REGION_COLUMNS + 1) - 512) * REGION_METRES
    right, top = equal_area(180, 90)
    lon, lat = lonlat_of(np.stack([metres.clip(-right, right), metres.clip(-top, top)], axis=1)).T
    lon = np.where(np.abs(metres) < right, lon, np.sign(metres) * 180)
    lat = np.where(np.abs(metres) < top, lat, np.sign(metres) * 90)
    return lon.tolist(), lat.tolist()


def region_box(cell: int) -> tuple[float, float, float, float]:
    """West, south, east, north of a region cell in degrees: its sides are meridians and parallels.

    The outermost columns, on either side of the antimeridian, are 490 m of the map wide.
    """
    row, col = region_grid(cell)
    lon, lat = _region_borders()
    return lon[col], lat[row], lon[col + 1], lat[row + 1]


def mercator_tile(lon: float, lat: float) -> int:
    """The Web-Mercator tile of zoom 6 a position lies in: 4096 of them, of less ground the nearer to a pole.

    Args:
        lon: degrees east, WGS 84; 180 is the meridian -180.
        lat: degrees north, WGS 84; beyond the limit of the projection (85.05) the outermost tile counts.

    Returns:
        y * 64 + x, with x eastward from the antimeridian and y southward from the north.
    """
    check_position(lon, lat)
    lat = max(-_MERCATOR_LIMIT, min(_MERCATOR_LIMIT, lat))
    x = math.floor((lon + 180) / 360 * _TILES) % _TILES
    y = math.floor((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * _TILES)
    return max(0, min(_TILES - 1, y)) * _TILES + x


RegionRule = Callable[[float, float], int]
"""From lon and lat to the id of a region."""

REGION_RULES: dict[str, RegionRule] = {"equal_area": region_cell, "web_mercator": mercator_tile}
"""Rules by the name that a model remembers. A rule of your own is one more entry, wherever the model is used."""


def region_rule(name: str) -> RegionRule:
    """A region rule by name.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in REGION_RULES:
        raise ConfigError(f"unknown region_rule {name!r}; known: {', '.join(REGION_RULES)}")
    return REGION_RULES[name]


class RegionTable:
    """The regions a model knows: sorted cell ids; a region's slot is its rank.

    Args:
        cells: ids, by the rule.
        rule: gives the id of a position.
    """

    def __init__(self, cells: Iterable[int], rule: RegionRule = region_cell) -> None:
        self.cells: tuple[int, ...] = tuple(sorted({int(cell) for cell in cells}))
        self.rule = rule
        self._slots = {cell: slot for slot, cell in enumerate(self.cells)}

    @classmethod
    def of(cls, positions: Iterable[tuple[float | None, float | None]], rule: RegionRule = region_cell) -> RegionTable:
        """The regions that positions (lon, lat) lie in; those without one are passed over."""
        return cls([rule(lon, lat) for lon, lat in positions if lon is not None and lat is not None], rule)

    def __len__(self) -> int:
        return len(self.cells)

    def slot(self, lon: float | None, lat: float | None) -> int | None:
        """The slot of the region a position lies in; None if it has no position or the region is not known."""
        if lon is None or lat is None:
            return None
        return self._slots.get(self.rule(lon, lat))
