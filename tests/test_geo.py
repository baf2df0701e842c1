"""Windows, blending and region cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skysense.errors import ConfigError, InputError
from skysense.geo import (
    REGION_RULES,
    RegionTable,
    Window,
    cover,
    equal_area,
    equal_area_of,
    lonlat_of,
    mercator_tile,
    raised_cosine,
    region_at,
    region_box,
    region_cell,
    region_cells,
    region_grid,
    region_rule,
)


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
@pytest.mark.parametrize("name", REGION_RULES)
def test_positions_off_the_earth_are_refused(name: str, lon: float, lat: float) -> None:
    with pytest.raises(InputError, match="outside lon"):
        region_rule(name)(lon, lat)


@pytest.mark.parametrize(
    ("lon", "lat", "cell"),
    # Munich, Sydney, Quito: from pyproj, EPSG:6933 metres over 65536, floored, 512 added, row times 1024
    [(0.0, 0.0, 512 * 1024 + 512), (11.58, 48.14, 595 * 1024 + 529), (151.2, -33.87, 449 * 1024 + 734)],
)
def test_equal_area_cells_stay_what_they_are_in_saved_models(lon: float, lat: float, cell: int) -> None:
    assert region_rule("equal_area")(lon, lat) == region_cell(lon, lat) == cell


def test_many_positions_are_mapped_as_single_ones() -> None:
    lonlat_N2 = np.random.default_rng(0).uniform((-180, -90), (180, 90), (200, 2))
    wanted = [equal_area(lon, lat) for lon, lat in lonlat_N2.tolist()]
    np.testing.assert_array_equal(equal_area_of(lonlat_N2), wanted)
    for position in ((181.0, 0.0), (0.0, -90.1), (np.nan, 0.0), (0.0, np.inf)):
        with pytest.raises(InputError, match="is outside lon"):
            equal_area_of(np.array([(1.0, 2.0), position]))


@pytest.mark.parametrize(
    ("lon", "lat", "x", "y"),
    [
        (0.0, 0.0, 32, 32),
        (-1e-9, 1e-9, 31, 31),
        (11.58, 48.14, 34, 22),  # the tile of Munich on any web map: 6/34/22
        (151.2, -33.87, 58, 38),
        (-180.0, 0.0, 0, 32),
        (180.0, 0.0, 0, 32),  # the same meridian
        (179.999, 0.0, 63, 32),
        (5.624, 85.0, 32, 0),
        (5.626, 85.06, 33, 0),
        (0.0, 90.0, 32, 0),
        (0.0, -90.0, 32, 63),
        (0.0, -85.06, 32, 63),
    ],
)
def test_web_mercator_tiles(lon: float, lat: float, x: int, y: int) -> None:
    assert mercator_tile(lon, lat) == y * 64 + x


@given(st.floats(-180, 180), st.floats(-90, 90))
def test_every_position_has_one_of_4096_tiles(lon: float, lat: float) -> None:
    assert 0 <= mercator_tile(lon, lat) < 4096


def test_tiles_are_bounded_by_the_inverse_of_the_projection() -> None:
    for y in range(64):
        border = math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * y / 64))))
        assert mercator_tile(0, border - 1e-6) // 64 == y
        assert mercator_tile(0, border + 1e-6) // 64 == max(y - 1, 0)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^unknown region_rule 'hexagons'; known: equal_area, web_mercator$"):
        region_rule("hexagons")


def test_a_table_gives_slots_by_rank_and_none_for_the_unknown() -> None:
    here, there = region_cell(10, 50), region_cell(100, -20)
    table = RegionTable([there, here, here])
    assert table.cells == tuple(sorted({here, there}))
    assert table.slot(10, 50) == table.cells.index(here)
    assert table.slot(0, 0) is None
    assert table.slot(None, None) is None


def test_a_table_looks_up_by_its_rule_which_may_be_any_function() -> None:
    positions = [(10, 50), (100, -20), (None, None)]
    table = RegionTable.of(positions, mercator_tile)
    assert table.cells == tuple(sorted({mercator_tile(10, 50), mercator_tile(100, -20)}))
    assert table.slot(10.1, 50) == table.cells.index(mercator_tile(10, 50))
    assert RegionTable.of(positions).slot(10, 50) == 1  # equal-area ids grow northward
    assert RegionTable([0, 1], lambda lon, lat: int(lat > 0)).slot(0, 10) == 1


EDGES = [(-180.0, 10.0), (180.0, 10.0), (0.0, 90.0), (-179.999, -90.0), (0.0, 0.0), (179.999, 82.8), (179.9, -0.001)]


@settings(deadline=None)
@given(st.one_of(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), st.sampled_from(EDGES)))
def test_a_region_cell_lies_between_its_meridians_and_parallels(position: tuple[float, float]) -> None:
    cell = region_cell(*position)
    west, south, east, north = region_box(cell)
    assert west - 1e-9 <= position[0] <= east + 1e-9 and south - 1e-9 <= position[1] <= north + 1e-9
    assert -180 <= west < east <= 180 and -90 <= south < north <= 90
    assert region_cell((west + east) / 2, (south + north) / 2) == cell
    assert region_at(*region_grid(cell)) == cell


def test_region_cells_of_many_positions_are_those_of_each() -> None:
    lonlat = np.random.default_rng(0).uniform([-180, -90], [180, 90], (500, 2))
    lonlat = np.concatenate([lonlat, EDGES])
    assert region_cells(lonlat).tolist() == [region_cell(*position) for position in lonlat.tolist()]


def test_the_way_back_from_the_equal_area_map() -> None:
    lonlat = np.random.default_rng(0).uniform([-180, -89], [180, 89], (500, 2))
    assert np.allclose(lonlat_of(equal_area_of(lonlat)), lonlat, atol=1e-8)
