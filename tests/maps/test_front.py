"""Maps from Python: in memory and on disk the same numbers, on the grid of the imagery."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray

import skysense
from skysense.errors import ConfigError, InputError
from skysense.geo import Window
from skysense.maps.ground import Ground
from skysense.maps.product.read import Product
from skysense.sensors import SENTINEL2_L2A
from tests.maps.adapted_models import adapted
from tests.maps.feature_maps import classes_of, features_of_classes, write_features
from tests.maps.scenes import hr_scene, s2_scene, s2_values, tiny

H, W = 21, 34


def s2_array():
    """What `s2_scene` writes."""
    coords = {"y": 5_400_000 - 10 * (np.arange(H) + 0.5), "x": 600_000 + 10 * (np.arange(W) + 0.5)}
    return xarray.DataArray(
        s2_values(H, W),
        dims=("band", "y", "x"),
        coords={"band": list(SENTINEL2_L2A.bands), **coords},
        attrs={"crs": "EPSG:32632", "units": "reflectance*1e4"},
    )


@pytest.fixture(scope="module")
def model():
    return tiny().eval()


@pytest.fixture(scope="module")
def product(model, tmp_path_factory):
    """Features of the scene, on disk."""
    folder = tmp_path_factory.mktemp("front")
    return skysense.embed(model, s2_scene(folder / "scene.tif", H, W), folder / "features.tif")


@pytest.fixture(scope="module")
def memory(model):
    """The same of an array, in memory."""
    return model.embed(s2_array())


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Features of ground with three classes."""
    features = features_of_classes(classes_of(60, 80))
    return skysense.open_product(write_features(tmp_path_factory.mktemp("classes") / "features.tif", features))


def labels(product, *named):
    """Labels by row, column and name."""
    rows, cols = np.array([one[0] for one in named]), np.array([one[1] for one in named])
    lonlat_N2 = Ground(product.grid).lonlat(rows, cols).tolist()
    return [(lon, lat, name) for (lon, lat), (_, _, name) in zip(lonlat_N2, named, strict=True)]


LABELLED = ((5, 5, "field"), (50, 20, "field"), (5, 70, "lake"), (55, 75, "lake"), (30, 60, "wood"))


def test_an_array_in_memory_gives_what_its_file_gives(product, memory):
    read = product.to_xarray("features")
    assert memory.features.dims == ("band", "y", "x") and memory.features.dtype == np.float32
    np.testing.assert_array_equal(memory.features.values, read.values)
    assert np.isfinite(read.values).all() and read.values.std() > 0.1
    xarray.testing.assert_identical(memory.features.coords.to_dataset(), read.coords.to_dataset())


def test_coordinates_are_those_of_the_grid(memory):
    np.testing.assert_array_equal(memory.x, s2_array().x)
    np.testing.assert_array_equal(memory.y, s2_array().y)
    assert memory.band.values.tolist()[:2] == ["fused 0", "fused 1"]
    assert memory.spatial_ref.attrs["GeoTransform"].split()[:2] == ["600000.0", "10.0"]
    assert memory.features.encoding["grid_mapping"] == "spatial_ref"
    assert json.loads(memory.attrs["skysense"])["model"]["sha256"] == memory.attrs["model_sha256"]


def test_south_first_is_the_same_map(model, memory):
    xarray.testing.assert_equal(model.embed(s2_array().isel(y=slice(None, None, -1))), memory)


def test_a_data_set_survives_netcdf(memory, tmp_path):
    memory.to_netcdf(tmp_path / "features.nc")
    with xarray.open_dataset(tmp_path / "features.nc", decode_coords="all") as read:
        xarray.testing.assert_equal(read, memory)
        assert read.spatial_ref.attrs["crs_wkt"].startswith("PROJCRS")


def test_a_window_and_a_level_lie_where_they_should(product):
    window = Window(3, 5, 4, 6)
    some = product.to_xarray("features", window=window)
    np.testing.assert_array_equal(some, product.to_xarray("features")[:, 3:7, 5:11])
    np.testing.assert_array_equal(some.x, product.to_xarray().x[5:11])


def test_no_data_is_nan_and_classes_have_names(classes):
    answer = skysense.fewshot(classes, labels(classes, *LABELLED))
    assert answer.classes.dims == ("y", "x") and answer.uncertainty.dims == ("band", "y", "x")
    assert answer.classes.attrs["class_names"] == ["field", "lake", "wood"]
    assert answer.classes.attrs["flag_values"] == [0, 1, 2]
    right = answer.classes.values == classes_of(60, 80)
    assert right.mean() > 0.9


def test_labels_of_any_kind_give_the_same_map(classes, tmp_path):
    triples = labels(classes, *LABELLED)
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [lon, lat]},
            "properties": {"label": name},
        }
        for lon, lat, name in triples
    ]
    made = skysense.fewshot(classes.path, {"type": "FeatureCollection", "features": features}, tmp_path / "map.tif")
    assert isinstance(made, Product)
    xarray.testing.assert_equal(made.to_xarray(), skysense.fewshot(classes, triples))
    with pytest.raises(InputError, match=r"no triples\. Give \[\(longitude"):
        skysense.fewshot(classes, [(8.0, 47.0)])


def test_search_says_where(classes, tmp_path):
    point = labels(classes, LABELLED[4])[0][:2]
    found = skysense.search(classes, point=point, count=3, apart=20)
    assert len(found) == 3 and found[0].similarity == max(hit.similarity for hit in found)
    assert {int(classes_of(60, 80).flat[hit.number]) for hit in found} == {2}
    assert found.__geo_interface__["features"][0]["geometry"]["coordinates"] == [
        round(found[0].lon, 6),
        round(found[0].lat, 6),
    ]
    found.write(tmp_path / "found.geojson")
    assert json.loads((tmp_path / "found.geojson").read_text()) == found.__geo_interface__
    with pytest.raises(ConfigError, match="one of point, polygon and image"):
        skysense.search(classes)
    with pytest.raises(ConfigError, match="an image needs model"):
        skysense.search(classes, image="a.tif")


def test_predict_in_memory_is_predict_on_disk(tmp_path):
    scene = hr_scene(tmp_path / "scene.tif", 96, 128)
    model = adapted("segmentation")
    made = skysense.predict(model, scene, tmp_path / "map.tif", uncertainty=True)
    there = skysense.predict(model, scene, uncertainty=True)
    assert there.classes.shape == (96, 128) and set(np.unique(there.classes)) <= {0, 1}
    xarray.testing.assert_equal(there, made.to_xarray())
    assert set(there.coords) == {"spatial_ref"}  # rotated: coordinates of rows and columns would be wrong


def test_objects_come_back_as_geojson(tmp_path):
    pytest.importorskip("torchvision")
    pytest.importorskip("pyogrio")
    scene = hr_scene(tmp_path / "scene.tif", 128, 128)
    there = skysense.predict(adapted("detection"), scene)
    assert there["type"] == "FeatureCollection"
    path = skysense.predict(adapted("detection"), scene, tmp_path / "objects.geojson")
    assert json.loads(path.read_text())["features"] == there["features"]


def test_a_map_too_large_for_memory_is_refused_before_it_is_computed(model, product, monkeypatch):
    monkeypatch.setattr("skysense.maps.product.memory.MOST_BYTES", 4 * 96 * H * W - 1)
    monkeypatch.setattr("skysense.maps.embed.make", None)
    with pytest.raises(InputError, match=r"GiB in memory, more than .*\. Name an output \(out="):
        model.embed(s2_array())
    with pytest.raises(InputError, match="Name a window"):
        product.to_xarray()
    assert product.to_xarray(window=Window(0, 0, H, W - 1)).features.shape == (96, H, W - 1)


def test_the_package_knows_what_it_offers():
    assert {"embed", "predict", "search", "fewshot", "open_product", "load"} <= set(dir(skysense))
    with pytest.raises(AttributeError, match="no attribute 'embedd'"):
        _ = skysense.embedd
