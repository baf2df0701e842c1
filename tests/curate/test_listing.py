import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from skysense.curate.listing import digest_of_items, digest_of_rasters, items_of_file, items_of_rasters
from skysense.errors import InputError


def raster(path: Path, crs: str | None = "EPSG:32632") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    how = {"driver": "GTiff", "width": 30, "height": 20, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", **how, crs=crs, transform=Affine(2, 0, 500_000, 0, -2, 5_200_000)) as dataset:
        dataset.write(np.full((3, 20, 30), 9, np.uint8))
    return path


def test_rasters_say_themselves_where_they_lie(tmp_path):
    raster(tmp_path / "images/b/one_20210615_x.tif")
    raster(tmp_path / "images/a/two_2020-01-31.tif")
    (tmp_path / "images/a/two_2020-01-31.txt").touch()
    two, one = items_of_rasters(tmp_path / "images/**/*.tif", r"_(\d{4}-?\d{2}-?\d{2})")
    assert (one["id"], one["properties"]["datetime"]) == ("b/one_20210615_x.tif", "2021-06-15T00:00:00Z")
    assert two["properties"]["datetime"] == "2020-01-31T00:00:00Z"
    assert one["assets"]["image"] == {
        "href": str(tmp_path / "images/b/one_20210615_x.tif"),
        "proj:code": "EPSG:32632",
        "proj:shape": [20, 30],
        "proj:transform": [2, 0, 500_000, 0, -2, 5_200_000],
    }
    west, south, east, north = one["bbox"]
    assert (west, north) == pytest.approx((9.0, 46.95), abs=0.01) and west < east and south < north
    assert one["geometry"]["coordinates"][0][0] == [west, south]


def test_one_raster_and_one_date_for_all(tmp_path):
    path = raster(tmp_path / "image.tif")
    (item,) = items_of_rasters(path, "2019-07-01")
    assert (item["id"], item["properties"]["datetime"]) == ("image.tif", "2019-07-01T00:00:00Z")


def test_rasters_that_will_not_do(tmp_path):
    with pytest.raises(InputError, match="no raster is called like this"):
        items_of_rasters(tmp_path / "*.tif", "2019-07-01")
    raster(tmp_path / "x_20211399.tif")
    with pytest.raises(InputError, match=r"x_20211399.tif: its name holds no date"):
        items_of_rasters(tmp_path / "x*.tif", r"_(\d{8})")
    raster(tmp_path / "y.tif", crs=None)
    with pytest.raises(InputError, match=r"y.tif: has no reference system"):
        items_of_rasters(tmp_path / "y.tif", "2019-07-01")
    (tmp_path / "z.tif").write_text("no raster")
    with pytest.raises(InputError, match=r"z.tif: is not a raster"):
        items_of_rasters(tmp_path / "z.tif", "2019-07-01")


def item(name: str, href: str) -> dict:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "geometry": {"type": "Point", "coordinates": [9, 47]},
        "bbox": [9, 47, 9, 47],
        "properties": {"datetime": "2021-01-01T00:00:00Z"},
        "links": [],
        "assets": {"image": {"href": href}},
    }


def test_items_of_a_file_lie_relative_to_it(tmp_path):
    path = tmp_path / "items.json"
    features = [item("a", "x/a.tif"), item("b", "https://host/b.tif"), item("c", "/data/c.tif")]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert [one["assets"]["image"]["href"] for one in items_of_file(path)] == [
        str(tmp_path / "x/a.tif"),
        "https://host/b.tif",
        "/data/c.tif",
    ]


def test_a_static_catalogue_is_walked(tmp_path):
    pytest.importorskip("pystac")
    catalogue = {"type": "Catalog", "stac_version": "1.0.0", "id": "root", "description": "x"}
    catalogue["links"] = [{"rel": "item", "href": "./a/a.json"}, {"rel": "item", "href": "./b/b.json"}]
    (tmp_path / "catalog.json").write_text(json.dumps(catalogue))
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.json").write_text(json.dumps(item(name, "./image.tif")))
    found = items_of_file(tmp_path / "catalog.json")
    assert [(one["id"], Path(one["assets"]["image"]["href"])) for one in found] == [
        (name, tmp_path / name / "image.tif") for name in "ab"
    ]
    (tmp_path / "b" / "b.json").unlink()
    broken = tmp_path / "again.json"
    broken.write_text(json.dumps(catalogue))
    with pytest.raises(InputError, match=r"again.json: cannot be walked"):
        items_of_file(broken)


def test_files_that_hold_no_items(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        items_of_file(tmp_path / "none.json")
    for number, text in enumerate(("{", "[]", '{"type": "FeatureCollection"}')):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        with pytest.raises(InputError, match="is not JSON" if number == 0 else "neither a FeatureCollection"):
            items_of_file(path)


def test_digests_are_of_what_is_there(tmp_path):
    file = tmp_path / "items.json"
    trees = [{"type": "FeatureCollection", "features": [item(name, "x.tif")]} for name in ("one", "two", "one")]
    digests = []
    for at, tree in enumerate(trees):
        file = tmp_path / str(at) / "items.json"
        file.parent.mkdir()
        file.write_text(json.dumps(tree).replace("x.tif", "/x.tif"))
        digests.append(digest_of_items(file))
    assert digests[0] == digests[2] != digests[1]
    first = raster(tmp_path / "images/a.tif")
    one = digest_of_rasters(tmp_path / "images/*.tif")
    raster(tmp_path / "images/b.tif")
    two = digest_of_rasters(tmp_path / "images/*.tif")
    first.write_bytes(first.read_bytes() + b"more")
    assert len({one, two, digest_of_rasters(tmp_path / "images/*.tif")}) == 3
