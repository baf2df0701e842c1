from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pyproj import Geod

from skysense.curate.avoid import Avoid, AvoidSet, read_avoid
from skysense.data.earth import simulate
from skysense.errors import ConfigError, InputError

EARTH = Geod(ellps="WGS84")


def _ring(lon, lat, kilometres, count=36):
    azimuths = np.linspace(0, 360, count, endpoint=False)
    start = np.full(count, lon), np.full(count, lat)
    return np.stack(EARTH.fwd(*start, azimuths, np.full(count, kilometres * 1000))[:2], axis=1)


@pytest.mark.parametrize(("lon", "lat"), [(11.5, 48), (180, -17), (0, 0), (30, 89.98), (-60, -89.99), (0, 90)])
def test_positions_nearer_than_the_distance_are_found(lon, lat):
    avoid = Avoid([AvoidSet("tests", np.array([[lon, lat]], float))], 10)
    assert (avoid.find(_ring(lon, lat, 9.99)) == 0).all()
    assert (avoid.find(_ring(lon, lat, 10.11)) == -1).all()  # the distance is understated by up to 1 %
    assert avoid.reason(0) == "within 10 km of tests"


def test_it_agrees_with_every_single_distance():
    rng = np.random.default_rng(3)
    tests, places = (rng.uniform([170, -20], [190, -10], (count, 2)) for count in (200, 500))
    for each in (tests, places):
        each[each[:, 0] > 180, 0] -= 360
    first, second = (each.ravel() for each in np.meshgrid(np.arange(500), np.arange(200), indexing="ij"))
    metres = EARTH.inv(*places[first].T, *tests[second].T)[2].reshape(500, 200).min(axis=1)
    found = Avoid([AvoidSet("t", tests)], 30).find(places) == 0
    assert found[metres < 30_000].all() and not found[metres > 30_310].any()
    assert 100 < found.sum() < 400


def test_the_first_set_that_is_near_is_named():
    sets = [AvoidSet("one", np.array([[10.0, 50]])), AvoidSet("two", np.array([[10.0, 50], [20, 50]]))]
    assert Avoid(sets).find(np.array([[10.0, 50], [20, 50], [30, 50]])).tolist() == [0, 1, -1]
    assert Avoid([]).find(np.array([[10.0, 50]])).tolist() == [-1]


def test_polygons_are_kept_from_inside_and_outside(tmp_path):
    square = [[[10, 50], [12, 50], [12, 52], [10, 52], [10, 50]]]
    file = tmp_path / "tests.geojson"
    file.write_text(json.dumps({"type": "Polygon", "coordinates": square}))
    avoid = Avoid([read_avoid(file)], 10)
    degree_lon, degree_lat = 111.3 * np.cos(np.radians(51)), 111.25
    places = [
        (11, 51),
        (10, 50),
        (12 + 9.9 / degree_lon, 51),
        (11, 50 - 9.9 / degree_lat),
        (12.0, 52 + 9.9 / degree_lat),
    ]
    assert (avoid.find(np.array(places)) == 0).all()
    places = [(12 + 10.7 / degree_lon, 51), (11, 50 - 10.7 / degree_lat), (0, 0), (9.8, 49.88)]
    assert (avoid.find(np.array(places)) == -1).all()


def test_files_of_positions(tmp_path):
    file = tmp_path / "tests.csv"
    file.write_text("lon,lat\n10,50\n11,51\n")
    one = read_avoid(file)
    assert one.name == str(file) and one.lonlat_V2.tolist() == [[10, 50], [11, 51]]
    file = tmp_path / "tests.geojson"
    file.write_text(json.dumps({"type": "Point", "coordinates": [10, 50]}))
    assert read_avoid(file).lonlat_V2.tolist() == [[10, 50]]
    with pytest.raises(InputError, match="no folder of places"):
        read_avoid(tmp_path)


def test_a_folder_of_places(tmp_path: Path):
    simulate(tmp_path / "earth", regions=2, places_per_region=2, footprint_cells=4)
    one = read_avoid(tmp_path / "earth")
    assert len(one.lonlat_V2) == 4 and one.unplaced == 0
    assert (Avoid([one]).find(one.lonlat_V2) == 0).all()


def test_a_distance_must_be_above_zero():
    with pytest.raises(ConfigError, match="above 0 km"):
        Avoid([], 0)
