"""Overviews: every pixel stands for 2 x 2 of the level below, made piece by piece.

Letters: K bands, H W pixels of the level below, h w pixels of the overview.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from skysense.geo import Window
from skysense.maps.parts import Part
from skysense.maps.product.layer import Layer
from skysense.maps.product.levels import Level
from skysense.maps.product.store import Put, Read, Store, threads


def halve(layer: Layer, stored_KHW: NDArray) -> NDArray:
    """Stored numbers of half the sides.

    Numbers become the mean of what was observed in 2 x 2 pixels, classes the most frequent of them (of several equally
    frequent ones the lowest index); no-data where nothing was observed.

    Args:
        layer: what the numbers are.
        stored_KHW: sides are even.
    """
    if layer.kind == "classes":
        return _majority(stored_KHW, int(layer.nodata))
    return layer.encode(_mean(layer.decode(stored_KHW)))


def _quarters(values_KHW: NDArray) -> list[NDArray]:
    return [values_KHW[:, row::2, col::2] for row in (0, 1) for col in (0, 1)]


def _mean(values_KHW: NDArray[np.float32]) -> NDArray[np.float32]:
    first, *others = _quarters(values_KHW)
    total = sum(others, start=first)
    if not np.isnan(total).any():
        return total * np.float32(0.25)
    observed = ~np.isnan(values_KHW)
    total_Khw, count_Khw = (
        sum(others, start=first)
        for first, *others in (_quarters(np.where(observed, values_KHW, 0)), _quarters(observed.astype(np.float32)))
    )
    with np.errstate(invalid="ignore"):  # 0 / 0 = NaN where nothing was observed
        return total_Khw / count_Khw


def _majority(classes_KHW: NDArray, nodata: int) -> NDArray:
    four = np.stack(_quarters(classes_KHW))
    count = sum((four == one).astype(np.int16) for one in four)
    # more votes win, then the lower index; no-data only where there is nothing else
    rank = np.where(four == nodata, -1, count * 256 - four.astype(np.int16))
    return np.take_along_axis(four, rank.argmax(0)[None], 0)[0]


def with_overviews(layer: Layer, parts: Sequence[tuple[Level, Part]], puts: Sequence[Put]) -> Put:
    """Write a part together with its overviews.

    Args:
        layer: of the map.
        parts: the same ground at full resolution and at those levels that are made along with it.
        puts: write these.

    Returns:
        Takes the rows of full resolution.
    """
    put = puts[-1]
    for (_, below), (level, part), write in reversed(list(zip(parts, parts[1:], puts, strict=False))):
        put = _Halves(layer, level, below, part, write, put).put
    return put


class _Halves:
    """Hands rows on as they are, and half of them, as soon as a row of tiles is full, to the overview."""

    def __init__(self, layer: Layer, level: Level, below: Part, part: Part, write: Put, above: Put) -> None:
        self._layer, self._tile, self._below, self._part = layer, level.tile, below, part
        self._write, self._above = write, above
        self._top = 0  # first row of the overview that is still held
        self._held_KHW = np.empty((len(layer.bands), 0, part.window.width), layer.dtype)

    def put(self, row: int, block_KHW: NDArray) -> None:
        self._write(row, block_KHW)
        half_KHW = halve(self._layer, _even(self._layer, block_KHW))
        held_KHW = np.concatenate([self._held_KHW, half_KHW], 1) if self._held_KHW.shape[1] else half_KHW
        rows = held_KHW.shape[1]
        if row + block_KHW.shape[1] < self._below.window.height:
            rows -= rows % self._tile
        if rows:
            self._above(self._top, held_KHW[:, :rows])
            self._top += rows
        self._held_KHW = held_KHW[:, rows:]


def _even(layer: Layer, block_KHW: NDArray) -> NDArray:
    _, height, width = block_KHW.shape
    if not (height % 2 or width % 2):
        return block_KHW
    border = ((0, 0), (0, height % 2), (0, width % 2))
    return np.pad(block_KHW, border, constant_values=layer.dtype.type(layer.nodata))


def build(store: Store, layer: Layer, levels: Sequence[Level], step: Callable[[], None]) -> None:
    """Write the overviews that were not made along with the parts, each from the level below.

    Args:
        store: where level 0 is whole.
        layer: of the map.
        levels: of the layer, full resolution first.
        step: called after each part.

    Raises:
        OutputError: no space.
    """
    with ThreadPoolExecutor(threads(), thread_name_prefix="overviews") as pool:
        for below, level in pairwise(levels):
            for part in [] if level.within else level.parting.parts:
                if not store.holds(layer, level, part):
                    with store.reading(layer, below) as read, store.writing(layer, level, part) as put:
                        for row, rows in level.blocks(part):
                            put(row, _block(pool, layer, level, part, row, rows, read))
                step()


def _block(
    pool: ThreadPoolExecutor, layer: Layer, level: Level, part: Part, row: int, rows: int, read: Read
) -> NDArray:
    """Rows of a part, put together from pieces of a tile's width so that little of the level below is in memory."""
    top, left, width = part.window.row + row, part.window.col, part.window.width
    block = np.empty((len(layer.bands), rows, width), layer.dtype)

    def fill(col: int) -> None:
        cols = min(level.tile, width - col)
        block[:, :, col : col + cols] = halve(layer, read(Window(top, left + col, rows, cols).scaled(2)))

    list(pool.map(fill, range(0, width, level.tile)))
    return block
