"""Search: exact against brute force, with places apart from one another; queries; the index."""

from __future__ import annotations

import json

import numpy as np
import pytest

from skysense.errors import ConfigError, InputError
from skysense.maps.ground import Ground, metres_between
from skysense.maps.product.read import open_product
from skysense.maps.query import parse_points, query_at, query_in
from skysense.maps.search import Query, nearest_cells, nearest_places
from skysense.maps.similarity import cosine, query_of, unit
from tests.maps.feature_maps import TURNED, write_features

H, W, K = 70, 90, 5


@pytest.fixture(scope="module")
def values_KHW():
    rng = np.random.default_rng(0)
    rough = rng.normal(size=(K, H // 10 + 1, W // 10 + 1))
    smooth = rough.repeat(10, axis=1).repeat(10, axis=2)[:, :H, :W]  # neighbours are alike
    values = (smooth + 0.2 * rng.normal(size=(K, H, W))).astype(np.float32)
    values[:, 20:30, 40:50] = np.nan
    return values


@pytest.fixture(scope="module")
def product(values_KHW, tmp_path_factory):
    path = write_features(tmp_path_factory.mktemp("map") / "map.tif", values_KHW, transform=TURNED)
    with open_product(path) as opened:
        yield opened


def brute(product, values_KHW, query, count, apart):
    """Numbers of cells, picked one by one from a list of all."""
    similarity_N = cosine(query.vector_K, values_KHW).ravel()
    lonlat_N2 = Ground(product.grid).lonlat(*np.divmod(np.arange(H * W), W))
    free_N = ~np.isnan(similarity_N)
    free_N[query.cells] = False
    if query.around:
        for at in query.lonlat_P2:
            free_N &= metres_between(lonlat_N2, at) >= apart
    found = []
    while free_N.any() and len(found) < count:
        at = int(np.where(free_N, similarity_N, -2).argmax())
        found.append(at)
        free_N &= metres_between(lonlat_N2, lonlat_N2[at]) >= apart
        free_N[at] = False
    return found


@pytest.mark.parametrize(("apart", "kept"), [(160.0, 1 << 16), (95.0, 50), (0.0, 7)])
def test_exact_search_is_brute_force(product, values_KHW, monkeypatch, apart, kept):
    monkeypatch.setattr("skysense.maps.search._KEPT", kept)  # few kept: the map is looked at several times
    monkeypatch.setattr("skysense.maps.blocks._SIDES", (32,))
    query = query_at(product, Ground(product.grid).lonlat(np.array([5, 60]), np.array([5, 80])))
    hits = nearest_cells(product, query, 12, apart)
    assert [hit.number for hit in hits] == brute(product, values_KHW, query, 12, apart)
    assert len(hits) == 12 and np.all(np.diff([hit.similarity for hit in hits]) <= 0)
    best = hits[0]
    lonlat = np.array([[best.lon, best.lat]])
    assert best.metres == pytest.approx(min(metres_between(lonlat, at)[0] for at in query.lonlat_P2))
    row, col, _ = Ground(product.grid).cells(lonlat)
    assert row[0] * W + col[0] == best.number


def test_fewer_places_than_asked_for(product):
    query = query_at(product, Ground(product.grid).lonlat(np.array([0]), np.array([0])))
    hits = nearest_cells(product, query, 50, 500.0)
    assert 1 <= len(hits) < 50
    with pytest.raises(ConfigError, match="at least 0"):
        nearest_cells(product, query, 5, -1.0)


def test_query_of_points(product, values_KHW):
    lonlat_P2 = Ground(product.grid).lonlat(np.array([3, 40]), np.array([4, 70]))
    query = query_at(product, lonlat_P2)
    np.testing.assert_allclose(query.vector_K, query_of(values_KHW[:, [3, 40], [4, 70]].T), atol=1e-6)
    with pytest.raises(InputError, match="no data at the point"):
        query_at(product, Ground(product.grid).lonlat(np.array([25]), np.array([45])))
    with pytest.raises(InputError, match="point 0,0 lies outside"):
        query_at(product, np.array([[0.0, 0.0]]))


def test_points_as_people_give_them():
    np.testing.assert_array_equal(parse_points(["8.5,47.25", "-70,-33.5"]), [[8.5, 47.25], [-70, -33.5]])
    for wrong, message in (("8.5", "is no point"), ("47,999", "outside lon")):
        with pytest.raises(InputError, match=message):
            parse_points([wrong])


def test_query_of_polygons_is_the_mean_direction_inside(product, values_KHW, tmp_path):
    pytest.importorskip("shapely")
    ground = Ground(product.grid)
    low, high, left, right = 14.6, 26.4, 34.6, 44.4  # reaches into no-data
    corners = np.array([[low, left], [low, right], [high, right], [high, left], [low, left]])
    ring = ground.lonlat(*corners.T).tolist()
    area = tmp_path / "area.geojson"
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    query = query_in(product, area)
    inside_KN = values_KHW[:, 15:27, 35:45].reshape(K, -1)
    expected = query_of(inside_KN[:, ~np.isnan(inside_KN[0])].T)
    np.testing.assert_allclose(query.vector_K, expected, atol=1e-5)
    assert len(query.cells) == 12 * 10  # none of them is an answer
    hits = nearest_cells(product, query, 5, 100.0)
    assert not set(query.cells.tolist()) & {hit.number for hit in hits}
    nowhere = tmp_path / "nowhere.geojson"
    nowhere.write_text(json.dumps({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}))
    with pytest.raises(InputError, match="no cell with data"):
        query_in(product, nowhere)


def test_map_without_features_is_refused(tmp_path):
    from skysense.maps.parts import Parting
    from skysense.maps.product.layer import Layer
    from skysense.maps.product.work import Work

    with open_product(write_features(tmp_path / "a.tif", np.ones((2, 4, 4)))) as features:
        grid = features.grid
    work = Work.begin(
        tmp_path / "b.tif", grid, [Layer("classes", "classes", ("class",), "uint8")], Parting(4, 4, 4, 4), {}
    )
    with work.open(work.parting.parts[0]) as writer:
        writer.put("classes", 0, np.zeros((1, 4, 4), np.uint8))
    work.finish({})
    with open_product(tmp_path / "b.tif") as product, pytest.raises(InputError, match="holds classes, but no features"):
        nearest_cells(product, Query(np.ones(2, np.float32), ""), 1, 0)


def test_places_of_a_collection():
    vectors_NK = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.8, 0.2], [np.nan, 0]], np.float32)
    lonlat_N2 = np.array([[0, 0], [0.0001, 0], [1, 1], [np.nan, np.nan], [2, 2]])
    hits = nearest_places(vectors_NK, lonlat_N2, Query(np.array([1, 0], np.float32), ""), 5, 100.0)
    assert [hit.number for hit in hits] == [0, 3, 2]  # 1 is too near to 0; 4 has no features
    assert hits[0].similarity == pytest.approx(1)


@pytest.mark.parametrize("stored", ["float32", "int8"])
def test_index_finds_nearly_the_same(values_KHW, tmp_path, stored):
    pytest.importorskip("faiss")
    from skysense.maps.index import index_path, make_index, open_index

    path = write_features(tmp_path / "map.tif", values_KHW, stored=stored)
    with open_product(path) as product:
        assert open_index(product) is None
        made = make_index(product)
        assert made.cells == H * W - 100
        found = open_index(product)
        assert found is not None
        agreed, places = 0, np.random.default_rng(0).integers(0, 20, (8, 2))
        for row, col in places:
            query = query_at(product, Ground(product.grid).lonlat(np.array([row]), np.array([col])))
            exact = [hit.number for hit in nearest_cells(product, query, 10, 50.0)]
            about = found.nearest(query, product, 10, 50.0)
            assert len(about) == 10
            agreed += len({hit.number for hit in about} & set(exact))
        assert agreed >= 0.9 * 10 * len(places)
    write_features(path, values_KHW, stored=stored, run="two")
    with open_product(path) as product:
        assert open_index(product) is None  # it is that of the map before
    index_path(product).with_name("map.tif.index.json").unlink()
    with open_product(path) as product:
        assert open_index(product) is None


def test_unit_vectors_of_the_index_are_those_of_the_decoded_map(values_KHW, tmp_path):
    from skysense.maps.index import _cells

    with open_product(write_features(tmp_path / "map.tif", values_KHW, stored="int8")) as product:
        from skysense.geo import Window

        stored = product.read("features", Window(0, 0, H, W))
        values = product.read_values("features", Window(0, 0, H, W))
        vectors, numbers = map(
            np.concatenate, zip(*_cells(stored, product.layers["features"], 0, 0, W, 1), strict=True)
        )
    expected = values.reshape(K, -1)[:, numbers].T
    np.testing.assert_allclose(vectors, unit(expected), atol=1e-6)
    assert not np.isnan(vectors).any()
