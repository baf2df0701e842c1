"""Queries by image and by place: features of the same model only, projected as the map was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.embed import embed
from skysense.maps.fit import Components
from skysense.maps.place_vectors import PlaceVectors
from skysense.maps.product.read import open_product
from skysense.maps.query import query_of_image, query_of_places, query_of_places_in
from skysense.maps.similarity import cosine, query_of
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from tests.maps.scenes import s2_scene


@pytest.fixture(scope="module")
def weights(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return folder / "model.safetensors"


@pytest.mark.parametrize("dims", [None, 6])
def test_image_of_the_map_itself_points_where_the_map_does(model, weights, tmp_path, dims):
    scene = s2_scene(tmp_path / "scene.tif", 24, 28)
    embed(model, scene, tmp_path / "map.tif", dims=dims, quicklook=False)
    with open_product(tmp_path / "map.tif") as product:
        query = query_of_image(product, scene, weights)
        values_KN = product.read_values("features", Window(0, 0, 24, 28)).reshape(len(query.vector_K), -1)
    assert query.words == "672 cells of scene.tif" and not len(query.lonlat_P2)
    np.testing.assert_allclose(query.vector_K, query_of(values_KN.T), atol=1e-4)
    assert len(query.vector_K) == (dims or model.cells_dim)


def test_query_of_another_model_is_refused(model, tmp_path):
    scene = s2_scene(tmp_path / "scene.tif", 16, 16)
    embed(model, scene, tmp_path / "map.tif", quicklook=False)
    SkySense(preset("tiny")).save_pretrained(tmp_path / "other")
    other = tmp_path / "other" / "model.safetensors"
    with (
        open_product(tmp_path / "map.tif") as product,
        pytest.raises(InputError, match="is not the model that made the features") as caught,
    ):
        query_of_image(product, scene, other)
    assert caught.value.file == other


def test_components_survive_json():
    rng = np.random.default_rng(0)
    components = Components(rng.normal(size=5).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32))
    back = Components.from_json(json.loads(json.dumps(components.to_json())))
    values_ND = rng.normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_array_equal(back.project(values_ND), (values_ND - components.mean_D) @ components.axes_DK)


def test_queries_of_a_collection_of_places(tmp_path):
    pytest.importorskip("shapely")
    vectors_ND = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    lonlat_N2 = np.array([[8.0, 47], [8.2, 47], [np.nan, np.nan], [30, 0]])
    places = PlaceVectors(("a", "b", "c", "d"), lonlat_N2, vectors_ND, {})
    query = query_of_places(places, np.array([[8.19, 47.01]]))
    assert query.words == "b" and query.cells.tolist() == [1]
    assert cosine(query.vector_K, vectors_ND.T[:, None])[0].argmax() == 1
    area = tmp_path / "area.geojson"
    ring = [[7.9, 46.9], [8.3, 46.9], [8.3, 47.1], [7.9, 47.1], [7.9, 46.9]]
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    query = query_of_places_in(places, area)
    assert query.words == "2 places"
    np.testing.assert_allclose(query.vector_K, query_of(vectors_ND[:2]))
