"""Labels of people: formats, columns, positions, and errors that say what to do."""

from __future__ import annotations

import json

import numpy as np
import pytest

from skysense.errors import InputError
from skysense.maps.grid import Grid
from skysense.maps.ground import Ground
from skysense.maps.labels import cells_of, counts_of, read_labels
from tests.maps.feature_maps import TURNED, UTM

GRID = Grid(UTM, TURNED, 30, 40)


@pytest.fixture
def ground():
    return Ground(GRID)


def lonlat(ground, row, col):
    return tuple(ground.lonlat(np.array([row]), np.array([col]))[0].tolist())


def square(ground, row, col, size):
    corners = [(row, col), (row, col + size), (row + size, col + size), (row + size, col), (row, col)]
    return [lonlat(ground, r - 0.4, c - 0.4) for r, c in corners]


def test_table_of_points(ground, tmp_path):
    rows = [(2, 3, "water"), (4, 5, "field"), (2, 3, "water"), (400, 5, "field"), (7, 7, "field"), (7, 7, "water")]
    lines = ["Longitude,LAT,Label"]
    lines += [f"{lon:.8f},{lat:.8f}, {label}" for row, col, label in rows for lon, lat in [lonlat(ground, row, col)]]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines))
    labels = read_labels(path)
    assert labels.classes == ("field", "water")
    cells = cells_of(labels, ground)
    assert list(zip(cells.row_N, cells.col_N, cells.label_N, strict=True)) == [(2, 3, 1), (4, 5, 0)]
    assert counts_of(labels, cells.label_N) == "1 field, 1 water"
    assert cells.notes == (
        "1 of 6 labels lie outside the map",
        "1 cells are labelled as several classes and do not count",
    )


def geojson(ground):
    point = {"type": "Point", "coordinates": lonlat(ground, 20, 30)}
    polygon = {"type": "Polygon", "coordinates": [square(ground, 5, 6, 3)]}
    shapes = [(point, "a"), (polygon, "b")]
    return {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "geometry": geometry, "properties": {"name": "x", "kind": label}}
            for geometry, label in shapes
        ],
    }


def test_points_and_polygons_of_geojson(ground, tmp_path):
    pytest.importorskip("shapely")
    path = tmp_path / "labels.geojson"
    path.write_text(json.dumps(geojson(ground)))
    with pytest.raises(InputError, match=r"no column label or class; it has name, kind.*--column"):
        read_labels(path)
    cells = cells_of(read_labels(path, "kind"), ground)
    assert (cells.label_N == 0).sum() == 1 and (cells.label_N == 1).sum() == 9
    assert set(zip(cells.row_N[cells.label_N == 1], cells.col_N[cells.label_N == 1], strict=True)) == {
        (row, col) for row in (5, 6, 7) for col in (6, 7, 8)
    }
    assert (cells.row_N[cells.label_N == 0], cells.col_N[cells.label_N == 0]) == ([20], [30])


def test_geopackage_in_the_crs_of_the_map(ground, tmp_path):
    raw, shapely = pytest.importorskip("pyogrio.raw"), pytest.importorskip("shapely")
    spots = [GRID.at(3.5, 2.5), GRID.at(10.5, 20.5)]
    path = tmp_path / "labels.gpkg"
    raw.write(
        path,
        geometry=shapely.to_wkb(shapely.points(spots)),
        field_data=[np.array(["x", "y"], object)],
        fields=np.array(["class"], object),
        geometry_type="Point",
        crs=UTM.to_wkt(),
        driver="GPKG",
    )
    cells = cells_of(read_labels(path), ground)
    assert list(zip(cells.row_N, cells.col_N, cells.label_N, strict=True)) == [(2, 3, 0), (20, 10, 1)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "lon,lat,label\n8,47,a\n8,47.1,a\n", "one class only, 'a'"),
        ("a.csv", "lon,lat,label\n8,47,\n", "line 2 has no label"),
        ("a.csv", "lon,lat,label\n8,,a\n", "line 2: '8', '' is no lon, lat"),
        ("a.csv", "lon,lat,label\n47,8000,a\n", "swapped, or in metres"),
        ("a.csv", "x,y,label\n8,47,a\n", "no columns lon and lat but x, y, label"),
        ("a.csv", "lon,lat,label\n", "holds no labelled"),
        ("a.csv", "lon,lat,label\n8,47,a\n9,48,b\n", "none of its labels lies on the map"),
        ("a.txt", "lon,lat,label\n", "no file of labels that is known"),
    ],
)
def test_errors_for_people(ground, tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        cells_of(read_labels(path), ground)


def test_lines_and_missing_files_are_refused(tmp_path):
    pytest.importorskip("shapely")
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "none.csv")
    line = {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}
    path = tmp_path / "line.geojson"
    path.write_text(json.dumps({"type": "Feature", "geometry": line, "properties": {"label": "a"}}))
    with pytest.raises(InputError, match="feature 1 is a LineString, not a point or a valid polygon"):
        read_labels(path)


def test_a_large_polygon_gives_no_more_cells_than_are_learned_from(tmp_path):
    pytest.importorskip("shapely")
    ground = Ground(Grid(UTM, TURNED, 300, 200))
    path = tmp_path / "labels.geojson"
    shapes = [(square(ground, 10, 10, 150), "wood"), (square(ground, 200, 20, 30), "water")]
    features = [
        {"type": "Feature", "properties": {"label": label}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for ring, label in shapes
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    labels = read_labels(path)
    cells = cells_of(labels, ground)
    assert counts_of(labels, cells.label_N) == "900 water, 2000 wood"
    wood = cells.label_N == 1
    assert cells.row_N[wood].min() == 10 and cells.row_N[wood].max() == 159
    assert cells.col_N[wood].min() == 10 and cells.col_N[wood].max() == 159
    assert len(set(zip(cells.row_N.tolist(), cells.col_N.tolist(), strict=True))) == 2900
    assert "2000 cells of wood, evenly spread" in cells.notes[0]


def test_a_column_of_something_else_is_no_column_of_classes(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["lon,lat,label", *(f"9,48,{number}" for number in range(300))]))
    with pytest.raises(InputError, match=r"holds 300 classes: a map holds at most 254.*--column"):
        read_labels(path)
