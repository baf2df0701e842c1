"""Polygons of scenes: cut by the edge of a swath, brought to longitude and latitude, compared with what is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

Point = tuple[float, float]
Ring = Sequence[Point]


@lru_cache(maxsize=64)
def transformer(source: str, target: str) -> Any:
    """A pyproj transformer with x (longitude) first."""
    import pyproj

    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def geographic(crs: str, ring: Ring) -> list[list[float]]:
    """A closed ring of longitude and latitude, seven decimals, counter-clockwise as RFC 7946 wants it."""
    x, y = transformer(crs, "EPSG:4326").transform(*np.array(ring, np.float64).T)
    points = [[round(float(lon), 7), round(float(lat), 7)] for lon, lat in zip(x, y, strict=True)]
    if _signed_area(points) < 0:
        points.reverse()
    return [*points, points[0]]


def _signed_area(points: Sequence[Sequence[float]]) -> float:
    x, y = np.array(points, np.float64).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def cut(ring: Ring, normal: Point, reach: float) -> list[Point]:
    """The part of a convex ring where ``normal . point <= reach`` (Sutherland and Hodgman, 1974)."""
    kept: list[Point] = []
    for index, here in enumerate(ring):
        before = ring[index - 1]
        over_before, over = (float(np.dot(normal, point)) - reach for point in (before, here))
        if (over_before > 0) != (over > 0):
            part = over_before / (over_before - over)
            kept.append((before[0] + part * (here[0] - before[0]), before[1] + part * (here[1] - before[1])))
        if over <= 0:
            kept.append(here)
    return kept


def box_ring(west: float, south: float, east: float, north: float) -> list[Point]:
    """A bounding box as a ring."""
    return [(west, south), (east, south), (east, north), (west, north)]


def rings_of(geometry: Mapping[str, Any]) -> list[list[Point]]:
    """Outer rings of a GeoJSON geometry; a point or a line is a ring without area.

    Raises:
        ValueError: a type that is none of those.
    """
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        return [ring for part in geometry["geometries"] for ring in rings_of(part)]
    told = geometry["coordinates"]
    match kind:
        case "Point":
            found = [[told]]
        case "MultiPoint":
            found = [[point] for point in told]
        case "LineString":
            found = [told]
        case "MultiLineString":
            found = told
        case "Polygon":
            found = [told[0]]
        case "MultiPolygon":
            found = [polygon[0] for polygon in told]
        case _:
            raise ValueError(f"no such geometry: {kind!r}")
    return [[(float(point[0]), float(point[1])) for point in ring] for ring in found]


def meet(one: Ring, other: Ring) -> bool:
    """Whether two rings share a point: a corner of one lies within the other, or their edges cross."""
    if any(_within(point, other) for point in one) or any(_within(point, one) for point in other):
        return True
    return any(_cross(*edge, *against) for edge in _edges(one) for against in _edges(other))


def _edges(ring: Ring) -> list[tuple[Point, Point]]:
    return [(ring[index - 1], point) for index, point in enumerate(ring)]


def _side(start: Point, end: Point, point: Point) -> float:
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    near = all(min(a[i], b[i]) <= max(c[i], d[i]) and min(c[i], d[i]) <= max(a[i], b[i]) for i in (0, 1))
    return near and _side(a, b, c) * _side(a, b, d) <= 0 and _side(c, d, a) * _side(c, d, b) <= 0


def _within(point: Point, ring: Ring) -> bool:
    """By the even number of edges a ray to the east crosses."""
    inside = False
    for start, end in _edges(ring):
        if (start[1] > point[1]) != (end[1] > point[1]):
            at = start[0] + (point[1] - start[1]) * (end[0] - start[0]) / (end[1] - start[1])
            inside ^= at > point[0]
    return inside
