"""Boxes of an image and of parts of it: what is refused, what is cut at an edge.

A part of an image keeps a box if at least half of its area lies inside; a smaller rest is there but neither to be found
nor wrong when found. Letters: N boxes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.example import Boxes, OrientedBoxes
from skysense.data.labelled.polygons import clipped, shapely
from skysense.errors import InputError
from skysense.geo import Window

KEPT_SHARE = 0.5
"""Share of a box that must lie in a part of an image to count there."""
_PIXELS = 0.01  # narrower boxes come from rounding


def check_boxes(corners_N4: NDArray[np.floating], whole: tuple[int, int], *, file: Path, names: Sequence[str]) -> None:
    """Refuse boxes that cannot be right.

    Args:
        corners_N4: x1, y1, x2, y2.
        whole: height and width of the image.
        file: of the labels.
        names: of the boxes, for messages.

    Raises:
        InputError: a box that is not finite, has no area or lies wholly outside the image.
    """
    for broken_N, rule in _rules(corners_N4, whole):
        if broken_N.any():
            at = int(broken_N.argmax())
            box = ", ".join(f"{value:g}" for value in corners_N4[at])
            raise InputError(
                f"{names[at]} {rule} (x1, y1, x2, y2 = {box}; the image is {whole[1]} x {whole[0]} px)",
                file=file,
                fix="Correct it or take it out",
            )


def sound_boxes(corners_N4: NDArray[np.floating], whole: tuple[int, int]) -> NDArray[np.bool_]:
    """Which boxes `check_boxes` would let pass: ``(N,)``."""
    return ~np.any([broken_N for broken_N, _ in _rules(corners_N4, whole)], axis=0)


def _rules(corners_N4: NDArray[np.floating], whole: tuple[int, int]) -> tuple[tuple[NDArray[np.bool_], str], ...]:
    """Which boxes break a rule, and words for it."""
    values_N4 = np.asarray(corners_N4, float).reshape(-1, 4)
    x1, y1, x2, y2 = values_N4.T
    finite: NDArray[np.bool_] = np.isfinite(values_N4).all(axis=1)
    return (
        (~finite, "holds numbers that are not finite"),
        (finite & ~((x2 - x1 > _PIXELS) & (y2 - y1 > _PIXELS)), "has no area"),
        (finite & ((x2 <= 0) | (y2 <= 0) | (x1 >= whole[1]) | (y1 >= whole[0])), "lies wholly outside the image"),
    )


def hanging_over(corners_N4: NDArray[np.floating], whole: tuple[int, int]) -> int:
    """How many boxes reach over the edge of their image by more than a pixel's rounding."""
    if not len(corners_N4):
        return 0
    low, high = corners_N4[:, :2].min(axis=1), corners_N4[:, 2:] - np.array(whole[::-1])
    return int(((low < -0.5) | (high.max(axis=1) > 0.5)).sum())


def cut_boxes(boxes: Boxes, area: Window, whole: tuple[int, int]) -> Boxes:
    """The boxes of a part of an image, in its own pixels, cut at its edges.

    What of a box lies outside the image was never to be seen and does not count against its share.
    """
    x1, y1, x2, y2 = boxes.corners_N4.T
    seen = _inside(x1, y1, x2, y2, 0, 0, whole[1], whole[0])
    cut = _inside(*seen, area.col, area.row, area.col + area.width, area.row + area.height)
    wide, high = cut[2] - cut[0], cut[3] - cut[1]
    here = (wide > _PIXELS) & (high > _PIXELS)
    share = wide * high / np.maximum((seen[2] - seen[0]) * (seen[3] - seen[1]), 1e-9)
    corners = np.stack(cut, axis=1) - np.array([area.col, area.row] * 2, np.float32)
    ignore = boxes.ignore_N | (share < KEPT_SHARE)
    return Boxes(corners[here].astype(np.float32), boxes.label_N[here], ignore[here])


def _inside(
    x1: NDArray, y1: NDArray, x2: NDArray, y2: NDArray, left: float, top: float, right: float, bottom: float
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    return x1.clip(left, right), y1.clip(top, bottom), x2.clip(left, right), y2.clip(top, bottom)


def cut_oriented(boxes: OrientedBoxes, area: Window, whole: tuple[int, int]) -> OrientedBoxes:
    """The oriented boxes of a part of an image, in its own pixels; a rectangle may hang over the edge."""
    shares = np.ones(len(boxes), np.float32)
    everything = Window(0, 0, *whole)
    low, high = boxes.corners_N42.min(axis=1), boxes.corners_N42.max(axis=1)
    end = np.array([area.col + area.width, area.row + area.height])
    over = (low < [area.col, area.row]).any(axis=1) | (high > end).any(axis=1)
    for index in np.flatnonzero(over):
        box = shapely().Polygon(boxes.corners_N42[index])
        shares[index] = clipped(box, area).area / max(clipped(box, everything).area, 1e-9)
    here = shares > 0
    corners = boxes.corners_N42 - np.array([area.col, area.row], np.float32)
    ignore = boxes.ignore_N | (shares < KEPT_SHARE)
    return OrientedBoxes(corners[here], boxes.label_N[here], ignore[here])


def enclosing(corners_N42: NDArray[np.float32]) -> NDArray[np.float32]:
    """Horizontal boxes ``(N, 4)`` around oriented ones."""
    return np.concatenate([corners_N42.min(axis=1), corners_N42.max(axis=1)], axis=1).astype(np.float32)
