"""GeoTIFFs with vector files: coordinate reference systems, tiles, masks and boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely

from skysense.data.labelled.open import open_labelled
from skysense.data.labelled.vector import read_vector
from skysense.errors import InputError
from tests.data.labelled.files import GRID, UTM, geojson, geopackage, rgb, square, write

SQUARES = [square(10, 20, 30), square(100, 50, 8), square(60, 60, 16)]
KINDS = ["house", "shed", "house"]


def scene(root: Path, height: int = 96, width: int = 160, **how) -> Path:
    options = {"crs": UTM, "transform": GRID, **how}
    return write(root / "scene.tif", rgb(height, width), photometric="RGB", **options)


def wanted_mask() -> np.ndarray:
    mask = np.zeros((96, 160), np.uint8)
    mask[20:50, 10:40] = mask[60:76, 60:76] = 1
    mask[50:58, 100:108] = 2
    return mask


def test_polygons_in_longitude_and_latitude(tmp_path: Path) -> None:
    scene(tmp_path)
    move = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform
    there = [shapely.transform(one, lambda xy: np.stack(move(*xy.T), axis=1)) for one in SQUARES]
    geojson(tmp_path / "l.geojson", there, [{"kind": kind} for kind in KINDS], crs=None)
    data = open_labelled(tmp_path, label="kind")
    assert (data.task, data.classes) == ("segmentation", ("background", "house", "shed"))
    np.testing.assert_array_equal(data.read(0).target[:96, :160], wanted_mask())


@pytest.mark.parametrize("envelope", [True, False])
def test_a_geopackage(tmp_path: Path, envelope: bool) -> None:
    scene(tmp_path)
    geopackage(tmp_path / "l.gpkg", SQUARES, KINDS, envelope=envelope)
    data = open_labelled(tmp_path, label="kind")
    np.testing.assert_array_equal(data.read(0).target[:96, :160], wanted_mask())


def test_tiles_know_where_they_lie(tmp_path: Path) -> None:
    scene(tmp_path)
    geojson(tmp_path / "l.geojson", SQUARES, [{"kind": kind} for kind in KINDS])
    data = open_labelled(tmp_path, label="kind", tile=64)
    assert [item.name for item in data.items] == [f"scene.tif@{row},{col}" for row in (0, 64) for col in (0, 64, 128)]
    assert len({(item.lon, item.lat) for item in data.items}) == 6 == len({item.group for item in data.items})
    example = data.read(1)
    np.testing.assert_array_equal(example.target[:64, :64], wanted_mask()[:64, 64:128])
    np.testing.assert_array_equal(example.sample.series["hr"].values[0, :, :64, :64], rgb(96, 160)[:, :64, 64:128])
    assert data.read(5).size == (32, 32)
    assert example.sample.footprint is not None
    assert example.sample.footprint.bounds[0] == pytest.approx(600_000 + 64 * 0.3125)


def test_boxes_and_oriented_boxes(tmp_path: Path) -> None:
    scene(tmp_path)
    turned = shapely.affinity.rotate(square(40, 30, 20), 45)
    geojson(tmp_path / "l.geojson", [turned, square(150, 90, 20)], [{}, {}])
    boxes = open_labelled(tmp_path, task="detection").read(0).target
    reach = 10 * np.sqrt(2)
    np.testing.assert_allclose(boxes.corners_N4[0], [50 - reach, 40 - reach, 50 + reach, 40 + reach], atol=1e-2)
    np.testing.assert_allclose(boxes.corners_N4[1], [150, 90, 160, 96], atol=1e-2)  # cut at the edge of the image
    oriented = open_labelled(tmp_path, task="oriented-detection").read(0).target
    sides = np.linalg.norm(np.diff(oriented.corners_N42[0], axis=0), axis=1)
    np.testing.assert_allclose(sides, 20, atol=1e-2)


def test_polygons_are_cut_at_tiles(tmp_path: Path) -> None:
    scene(tmp_path)
    geojson(tmp_path / "l.geojson", [square(54, 4, 20)], [{}])
    data = open_labelled(tmp_path, task="oriented-detection", tile=64)
    left, right = (data.read(index).target for index in (0, 1))
    assert left.ignore_N.tolist() == right.ignore_N.tolist() == [False]  # half and half
    np.testing.assert_allclose(np.sort(left.corners_N42[0], axis=0)[[0, -1]], [[54, 4], [64, 24]], atol=1e-2)
    np.testing.assert_allclose(np.sort(right.corners_N42[0], axis=0)[[0, -1]], [[0, 4], [10, 24]], atol=1e-2)


def test_without_an_attribute_all_are_one_class(tmp_path: Path) -> None:
    scene(tmp_path)
    geojson(tmp_path / "barns.geojson", SQUARES, [{"kind": "a", "id": 1}] * 3)
    data = open_labelled(tmp_path)
    assert data.classes == ("background", "barns")
    assert any("name one of its attributes: id, kind" in note for note in data.notes)
    assert open_labelled(tmp_path, classes=["roof"]).classes == ("background", "roof")
    with pytest.raises(InputError, match="has no attribute 'sort'; it has id, kind"):
        open_labelled(tmp_path, label="sort")


def test_polygons_without_a_value_have_no_label(tmp_path: Path) -> None:
    scene(tmp_path)
    geojson(tmp_path / "l.geojson", SQUARES[:2], [{"kind": "house"}, {"kind": None}])
    data = open_labelled(tmp_path, label="kind")
    mask = data.read(0).target
    assert mask[25, 15] == 1 and (mask[50:58, 100:108] == 255).all() and mask[0, 0] == 0
    assert "1 polygons have no 'kind': what they cover has no label" in data.notes


def test_a_polygon_that_crosses_itself_is_repaired(tmp_path: Path) -> None:
    scene(tmp_path)
    (a, b, c, d, _) = square(10, 10, 20).exterior.coords
    geojson(tmp_path / "l.geojson", [shapely.Polygon([a, c, b, d])], [{}])
    data = open_labelled(tmp_path)
    assert "1 polygons cross themselves and were repaired" in data.notes
    assert (data.read(0).target[10:30, 10:30] == 1).mean() == pytest.approx(0.5, abs=0.06)


def test_tiles_of_no_data_are_left_out(tmp_path: Path) -> None:
    values = rgb(96, 160)
    values[:, :, :64] = 0
    write(tmp_path / "scene.tif", values, photometric="RGB", crs=UTM, transform=GRID, nodata=0)
    geojson(tmp_path / "l.geojson", SQUARES, [{}] * 3)
    data = open_labelled(tmp_path, tile=32)
    assert len(data) == 9 and "6 tiles without any observed pixel are left out" in data.notes


def test_a_large_scene_is_cut_unless_told(tmp_path: Path) -> None:
    scene(tmp_path, 600, 520)
    geojson(tmp_path / "l.geojson", SQUARES, [{}] * 3)
    assert [item.name for item in open_labelled(tmp_path).items] == [
        f"scene.tif@{row},{col}" for row in (0, 512) for col in (0, 512)
    ]


def test_a_vector_file_per_image(tmp_path: Path) -> None:
    for name, side in (("a", 10), ("b", 20)):
        write(tmp_path / "images" / f"{name}.tif", rgb(64, 64), crs=UTM, transform=GRID, photometric="RGB")
        geojson(tmp_path / "labels" / f"{name}.geojson", [square(0, 0, side)], [{"k": "x"}])
    data = open_labelled(tmp_path, label="k")
    assert [(data.read(index).target == 1).sum() for index in (0, 1)] == [100, 400]
    (tmp_path / "labels" / "b.geojson").rename(tmp_path / "labels" / "c.geojson")
    with pytest.raises(InputError, match=r"b\.tif: has no vector file of its stem among a\.geojson, c\.geojson"):
        open_labelled(tmp_path, label="k")


def test_an_image_without_a_crs(tmp_path: Path) -> None:
    scene(tmp_path, crs=None)
    geojson(tmp_path / "l.geojson", SQUARES, [{}] * 3)
    with pytest.raises(InputError, match=r"scene\.tif: has no CRS"):
        open_labelled(tmp_path)


def test_vector_files_without_a_crs(tmp_path: Path) -> None:
    scene(tmp_path)
    geojson(tmp_path / "l.geojson", SQUARES, [{}] * 3, crs=None)
    with pytest.raises(InputError, match=r"l\.geojson: has no CRS, and its coordinates"):
        open_labelled(tmp_path)
    (tmp_path / "l.geojson").unlink()
    geopackage(tmp_path / "l.gpkg", SQUARES, KINDS, srs=0)
    with pytest.raises(InputError, match=r"l\.gpkg: has no CRS"):
        open_labelled(tmp_path)
    geojson(tmp_path / "x.geojson", SQUARES, [{}] * 3, crs="LOCAL:7")
    (tmp_path / "l.gpkg").unlink()
    with pytest.raises(InputError, match="has the CRS 'LOCAL:7', which is not known"):
        open_labelled(tmp_path)


def test_polygons_elsewhere(tmp_path: Path) -> None:
    scene(tmp_path)
    geojson(tmp_path / "l.geojson", [square(5000, 5000, 30)], [{}])
    with pytest.raises(InputError, match="no polygon lies on any image"):
        open_labelled(tmp_path)


def test_vector_files_that_are_refused(tmp_path: Path) -> None:
    points = geojson(tmp_path / "p.geojson", [shapely.Point(1, 2)], [{}])
    with pytest.raises(InputError, match="feature 1 is a Point; labels are polygons"):
        read_vector(points)
    broken = tmp_path / "b.gpkg"
    broken.write_bytes(geopackage(tmp_path / "l.gpkg", SQUARES, KINDS).read_bytes()[:3000])
    with pytest.raises(InputError, match="is truncated or no GeoPackage"):
        read_vector(broken)
    (tmp_path / "n.gpkg").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="is truncated or no GeoPackage"):
        read_vector(tmp_path / "n.gpkg")


def test_a_broken_image_does_not_spoil_the_others(tmp_path: Path) -> None:
    scene(tmp_path)
    (tmp_path / "broken.tif").write_bytes(b"II*\0 nothing more")
    geojson(tmp_path / "l.geojson", SQUARES, [{}] * 3)
    data = open_labelled(tmp_path)
    assert [item.name for item in data.items] == ["broken.tif", "scene.tif"]
    data.read(1)
    with pytest.raises(InputError, match=r"broken\.tif: is not a raster"):
        data.read(0)
