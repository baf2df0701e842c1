"""The grid of a place, anywhere on the Earth."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skysense.curate.grid import PlaceGrid, grid_at
from skysense.data.places_rules import check_footprint
from skysense.errors import InputError
from skysense.geo import CELL_HR_PX

GROUND = pyproj.Geod(ellps="WGS84")
LONGITUDES, LATITUDES = st.floats(-180, 180), st.floats(-90, 90)


def corner(grid: PlaceGrid, metres_per_px: float, col: int, row: int) -> tuple[float, float]:
    """Coordinates of the upper left corner of a pixel."""
    transform = grid.transform(metres_per_px)
    return transform.c + transform.a * col + transform.b * row, transform.f + transform.d * col + transform.e * row


@settings(deadline=None, max_examples=200)
@given(LONGITUDES, LATITUDES, st.integers(1, 64))
@example(180.0, 0.0, 64)
@example(-180.0, -80.0, 64)
@example(5.0, 60.0, 64)  # Norway, where the military grid widens zone 32
@example(9.0, 78.0, 64)  # Svalbard
@example(0.0, 90.0, 64)
@example(77.0, -90.0, 7)
@example(-30.0, 84.0, 64)
@example(179.9999, 84.0001, 5)
def test_a_grid_lies_on_twenties_of_metres_around_its_position(lon: float, lat: float, cells: int) -> None:
    grid = grid_at(lon, lat, cells)
    left, bottom, right, top = grid.footprint.bounds
    assert left % 20 == top % 20 == 0
    assert (right - left, top - bottom) == (10 * cells, 10 * cells)
    assert grid.cells == (cells, cells) == grid.shape(10)
    assert GROUND.line_length([lon, grid.centre[0]], [lat, grid.centre[1]]) <= 10 * math.sqrt(2) * 1.01
    check_footprint(grid.footprint, grid.cells, lon, lat, file="anywhere")


@settings(deadline=None)
@given(LONGITUDES, LATITUDES)
def test_high_resolution_pixels_nest_in_cells(lon: float, lat: float) -> None:
    grid = grid_at(lon, lat)
    assert grid.shape(0.3125) == (64 * CELL_HR_PX, 64 * CELL_HR_PX)
    for row, col in ((0, 0), (63, 5), (64, 64)):
        assert corner(grid, 0.3125, col * CELL_HR_PX, row * CELL_HR_PX) == corner(grid, 10, col, row)
    left, bottom, right, top = grid.footprint.bounds
    assert corner(grid, 0.3125, 0, 0) == (left, top)
    assert corner(grid, 0.3125, 2048, 2048) == (right, bottom)


@settings(deadline=None, max_examples=200)
@given(LONGITUDES, LATITUDES)
@example(180.0, 10.0)
@example(-179.999, -17.0)
@example(0.0, 90.0)
@example(0.0, -89.998)
def test_the_box_holds_the_whole_place_and_little_more(lon: float, lat: float) -> None:
    grid = grid_at(lon, lat)
    west, south, east, north = grid.bbox
    assert -180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90
    to_wgs84 = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    steps = np.linspace(0, 640, 9)
    x, y = np.meshgrid(grid.west + steps, grid.north - steps)
    lons, lats = to_wgs84.transform(x, y)
    within = (lons >= west - 1e-9) & (lons <= east + 1e-9)
    if west > east:  # across the antimeridian
        within = (lons >= west - 1e-9) | (lons <= east + 1e-9)
    assert within.all()
    slack = 1e-7 if abs(lat) < 89 else 2e-4  # a pole that is just outside bends the edges: 20 m
    assert (lats >= south - slack).all() and (lats <= north + slack).all()
    assert (north - south) * 111_000 < 1400
    if abs(lat) < 89:  # round a pole there is no narrow box
        assert (east - west) % 360 * 111_000 * math.cos(math.radians(lat)) < 1400


def test_a_place_across_the_antimeridian_starts_in_the_east() -> None:
    west, _, east, _ = grid_at(180, -17).bbox
    assert 179.9 < west < 180
    assert -180 < east < -179.9


def test_a_pole_is_on_its_own_map() -> None:
    assert grid_at(0, 90).crs == "EPSG:32661"
    assert grid_at(0, -90).crs == "EPSG:32761"
    assert grid_at(0, 90).bbox[::2] == (-180, 180)
    assert grid_at(0, 90).bbox[3] == 90


@pytest.mark.parametrize(
    ("lon", "lat", "crs"),
    [(4, 61, "EPSG:32631"), (7, 78, "EPSG:32632"), (-63, -33, "EPSG:32720"), (-180, 1, "EPSG:32601")],
)
def test_zones_are_plain(lon: float, lat: float, crs: str) -> None:
    assert grid_at(lon, lat).crs == crs


@pytest.mark.parametrize(
    ("west", "cells", "message"),
    [
        (500_005.0, (4, 4), "multiples of 10 m"),
        (math.nan, (4, 4), "multiples of 10 m"),
        (500_000.0, (4, 0), "at least one cell"),
    ],
)
def test_what_is_no_grid_is_refused(west: float, cells: tuple[int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PlaceGrid("EPSG:32632", west, 5_000_000.0, cells)


def test_pixels_that_do_not_fill_a_place_are_refused() -> None:
    assert grid_at(10, 50, 4).shape(20) == (2, 2)
    with pytest.raises(InputError, match="no whole number of 20 m px"):
        grid_at(10, 50, 3).shape(20)


def test_a_position_off_the_earth_is_refused() -> None:
    with pytest.raises(InputError, match="swapped"):
        grid_at(50, 100)
