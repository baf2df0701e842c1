from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from skysense.curate.area import parse_area
from skysense.curate.sampling import APART_METRES, Sampling
from skysense.curate.split import split_of
from skysense.errors import ConfigError, InputError
from skysense.geo import region_cell
from tests.curate.earths import all_land, land_of_boxes


def _least_metres(lonlat_N2):
    first, second = np.triu_indices(len(lonlat_N2), 1)
    one, other = lonlat_N2[first], lonlat_N2[second]
    return Geod(ellps="WGS84").inv(*one.T, *other.T)[2].min()


def _all(sampling):
    return np.concatenate([cell.lonlat_N2 for cell in sampling])


@settings(max_examples=60, deadline=None)
@given(
    lon=st.one_of(st.floats(-180, 180), st.sampled_from([179.9, 180.0, -180.0, 0.0])),
    lat=st.one_of(st.floats(-89, 89), st.sampled_from([-89.9, 89.9, 88.6, 0.0, 82.2])),
    kilometres=st.floats(5, 90),
    apart=st.sampled_from([60.0, APART_METRES, 3000.0, 9000.0]),
    seed=st.integers(0, 5),
)
def test_no_two_places_are_too_near_within_a_cell_or_across_its_border(lon, lat, kilometres, apart, seed):
    tall = kilometres / 111
    wide = min(tall / max(np.cos(np.radians(lat)), 0.02), 170)
    west, east = lon - wide / 2, lon + wide / 2
    south, north = max(lat - tall / 2, -90), min(lat + tall / 2, 90)
    box = f"{west + 360 if west < -180 else west},{south},{east - 360 if east > 180 else east},{north}"
    try:
        sampling = Sampling(parse_area(box), 300, land=all_land(), seed=seed, apart=apart)
    except InputError:
        return  # a strip along a border, narrower than the distance
    blocks = list(sampling)
    lonlat = np.concatenate([block.lonlat_N2 for block in blocks])
    assert all(len(block) <= share for block, share in zip(blocks, sampling.share_C, strict=True))
    assert sampling.share_C.sum() == 300
    assert parse_area(box).contains(lonlat).all()
    if len(lonlat) > 1:
        assert _least_metres(lonlat) >= apart
    for block in blocks:
        assert {region_cell(*position) for position in block.lonlat_N2.tolist()} <= {block.cell}


def test_places_lie_on_land_in_the_area_and_nowhere_else(tmp_path):
    triangle = [[[9, 47], [13, 47], [13, 50], [9, 47]]]
    file = tmp_path / "area.geojson"
    file.write_text(json.dumps({"type": "Polygon", "coordinates": triangle}))
    ground = land_of_boxes([(10, 48, 14, 49), (9, 47, 12, 47.5)])
    area = parse_area(str(file))
    lonlat = _all(Sampling(area, 500, land=ground, apart=1000))
    assert len(lonlat) == 500
    assert area.contains(lonlat).all() and ground.holds(lonlat).all()


def test_shares_follow_land():
    ground = land_of_boxes([(0, 10, 4, 14), (20, 0, 21, 4)])  # 4 : 1, but for the lower latitude of the second
    sampling = Sampling(parse_area("-5,-5,30,20"), 20_000, land=ground)
    lonlat = _all(sampling)
    west = (lonlat[:, 0] < 10).mean()
    assert west == pytest.approx(4 * 0.978 / (4 * 0.978 + 1 * 0.999), abs=0.005)  # cosine of the middle latitudes
    # Within one cell that is all land the halves have about the same number.
    inner = next(block for block in sampling if block.cell == region_cell(2, 12))
    middle = np.median(_all(Sampling(parse_area("1.7,11.6,2.3,12.4"), 2000, land=ground, apart=100))[:, 0])
    assert middle == pytest.approx(2.0, abs=0.02)
    assert len(inner) > 0


def test_fewer_places_than_cells_are_spread_over_all_latitudes():
    """Rounding up the largest remainders would put them all into the first cells."""
    lat = _all(Sampling(parse_area("-180,-56,-150,82.8"), 400, land=all_land()))[:, 1]
    z = np.sin(np.radians(lat))
    low, high = np.sin(np.radians([-56, 82.8]))
    counts, _ = np.histogram(z, 8, (low, high))
    assert counts.sum() == 400 and counts.min() >= 48 and counts.max() <= 52


def test_numbers_names_and_splits():
    sampling = Sampling(parse_area("10,47,13,49"), 700, land=all_land(), validation=0.3)
    positions = [position for block in sampling for position in block.positions()]
    assert [position.number for position in positions] == list(range(700))
    assert len({position.name for position in positions}) == 700
    cells = [position.cell for position in positions]
    assert cells == sorted(cells)
    assert {(position.cell, position.split) for position in positions} == {(c, split_of(c, 0.3)) for c in cells}
    assert {position.split for position in positions} == {"train", "val"}
    one = positions[0]
    assert one.name == f"n{one.lat:07.4f}_e{one.lon:08.4f}"


def test_a_cell_is_drawn_again_without_the_others():
    sampling = Sampling(parse_area("10,47,13,49"), 700, land=all_land(), seed=4)
    blocks = list(sampling)
    for block in blocks[::-1]:
        again = sampling.draw(block.cell)
        assert np.array_equal(again.lonlat_N2, block.lonlat_N2) and again.first == block.first
    with pytest.raises(KeyError):
        sampling.draw(0)


def test_a_cell_begins_with_the_same_places_however_many_it_holds():
    area = parse_area("10,47,13,49")
    few, many = (Sampling(area, number, land=all_land(), seed=1) for number in (300, 5000))
    for block in few:
        assert np.array_equal(many.draw(block.cell).lonlat_N2[: len(block)], block.lonlat_N2)


def test_the_seed_matters_and_nothing_else_does():
    area = parse_area("10,47,13,49")
    one, same, other = (_all(Sampling(area, 300, land=all_land(), seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_what_does_not_fit_leaves_other_numbers_alone():
    ground = land_of_boxes([(10.9, 48.0, 11.5, 48.3)])
    sampling = Sampling(parse_area("10,47,13,49"), 4000, land=ground)
    blocks = list(sampling)
    held = sum(map(len, blocks))
    assert sampling.share_C.sum() == 4000 and held < 2000
    square_km = 0.6 * 74.2 * 0.3 * 111.2
    covered = held * np.pi * (APART_METRES / 2000) ** 2 / square_km
    assert 0.45 < covered < 0.56  # random sequential addition jams at 0.547 of the ground
    firsts = [block.first for block in blocks]
    assert firsts == np.concatenate([[0], np.cumsum(sampling.share_C)[:-1]]).tolist()


def test_what_makes_no_sense_is_refused():
    area = parse_area("10,47,13,49")
    with pytest.raises(InputError, match="no land"):
        Sampling(area, 10, land=land_of_boxes([(0, 0, 1, 1)]))
    with pytest.raises(ConfigError, match="at least 1"):
        Sampling(area, 0, land=all_land())
    for apart in (1, 50_000):
        with pytest.raises(ConfigError, match="apart"):
            Sampling(area, 10, land=all_land(), apart=apart)
