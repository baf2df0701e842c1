"""The one grid of a place: 10 m cells of its UTM zone, on which every sensor is read.

A place lies in the plain 6 degree zone of its centre. The exceptions of the military grid around Norway and Svalbard
do not apply: any zone within a few degrees measures 10 m to a part in a thousand, and the plain rule needs no table.
Places begin at multiples of 20 m, as do pixels of Sentinel-2 of either size: where an archive keeps its pixels in the
same zone they are read as they are, without resampling, and of the 20 m bands each pixel becomes 2 x 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from skysense.errors import InputError
from skysense.geo import CELL_METRES, Footprint, check_position, utm_crs

if TYPE_CHECKING:
    from affine import Affine
    from pyproj import Transformer

Bounds = tuple[float, float, float, float]

SNAP_METRES = 20.0
"""Corners of places are multiples of this. A place lies up to half of it away from its position, each way."""


@dataclass(frozen=True)
class PlaceGrid:
    """The ground of a place and the pixels that may lie on it.

    Attributes:
        crs: projected reference system in metres, e.g. ``"EPSG:32632"``.
        west, north: coordinates of the upper left corner, multiples of 10 m.
        cells: height and width in cells of 10 m.

    Raises:
        InputError: a corner off the lattice, or no cells.
    """

    crs: str
    west: float
    north: float
    cells: tuple[int, int]

    def __post_init__(self) -> None:
        if min(self.cells) < 1:
            raise InputError(f"a place needs at least one cell each way; got {self.cells[0]} x {self.cells[1]}")
        if not all(math.isfinite(edge) and edge % CELL_METRES == 0 for edge in (self.west, self.north)):
            raise InputError(f"corner {self.west:g}, {self.north:g} does not lie on multiples of {CELL_METRES:g} m")

    def transform(self, metres_per_px: float) -> Affine:
        """From columns and rows of pixels of that size to coordinates."""
        from affine import Affine

        return Affine(metres_per_px, 0, self.west, 0, -metres_per_px, self.north)

    def shape(self, metres_per_px: float) -> tuple[int, int]:
        """Height and width in pixels of that size.

        Raises:
            InputError: if they do not fill the place evenly.
        """
        height, width = (cells * CELL_METRES / metres_per_px for cells in self.cells)
        if not (height.is_integer() and width.is_integer()):
            raise InputError(f"{self.cells[0]} x {self.cells[1]} cells hold no whole number of {metres_per_px:g} m px")
        return int(height), int(width)

    @property
    def footprint(self) -> Footprint:
        """Bounds in metres, and the reference system."""
        height, width = (cells * CELL_METRES for cells in self.cells)
        return Footprint((self.west, self.north - height, self.west + width, self.north), self.crs)

    @property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude of the middle, WGS 84 degrees."""
        left, bottom, right, top = self.footprint.bounds
        lon, lat = _to_wgs84(self.crs).transform((left + right) / 2, (bottom + top) / 2)
        return lon, lat

    @property
    def bbox(self) -> Bounds:
        """West, south, east, north of the smallest box around the place, WGS 84 degrees.

        West is greater than east where the place lies across the antimeridian (GeoJSON, RFC 7946, section 5.2); a
        place over a pole spans -180 .. 180.
        """
        west, south, east, north = _to_wgs84(self.crs).transform_bounds(*self.footprint.bounds)
        return west, south, east, north


def grid_at(lon: float, lat: float, cells: int = 64) -> PlaceGrid:
    """The square grid whose centre lies next to a position: at most a cell away each way.

    Args:
        lon: degrees east, WGS 84.
        lat: degrees north, WGS 84.
        cells: of one side.

    Raises:
        InputError: a position off the Earth.
    """
    check_position(lon, lat)
    crs = utm_crs(lon, lat)
    x, y = _from_wgs84(crs).transform(lon, lat)
    half = cells * CELL_METRES / 2
    return PlaceGrid(crs, _snapped(x - half), _snapped(y + half), (cells, cells))


def _snapped(metres: float) -> float:
    return math.floor(metres / SNAP_METRES + 0.5) * SNAP_METRES


@lru_cache(maxsize=256)
def _to_wgs84(crs: str) -> Transformer:
    from pyproj import Transformer

    return Transformer.from_crs(crs, "EPSG:4326", always_xy=True)


@lru_cache(maxsize=256)
def _from_wgs84(crs: str) -> Transformer:
    from pyproj import Transformer

    return Transformer.from_crs("EPSG:4326", crs, always_xy=True)
