"""Images of any grid on another one: means over cells of the lattice, or the pixel beneath each pixel.

Letters: C bands, H W pixels, h w cells, N cells along an axis, M pixels along an axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.head import Head
from skysense.errors import InputError
from skysense.geo import CELL_HR_PX, Window

_FINEST = 6  # decimals of a pixel: coordinates of metres do not lie exactly on pixels


@dataclass(frozen=True)
class Overlap:
    """Which pixels lie on which cells along one axis.

    Attributes:
        start: the first pixel.
        covered_NM: float64, how much of a pixel lies on a cell, 0 .. 1.
        length_N: lengths of the cells in pixels.
    """

    start: int
    covered_NM: NDArray[np.float64]
    length_N: NDArray[np.float64]


@dataclass(frozen=True)
class Overlaps:
    """Which pixels of an image lie on which cells, by rows and by columns."""

    rows: Overlap
    cols: Overlap

    @property
    def pixels(self) -> Window | None:
        """The pixels that lie on any of the cells; None if none does."""
        height, width = self.rows.covered_NM.shape[1], self.cols.covered_NM.shape[1]
        return Window(self.rows.start, self.cols.start, height, width) if height and width else None

    def means(self, values_CHW: NDArray, seen_HW: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Means over the cells.

        Args:
            values_CHW: of `pixels`.
            seen_HW: which of them were observed; no others count.

        Returns:
            Means ``(C, h, w)``, zero where there are none, and which cells ``(h, w)`` are observed: at least half.
        """
        down, across = self.rows.covered_NM, self.cols.covered_NM.T
        weight_hw = down @ seen_HW.astype(np.float64) @ across
        valid_hw = weight_hw.round(_FINEST) >= (self.rows.length_N[:, None] * self.cols.length_N / 2).round(_FINEST)
        means_Chw = np.zeros((len(values_CHW), *valid_hw.shape), np.float32)
        for values_HW, means_hw in zip(values_CHW, means_Chw, strict=True):
            sums_hw = down @ np.where(seen_HW, values_HW, 0).astype(np.float64) @ across
            means_hw[valid_hw] = sums_hw[valid_hw] / weight_hw[valid_hw]
        return means_Chw, valid_hw


def overlaps(source: Head, ground: Head, area: Window, file: Path) -> Overlaps:
    """Where the cells of a part of an image lie on another one.

    Args:
        source: of the image to average.
        ground: of the image that the lattice lies on: a cell is 32 of its pixels from its upper left corner.
        area: the part of the ground, in its pixels, starting on a cell; the last cells end with it.
        file: the image to average, for messages.

    Raises:
        InputError: images that are not north up, of different CRS, or of different size where one has no place.
    """
    down = np.append(np.arange(area.row, area.row + area.height, CELL_HR_PX), area.row + area.height)
    across = np.append(np.arange(area.col, area.col + area.width, CELL_HR_PX), area.col + area.width)
    y, x = _onto(source, ground, down.astype(np.float64), across.astype(np.float64), file)
    return Overlaps(_overlap(y, source.height), _overlap(x, source.width))


def beneath(source: Head, ground: Head, area: Window, file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The row ``(H,)`` and column ``(W,)`` of the pixels of an image beneath the centres of those of a part of another.

    They may lie beside the image: below zero, or its height or width and more.

    Args:
        source: of the image to take pixels from.
        ground: of the image whose pixels are asked for.
        area: the part of the ground, in its pixels.
        file: the image to take pixels from, for messages.

    Raises:
        InputError: as `overlaps`.
    """
    down, across = np.arange(area.height, dtype=np.float64), np.arange(area.width, dtype=np.float64)
    y, x = _onto(source, ground, area.row + down + 0.5, area.col + across + 0.5, file)
    return np.floor(y.round(_FINEST)).astype(np.int64), np.floor(x.round(_FINEST)).astype(np.int64)


def _onto(
    source: Head, ground: Head, y: NDArray[np.float64], x: NDArray[np.float64], file: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows and columns of one image, in pixels, as those of another; errors as `overlaps`."""
    if source.crs is None or ground.crs is None:
        if (source.height, source.width) != (ground.height, ground.width):
            raise InputError(
                f"is {source.height} x {source.width} px, the labels {ground.height} x {ground.width} px, and nothing "
                "says where they lie",
                file=file,
            )
        return y, x
    if source.crs != ground.crs:
        raise InputError(f"lies in {source.crs.to_string()}, the labels in {ground.crs.to_string()}", file=file)
    (a, b, c, d, e, f), (a2, b2, c2, d2, e2, f2) = source.transform[:6], ground.transform[:6]
    if b or d or b2 or d2:
        raise InputError("or its labels do not lie north up", file=file)
    return (e2 * y + f2 - f) / e, (a2 * x + c2 - c) / a


def _overlap(edges: NDArray[np.float64], length: int) -> Overlap:
    """Pixels of an axis of so many under cells with these ``N + 1`` edges, in pixels."""
    edges = edges.round(_FINEST)
    start, stop = (int(np.clip(edge, 0, length)) for edge in (np.floor(edges[0]), np.ceil(edges[-1])))
    pixels_M = np.arange(start, max(start, stop))
    covered_NM = np.minimum(edges[1:, None], pixels_M + 1) - np.maximum(edges[:-1, None], pixels_M)
    return Overlap(start, covered_NM.clip(0), np.diff(edges))
