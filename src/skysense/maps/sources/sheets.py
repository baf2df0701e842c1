"""Rasters side by side on one lattice, read as one: letters: C bands, H W pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.sources.align import offset_on, same_lattice
from skysense.maps.sources.raster import OpenFiles, Raster


@dataclass(frozen=True)
class Sheet:
    """A mosaic of rasters of the same bands and day; where the first is no-data the next one shows.

    Attributes:
        rasters: in that order.
        grid: of the pixels of all of them.
    """

    rasters: tuple[Raster, ...]
    grid: Grid

    @cached_property
    def _windows(self) -> list[Window]:
        """Where on the sheet each raster lies."""
        found = []
        for raster in self.rasters:
            row, col = offset_on(self.grid, raster.grid)
            found.append(Window(row, col, raster.grid.height, raster.grid.width))
        return found

    @cached_property
    def _edges(self) -> NDArray[np.int64]:
        """Top, left, bottom, right of each raster: a sheet may have thousands."""
        return np.array([(one.row, one.col, one.row + one.height, one.col + one.width) for one in self._windows])

    def read(self, files: OpenFiles, window: Window) -> tuple[NDArray, NDArray[np.bool_], int] | None:
        """Pixels of a window; None if no raster reaches into it.

        Returns:
            ``(C, H, W)`` values, ``(H, W)`` observed (nothing is where no raster lies), and how many observed pixels
            are not finite.

        Raises:
            UnreadableWindow: one of the rasters is damaged there, or holds values that the sensor cannot measure.
        """
        top, left, bottom, right = self._edges.T
        touched = (top < window.row + window.height) & (bottom > window.row)
        touched &= (left < window.col + window.width) & (right > window.col)
        values: NDArray | None = None
        seen = np.zeros((window.height, window.width), bool)
        not_finite = 0
        for index in np.flatnonzero(touched).tolist():
            there = self._windows[index]
            common = there.intersect(window)
            assert common is not None
            at = _moved(common, window).slices()
            if seen[at].all():
                continue
            some_CHW, some_HW, bad = self.rasters[index].read(files, _moved(common, there))
            not_finite += bad
            if values is None:
                values = np.zeros((len(some_CHW), *seen.shape), some_CHW.dtype)
            values = values.astype(np.result_type(values, some_CHW), copy=False)
            fresh = some_HW & ~seen[at]
            np.copyto(values[:, *at], some_CHW, where=fresh)
            seen[at] |= some_HW
        return None if values is None else (values, seen, not_finite)


def sheets_of(rasters: Iterable[Raster]) -> tuple[Sheet, ...]:
    """Rasters of the same bands put together, one sheet per lattice, in the order they are given."""
    families: list[list[Raster]] = []
    for raster in rasters:
        for family in families:
            if same_lattice(raster.grid, family[0].grid):
                family.append(raster)
                break
        else:
            families.append([raster])
    return tuple(Sheet(tuple(family), _around([raster.grid for raster in family])) for family in families)


def _around(grids: list[Grid]) -> Grid:
    """The smallest grid of a lattice that holds rasters of it."""
    corners = np.array([offset_on(grids[0], grid) for grid in grids])
    sizes = np.array([(grid.height, grid.width) for grid in grids])
    (top, left), (bottom, right) = corners.min(axis=0).tolist(), (corners + sizes).max(axis=0).tolist()
    return grids[0].part(Window(top, left, bottom - top, right - left))


def _moved(window: Window, origin: Window) -> Window:
    return Window(window.row - origin.row, window.col - origin.col, window.height, window.width)
