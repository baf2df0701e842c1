"""Numbers of views: the right pixels from the right level, kept within bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.product.read import open_product
from skysense.viewer.blocks import SIDE, Blocks
from skysense.viewer.ground import LIMIT, View
from tests.viewer.farm import UNSEEN, kinds, lonlat


def view_of(row: float, col: float, metres: float, side: int = 64) -> View:
    """A square view around a place on the farm's grid, with pixels of so many metres of the map."""
    lon, lat = lonlat(row, col)
    x, y = lon / 180 * LIMIT, math.asinh(math.tan(math.radians(lat))) / math.pi * LIMIT
    half = metres * side / 2 / math.cos(math.radians(lat))
    return View(x - half, y - half, x + half, y + half, side, side)


@pytest.fixture
def product(farm):
    with open_product(farm) as opened:
        yield opened


def classes(stored):
    return np.where(stored == 255, np.nan, stored.astype(np.float32))


def test_a_view_shows_the_pixel_under_each_centre(product):
    picture = Blocks().compute(product, "classes", view_of(275.5, 275.5, 1.0, side=1), classes, 1)
    assert picture[0, 0, 0] == kinds()[275, 275]
    around = Blocks().compute(product, "classes", view_of(300, 250, 10.0), classes, 1)[0]  # a corner of four fields
    for row, col, there in [(10, 10, (280, 230)), (10, 53, (280, 270)), (53, 10, (320, 230)), (53, 53, (320, 270))]:
        assert around[row, col] == kinds()[there]


def test_outside_and_unseen_are_nan(product):
    corner = Blocks().compute(product, "classes", view_of(0, 0, 10.0), classes, 1)[0]
    assert np.isnan(corner[:30]).all() and np.isnan(corner[32 : 32 + UNSEEN - 2, 32:62]).all()
    nowhere = Blocks().compute(product, "classes", View(0, 0, 1000, 1000, 8, 8), classes, 1)
    assert np.isnan(nowhere).all()


def test_the_level_is_as_coarse_as_the_screen(product):
    seen: list[int] = []

    class Watched:
        path = product.path
        pixels, levels = staticmethod(product.pixels), staticmethod(product.levels)

        def read(self, layer, window, level=0):
            seen.append(level)
            return product.read(layer, window, level)

    for metres, level in [(4, 0), (10, 0), (18, 0), (21, 1), (39, 1), (500, 1)]:
        seen.clear()
        Blocks().compute(Watched(), "classes", view_of(300, 250, metres), classes, 1)
        assert set(seen) == {level}, metres
    assert product.levels("classes") == 2


def test_blocks_are_read_once_and_the_oldest_go(product):
    reads: list[Window] = []

    class Watched:
        path = product.path
        pixels, levels = staticmethod(product.pixels), staticmethod(product.levels)

        def read(self, layer, window, level=0):
            reads.append(window)
            return product.read(layer, window, level)

    watched, blocks = Watched(), Blocks(budget=2 * SIDE * SIDE)
    first = blocks.block(watched, "classes", 0, 0, 0)
    assert np.array_equal(first, product.read("classes", Window(0, 0, SIDE, SIDE)))
    blocks.block(watched, "classes", 0, 0, 0)
    assert len(reads) == 1
    blocks.block(watched, "classes", 0, 1, 0)
    blocks.block(watched, "classes", 0, 2, 0)  # smaller, at the bottom: still more than the budget
    blocks.block(watched, "classes", 0, 0, 0)
    assert [(window.row, window.height) for window in reads] == [(0, SIDE), (SIDE, SIDE), (2 * SIDE, 128), (0, SIDE)]


def test_a_sample_holds_seen_pixels_only(product):
    stored = Blocks().sample(product, "classes")
    assert set(np.unique(stored)) == {0, 1, 2, 3}


def test_a_layer_without_data_is_told(product, monkeypatch):
    monkeypatch.setattr(type(product), "read", lambda self, *_: np.full((1, 10, 10), 255, np.uint8))
    with pytest.raises(InputError, match="holds no data"):
        Blocks().sample(product, "classes")
