"""Where pixels of the screen lie on a map, beside the exact projection."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from pyproj import Transformer

from skysense.maps.grid import Grid
from skysense.viewer.ground import LIMIT, View, lonlat_bounds, on_grid, positions
from tests.viewer.farm import GRID, HEIGHT, WIDTH, lonlat

ROTATED = Grid("EPSG:32632", Affine(8, 3, 560_000, 3, -8, 5_990_000), 300, 200)


@pytest.mark.parametrize("grid", [GRID, ROTATED, Grid("EPSG:4326", Affine(1e-4, 0, 9.9, 0, -1e-4, 54.1), 800, 900)])
def test_positions_are_exact_to_a_hundredth_of_a_pixel(grid):
    west, south, east, north = lonlat_bounds(grid)
    forward = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
    (left, right), (bottom, top) = forward.transform([west, east], [south, north])
    view = View(left, bottom, right, top, 700, 900)
    found = positions(view, grid)
    back = Transformer.from_crs("EPSG:3857", grid.crs, always_xy=True)
    for row, col in [(0, 0), (699, 899), (350, 450), (17, 801), (693, 5)]:
        x, y = left + (col + 0.5) / 900 * (right - left), top - (row + 0.5) / 700 * (top - bottom)
        exact_col, exact_row = ~grid.transform @ back.transform(x, y)
        assert (found.row_HW[row, col], found.col_HW[row, col]) == pytest.approx((exact_row, exact_col), abs=0.01)


def test_the_world_is_one_tile_and_tiles_count_from_the_north_west():
    assert View.tile(0, 0, 0) == View(-LIMIT, -LIMIT, LIMIT, LIMIT, 256, 256)
    tile = View.tile(2, 3, 1)
    assert (tile.left, tile.bottom, tile.right, tile.top) == pytest.approx((LIMIT / 2, 0, LIMIT, LIMIT / 2))


def test_places_that_a_projection_does_not_have_are_on_no_map():
    found = positions(View.tile(0, 0, 0), GRID)
    assert np.isfinite(found.row_HW).all()
    inside = (found.row_HW >= 0) & (found.row_HW < HEIGHT) & (found.col_HW >= 0) & (found.col_HW < WIDTH)
    assert inside.sum() <= 1  # the farm is far smaller than a pixel of the world


def test_bounds_hold_every_corner_and_the_way_to_the_grid_is_the_way_back():
    west, south, east, north = lonlat_bounds(GRID)
    for row, col in [(0, 0), (0, WIDTH), (HEIGHT, 0), (HEIGHT, WIDTH)]:
        lon, lat = lonlat(row, col)
        assert west - 1e-9 <= lon <= east + 1e-9 and south - 1e-9 <= lat <= north + 1e-9
        assert on_grid(GRID, lon, lat) == pytest.approx((row, col), abs=1e-5)
