"""Content and files of the fakes: smooth random bands, patches of ground, GeoTIFF and JPEG.

C: bands; H, W: rows, columns.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import ArrayLike, DTypeLike, NDArray
from rasterio.errors import NotGeoreferencedWarning

_KNOTS = 5


def smooth(
    rng: np.random.Generator, shape_CHW: tuple[int, int, int], low: ArrayLike, high: ArrayLike, dtype: DTypeLike
) -> NDArray:
    """Random bands between two values, or two of each band, without sharp edges: what JPEG keeps nearly."""
    bands, height, width = shape_CHW
    low_C11, high_C11 = (np.reshape(limit, (-1, 1, 1)) for limit in (low, high))
    knots = rng.uniform(low_C11, high_C11, (bands, _KNOTS, _KNOTS))
    values = _between_knots(height) @ knots @ _between_knots(width).T
    return values.astype(dtype) if np.issubdtype(dtype, np.floating) else np.rint(values).astype(dtype)


def _between_knots(length: int) -> NDArray[np.float64]:
    """Weights ``(length, knots)`` of linear interpolation."""
    at = np.linspace(0, _KNOTS - 1, length)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(_KNOTS)))


def regions(rng: np.random.Generator, height: int, width: int, values: Sequence[int]) -> NDArray[np.int64]:
    """A map of as many regions as values, each nearest to its own seed: every value occurs."""
    seeds = rng.choice(height * width, len(values), replace=False)
    rows, columns = np.mgrid[:height, :width]
    away = [(rows - seed // width) ** 2 + (columns - seed % width) ** 2 for seed in seeds]
    return np.asarray(values, np.int64)[np.argmin(away, 0)]


def write_tiff(path: Path, values_CHW: NDArray, crs: str | None, transform: Affine | None, **profile) -> None:
    _write(path, "GTiff", values_CHW, crs=crs, transform=transform, **profile)


def write_jpeg(path: Path, values_CHW: NDArray[np.uint8]) -> None:
    _write(path, "JPEG", values_CHW, quality=95)


def _write(path: Path, driver: str, values_CHW: NDArray, **profile) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values_CHW.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver=driver, count=count, height=height, width=width, dtype=values_CHW.dtype, **profile
        ) as file:
            file.write(values_CHW)


def write_lines(path: Path, lines: Sequence[str], last: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + last, "utf-8")
