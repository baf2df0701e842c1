"""The ground that places are looked for on: a box, polygons of a file, or all land that Sentinel-2 acquires.

Letters: N positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.curate.geojson import SUFFIXES, areas_on_earth, read_features, shapely
from skysense.errors import InputError
from skysense.geo import check_position, equal_area, region_at, region_box, region_cell, region_grid

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

ACQUIRED_SOUTH, ACQUIRED_NORTH = -56.0, 82.8
"""Latitudes between which Sentinel-2 acquires land systematically (ESA, observation scenario of the mission).

Antarctica is outside: there it acquires on request only. Greenland is inside.
"""
_EXAMPLE = 'Give "west,south,east,north" in degrees, e.g. 5.8,47.2,15.1,55.1, or a GeoJSON file of polygons'


@dataclass(frozen=True, eq=False)
class Piece:
    """The part of an area that lies in one region cell.

    Attributes:
        cell: of `skysense.geo.region_cell`.
        box: that holds the part, west < east.
        area: the polygons cut to the cell, or the whole area where it is made of boxes.
    """

    cell: int
    box: Box
    area: Area

    @cached_property
    def extent(self) -> Box:
        """The box in metres of the equal-area map, where it is a rectangle too."""
        west, south, east, north = self.box
        return (*equal_area(west, south), *equal_area(east, north))


@dataclass(frozen=True, eq=False)
class Area:
    """Ground in longitude and latitude.

    Attributes:
        name: as a person gave it.
        boxes: west < east; two of them where a box crosses the antimeridian. Polygons lie in one box.
        polygons: of shapely, within longitudes -180 .. 180; None where the boxes are the area.
    """

    name: str
    boxes: tuple[Box, ...]
    polygons: Any = None

    def contains(self, lonlat_N2: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which positions ``(N, 2)`` in degrees lie in the area or on its edge: ``(N,)``."""
        lon_N, lat_N = lonlat_N2.T
        if self.polygons is not None:
            return shapely().intersects_xy(self.polygons, lon_N, lat_N)
        inside_N = np.zeros(len(lonlat_N2), np.bool_)
        for west, south, east, north in self.boxes:
            inside_N |= (west <= lon_N) & (lon_N <= east) & (south <= lat_N) & (lat_N <= north)
        return inside_N

    @property
    def bounds(self) -> Box:
        """The least box around it; west > east where that crosses the antimeridian (RFC 7946, 5.2)."""
        boxes = self.boxes if self.polygons is None else [part.bounds for part in shapely().get_parts(self.polygons)]
        south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
        west, east = _around([(box[0], box[2]) for box in boxes])
        return west, south, east, north

    def pieces(self) -> Iterator[Piece]:
        """What lies in each region cell, in ascending order of cells; cells without a part are left out."""
        south, north = min(box[1] for box in self.boxes), max(box[3] for box in self.boxes)
        first, _ = region_grid(region_cell(0, south))
        last, _ = region_grid(region_cell(0, north))
        for row in range(first, last + 1):
            yield from self._pieces_of_row(row)

    def _pieces_of_row(self, row: int) -> Iterator[Piece]:
        _, low, _, high = region_box(region_at(row, 512))
        strip = None if self.polygons is None else shapely().clip_by_rect(self.polygons, -180, low, 180, high)
        boxes = self.boxes if strip is None else () if strip.is_empty else (strip.bounds,)
        columns = {col for box in boxes for col in range(_column(box[0]), _column(box[2]) + 1)}
        for col in sorted(columns):
            cell = region_at(row, col)
            around = region_box(cell)
            if strip is None:
                parts = [part for box in boxes if (part := _common(box, around)) is not None]
                piece_area = self
            else:
                cut = shapely().clip_by_rect(strip, *around)
                parts = [part.bounds for part in shapely().get_parts(cut) if part.area > 0]
                piece_area = Area(self.name, (around,), cut)
                shapely().prepare(cut)
            if parts:
                west, south, east, north = zip(*parts, strict=True)
                yield Piece(cell, (min(west), min(south), max(east), max(north)), piece_area)


def earth() -> Area:
    """All latitudes that Sentinel-2 acquires systematically."""
    return Area("Earth", ((-180.0, ACQUIRED_SOUTH, 180.0, ACQUIRED_NORTH),))


def parse_area(text: str) -> Area:
    """An area as a person gives it: four numbers, or a file of polygons.

    Raises:
        InputError: neither, degrees off the Earth, no height or width, or a file that `read_area` refuses.
    """
    numbers = text.split(",")
    if len(numbers) != 4 and (Path(text).suffix.lower() in SUFFIXES or Path(text).exists()):
        return read_area(Path(text))
    try:
        west, south, east, north = map(float, numbers)
    except ValueError:
        raise InputError(f"{text!r} is no area", fix=_EXAMPLE) from None
    try:
        check_position(west, south)
        check_position(east, north)
    except InputError as error:
        raise InputError(f"area {text!r}: {error.what}", fix=_EXAMPLE) from None
    if south >= north or west == east:
        raise InputError(f"area {text!r} has no height or width: south {south:g}, north {north:g}", fix=_EXAMPLE)
    if west < east:
        return Area(text, ((west, south, east, north),))
    boxes = ((west, south, 180.0, north), (-180.0, south, east, north))
    return Area(text, tuple(box for box in boxes if box[0] < box[2]))


def read_area(file: Path) -> Area:
    """The polygons of a GeoJSON file; straight edges are straight in degrees (RFC 7946, 3.1.1).

    Raises:
        InputError: see `skysense.curate.geojson.read_features` and `skysense.curate.geojson.areas_on_earth`.
        MissingExtra: shapely is not installed.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise InputError("is no area: only GeoJSON is read", file=file, fix=_EXAMPLE)
    polygons = areas_on_earth(read_features(file), file)
    if polygons.is_empty:
        raise InputError("holds no polygon with an area", file=file)
    shapely().prepare(polygons)
    return Area(str(file), (polygons.bounds,), polygons)


def _column(lon: float) -> int:
    return region_grid(region_cell(lon, 0))[1]


def _common(one: Box, other: Box) -> Box | None:
    west, south = max(one[0], other[0]), max(one[1], other[1])
    east, north = min(one[2], other[2]), min(one[3], other[3])
    return (west, south, east, north) if west < east and south < north else None


def _around(spans: list[tuple[float, float]]) -> tuple[float, float]:
    """West and east of the shortest way round the Earth that holds all spans of longitude."""
    merged: list[list[float]] = []
    for west, east in sorted(spans):
        if merged and west <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], east)
        else:
            merged.append([west, east])
    gaps = [(merged[0][0] + 360 - merged[-1][1], 0)]
    gaps += [(merged[at][0] - merged[at - 1][1], at) for at in range(1, len(merged))]
    widest = max(gaps, key=lambda gap: gap[0])[1]
    if math.isclose(max(gap for gap, _ in gaps), 0, abs_tol=1e-9):
        return -180.0, 180.0
    return merged[widest][0], merged[widest - 1][1]
