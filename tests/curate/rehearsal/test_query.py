from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skysense.curate.rehearsal.footprints import box_ring, cut, geographic, meet, rings_of
from skysense.curate.rehearsal.query import Refused, find, from_url, read


def item(name, when="2022-06-01T00:00:00Z", west=10.0, cloud=5.0, collection="a", **properties):
    ring = [*box_ring(west, 50, west + 1, 51)]
    return {
        "id": name, "collection": collection, "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": {"datetime": when, "eo:cloud_cover": cloud, **properties},
    }  # fmt: skip


ITEMS = [
    item("old", "2021-01-01T12:00:00Z"),
    item("cloudy", cloud=80.0),
    item("east", west=179.5),
    item("other", collection="b"),
    item("long", "2022-03-02T00:00:00Z", start_datetime="2022-03-01T00:00:00Z", end_datetime="2022-03-03T00:00:00Z"),
]


def names(filters=True, **told):
    return [one["id"] for one in find(ITEMS, read(told, filters=filters))]


def test_newest_first():
    assert names() == ["other", "east", "cloudy", "long", "old"]


def test_place():
    assert names(bbox=[10.5, 50.5, 10.6, 50.6]) == ["other", "cloudy", "long", "old"]
    assert names(bbox=[10.5, 50.5, 0, 10.6, 50.6, 100]) == ["other", "cloudy", "long", "old"]
    assert names(bbox=[179.9, 50, -179, 51]) == ["east"]
    assert names(bbox=[0, 0, 1, 1]) == []
    assert names(intersects={"type": "Point", "coordinates": [179.7, 50.5]}) == ["east"]
    around = [[9, 49], [12, 49], [12, 52], [9, 52], [9, 49]]
    assert names(intersects={"type": "Polygon", "coordinates": [around]}) == ["other", "cloudy", "long", "old"]


def test_time():
    assert names(datetime="2021-01-01T12:00:00Z") == ["old"]
    assert names(datetime="../2021-12-31T00:00:00Z") == ["old"]
    assert names(datetime="2022-05-01T00:00:00Z/..") == ["other", "east", "cloudy"]
    assert names(datetime="2022-03-02T12:00:00Z/2022-03-02T13:00:00+00:00") == ["long"]
    assert read({"datetime": "2022-05-01T00:00:00Z/"}, filters=True).begin == datetime(2022, 5, 1, tzinfo=UTC)


def test_names_query_and_filter():
    assert names(collections=["b"]) == ["other"]
    assert names(ids=["old", "none"]) == ["old"]
    assert names(query={"eo:cloud_cover": {"gte": 80}}) == ["cloudy"]
    assert names(query={"eo:cloud_cover": {"lt": 80, "gt": 4}, "none": {"eq": 1}}) == []
    less = {"op": "<=", "args": [{"property": "eo:cloud_cover"}, 20]}
    of_b = {"op": "=", "args": [{"property": "collection"}, "b"]}
    assert names(filter={"op": "and", "args": [less, of_b]}) == ["other"]
    assert names(filter={"op": "not", "args": [less]}) == ["cloudy"]
    assert names(filters=False, filter={"op": "not", "args": [less]}) == names()


@pytest.mark.parametrize(
    "told",
    [
        {"bbox": [1, 2, 3]},
        {"bbox": [0, 10, 1, 5]},
        {"bbox": [0, 0, 1, 1], "intersects": {"type": "Point", "coordinates": [0, 0]}},
        {"intersects": {"type": "Circle", "coordinates": [0, 0]}},
        {"datetime": "2022-01-01"},
        {"datetime": "2022-01-01T00:00:00"},
        {"datetime": "../.."},
        {"datetime": "2022-02-01T00:00:00Z/2022-01-01T00:00:00Z"},
        {"query": {"eo:cloud_cover": {"below": 3}}},
        {"query": {"eo:cloud_cover": {"lt": "many"}}},
        {"filter": "eo:cloud_cover < 20"},
        {"filter": {"op": "near", "args": []}},
    ],
)
def test_what_is_wrong_is_refused(told):
    with pytest.raises(Refused):
        names(**told)


def test_from_url():
    told = from_url({"bbox": "1,2,3,4", "collections": "a,b", "query": '{"x":{"lt":3}}', "limit": "5"})
    assert told == {"bbox": [1, 2, 3, 4], "collections": ["a", "b"], "query": {"x": {"lt": 3}}, "limit": "5"}
    for wrong in ({"bbox": "1,x"}, {"query": "{"}):
        with pytest.raises(Refused):
            from_url(wrong)


corner = st.tuples(st.integers(-8, 8), st.integers(-8, 8))


@given(st.lists(corner, min_size=3, max_size=3, unique=True), st.lists(corner, min_size=1, max_size=3, unique=True))
def test_rings_meet_where_shapely_says_so(one, other):
    shapely = pytest.importorskip("shapely")
    first = shapely.Polygon(one)
    if not first.is_valid or first.area == 0:
        return
    kinds = {1: shapely.Point, 2: shapely.LineString, 3: shapely.Polygon}
    second = kinds[len(other)](other)
    if not second.is_valid or (len(other) == 3 and second.area == 0):
        return
    if len(other) == 1 and first.boundary.intersects(second):
        return  # a point on the very edge may go either way
    assert meet(one, other) == first.intersects(second)


def test_cut_and_direction():
    square = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)]
    assert sorted(cut(square, (1.0, 0.0), 3.0)) == [(0, 0), (0, 4), (3, 0), (3, 4)]
    assert cut(square, (1.0, 0.0), 9.0) == square
    ring = geographic(
        "EPSG:32616", [(500_000, 4_500_100), (500_100, 4_500_100), (500_100, 4_500_000), (500_000, 4_500_000)]
    )
    assert ring[0] == ring[-1] and min(ring)[0] == pytest.approx(-87, abs=1e-6)
    assert sum((b[0] - a[0]) * (b[1] + a[1]) for a, b in pairwise(ring)) < 0  # counter-clockwise


def test_rings_of_many_parts():
    square = [[0, 0], [1, 0], [1, 1], [0, 0]]
    assert len(rings_of({"type": "MultiPolygon", "coordinates": [[square], [square]]})) == 2
    assert rings_of({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}) == [[(1, 2)], [(3, 4)]]
    both = {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [1, 2]}]}
    assert rings_of(both) == [[(1, 2)]]
