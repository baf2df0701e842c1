"""A map looked at block by block, whatever its size, the next block being read meanwhile.

Letters: N cells, K bands, h w cells of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.feed import read_ahead
from skysense.maps.grid import Grid
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import Product

_BYTES = 64 << 20  # of a block as float32
_SIDES = (512, 256, 128)  # cells, whole tiles
_TILE = 32  # side of a tile of features


def features_of(product: Product) -> Layer:
    """The layer of features of a map.

    Raises:
        InputError: a map without one, e.g. of classes.
    """
    found = [layer for layer in product.layers.values() if layer.kind == "features"]
    if not found:
        held = ", ".join(product.layers)
        raise InputError(f"holds {held}, but no features", file=product.path, fix="Give a map of skysense embed")
    return found[0]


def windows_of(grid: Grid, layer: Layer) -> list[Window]:
    """The blocks of a grid, row by row; the smaller, the more bands there are."""
    side = next((side for side in _SIDES if 4 * len(layer.bands) * side * side <= _BYTES), _SIDES[-1])
    return [
        Window(row, col, min(side, grid.height - row), min(side, grid.width - col))
        for row in range(0, grid.height, side)
        for col in range(0, grid.width, side)
    ]


def blocks(product: Product, layer: Layer, windows: Sequence[Window]) -> Iterator[tuple[Window, NDArray]]:
    """Blocks of a layer: windows and their stored numbers ``(K, h, w)``."""
    return read_ahead(lambda: ((window, product.read(layer.name, window)) for window in windows), depth=1)


def vectors_at(product: Product, layer: Layer, row_N: NDArray, col_N: NDArray) -> NDArray[np.float32]:
    """Vectors ``(N, K)`` of single cells in their own unit, NaN where there is no data.

    Every tile that holds some of them is read once.
    """
    made_NK = np.empty((len(row_N), len(layer.bands)), np.float32)
    across = -(-product.grid.width // _TILE)
    tile_N = (row_N // _TILE) * across + col_N // _TILE
    order_N = np.argsort(tile_N, kind="stable")
    for here_n in np.split(order_N, np.flatnonzero(np.diff(tile_N[order_N])) + 1) if len(order_N) else ():
        row, col = (int(first) * _TILE for first in divmod(int(tile_N[here_n[0]]), across))
        values_Khw = product.read_values(layer.name, Window(row, col, _TILE, _TILE))
        made_NK[here_n] = values_Khw[:, row_N[here_n] - row, col_N[here_n] - col].T
    return made_NK
