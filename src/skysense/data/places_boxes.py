"""Oriented boxes of things on a place: corners in pixels of the high-resolution image, and their JSON file.

Coordinates are pixels: x to the right and y downward from the upper left corner of the image, so that the first pixel
reaches from 0 to 1 and its centre lies at 0.5. Letters: N boxes, K corners of a polygon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.places_layout import Legend
from skysense.errors import InputError
from skysense.files import read_json
from skysense.geo import CELL_HR_PX, Window

BOXES_VERSION = 1
Polygon = NDArray[np.float64]


@dataclass(frozen=True)
class Boxes:
    """Oriented boxes of one label of one place; a box may reach beyond the edge of the image.

    Attributes:
        corners: ``(N, 4, 2)`` float64, x and y of four corners in pixels, one after the other around the box.
        classes: ``(N,)`` int64, indices into the legend's classes.
        visible: ``(N,)`` float64, share of the box that is seen in the image, 0 .. 1: what the edge of the image cuts
            off and what trees hide is missing.

    Raises:
        InputError: shapes or types that disagree.
    """

    corners: NDArray[np.float64]
    classes: NDArray[np.int64]
    visible: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.corners)
        shapes = self.corners.shape, self.classes.shape, self.visible.shape
        if shapes != ((count, 4, 2), (count,), (count,)):
            raise InputError(f"boxes are corners (N, 4, 2), classes (N,) and visible (N,); got {shapes}")
        if (self.corners.dtype.kind, self.classes.dtype.kind, self.visible.dtype.kind) != ("f", "i", "f"):
            raise InputError("corners and visible shares of boxes are floating-point numbers, classes are integers")

    def __len__(self) -> int:
        return len(self.corners)

    @staticmethod
    def none() -> Boxes:
        """No box at all: a place that was searched, and on which there is none."""
        return Boxes(np.empty((0, 4, 2)), np.empty(0, np.int64), np.empty(0))

    @property
    def areas(self) -> NDArray[np.float64]:
        """``(N,)`` in square pixels, with what lies beyond the edge."""
        return np.array([polygon_area(corners) for corners in self.corners])

    def horizontal(self, height: int, width: int) -> NDArray[np.float64]:
        """The upright boxes around the parts that lie in an image.

        Args:
            height: of the image in pixels.
            width: likewise.

        Returns:
            ``(N, 4)`` x1, y1, x2, y2; not a number for a box that lies outside.
        """
        edges = np.full((len(self), 4), np.nan)
        for at, corners in enumerate(self.corners):
            part = clip(corners, height, width)
            if len(part):
                edges[at] = [*part.min(0), *part.max(0)]
        return edges

    def crop(self, window: Window) -> Boxes:
        """The boxes that reach into a window, in pixels of that window.

        Their visible share is at most what the window leaves of them; where on a box trees stand is not known.

        Args:
            window: in cells of the lattice.
        """
        pixels = window.scaled(CELL_HR_PX)
        moved = self.corners - np.array([pixels.col, pixels.row], np.float64)
        inside = [polygon_area(clip(corners, pixels.height, pixels.width)) for corners in moved]
        share = np.array(inside) / self.areas if len(self) else np.empty(0)
        kept = share > 0
        return Boxes(moved[kept], self.classes[kept], np.minimum(self.visible, share)[kept])


def polygon_area(corners_K2: Polygon) -> float:
    """In square pixels (the shoelace formula); 0 of an empty polygon."""
    x, y = corners_K2.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def clip(corners_K2: Polygon, height: int, width: int) -> Polygon:
    """The part of a convex polygon that lies in an image (Sutherland and Hodgman 1974), ``(K, 2)``; K is 0 if none."""
    if (corners_K2 >= 0).all() and (corners_K2 <= [width, height]).all():
        return corners_K2
    for axis, limit in ((0, width), (1, height)):
        for sign, edge in ((1.0, 0.0), (-1.0, float(limit))):
            corners_K2 = _half_plane(corners_K2, sign * (corners_K2[:, axis] - edge))
    return corners_K2


def _half_plane(corners_K2: Polygon, depth_K: NDArray[np.float64]) -> Polygon:
    """The part of a convex polygon where the depth of its corners is positive, interpolated between them."""
    kept: list[Polygon] = []
    for at in range(len(corners_K2)):
        here, there = depth_K[at - 1], depth_K[at]
        if (here > 0) != (there > 0):
            kept.append(corners_K2[at - 1] + (corners_K2[at] - corners_K2[at - 1]) * (here / (here - there)))
        if there > 0:
            kept.append(corners_K2[at])
    return np.array(kept).reshape(-1, 2)


def boxes_to_json(boxes: Boxes, legend: Legend) -> dict[str, Any]:
    """The content of a label's file; corners are rounded to a hundredth of a pixel."""
    return {
        "version": BOXES_VERSION,
        "boxes": [
            {
                "class": legend.classes[kind],
                "corners": np.round(corners, 2).tolist(),
                "visible": round(float(visible), 4),
            }
            for corners, kind, visible in zip(boxes.corners, boxes.classes, boxes.visible, strict=True)
        ],
    }


def read_boxes_file(path: Path, label: str, legend: Legend) -> Boxes:
    """Read the boxes of a label; see docs/places.md. A box without a visible share is all visible.

    Raises:
        InputError: missing or truncated, a newer version, a class that the legend does not know, or corners that are
            not four pairs of numbers.
    """
    content = read_json(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("boxes"), list):
        raise InputError("must be a JSON object with a list of 'boxes'", file=path)
    if content.get("version") != BOXES_VERSION:
        raise InputError(f"is version {content.get('version')!r}; this program reads {BOXES_VERSION}", file=path)
    entries = content["boxes"]
    if not entries:
        return Boxes.none()
    corners, classes, visible = zip(
        *(_entry(box, at, label, legend, path) for at, box in enumerate(entries)), strict=True
    )
    return Boxes(np.array(corners, np.float64), np.array(classes, np.int64), np.array(visible, np.float64))


def _entry(box: Any, at: int, label: str, legend: Legend, path: Path) -> tuple[list[list[float]], int, float]:
    if not isinstance(box, Mapping):
        raise InputError(f"box {at} must be a JSON object with 'class' and 'corners'", file=path)
    corners, name, visible = box.get("corners"), box.get("class"), box.get("visible", 1.0)
    if not isinstance(corners, list) or len(corners) != 4 or not all(map(_is_point, corners)):
        raise InputError(f"box {at} needs corners [[x, y], [x, y], [x, y], [x, y]] in pixels", file=path)
    if name not in legend.classes:
        raise InputError(
            f"box {at} of {label!r} is a {name!r}, which its legend does not know",
            file=path,
            fix=f"Known: {', '.join(legend.classes)}",
        )
    if not _is_number(visible):
        raise InputError(f"visible share of box {at} must be a number; got {visible!r}", file=path)
    return corners, legend.classes.index(name), float(visible)


def _is_point(point: Any) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(map(_is_number, point))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
