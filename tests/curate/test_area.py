from __future__ import annotations

import json

import numpy as np
import pytest

from skysense.curate.area import earth, parse_area
from skysense.errors import InputError
from skysense.geo import region_box, region_cell

RING = [[10, 50], [12, 50], [12, 52], [10, 52], [10, 50]]


def _geojson(tmp_path, *geometries, name="area.geojson"):
    features = [{"type": "Feature", "properties": {}, "geometry": geometry} for geometry in geometries]
    file = tmp_path / name
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return file


def _polygon(*corners):
    return {"type": "Polygon", "coordinates": [[*map(list, corners), list(corners[0])]]}


def _within(area, *lonlat):
    return area.contains(np.array(lonlat, float)).tolist()


def test_a_box_holds_what_lies_in_it_and_on_its_edge():
    area = parse_area("5,47,15,55")
    assert _within(area, (10, 50), (5, 47), (15, 55), (4.999, 50), (10, 55.001)) == [True, True, True, False, False]
    assert area.bounds == (5, 47, 15, 55)


def test_a_box_with_west_above_east_crosses_the_antimeridian():
    area = parse_area("170,-20,-175,-10")
    inside = _within(area, (175, -15), (180, -15), (-180, -15), (-176, -15), (-174, -15), (0, -15), (169, -15))
    assert inside == [True, True, True, True, False, False, False]
    assert area.bounds == (170, -20, -175, -10)


def test_a_box_that_ends_on_the_antimeridian_is_one_box():
    assert parse_area("180,0,-170,10").boxes == ((-180, 0, -170, 10),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,2,3", "is no area"),
        ("a,b,c,d", "is no area"),
        ("5,55,15,47", "no height"),
        ("5,47,5,55", "no height or width"),
        ("47,5,55,150", "lat 150"),
        ("5,47,15,nan", "outside lon"),
        ("nowhere.geojson", "nowhere.geojson"),
    ],
)
def test_what_is_no_area_is_refused(text, says):
    with pytest.raises(InputError, match=says):
        parse_area(text)


def test_pieces_share_a_box_out_among_its_cells():
    area = parse_area("9.3,47.2,11.9,48.9")
    pieces = list(area.pieces())
    cells = [piece.cell for piece in pieces]
    assert cells == sorted(set(cells))
    lon, lat = np.meshgrid(np.linspace(9.31, 11.89, 60), np.linspace(47.21, 48.89, 60))
    for position in zip(lon.ravel(), lat.ravel(), strict=True):
        west, south, east, north = pieces[cells.index(region_cell(*position))].box
        assert west <= position[0] <= east and south <= position[1] <= north
    spread = sum((piece.extent[2] - piece.extent[0]) * (piece.extent[3] - piece.extent[1]) for piece in pieces)
    assert spread == pytest.approx(36_410e6, rel=0.02)  # 2.6 x 1.7 degrees at 48 N


def test_a_box_that_returns_to_its_first_cell_has_that_cell_once():
    cells = [piece.cell for piece in parse_area("10.4,0.1,10.3,0.2").pieces()]
    assert len(cells) == len(set(cells)) == 532


def test_the_poles_lie_in_pieces():
    for south, north, lat in ((-90, -80, -89.99), (80, 90, 89.99)):
        pieces = {piece.cell: piece for piece in parse_area(f"-180,{south},180,{north}").pieces()}
        for lon in (-179.9, -0.1, 0.1, 179.9):
            piece = pieces[region_cell(lon, lat)]
            assert piece.box[1] <= lat <= piece.box[3]
        assert {-90.0, 90.0} & {edge for piece in pieces.values() for edge in piece.box}


def test_the_earth_is_what_sentinel_2_acquires():
    assert _within(earth(), (-67.3, -55.9), (0, -75), (-30, 82.7), (-30, 83.5)) == [True, False, True, False]


def test_polygons_of_a_file(tmp_path):
    hole = {"type": "Polygon", "coordinates": [RING, [[10.5, 50.5], [10.5, 51], [11, 51], [11, 50.5], [10.5, 50.5]]]}
    area = parse_area(str(_geojson(tmp_path, hole, _polygon((20, 0), (21, 0), (20, 1)))))
    assert _within(area, (10.2, 50.2), (10.7, 50.7), (20.2, 0.2), (20.8, 0.8)) == [True, False, True, False]
    assert area.bounds == (10, 0, 21, 52)


def test_a_lone_geometry_is_an_area(tmp_path):
    file = tmp_path / "one.json"
    file.write_text(json.dumps({"type": "Polygon", "coordinates": [RING]}))
    assert _within(parse_area(str(file)), (11, 51), (13, 51)) == [True, False]


def test_pieces_of_a_polygon_are_cut_to_their_cells(tmp_path):
    area = parse_area(str(_geojson(tmp_path, _polygon((10, 50), (12, 50), (12, 52)))))
    pieces = {piece.cell: piece for piece in area.pieces()}
    for lon, lat, inside in ((11.9, 50.1, True), (11.0, 50.6, True), (10.6, 51.2, False)):
        piece = pieces.get(region_cell(lon, lat))
        assert inside == (piece is not None and piece.area.contains(np.array([[lon, lat]]))[0])
    for cell, piece in pieces.items():
        around = region_box(cell)
        assert all(piece.box[at] >= around[at] - 1e-12 for at in (0, 1))
        assert all(piece.box[at] <= around[at] + 1e-12 for at in (2, 3))


def test_a_polygon_beyond_180_is_brought_back(tmp_path):
    area = parse_area(str(_geojson(tmp_path, _polygon((175, -20), (185, -20), (185, -10), (175, -10)))))
    assert _within(area, (176, -15), (-176, -15), (-174, -15), (174, -15)) == [True, True, False, False]
    assert area.bounds == (175, -20, -175, -10)


def test_polygons_cut_at_the_antimeridian_have_bounds_across_it(tmp_path):
    east = _polygon((175, -20), (180, -20), (180, -10), (175, -10))
    west = _polygon((-180, -20), (-175, -20), (-175, -10), (-180, -10))
    assert parse_area(str(_geojson(tmp_path, east, west))).bounds == (175, -20, -175, -10)


def test_a_polygon_over_a_pole(tmp_path):
    cap = _polygon((-180, -90), (180, -90), (180, -70), (90, -65), (0, -70), (-90, -65), (-180, -70))
    area = parse_area(str(_geojson(tmp_path, cap)))
    assert _within(area, (0, -89.9), (180, -80), (90, -66), (0, -69)) == [True, True, True, False]
    assert area.bounds == (-180, -90, 180, -65)
    assert max(piece.box[3] for piece in area.pieces()) == -65


@pytest.mark.parametrize(
    ("geometry", "says"),
    [
        ({"type": "Point", "coordinates": [1, 2]}, "feature 1 is a Point"),
        (_polygon((0, 0), (2, 2), (2, 0), (0, 2)), "feature 1 is no valid polygon: self-intersection"),
        (_polygon((179, 0), (-179, 0), (-179, 1), (179, 1)), "feature 1 has an edge over 358 degrees"),
        (_polygon((500000, 5300000), (600000, 5300000), (600000, 5400000)), "feature 1 reaches from 500000"),
        (_polygon((50, 100), (52, 100), (52, 120)), "Are lon and lat swapped"),
        ({"type": "Polygon", "coordinates": "no"}, "feature 1 has no readable geometry"),
        (None, "holds no geometry"),
    ],
)
def test_geometries_that_are_no_area_are_refused(tmp_path, geometry, says):
    file = _geojson(tmp_path, geometry)
    with pytest.raises(InputError, match=says) as error:
        parse_area(str(file))
    assert str(file) in str(error.value)


def test_another_crs_is_refused(tmp_path):
    file = tmp_path / "utm.geojson"
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    file.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": []}))
    with pytest.raises(InputError, match="another CRS"):
        parse_area(str(file))
