"""Windows, blending and region cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skysense.errors import InputError
from skysense.geo import RegionTable, Window, cover, raised_cosine, region_cell


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 16), st.data())
def test_windows_cover_everything_and_stay_inside(height: int, width: int, size: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, size))
    seen = np.zeros((height, width), int)
    for window in cover(height, width, size, stride):
        assert (window.height, window.width) == (size, size)
        assert window.row == 0 or window.row + size <= height
        assert window.col == 0 or window.col + size <= width
        seen[window.slices()] += 1
    assert seen.min() >= 1


def test_a_stride_that_leaves_gaps_is_refused() -> None:
    with pytest.raises(InputError, match=r"stride 9 must lie within 1 \.\. 8"):
        cover(10, 10, 8, 9)


@settings(deadline=None)
@given(st.integers(1, 40), st.data())
def test_neighbouring_weights_add_up_to_one(size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size // 2))
    weights = raised_cosine(size, overlap)
    assert weights.min() > 0
    assert np.allclose(weights[:overlap] + weights[size - overlap :], 1, atol=1e-6)
    assert np.allclose(weights[overlap : size - overlap], 1)


def test_overlaps_that_meet_are_refused() -> None:
    with pytest.raises(InputError, match="at most half"):
        raised_cosine(8, 5)


def test_intersection_and_scaling() -> None:
    a, b = Window(0, 2, 4, 4), Window(3, 0, 4, 4)
    assert a.intersect(b) == Window(3, 2, 1, 2)
    assert a.intersect(Window(4, 2, 4, 4)) is None
    assert a.scaled(32) == Window(0, 64, 128, 128)


def test_region_cells_are_equal_area_squares_of_65_km() -> None:
    """Steps along a parallel change the cell every 65.536 km of the equal-area projection, wherever on Earth."""
    for lat in (0.5, 48.3, -61.7):
        cells = [region_cell(lon, lat) for lon in np.linspace(5.0, 15.0, 4001)]
        borders = np.flatnonzero(np.diff(cells)) * 10 / 4000
        degrees = np.diff(borders).mean()
        # longitude maps linearly onto x in the cylindrical projection with standard parallels at 30 degrees
        metres = (
            degrees
            * math.pi
            / 180
            * 6_378_137
            * math.cos(math.radians(30))
            / math.sqrt(1 - 0.00669438 * math.sin(math.radians(30)) ** 2)
        )
        assert metres == pytest.approx(65_536, rel=0.01)


@settings(deadline=None)
@given(st.floats(-180, 180), st.floats(-90, 90))
def test_every_position_has_a_cell(lon: float, lat: float) -> None:
    assert 0 <= region_cell(lon, lat) < 1024 * 1024


@pytest.mark.parametrize(("lon", "lat"), [(181.0, 0.0), (0.0, 90.5), (float("nan"), 0.0), (500_000.0, 5_000_000.0)])
def test_positions_off_the_earth_are_refused(lon: float, lat: float) -> None:
    with pytest.raises(InputError, match="outside lon"):
        region_cell(lon, lat)


def test_a_table_gives_slots_by_rank_and_none_for_the_unknown() -> None:
    here, there = region_cell(10, 50), region_cell(100, -20)
    table = RegionTable([there, here, here])
    assert table.cells == tuple(sorted({here, there}))
    assert table.slot(10, 50) == table.cells.index(here)
    assert table.slot(0, 0) is None
    assert table.slot(None, None) is None
