"""What the fakes draw: smooth pictures, boxes that do not overlap, and the pixels inside a polygon.

H rows, W columns, C bands; a corner is (x, y) in pixels, x to the right, y down, 0 the outer edge of the first pixel.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import DTypeLike, NDArray
from rasterio.errors import NotGeoreferencedWarning


def smooth(
    rng: np.random.Generator, bands: int, height: int, width: int, *,
    low: float = 40, high: float = 215, dtype: DTypeLike = np.uint8, grain: int = 24,
) -> NDArray:  # fmt: skip
    """``(C, H, W)`` that changes slowly (a knot every ``grain`` pixels), so that JPEG keeps it nearly."""
    rows, cols = _between(height, grain), _between(width, grain)
    knots = rng.uniform(low, high, (bands, rows.shape[1], cols.shape[1])).astype(np.float32)
    return (rows @ knots @ cols.T).astype(dtype)


def _between(length: int, grain: int) -> NDArray[np.float32]:
    """``(length, knots)`` weights of linear interpolation."""
    at = np.arange(length) / grain
    weights = np.zeros((length, int(at[-1]) + 2), np.float32)
    left = at.astype(int)
    weights[np.arange(length), left] = 1 - (at - left)
    weights[np.arange(length), left + 1] = at - left
    return weights


def scattered(
    rng: np.random.Generator, count: int, height: int, width: int, *, turned: bool
) -> list[NDArray[np.float64]]:
    """Corners ``(4, 2)``, clockwise on the screen, whole pixels, of boxes that lie apart (each in a cell of a grid)."""
    if count == 0:
        return []
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    cell_h, cell_w = height / down, width / across
    boxes = []
    for cell in rng.permutation(across * down)[:count]:
        centre = np.array([(cell % across + 0.5) * cell_w, (cell // across + 0.5) * cell_h])
        half = np.array([rng.uniform(0.25, 0.32), rng.uniform(0.15, 0.25)]) * min(cell_h, cell_w)
        angle = rng.uniform(0, math.pi) if turned else 0.0
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
        boxes.append(np.round(corners @ turn + centre))
    return boxes


def around(corners: NDArray) -> NDArray[np.float64]:
    """Corners of the upright box around some corners."""
    (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def paint(picture: NDArray, corners: NDArray, value: object) -> None:
    """Set the pixels ``(..., H, W)`` whose centre is inside a convex polygon (corners clockwise on the screen).

    ``value``: a number, or one for each band.
    """
    height, width = picture.shape[-2:]
    x0, y0 = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(corners.max(axis=0)).astype(int), (width, height))
    xs, ys = np.arange(x0, x1) + 0.5, np.arange(y0, y1)[:, None] + 0.5
    inside = np.ones((max(y1 - y0, 0), max(x1 - x0, 0)), bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside &= (bx - ax) * (ys - ay) - (by - ay) * (xs - ax) >= 0
    window = picture[..., y0:y1, x0:x1]
    window[..., inside] = np.asarray(value)[..., None]


def decoded(path: Path) -> NDArray:
    """``(C, H, W)`` of a file whose compression loses something: what is stored is what comes back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return file.read()
