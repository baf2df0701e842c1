"""Overlapping windows become one map, row by row, with memory that does not grow with the scene's height.

Letters: K channels, H W pixels.

A window of ``n`` cells that overlaps its neighbours by ``o`` has the weight ``a(r) b(c)``; ``a`` and ``b`` are raised
cosines that rise over the first and fall over the last ``o`` cells, except on sides where the window touches the border
of the map: there they stay one, since no neighbour follows. A place of the map is the mean of the windows that observed
it, weighted so. Scores finer than a cell have weights at the centres of their pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from skysense.errors import ConfigError
from skysense.geo import WINDOW_CELLS, Window, cover, raised_cosine
from skysense.maps.answer import Rows, Scores, WindowAnswer


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

    def touching(self, area: Window) -> list[Window]:
        """The windows that share ground with a part of the map, row by row."""
        rows = [row for row in self.rows if area.row - self.size < row < area.row + area.height]
        cols = [col for col in self.cols if area.col - self.size < col < area.col + area.width]
        return [Window(row, col, self.size, self.size) for row in rows for col in cols]

    def shuffled(self) -> Iterator[Window]:
        """All windows in an order that is mixed, and the same every time."""
        rows, cols = self.rows, self.cols
        order = np.random.default_rng(0).permutation(len(rows) * len(cols))
        return (Window(rows[at // len(cols)], cols[at % len(cols)], self.size, self.size) for at in order.tolist())

    def weights(self, window: Window, per_cell: int = 1) -> NDArray[np.float32]:
        """Weights of one of the windows, ``(size, size)`` times the pixels along the side of a cell."""
        down = window.row == 0, window.row + self.size >= self.height
        across = window.col == 0, window.col + self.size >= self.width
        return _weights(self.size * per_cell, self.overlap * per_cell, down, across)


@lru_cache(maxsize=32)  # inner windows, and those at sides and corners
def _weights(size: int, overlap: int, down: tuple[bool, bool], across: tuple[bool, bool]) -> NDArray[np.float32]:
    def side(first: bool, last: bool) -> NDArray[np.float32]:
        weights = raised_cosine(size, overlap)
        if first:
            weights[:overlap] = 1
        if last:
            weights[size - overlap :] = 1
        return weights

    return np.outer(side(*down), side(*across))


class RowBlender:
    """Adds up the windows of a part of a map, which come row by row, and hands on rows that no window can touch.

    Args:
        layout: where the windows lie.
        area: the part, cells of the map.
        scores: channels and pixels per cell of what is blended.
        block: rows of cells that are handed on together (the last block may be shorter).
        emit: gets the first row of a block, counted in cells from the top of the part, and its blended scores.
    """

    def __init__(
        self, layout: Layout, area: Window, scores: Scores, block: int, emit: Callable[[int, Rows], None]
    ) -> None:
        self.layout, self.area, self.block = layout, area, block
        self._emit = emit
        self._top = 0  # first row of the part that is still open
        rows = block + layout.size
        self._sums = {name: _Sum(channels, per_cell, rows, area.width) for name, (channels, per_cell) in scores.items()}

    @property
    def open_rows(self) -> int:
        """Rows of cells held in memory: a block and a window, whatever the height of the part."""
        return self.block + self.layout.size

    def add(self, window: Window, answer: WindowAnswer) -> None:
        """Add what was answered to a window; rows above it are finished from now on.

        Args:
            window: of the layout, touching the part, not above the one before.
            answer: its scores.
        """
        top = max(window.row - self.area.row, 0)
        while self._top + self.block <= top:
            self._hand_on(self.block)
        common = window.intersect(self.area)
        if common is None:
            return
        inside = Window(common.row - window.row, common.col - window.col, common.height, common.width)
        row, col = common.row - self.area.row - self._top, common.col - self.area.col
        for name, one in self._sums.items():
            values_KHW, observed_HW = answer.maps[name]
            weights_HW = self.layout.weights(window, one.per_cell) * observed_HW
            one.add(row, col, inside, values_KHW, weights_HW)

    def close(self) -> None:
        """Hand on what is left."""
        while self._top < self.area.height:
            self._hand_on(min(self.block, self.area.height - self._top))

    def _hand_on(self, rows: int) -> None:
        self._emit(self._top, {name: one.take(rows) for name, one in self._sums.items()})
        self._top += rows


class _Sum:
    """Weighted sums of one score over the open rows of a part."""

    def __init__(self, channels: int, per_cell: int, rows: int, cols: int) -> None:
        self.per_cell = per_cell
        if per_cell == 1:  # many channels of few cells: as models answer and tiles are written, vector by vector
            self._sum_KHW = np.zeros((rows, cols, channels), np.float32).transpose(2, 0, 1)
        else:
            self._sum_KHW = np.zeros((channels, rows * per_cell, cols * per_cell), np.float32)
        self._weight_HW = np.zeros((rows * per_cell, cols * per_cell), np.float32)

    def add(
        self, row: int, col: int, inside: Window, values_KHW: NDArray[np.float32], weights_HW: NDArray[np.float32]
    ) -> None:
        """Add some cells of a window at a row and a column of the open ones."""
        of = inside.scaled(self.per_cell).slices()
        to = Window(row, col, inside.height, inside.width).scaled(self.per_cell).slices()
        self._sum_KHW[:, *to] += values_KHW[:, *of] * weights_HW[of]
        self._weight_HW[to] += weights_HW[of]

    def take(self, rows: int) -> NDArray[np.float32]:
        """Means of the first rows of cells, which make room for as many new ones below."""
        rows *= self.per_cell
        with np.errstate(invalid="ignore"):  # 0 / 0 = NaN where nothing was observed
            block_KHW = self._sum_KHW[:, :rows] / self._weight_HW[:rows]
        for open_rows in (self._sum_KHW.swapaxes(0, 1), self._weight_HW):
            open_rows[:-rows] = open_rows[rows:].copy()
            open_rows[-rows:] = 0
        return block_KHW


def memory_of(scores: Scores, block: int, size: int, width: int) -> int:
    """Bytes of the open rows of a part ``width`` cells wide."""
    rows = block + size
    return sum(4 * (channels + 1) * rows * width * per_cell**2 for channels, per_cell in scores.values())
