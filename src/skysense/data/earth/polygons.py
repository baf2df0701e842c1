"""Convex polygons in metres: cut them, subdivide them, make strips of their edges, paint them on a grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Polygon = NDArray[np.float64]  # (n, 2) corners x, y in metres; y grows downward as image rows do


@dataclass(frozen=True)
class Cut:
    """A line along which a polygon was divided: its two ends, and how many divisions came before it."""

    ends: Polygon
    level: int


def rectangle(left: float, top: float, right: float, bottom: float) -> Polygon:
    """Four corners."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def area(polygon: Polygon) -> float:
    """In square metres."""
    x, y = polygon.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def cut(polygon: Polygon, point: Polygon, normal: Polygon) -> tuple[Polygon, Polygon, Polygon] | None:
    """Divide a convex polygon along a line.

    Returns:
        The part the normal points away from, the other part, and the two ends of the cut; None if the line misses.
    """
    side = (polygon - point) @ normal
    parts: tuple[list[Polygon], list[Polygon]] = ([], [])
    ends: list[Polygon] = []
    for i, here in enumerate(side):
        j = (i + 1) % len(side)
        parts[int(here > 0)].append(polygon[i])
        if (here > 0) != (side[j] > 0):
            crossing = polygon[i] + (polygon[j] - polygon[i]) * (here / (here - side[j]))
            ends.append(crossing)
            parts[0].append(crossing)
            parts[1].append(crossing)
    if len(ends) != 2 or min(len(parts[0]), len(parts[1])) < 3:
        return None
    return np.array(parts[0]), np.array(parts[1]), np.array(ends)


def subdivide(
    rng: Generator, polygon: Polygon, side: float, angle: float, tilt: float
) -> tuple[list[Polygon], list[Cut]]:
    """Divide a convex polygon until its parts are about ``side`` metres wide.

    Args:
        rng: random numbers.
        polygon: what is divided.
        side: the square root of the area to stop at.
        angle: direction of the cuts, radians.
        tilt: by how much cuts deviate from it, radians.

    Returns:
        Parts, and cuts from the first to the last.
    """
    parts: list[Polygon] = []
    cuts: list[Cut] = []
    open_parts = [(polygon, 0)]
    while open_parts:
        part, level = open_parts.pop(0)
        if area(part) < side**2 * rng.uniform(0.9, 1.9):
            parts.append(part)
            continue
        axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        along = part @ axes.T
        low, high = along.min(0), along.max(0)
        longest = int(np.argmax((high - low) * rng.uniform(0.85, 1.15, 2)))
        turn = rng.normal(0, tilt)
        normal = axes[longest] * np.cos(turn) + axes[1 - longest] * np.sin(turn)
        point = (low + (high - low) * rng.uniform(0.38, 0.62, 2)) @ axes
        result = cut(part, point, normal)
        if result is None:
            parts.append(part)
            continue
        first, second, ends = result
        cuts.append(Cut(ends, level))
        open_parts += [(first, level + 1), (second, level + 1)]
    return parts, cuts


def strip(ends: Polygon, width: float) -> Polygon:
    """A rectangle of ``width`` metres along a line, a little longer than it."""
    direction = (ends[1] - ends[0]) / max(float(np.hypot(*(ends[1] - ends[0]))), 1e-9)
    across = np.array([-direction[1], direction[0]]) * width / 2
    start, stop = ends[0] - direction * width / 2, ends[1] + direction * width / 2
    return np.array([start + across, stop + across, stop - across, start - across])


def shrink(polygon: Polygon, distance: float) -> Polygon | None:
    """Move every edge of a convex polygon inward; None if nothing is left."""
    centre = polygon.mean(0)
    result = polygon
    for start, stop in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        edge = stop - start
        length = float(np.hypot(*edge))
        if length < 1e-6:
            continue
        normal = np.array([edge[1], -edge[0]]) / length
        if (centre - start) @ normal > 0:
            normal = -normal
        side = (result - start) @ normal + distance
        if (side > 0).all():
            return None
        parts = cut(result, start - normal * distance, normal)
        result = result if parts is None else parts[0]
    return result


def paint(shapes: Iterable[tuple[Polygon, int]], onto: NDArray[np.int16], pixel: float, origin: float) -> None:
    """Write values into a grid wherever a polygon covers the centre of a pixel; later ones cover earlier ones.

    Args:
        shapes: polygons and the value of each.
        onto: ``(H, W)``; its upper left corner lies at ``(origin, origin)`` metres.
        pixel: its size in metres.
        origin: see ``onto``.
    """
    from affine import Affine
    from rasterio.features import rasterize

    geometries = [
        ({"type": "Polygon", "coordinates": [[*polygon.tolist(), polygon[0].tolist()]]}, value)
        for polygon, value in shapes
    ]
    if geometries:
        rasterize(geometries, out=onto, transform=Affine(pixel, 0, origin, 0, pixel, origin))
