"""Objects as polygons on the ground."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import Geod, Transformer
from rasterio.crs import CRS

from skysense.errors import OutputError
from skysense.maps.grid import Grid
from skysense.maps.vectors import Objects, on_the_ground, write_vectors
from tests.maps.scenes import HR_GRID

pyogrio = pytest.importorskip("pyogrio")
shapely = pytest.importorskip("shapely")

UTM = Grid(CRS.from_epsg(32632), HR_GRID, 4000, 4000)
BOXES = np.array([[10, 20, 50, 40], [100, 200, 110, 260.5]])


def objects(grid: Grid = UTM, boxes: np.ndarray = BOXES) -> Objects:
    count = len(boxes)
    return on_the_ground(boxes, np.arange(count), np.linspace(0.9, 0.5, count).astype(np.float32), grid)


def read(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray], dict]:
    """Corners ``(N, 5, 2)``, fields by name and what is known of the file."""
    info, _, geometry, values = pyogrio.raw.read(path)
    rings = [np.array(shapely.from_wkb(one).exterior.coords) for one in geometry]
    return np.array(rings), dict(zip(info["fields"], values, strict=True)), info


def test_a_geopackage_has_the_corners_in_map_units(tmp_path: Path) -> None:
    path = tmp_path / "ships.gpkg"
    write_vectors(path, objects(), ("ship", "plane"), UTM.crs, {"model": {"sha256": "abc"}})
    rings, fields, info = read(path)
    for ring, (x1, y1, x2, y2) in zip(rings, BOXES, strict=True):
        wanted = [HR_GRID @ corner for corner in ((x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1))]
        np.testing.assert_allclose(ring, wanted, rtol=1e-12)
    assert info["crs"] == "EPSG:32632" and info["geometry_type"] == "Polygon"
    assert fields["class"].tolist() == ["ship", "plane"]
    np.testing.assert_allclose(fields["score"], [0.9, 0.5], rtol=1e-6)
    about = pyogrio.read_info(path)
    assert about["layer_name"] == "detections"
    assert json.loads(about["layer_metadata"]["SKYSENSE"]) == {"model": {"sha256": "abc"}}


def test_geojson_is_wgs_84_and_anticlockwise(tmp_path: Path) -> None:
    path = tmp_path / "ships.geojson"
    write_vectors(path, objects(), ("ship", "plane"), UTM.crs)
    content = json.loads(path.read_text())
    assert "crs" not in content
    to_degrees = Transformer.from_crs(32632, 4326, always_xy=True)
    for feature, (x1, y1, x2, y2) in zip(content["features"], BOXES, strict=True):
        ring = np.array(feature["geometry"]["coordinates"][0])
        corners = [to_degrees.transform(*HR_GRID @ corner) for corner in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]
        np.testing.assert_allclose(sorted(ring[:4].tolist()), sorted(corners), rtol=1e-8)
        assert shapely.Polygon(ring).exterior.is_ccw


def test_sides_and_angle_are_those_of_the_ground(tmp_path: Path) -> None:
    """A box 40 x 20 px whose longer side points 30 degrees west of north, in a CRS of degrees and in one of metres."""
    turned = np.array([[200.0, 300, 40, 20, math.radians(60)]])  # clockwise on the screen from the rows
    step = 3e-6
    degrees = Grid(CRS.from_epsg(4326), Affine(step, 0, 10, 0, -step, 48), 1000, 1000)
    metres = Grid(CRS.from_epsg(32632), Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000), 1000, 1000)  # its meridian
    geod = Geod(ellps="WGS84")
    for grid in (degrees, metres):
        write_vectors(tmp_path / "one.gpkg", objects(grid, turned), ("ship",), grid.crs)
        _, fields, _ = read(tmp_path / "one.gpkg")
        (tmp_path / "one.gpkg").unlink()
        if grid is metres:
            np.testing.assert_allclose([fields["width_m"], fields["height_m"]], [[20 / 0.9996], [10 / 0.9996]])
            np.testing.assert_allclose(fields["angle"], [150], atol=0.01)
        else:
            along = np.array([math.cos(math.radians(60)), math.sin(math.radians(60))]) * 20 * step
            x, y = grid.at(200, 300)
            azimuth, _, length = geod.inv(x - along[0], y + along[1], x + along[0], y - along[1])
            np.testing.assert_allclose(fields["width_m"], [length], rtol=1e-6)
            np.testing.assert_allclose(fields["angle"], [azimuth % 180], atol=1e-3)


@pytest.mark.parametrize("name", ["none.gpkg", "none.geojson"])
def test_nothing_found_is_an_empty_file_that_opens(name: str, tmp_path: Path) -> None:
    for columns in (4, 5):
        write_vectors(tmp_path / name, objects(boxes=np.zeros((0, columns))), ("ship",), UTM.crs)
    about = pyogrio.read_info(tmp_path / name)
    assert about["features"] == 0 and about["geometry_type"] in ("Polygon", "Unknown")


def test_what_is_no_vector_file_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.gpkg or \.geojson"):
        write_vectors(tmp_path / "ships.shp", objects(), ("ship", "plane"), UTM.crs)
    assert not list(tmp_path.iterdir())
