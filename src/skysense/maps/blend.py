"""Overlapping windows become one map, row by row, with memory that does not grow with the scene's height.

Letters: D features, h w cells of the map.

A window of ``n`` cells that overlaps its neighbours by ``o`` has the weight ``a(r) b(c)``; ``a`` and ``b`` are raised
cosines that rise over the first and fall over the last ``o`` cells, except on sides where the window touches the border
of the map: there they stay one, since no neighbour follows. A cell of the map is the mean of the windows that observed
it, weighted so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.errors import ConfigError
from skysense.geo import WINDOW_CELLS, Window, cover, raised_cosine


@dataclass(frozen=True)
class Layout:
    """Where the windows of a map lie.

    Attributes:
        height, width: of the map, cells.
        size: side of a window, cells; a multiple of 4.
        overlap: cells shared by neighbours, 0 .. size / 2. The last window of a row or column ends at the border and
            may share more.

    Raises:
        ConfigError: a size or an overlap that is none.
    """

    height: int
    width: int
    size: int
    overlap: int

    def __post_init__(self) -> None:
        if self.size < WINDOW_CELLS or self.size % WINDOW_CELLS:
            raise ConfigError(f"window of {self.size} cells: it must be a positive multiple of {WINDOW_CELLS} cells")
        if not 0 <= 2 * self.overlap <= self.size:
            raise ConfigError(f"overlap of {self.overlap} cells: it must lie within 0 .. {self.size // 2}")

    @property
    def rows(self) -> list[int]:
        """First row of every row of windows."""
        return [window.row for window in cover(self.height, self.size, self.size, self.size - self.overlap)]

    @property
    def cols(self) -> list[int]:
        """First column of every column of windows."""
        return [window.col for window in cover(self.size, self.width, self.size, self.size - self.overlap)]

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    def __iter__(self) -> Iterator[Window]:
        """All windows, row by row."""
        cols = self.cols
        return (Window(row, col, self.size, self.size) for row in self.rows for col in cols)

    def shuffled(self) -> Iterator[Window]:
        """All windows in an order that is mixed, and the same every time."""
        rows, cols = self.rows, self.cols
        order = np.random.default_rng(0).permutation(len(rows) * len(cols))
        return (Window(rows[at // len(cols)], cols[at % len(cols)], self.size, self.size) for at in order.tolist())

    def weights(self, window: Window) -> NDArray[np.float32]:
        """Weights ``(size, size)`` of one of the windows."""

        def side(start: int, length: int) -> NDArray[np.float32]:
            weights = raised_cosine(self.size, self.overlap)
            if start == 0:
                weights[: self.overlap] = 1
            if start + self.size >= length:
                weights[self.size - self.overlap :] = 1
            return weights

        return np.outer(side(window.row, self.height), side(window.col, self.width))


class RowBlender:
    """Adds up windows that come row by row and hands on rows of the map as soon as no window can touch them.

    Args:
        layout: where the windows lie.
        features: D.
        block: rows that are handed on together (the last block may be shorter).
        emit: gets the first row of a block and its values ``(D, rows, width)`` float32, NaN where nothing was observed.
    """

    def __init__(
        self, layout: Layout, features: int, block: int, emit: Callable[[int, NDArray[np.float32]], None]
    ) -> None:
        self.layout, self.block = layout, block
        self._emit = emit
        self._top = 0  # first row of the map that is still open
        self._sum_Dhw = np.zeros((features, block + layout.size, layout.width), np.float32)
        self._weight_hw = np.zeros((block + layout.size, layout.width), np.float32)

    @property
    def open_rows(self) -> int:
        """Rows held in memory: a block and a window, whatever the height of the map."""
        return len(self._weight_hw)

    def add(self, window: Window, values_Dhw: NDArray[np.float32], observed_hw: NDArray[np.bool_]) -> None:
        """Add the features of a window; rows above it are finished from now on.

        Args:
            window: of the layout, not above the one before.
            values_Dhw: ``(D, size, size)``, finite.
            observed_hw: ``(size, size)`` cells that count.
        """
        self._finish(window.row)
        rows = min(window.height, self.layout.height - window.row)
        cols = min(window.width, self.layout.width - window.col)
        weights_hw = (self.layout.weights(window) * observed_hw)[:rows, :cols]
        at = window.row - self._top
        self._sum_Dhw[:, at : at + rows, window.col : window.col + cols] += values_Dhw[:, :rows, :cols] * weights_hw
        self._weight_hw[at : at + rows, window.col : window.col + cols] += weights_hw

    def close(self) -> None:
        """Hand on what is left."""
        self._finish(self.layout.height)
        if self._top < self.layout.height:
            self._hand_on(self.layout.height - self._top)

    def _finish(self, row: int) -> None:
        while self._top + self.block <= row:
            self._hand_on(self.block)

    def _hand_on(self, rows: int) -> None:
        with np.errstate(invalid="ignore"):  # 0 / 0 = NaN where nothing was observed
            block_Dhw = self._sum_Dhw[:, :rows] / self._weight_hw[:rows]
        self._emit(self._top, block_Dhw)
        self._top += rows
        for open_rows in (self._sum_Dhw.swapaxes(0, 1), self._weight_hw):
            open_rows[:-rows] = open_rows[rows:].copy()
            open_rows[-rows:] = 0
