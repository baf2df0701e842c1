from __future__ import annotations

import json

import pytest

from skysense.curate.grid import grid_at
from skysense.curate.listed import listed_positions, read_listed
from skysense.curate.position import name_at
from skysense.curate.split import split_of
from skysense.errors import InputError
from skysense.geo import region_box, region_cell


def _table(tmp_path, *lines, name="places.csv"):
    file = tmp_path / name
    file.write_text("\n".join(lines) + "\n")
    return file


def test_a_table_becomes_positions_sorted_by_cell(tmp_path):
    file = _table(tmp_path, "name,lat,lon", "north,60,10", "south,-30,20", "", "also-north,60.01,10.01")
    positions = listed_positions(file, 64)
    assert [(one.number, one.name, one.lon, one.lat) for one in positions] == [
        (0, "south", 20, -30),
        (1, "north", 10, 60),
        (2, "also-north", 10.01, 60.01),
    ]
    assert [one.cell for one in positions] == [region_cell(20, -30), region_cell(10, 60), region_cell(10, 60)]
    assert {one.split for one in listed_positions(file, 64, validation=1)} == {"val"}


def test_region_and_split_are_those_of_the_ground(tmp_path):
    """Of positions a metre from a border of regions, the snapped middle may lie on the other side."""
    *_, north = region_box(region_cell(10, 60))
    lines = [f"a{at},{north + side / 111_000},{10 + at / 1000}" for at in range(20) for side in (-1, 1)]
    positions = listed_positions(
        _table(tmp_path, "name,lat,lon", *[f"{at}{line}" for at, line in enumerate(lines)]), 32
    )
    differ = 0
    for one in positions:
        ground = region_cell(*grid_at(one.lon, one.lat, 32).centre)
        assert (one.cell, one.split) == (ground, split_of(ground))
        differ += ground != region_cell(one.lon, one.lat)
    assert differ > 5 and [one.cell for one in positions] == sorted(one.cell for one in positions)


def test_places_without_a_name_are_called_by_their_position(tmp_path):
    file = _table(tmp_path, "Longitude,Latitude", "11.5755,48.1372", "-180,-90")
    assert {one.name for one in listed_positions(file, 64)} == {"n48.1372_e011.5755", "s90.0000_w180.0000"}


def test_names_of_positions_have_no_negative_zero():
    assert name_at(-0.00001, -0.00001) == "n00.0000_e000.0000"


def test_points_of_geojson(tmp_path):
    point = {"type": "Point", "coordinates": [10, 60]}
    features = [{"type": "Feature", "properties": {"name": "a"}, "geometry": point}]
    file = tmp_path / "points.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert [(one.name, one.lon, one.lat) for one in listed_positions(file, 64)] == [("a", 10, 60)]
    features[0]["geometry"] = {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with pytest.raises(InputError, match="feature 1 is a LineString"):
        read_listed(file)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["lon,lat", "10,20", "48,151"], "line 3: position lon 48, lat 151 .* swapped"),
        (["lon,lat", "10,20", "200,10"], "line 3: position lon 200"),
        (["lon,lat", "10,x"], "line 2: lon '10' and lat 'x' must be numbers"),
        (["lon,lat", "nan,10"], "line 2: position lon nan"),
        (["lon,lat", "10"], "line 2 has 1 cells; the first line has 2"),
        (["lon,lat,name", "10,20,a", "11,20,a"], "line 3 has the name 'a' of line 2"),
        (["lon,lat", "10,20", "10.00001,20"], "line 3 has the position n20.0000_e010.0000 of line 2"),
        (["lon,lat,name", "10,20,a/b"], "line 2: name 'a/b' must be made of"),
        (["x,y", "10,20"], "needs the columns lon and lat"),
        (["lon,lon,lat", "10,10,20"], "needs the columns lon and lat"),
        (["lon,lat"], "holds no position"),
    ],
)
def test_what_is_wrong_is_found_in_its_file_and_line(tmp_path, lines, says):
    file = _table(tmp_path, *lines)
    with pytest.raises(InputError, match=says) as error:
        listed_positions(file, 64)
    assert str(error.value).startswith(str(file))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="could not be read"):
        read_listed(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is no list of positions"):
        read_listed(_table(tmp_path, "lon,lat", name="places.xlsx"))
    latin = tmp_path / "latin.csv"
    latin.write_bytes("lon,lat,name\n1,2,Malm\xf6\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_listed(latin)
