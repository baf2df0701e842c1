"""Blocks of stored numbers of maps, kept in memory up to a number of bytes, and pictures computed of them.

A view or a tile needs a window of a layer at the level that is about as coarse as the screen. The window is put
together of blocks that always begin at multiples of `SIDE`, so that neighbouring views and the next click find them in
memory.

Letters: K bands stored, C numbers computed per pixel, N sampled pixels, H W pixels of the screen, h w of a block.
"""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.similarity import unseen
from skysense.viewer.ground import Positions, View, positions
from skysense.viewer.raster import Raster

SIDE = 256
"""Pixels along a block."""
SAMPLE = 20_000
"""Pixels from which colours and spreads are taken."""
CELLS = 20_000
"""Single pixels that are kept, those of labelled points."""
BUDGET = 512 << 20
"""Bytes of blocks that are kept."""

Computed = Callable[[NDArray], NDArray[np.float32]]
"""From stored numbers ``(K, h, w)`` to ``(C, h, w)``, NaN where there are none."""


class Blocks:
    """The blocks of all rasters of a page; may be asked from several threads.

    Args:
        budget: bytes that are kept; the block that was not asked for the longest goes first.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget, self._held = budget, 0
        self._kept: OrderedDict[tuple[str, str, int, int, int], NDArray] = OrderedDict()
        self._cells: OrderedDict[tuple[str, str, int, int], NDArray] = OrderedDict()
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="blocks")

    def block(self, raster: Raster, layer: str, level: int, row: int, col: int) -> NDArray:
        """Stored numbers ``(K, h, w)`` of a block by its place among the blocks; those at the end are smaller."""
        key = (str(raster.path), layer, level, row, col)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        grid = raster.pixels(layer, level)
        top, left = row * SIDE, col * SIDE
        window = Window(top, left, min(SIDE, grid.height - top), min(SIDE, grid.width - left))
        stored = raster.read(layer, window, level)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = stored
                self._held += stored.nbytes
            while self._held > self._budget and len(self._kept) > 1:
                self._held -= self._kept.popitem(last=False)[1].nbytes
        return stored

    def at(self, raster: Raster, layer: str, row: int, col: int) -> NDArray:
        """Stored numbers ``(K,)`` of one pixel of the finest level, which must lie on the map.

        It is kept by itself: zoomed out, the block around it is not needed.
        """
        key = (str(raster.path), layer, row, col)
        with self._lock:
            found = self._cells.get(key)
        if found is None:
            found = raster.read(layer, Window(row, col, 1, 1))[:, 0, 0]
            with self._lock:
                self._cells[key] = found
                if len(self._cells) > CELLS:
                    self._cells.popitem(last=False)
        return found

    def sample(self, raster: Raster, layer: str) -> NDArray:
        """Stored numbers ``(K, N)`` of about `SAMPLE` pixels with data, spread evenly over the coarsest level.

        Raises:
            InputError: there is no data at all.
        """
        level = raster.levels(layer) - 1
        grid = raster.pixels(layer, level)
        found = []
        for row in range(-(-grid.height // SIDE)):
            for col in range(-(-grid.width // SIDE)):
                stored_Khw = self.block(raster, layer, level, row, col)
                found.append(stored_Khw[:, ~unseen(stored_Khw)])
        stored_KN = np.concatenate(found, axis=1)
        if not stored_KN.size:
            raise InputError(f"the layer {layer} holds no data", file=raster.path)
        return stored_KN[:, :: -(-stored_KN.shape[1] // SAMPLE)]

    def compute(self, raster: Raster, layer: str, view: View, computed: Computed, count: int) -> NDArray[np.float32]:
        """Compute numbers from a layer where a view shows it.

        Args:
            raster: the map.
            layer: of it.
            view: what is on the screen.
            computed: is given whole blocks; each pixel of the screen shows the pixel of the map its centre lies on.
            count: C, how many numbers per pixel it gives.

        Returns:
            ``(C, H, W)``; NaN outside the map and where it has no data.
        """
        level, place = _level(raster, layer, view)
        grid = raster.pixels(layer, level)
        row_HW = np.clip(place.row_HW, -1, grid.height).astype(np.int32)  # towards zero: what is above -1 needs care
        col_HW = np.clip(place.col_HW, -1, grid.width).astype(np.int32)
        outside_HW = (place.row_HW < 0) | (row_HW == grid.height) | (place.col_HW < 0) | (col_HW == grid.width)
        if outside_HW.all():
            return np.full((count, view.height, view.width), np.nan, np.float32)
        row_HW, col_HW = row_HW.clip(0, grid.height - 1), col_HW.clip(0, grid.width - 1)
        first_row, first_col = int(row_HW.min()) // SIDE, int(col_HW.min()) // SIDE
        last_row, last_col = int(row_HW.max()) // SIDE, int(col_HW.max()) // SIDE
        height, width = (last_row - first_row + 1) * SIDE, (last_col - first_col + 1) * SIDE
        window_Chw = np.full((count, height, width), np.nan, np.float32)

        def fill(at: tuple[int, int]) -> None:
            values = computed(self.block(raster, layer, level, *at))
            top, left = (at[0] - first_row) * SIDE, (at[1] - first_col) * SIDE
            window_Chw[:, top : top + values.shape[1], left : left + values.shape[2]] = values

        wanted = [(r, c) for r in range(first_row, last_row + 1) for c in range(first_col, last_col + 1)]
        list(self._workers.map(fill, wanted))
        flat_HW = (row_HW - first_row * SIDE) * width + (col_HW - first_col * SIDE)
        picture_CHW = window_Chw.reshape(count, -1)[:, flat_HW]
        picture_CHW[:, outside_HW] = np.nan
        return picture_CHW


def _level(raster: Raster, layer: str, view: View) -> tuple[int, Positions]:
    """The coarsest level that is hardly coarser than the screen, and where the screen lies on it."""
    finest = positions(view, raster.pixels(layer))
    wanted = math.floor(math.log2(max(finest.step, 1)) + 0.1)  # a tenth: 1.9 pixels under one of the screen are two
    level = min(wanted, raster.levels(layer) - 1)
    return level, finest if level == 0 else positions(view, raster.pixels(layer, level))
