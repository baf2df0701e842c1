"""Pixels of one grid on another: as they are where both lie on one lattice, repeated or resampled otherwise.

Letters: N layers of values, M layers of masks (N is a multiple of M), H W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject

from skysense.data.geotiff import pixel_metres
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.sources.position import between

_DRIFT = 0.01  # pixels by which two lattices may differ over a whole raster and still count as one
Meaning = Literal["values", "decibel", "classes"]
"""What the numbers of a raster are: decibels are averaged as the power they stand for, classes never."""

_TRACE = 1e-4  # of a pixel that was not observed may be in one that counts: rounding alone leaves less


class Placement(Protocol):
    """How pixels of a source come to lie on a target grid."""

    def needs(self, window: Window) -> Window | None:
        """The source pixels that make up a window of target pixels; None if that cannot be said (off the projection).

        May hang over the borders of the source.
        """
        ...

    def bring(
        self, values_NHW: NDArray, seen_MHW: NDArray[np.bool_], needed: Window, window: Window
    ) -> tuple[NDArray, NDArray[np.bool_]]:
        """The pixels of `needs` on the window of the target; number type kept, what is not seen is arbitrary."""
        ...

    @property
    def how(self) -> str | None:
        """What happens to the pixels, for people; None if nothing does."""
        ...


def place(source: Grid, target: Grid, *, repeat: bool = False, meaning: Meaning = "values") -> Placement:
    """How the pixels of one grid are brought onto another.

    Args:
        source: of the pixels that are there.
        target: of the pixels that are wanted.
        repeat: pixels that are a whole number of target pixels wide, and begin with one, are repeated and not
            smoothed; what Sentinel-2 bands of 20 m are.
        meaning: of the numbers.
    """
    if source.crs == target.crs:
        offset = _whole_offset(source, target, 1)
        if offset is not None:
            return Exact(*offset)
        factor = round(_pixel_ratio(target, source))
        if repeat and factor > 1:
            offset = _whole_offset(source, target, factor)
            if offset is not None:
                return Repeat(factor, *offset)
    return Warp(source, target, _ratios(source, target), meaning)


@dataclass(frozen=True)
class Exact:
    """Both grids are one lattice: source row = target row - ``row``."""

    row: int
    col: int

    def needs(self, window: Window) -> Window | None:  # noqa: D102
        return Window(window.row - self.row, window.col - self.col, window.height, window.width)

    def bring(  # noqa: D102
        self, values_NHW: NDArray, seen_MHW: NDArray[np.bool_], needed: Window, window: Window
    ) -> tuple[NDArray, NDArray[np.bool_]]:
        return values_NHW, seen_MHW

    @property
    def how(self) -> str | None:  # noqa: D102
        return None


@dataclass(frozen=True)
class Repeat:
    """A source pixel is ``factor`` x ``factor`` target pixels; the first begins at target ``row``, ``col``."""

    factor: int
    row: int
    col: int

    def needs(self, window: Window) -> Window | None:  # noqa: D102
        top, left = (window.row - self.row) // self.factor, (window.col - self.col) // self.factor
        bottom = -((self.row - window.row - window.height) // self.factor)
        right = -((self.col - window.col - window.width) // self.factor)
        return Window(top, left, bottom - top, right - left)

    def bring(  # noqa: D102
        self, values_NHW: NDArray, seen_MHW: NDArray[np.bool_], needed: Window, window: Window
    ) -> tuple[NDArray, NDArray[np.bool_]]:
        top = window.row - self.row - needed.row * self.factor
        left = window.col - self.col - needed.col * self.factor
        rows, cols = slice(top, top + window.height), slice(left, left + window.width)
        return self._repeated(values_NHW)[:, rows, cols], self._repeated(seen_MHW)[:, rows, cols]

    def _repeated(self, layers_NHW: NDArray) -> NDArray:
        return layers_NHW.repeat(self.factor, axis=1).repeat(self.factor, axis=2)

    @property
    def how(self) -> str | None:  # noqa: D102
        return f"each pixel stands for {self.factor} x {self.factor}"


@dataclass(frozen=True)
class Warp:
    """Resampled, window by window.

    Bilinear interpolation, of the means of as many pixels each way as a target pixel has room for. A pixel counts as
    observed only if everything that it is made of was.
    """

    source: Grid
    target: Grid
    ratios: tuple[float, float]
    meaning: Meaning = "values"

    def needs(self, window: Window) -> Window | None:  # noqa: D102
        spots = 17
        cols = np.linspace(window.col, window.col + window.width, spots)
        rows = np.linspace(window.row, window.row + window.height, spots)
        col, row = _source_pixels(self.source, self.target, *np.meshgrid(cols, rows))
        if not (np.isfinite(col).all() and np.isfinite(row).all()):
            return None
        down, across = self._block  # of which the first begins with the first pixel, so that all windows have the same
        top, left = math.floor(row.min() / down) - 2, math.floor(col.min() / across) - 2
        bottom, right = math.ceil(row.max() / down) + 2, math.ceil(col.max() / across) + 2
        return Window(top * down, left * across, (bottom - top) * down, (right - left) * across)

    def bring(  # noqa: D102
        self, values_NHW: NDArray, seen_MHW: NDArray[np.bool_], needed: Window, window: Window
    ) -> tuple[NDArray, NDArray[np.bool_]]:
        repeats = len(values_NHW) // len(seen_MHW)
        numbers = np.where(seen_MHW.repeat(repeats, axis=0), values_NHW, 0)
        if self.meaning == "decibel":
            numbers = np.power(np.float32(10), numbers / 10)
        layers = np.concatenate([self._means(numbers), self._means(~seen_MHW)])
        out = np.ones((len(layers), window.height, window.width), np.float32)  # unseen, where nothing is brought
        reproject(
            layers,
            out,
            src_transform=self._of_blocks(needed),
            src_crs=self.source.crs,
            dst_transform=self.target.part(window).transform,
            dst_crs=self.target.crs,
            init_dest_nodata=False,
            resampling=Resampling.nearest if self.meaning == "classes" else Resampling.bilinear,
            tolerance=0.001,
            # Without these a wider kernel, which bends slopes and differs from window to window, would be taken.
            XSCALE="1",
            YSCALE="1",
        )
        values, unseen = out[: len(values_NHW)], out[len(values_NHW) :]
        seen = unseen < _TRACE
        if self.meaning == "decibel":
            with np.errstate(divide="ignore"):
                values = 10 * np.log10(values)
        values = np.where(seen.repeat(repeats, axis=0), values, 0)
        kind = values_NHW.dtype
        return (np.rint(values) if kind.kind in "ui" else values).astype(kind), seen

    @property
    def _block(self) -> tuple[int, int]:
        """Source pixels down and across that are averaged."""
        across, down = self.ratios
        return (1, 1) if self.meaning == "classes" else (max(1, math.floor(down)), max(1, math.floor(across)))

    def _of_blocks(self, needed: Window) -> Affine:
        """From columns and rows of blocks to map units."""
        a, b, c, d, e, f = self.source.part(needed).transform[:6]
        down, across = self._block
        return Affine(a * across, b * down, c, d * across, e * down, f)

    def _means(self, layers_NHW: NDArray) -> NDArray[np.float32]:
        """Means of blocks of pixels."""
        down, across = self._block
        count, height, width = layers_NHW.shape
        if (down, across) == (1, 1):
            return layers_NHW.astype(np.float32)
        rows = layers_NHW.reshape(count, height // down, down, width).sum(axis=2, dtype=np.float32)
        return rows.reshape(count, height // down, width // across, across).sum(axis=3) / (down * across)

    @property
    def how(self) -> str | None:  # noqa: D102
        method = "interpolated" if self._block == (1, 1) else "averaged"
        return f"{method} from {pixel_metres(self.source):.3g} m to pixels of {pixel_metres(self.target):.3g} m"


def same_lattice(one: Grid, other: Grid) -> bool:
    """Whether the pixels of two rasters lie on one lattice."""
    return one.crs == other.crs and _whole_offset(one, other, 1) is not None


def offset_on(lattice: Grid, raster: Grid) -> tuple[int, int]:
    """Row and column of the lattice at which a raster of the same lattice begins."""
    offset = _whole_offset(raster, lattice, 1)
    assert offset is not None
    return offset


def _whole_offset(source: Grid, target: Grid, factor: int) -> tuple[int, int] | None:
    """Target row and column of the first source pixel, if pixels are ``factor`` target pixels and begin with one."""
    corners = np.array([(0, 0), (source.width, 0), (0, source.height)])
    cols, rows = target.where(*source.at(*corners.T))
    col, row = round(cols[0]), round(rows[0])
    drift = np.stack([cols, rows], axis=1) - (col, row) - corners * factor
    return None if np.abs(drift).max() > _DRIFT else (row, col)


def _pixel_ratio(target: Grid, source: Grid) -> float:
    return math.sqrt(abs(source.transform.determinant / target.transform.determinant))


def _ratios(source: Grid, target: Grid) -> tuple[float, float]:
    """Source pixels along a target pixel in the middle of the target, across and down the source."""
    col, row = target.width / 2, target.height / 2
    cols, rows = np.array([col, col + 1, col]), np.array([row, row, row + 1])
    x, y = _source_pixels(source, target, cols, rows)
    ratios = math.hypot(x[1] - x[0], x[2] - x[0]), math.hypot(y[1] - y[0], y[2] - y[0])
    return ratios if all(map(math.isfinite, ratios)) else (1.0, 1.0)


def _source_pixels(source: Grid, target: Grid, cols: NDArray, rows: NDArray) -> tuple[NDArray, NDArray]:
    """Source columns and rows of places on the target; NaN or infinite where the projection does not reach."""
    x, y = target.at(cols.ravel(), rows.ravel())
    if source.crs != target.crs:
        x, y = between(target.crs, source.crs).transform(x, y)
    with np.errstate(invalid="ignore"):  # infinity times zero
        return source.where(x, y)


def outline_on(grid: Grid, source: Grid) -> tuple[float, float, float, float] | None:
    """Top, left, bottom, right of a raster in rows and columns of a grid; None where the projection does not reach."""
    spots = np.linspace(0, 1, 33)
    edge, start, end = spots, np.zeros_like(spots), np.ones_like(spots)
    cols = np.concatenate([edge, edge, start, end]) * source.width
    rows = np.concatenate([start, end, edge, edge]) * source.height
    x, y = _source_pixels(grid, source, cols, rows)
    finite = np.isfinite(x) & np.isfinite(y)
    return (y[finite].min(), x[finite].min(), y[finite].max(), x[finite].max()) if finite.any() else None
