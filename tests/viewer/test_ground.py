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


def grid(epsg: int, left: float, top: float, cell: float, height: int, width: int) -> Grid:
    return Grid(f"EPSG:{epsg}", Affine(cell, 0, left, 0, -cell, top), height, width)


ACROSS = {  # the antimeridian
    "UTM, from the west": grid(32660, 770_000, 1_000_000, 100, 300, 900),
    "UTM, from the east": grid(32701, 150_000, 8_200_000, 100, 300, 900),
    "degrees, from the west": grid(4326, 179.7, -16, 0.001, 500, 500),
    "degrees, from the east": grid(4326, -180.3, -16, 0.001, 500, 500),
    "around the North Pole": grid(3413, -1_200_000, 1_200_000, 100, 500, 500),
}


@pytest.mark.parametrize("name", ACROSS)
def test_bounds_across_the_antimeridian_are_no_wider_than_the_map(name):
    one = ACROSS[name]
    west, south, east, north = lonlat_bounds(one)
    assert west < -180 or east > 180
    assert east - west < 3 and north - south < 2
    view = View(west / 180 * LIMIT, *_metres(south), east / 180 * LIMIT, *_metres(north), 700, 900)
    found = positions(view, one)
    inside = (found.row_HW > 0) & (found.row_HW < one.height) & (found.col_HW > 0) & (found.col_HW < one.width)
    assert inside.mean() > (0.4 if "Pole" in name else 0.8)  # a square around the pole stands on its corner
    assert np.abs(np.diff(found.col_HW, axis=1)).max() < 10  # nowhere torn apart
    for lon in (180 - 0.01, -180 + 0.01):  # a place has the same cell by all of its names
        cell = on_grid(one, lon, (south + north) / 2)
        assert cell == pytest.approx(on_grid(one, lon + 360 if lon < 0 else lon - 360, (south + north) / 2))
        assert 0 < cell[0] < one.height and 0 < cell[1] < one.width


def _metres(lat: float) -> tuple[float]:
    return (float(np.arcsinh(np.tan(np.radians(lat)))) / np.pi * LIMIT,)


def test_a_map_with_a_pole_in_it_goes_all_around():
    assert lonlat_bounds(grid(3413, -900_000, 600_000, 1000, 1000, 1500))[::2] == (-180, 180)
    west, south, east, north = lonlat_bounds(grid(3031, -900_000, 600_000, 1000, 1000, 1500))
    assert (west, south, east) == (-180, -90, 180) and -85 < north < -75


@pytest.mark.parametrize("west", [-180.05, -180, 0])
def test_the_whole_earth_has_its_own_width(west):
    assert lonlat_bounds(grid(4326, west, 90, 1, 180, 360)) == pytest.approx((west, -90, west + 360, 90))


def test_of_a_map_that_reaches_beyond_the_earth_bounds_are_those_of_what_lies_on_it():
    disk = Grid(
        "+proj=geos +h=35785831 +lon_0=140.7 +sweep=y", Affine(11_136, 0, -5.568e6, 0, -11_136, 5.568e6), 1000, 1000
    )
    west, south, east, north = lonlat_bounds(disk)  # no corner and no side of it is a place
    assert (west, south, east, north) == pytest.approx((140.7 - 81, -81, 140.7 + 81, 81), abs=5)
    assert lonlat_bounds(Grid("ESRI:54009", Affine(1e5, 0, -18.1e6, 0, -1e5, 9.1e6), 182, 362)) == pytest.approx(
        (-180, -90, 180, 90), abs=2
    )
    assert np.isnan(lonlat_bounds(Grid(disk.crs, Affine(1, 0, 8e6, 0, -1, 8e6), 10, 10))).all()
