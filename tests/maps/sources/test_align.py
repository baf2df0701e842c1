"""Pixels of one grid on another."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform

from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.sources.align import Exact, Repeat, Warp, outline_on, place

UTM = CRS.from_epsg(32632)
WEST, NORTH = 600_000, 5_400_000


def grid(px: float, *, west=WEST, north=NORTH, size=(400, 400), crs=UTM, turn: float = 0) -> Grid:
    spun = Affine.translation(west, north) @ Affine.rotation(turn) @ Affine.scale(px, -px)
    return Grid(crs, spun, *size)


def middles(one: Grid, window: Window) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.mgrid[: window.height, : window.width] + 0.5
    return one.at(cols + window.col, rows + window.row)


def ramp(one: Grid, window: Window) -> np.ndarray:
    """A plane over the ground in UTM metres."""
    x, y = middles(one, window)
    if one.crs != UTM:
        x, y = (np.reshape(axis, x.shape) for axis in transform(one.crs, UTM, x.ravel(), y.ravel()))
    return (0.01 * (x - WEST) - 0.02 * (y - NORTH)).astype(np.float32)


def brought(source: Grid, target: Grid, window: Window) -> tuple[np.ndarray, np.ndarray]:
    placement = place(source, target)
    needed = placement.needs(window)
    seen = np.ones((1, needed.height, needed.width), bool)
    values, seen = placement.bring(ramp(source, needed)[None], seen, needed, window)
    return values[0], seen[0]


LAEA = CRS.from_epsg(3035)
(_EAST,), (_UP,) = transform(UTM, LAEA, [WEST], [NORTH])


@pytest.mark.parametrize(
    "source",
    [
        grid(10, west=WEST - 3, north=NORTH + 4),  # half a pixel off
        grid(7.3),
        grid(18.0),
        grid(3.1),  # averaged
        grid(9.0, turn=23),
        grid(10, west=_EAST, north=_UP, crs=LAEA),
        grid(1e-4, west=10.35, north=48.75, crs=CRS.from_epsg(4326)),
    ],
    ids=["shifted", "finer", "coarser", "averaged", "rotated", "laea", "degrees"],
)
@pytest.mark.parametrize("window", [Window(20, 30, 16, 16), Window(3, 200, 40, 8)])
def test_a_plane_over_the_ground_stays_that_plane(source: Grid, window: Window) -> None:
    target = grid(10)
    values, seen = brought(source, target, window)
    assert seen.all()
    assert np.abs(values - ramp(target, window)).max() < 1e-3


@settings(max_examples=40, deadline=None)
@given(
    row=st.integers(-300, 300),
    col=st.integers(-300, 300),
    px=st.sampled_from([10.0, 0.3125, 0.2, 7.7]),
    turn=st.sampled_from([0.0, 17.0, 90.0]),
)
def test_a_whole_offset_on_one_lattice_is_no_resampling(row: int, col: int, px: float, turn: float) -> None:
    target = grid(px, turn=turn)
    placement = place(target.part(Window(row, col, 333, 257)), target)
    assert placement == Exact(row, col)
    assert placement.how is None
    assert placement.needs(Window(5, 6, 7, 8)) == Window(5 - row, 6 - col, 7, 8)


def test_a_fifth_of_a_pixel_or_another_crs_is() -> None:
    assert isinstance(place(grid(10, west=WEST + 2), grid(10)), Warp)
    assert isinstance(place(grid(10.01), grid(10)), Warp)
    assert isinstance(place(grid(10, crs=CRS.from_epsg(32633)), grid(10)), Warp)


@settings(max_examples=30, deadline=None)
@given(row=st.integers(-9, 9), col=st.integers(-9, 9), top=st.integers(-5, 30), left=st.integers(-5, 30))
def test_pixels_of_20_m_are_repeated(row: int, col: int, top: int, left: int) -> None:
    target = grid(10)
    source = grid(20, west=WEST + 10 * col, north=NORTH - 10 * row)
    placement = place(source, target, repeat=True)
    assert placement == Repeat(2, row, col)
    window = Window(top, left, 8, 12)
    needed = placement.needs(window)
    rows, cols = np.mgrid[: needed.height, : needed.width]
    numbers = (1000 * (rows + needed.row) + cols + needed.col)[None]
    values, seen = placement.bring(numbers, np.ones_like(numbers, bool), needed, window)
    rows, cols = np.mgrid[: window.height, : window.width]
    np.testing.assert_array_equal(values[0], 1000 * ((rows + top - row) // 2) + (cols + left - col) // 2)
    assert seen.all()


def test_a_pixel_counts_only_if_all_that_it_is_made_of_was_observed() -> None:
    source, target, window = grid(10, west=WEST - 5), grid(10), Window(20, 20, 8, 8)
    placement = place(source, target)
    needed = placement.needs(window)
    values = np.full((2, needed.height, needed.width), 7, np.uint16)
    seen = np.ones((1, needed.height, needed.width), bool)
    seen[0, 24 - needed.row, 24 - needed.col] = False
    values[:, ~seen[0]] = 60_000
    out, valid = placement.bring(values, seen, needed, window)
    assert np.argwhere(~valid[0]).tolist() == [[4, 3], [4, 4]]
    assert out.dtype == np.uint16
    assert (out[:, valid[0]] == 7).all()


def test_decibels_are_averaged_as_power() -> None:
    source, target, window = grid(2.5), grid(10), Window(4, 4, 2, 2)
    placement = place(source, target, meaning="decibel")
    needed = placement.needs(window)
    checks = np.indices((needed.height, needed.width)).sum(axis=0) % 2
    values = np.where(checks, 0.0, -20.0).astype(np.float32)[None]
    out, valid = placement.bring(values, np.ones_like(values, bool), needed, window)
    assert valid.all()
    np.testing.assert_allclose(out, 10 * np.log10((1 + 0.01) / 2), atol=1e-3)
    assert placement.how == "averaged from 2.5 m to pixels of 10 m"


def test_classes_are_never_mixed() -> None:
    source, target, window = grid(20, west=WEST - 3), grid(10), Window(4, 4, 8, 8)
    placement = place(source, target, repeat=True, meaning="classes")
    needed = placement.needs(window)
    values = np.where(np.indices((needed.height, needed.width)).sum(axis=0) % 2, 3, 9).astype(np.uint8)[None]
    out, _ = placement.bring(values, np.ones_like(values, bool), needed, window)
    assert set(np.unique(out)) == {3, 9}


def test_where_a_projection_does_not_reach() -> None:
    mercator = grid(1e5, west=-2e7, north=2e7, crs=CRS.from_epsg(3857))
    beyond = Grid(CRS.from_epsg(4326), Affine(1, 0, -180, 0, -1, 95), 10, 10)
    assert place(mercator, beyond).needs(Window(0, 0, 4, 4)) is None
    assert outline_on(mercator, Grid(beyond.crs, beyond.transform, 4, 4)) is None
