"""The part of the ground that is wanted: a box in degrees, or polygons of a GeoJSON file."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rasterio.features import geometry_mask

from skysense.errors import InputError
from skysense.maps.grid import Grid
from skysense.maps.sources.position import DEGREES, between

if TYPE_CHECKING:
    from skysense.maps.sources.extent import Edges

_STEP = 0.001  # degrees between corners along an edge that is brought into another CRS: about 100 m
_MOST = 512  # corners along one edge
_BOX_FIX = "An area is W,S,E,N in degrees (WGS 84), e.g. 11.2,48.0,11.9,48.3, or a GeoJSON file of polygons"


@dataclass(frozen=True)
class Area:
    """Polygons in longitude and latitude.

    Attributes:
        name: what messages call it.
        rings: of every polygon the outer ring and the holes, corners (lon, lat).
        cuts: cells whose middle lies outside are no-data; a box only sets the extent.
    """

    name: str
    rings: tuple[tuple[tuple[tuple[float, float], ...], ...], ...]
    cuts: bool = True

    @property
    def digest(self) -> str:
        """A hash of its corners."""
        return hashlib.sha256(json.dumps([self.cuts, self.rings]).encode()).hexdigest()[:16]

    def edges(self, base: Grid) -> Edges:
        """The rectangle around it in rows and columns of a grid."""
        from skysense.maps.sources.extent import Edges

        corners = np.concatenate([ring for polygon in self.on(base) for ring in polygon])
        col, row = base.where(corners[:, 0], corners[:, 1])
        if not (np.isfinite(col).all() and np.isfinite(row).all()):
            raise InputError(f"the area {self.name} reaches where the CRS of the map does not", fix=_BOX_FIX)
        return Edges(row.min(), col.min(), row.max(), col.max())

    def on(self, grid: Grid) -> list[list[NDArray[np.float64]]]:
        """Its rings in map units of a grid."""
        return [[_brought(ring, grid) for ring in polygon] for polygon in self.rings]


@dataclass(frozen=True)
class Cut:
    """An area on the cells of a map."""

    shapes: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, area: Area, grid: Grid) -> Cut:
        """On a grid."""
        return cls(
            tuple({"type": "Polygon", "coordinates": [ring.tolist() for ring in rings]} for rings in area.on(grid))
        )

    def inside(self, cells: Grid) -> NDArray[np.bool_]:
        """``(h, w)``: cells whose middle lies within."""
        return geometry_mask(self.shapes, (cells.height, cells.width), cells.transform, invert=True)


def as_area(given: str | Path | Sequence[float] | Area) -> Area:
    """An area out of four numbers, a text of four numbers, or a GeoJSON file.

    Raises:
        InputError: not four numbers, off the Earth, empty, across the antimeridian; a file that is no GeoJSON of
            polygons.
        MissingExtra: polygons need shapely.
    """
    if isinstance(given, Area):
        return given
    if isinstance(given, str | Path):
        if str(given).lower().endswith((".geojson", ".json")):
            return _of_file(Path(given))
        try:
            numbers = [float(part) for part in str(given).strip("[]() ").split(",")]
        except ValueError as error:
            raise InputError(f"{str(given)!r} is no area", fix=_BOX_FIX) from error
    else:
        numbers = [float(number) for number in given]
    return _of_box(numbers)


def _of_box(numbers: list[float]) -> Area:
    name = ",".join(f"{number:g}" for number in numbers)
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise InputError(f"the area {name} is not four numbers", fix=_BOX_FIX)
    west, south, east, north = numbers
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise InputError(f"the area {name} is not longitude and latitude in degrees", fix=_BOX_FIX)
    if west > east:
        raise InputError(
            f"the area {name} has its west east of its east",
            fix="An area must not cross the antimeridian: make a map on either side of it",
        )
    if west == east or south >= north:
        raise InputError(f"the area {name} is empty", fix=_BOX_FIX)
    ring = ((west, south), (east, south), (east, north), (west, north), (west, south))
    return Area(name, ((ring,),), cuts=False)


def _of_file(path: Path) -> Area:
    from skysense.curate.geojson import areas_on_earth, read_features

    union = areas_on_earth(read_features(path), path)
    polygons = [part for part in getattr(union, "geoms", [union]) if part.geom_type == "Polygon" and part.area > 0]
    if not polygons:
        raise InputError("holds no area", file=path)
    west, _, east, _ = union.bounds
    if west <= -180 and east >= 180:
        raise InputError("crosses the antimeridian", file=path, fix="Make a map on either side of it, of two files")
    rings = tuple(
        tuple(tuple((x, y) for x, y, *_ in ring.coords) for ring in (polygon.exterior, *polygon.interiors))
        for polygon in polygons
    )
    return Area(path.name, rings)


def _brought(ring: Sequence[tuple[float, float]], grid: Grid) -> NDArray[np.float64]:
    """A ring in map units, with corners added along its edges, which are straight in degrees."""
    corners = np.asarray(ring, float)
    pieces = []
    for first, last in itertools.pairwise(corners):
        count = min(max(2, math.ceil(float(np.abs(last - first).max()) / _STEP)), _MOST)
        pieces.append(first + (last - first) * (np.arange(count) / count)[:, None])
    lon, lat = np.concatenate([*pieces, corners[-1:]]).T
    return np.stack(between(DEGREES, grid.crs).transform(lon, lat), axis=1)
