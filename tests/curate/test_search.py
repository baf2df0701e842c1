import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from affine import Affine

from skysense.curate.acquisition import Acquisition, Asset
from skysense.curate.catalogue import Catalogue, open_catalogue
from skysense.curate.faults import Unavailable
from skysense.curate.grid import PlaceGrid, grid_at
from skysense.curate.http import TRIES, Session
from skysense.curate.search import PAGE, Found, search
from skysense.errors import ConfigError, InputError
from tests.curate.archive import Archive, Asked, Fault
from tests.curate.test_listing import raster

pytest.importorskip("pystac_client")

START, END = datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)
GRID = grid_at(9.5, 47.5)
POLYGON = {"type": "Polygon", "coordinates": [[[9, 47], [10, 47], [10, 48], [9, 48], [9, 47]]]}
S2_BANDS = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]


def s2_item(name: str = "S2A_one", **properties: Any) -> dict[str, Any]:
    """An item as the Planetary Computer has them, with what matters here."""
    host = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2"
    size = {
        band: 20 if band in ("B05", "B06", "B07", "B8A", "B11", "B12", "SCL") else 10 for band in [*S2_BANDS, "SCL"]
    }
    return {
        "type": "Feature",
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": POLYGON,
        "bbox": [9, 47, 10, 48],
        "properties": {
            "datetime": "2023-06-01T10:20:30.123Z",
            "platform": "Sentinel-2A",
            "proj:epsg": 32632,
            "eo:cloud_cover": 5.5,
            "s2:processing_baseline": "05.09",
            "sat:orbit_state": "descending",
            "sat:relative_orbit": 65,
        }
        | properties,
        "assets": {
            band: {
                "href": f"{host}/{name}_{band}.tif",
                "proj:shape": [109800 // metres] * 2,
                "proj:transform": [metres, 0, 499980, 0, -metres, 5300040],
            }
            for band, metres in size.items()
        },
    }


class Api:
    """A STAC API that answers searches in pages of two."""

    def __init__(self, archive: Archive, items: list[dict[str, Any]]) -> None:
        self.archive, self.items, self.endless = archive, items, False
        archive.answers["/stac/search"] = self.answer

    def answer(self, asked: Asked) -> dict[str, Any]:
        at = int(asked.document.get("token", 0))
        more = self.endless or at + 2 < len(self.items)
        following = asked.document | {"token": 0 if self.endless else at + 2}
        link = {"rel": "next", "method": "POST", "href": self.archive.url("/stac/search"), "body": following}
        return {
            "type": "FeatureCollection",
            "features": self.items[at : at + 2],
            "links": [{"rel": "root", "href": "/"}, *([link] if more else [])],
        }


@pytest.fixture
def archive():
    with Archive() as archive:
        yield archive


@pytest.fixture
def session():
    with Session(sleep=lambda seconds: None) as session:
        yield session


def preset(archive: Archive, name: str = "planetary-computer") -> Catalogue:
    return replace(open_catalogue(name), url=archive.url("/stac"))


def find(archive: Archive, session: Session, modality: Any = "s2", grid: Any = GRID, **how: Any) -> Found:
    name = how.pop("name", "planetary-computer")
    return search(preset(archive, name), modality, grid, START, END, session=session, **how)


def test_an_item_in_our_words(archive, session):
    item = s2_item()
    Api(archive, [item])
    found = find(archive, session)
    (acquisition,) = found.acquisitions
    assert acquisition == Acquisition(
        modality="s2",
        item="S2A_one",
        collection="sentinel-2-l2a",
        catalogue="planetary-computer",
        time=datetime(2023, 6, 1, 10, 20, 30, 123000, tzinfo=UTC),
        assets=acquisition.assets,
        unit="dn",
        platform="sentinel-2a",
        orbit_state="descending",
        relative_orbit=65,
        baseline="05.09",
        offset_applied=False,
        cloud_cover=5.5,
    )
    assert set(acquisition.assets) == {"B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12", "SCL"}
    assert acquisition.assets["B8A"] == Asset(
        href=item["assets"]["B8A"]["href"],
        nodata=0,
        crs="EPSG:32632",
        transform=Affine(20, 0, 499980, 0, -20, 5300040),
        shape=(5490, 5490),
    )
    assert acquisition.assets["SCL"].nodata is None and found.dropped == []


def test_the_question_that_is_asked(archive, session):
    Api(archive, [])
    assert find(archive, session, most_cloud=35) == Found([], [])
    (asked,) = archive.asked
    assert (asked.method, asked.document["collections"], asked.document["limit"]) == ("POST", ["sentinel-2-l2a"], PAGE)
    assert asked.document["datetime"] == "2023-01-01T00:00:00Z/2024-01-01T00:00:00Z"
    assert asked.document["query"] == {"eo:cloud_cover": {"lte": 35}}
    shape = asked.document["intersects"]
    assert shape["type"] == "MultiPolygon" and len(shape["coordinates"]) == 1
    west, south, east, north = GRID.bbox
    assert shape["coordinates"][0][0] == [[west, south], [east, south], [east, north], [west, north], [west, south]]


def test_a_place_on_the_antimeridian_is_two_boxes(archive, session):
    Api(archive, [])
    find(archive, session, grid=grid_at(180, -17))
    east, west = archive.asked[0].document["intersects"]["coordinates"]
    assert east[0][1][0] == 180 and east[0][0][0] == pytest.approx(179.997, abs=1e-3)
    assert west[0][0][0] == -180 and west[0][1][0] == pytest.approx(-179.997, abs=1e-3)


def test_pages_are_followed_in_any_order_and_twice_is_once(archive, session):
    dates = ["2023-06-03", "2023-06-01", "2023-06-02", "2023-06-01", "2023-06-05"]
    items = [s2_item(f"item{number}", datetime=f"{day}T10:00:00Z") for number, day in enumerate(dates)]
    Api(archive, [*items, items[0]])
    archive.faults["/stac/search"] = [Fault(status=503), Fault(), Fault(cut=40), Fault(reset=True)]
    found = find(archive, session)
    assert [one.item for one in found.acquisitions] == ["item1", "item3", "item2", "item0", "item4"]
    assert (session.traffic.requests, session.traffic.retries) == (6, 3)


def test_an_archive_that_repeats_itself_comes_to_an_end(archive, session):
    api = Api(archive, [s2_item("a"), s2_item("b") | {"id": 7}])
    api.endless = True
    assert len(find(archive, session).acquisitions) == 2
    assert session.traffic.requests == 2


def test_the_end_belongs_to_the_next_span(archive, session):
    days = {"before": "2022-12-31T23:59:59Z", "first": "2023-01-01T00:00:00Z", "next": "2024-01-01T00:00:00Z"}
    Api(archive, [s2_item(name, datetime=stamp) for name, stamp in days.items()])
    assert [one.item for one in find(archive, session).acquisitions] == ["first"]


def test_clouds_are_sorted_out_here_too(archive, session):
    items = [
        s2_item("clear"),
        s2_item("cloudy", **{"eo:cloud_cover": 20.1}),
        s2_item("unknown", **{"eo:cloud_cover": None}),
    ]
    Api(archive, items)
    assert [one.item for one in find(archive, session).acquisitions] == ["clear", "unknown"]


def spoiled(name: str, spoil: Any) -> dict[str, Any]:
    item = s2_item(name)
    spoil(item)
    return item


SPOILS: dict[str, tuple[Any, str]] = {
    "band": (lambda item: [item["assets"].pop(key) for key in ("B8A", "B02")], "has no asset B02, B8A"),
    "assets": (lambda item: item.pop("assets"), "has no asset B02, B03"),
    "bbox": (lambda item: item.update(bbox=[None, None, None, None]), "has an impossible bbox [None, None"),
    "short bbox": (lambda item: item.update(bbox=[9, 47, 10]), "has an impossible bbox [9, 47, 10]"),
    "date": (lambda item: item["properties"].update(datetime=None), "has no date"),
    "no date": (lambda item: item["properties"].update(datetime="summer"), "has a date that is none: 'summer'"),
    "shape": (
        lambda item: item["assets"]["B04"].update({"proj:shape": [0, 5]}),
        "impossible proj: or raster: fields at B04",
    ),
    "transform": (
        lambda item: item["assets"]["B04"].update({"proj:transform": [0] * 6}),
        "impossible proj: or raster: fields at B04 (proj:transform [0, 0, 0, 0, 0, 0])",
    ),
    "epsg": (lambda item: item["properties"].update({"proj:epsg": "UTM"}), "impossible proj: or raster: fields"),
    "local": (lambda item: item["assets"]["B04"].update(href="/etc/passwd"), "names a file of this computer at B04"),
    "ftp": (lambda item: item["assets"]["B04"].update(href="ftp://x/y"), "files of ftp:// cannot be read"),
    "orbit": (lambda item: item["properties"].update({"sat:relative_orbit": "x"}), "is malformed"),
    "properties": (lambda item: item.update(properties=[1]), "is malformed"),
}


@pytest.mark.parametrize("name", SPOILS)
def test_items_that_cannot_be_used_are_left_out_with_a_reason(archive, session, name):
    spoil, reason = SPOILS[name]
    Api(archive, [s2_item("good"), spoiled("bad", spoil)])
    found = find(archive, session)
    assert [one.item for one in found.acquisitions] == ["good"]
    ((item, said),) = found.dropped
    assert item == "bad" and reason in said


def test_an_item_needs_no_outline_and_what_is_no_item_is_one_unusable_item(archive, session):
    items = [spoiled("one", lambda item: [item.pop(key) for key in ("geometry", "bbox")]), None, 7]
    Api(archive, items)
    found = find(archive, session)
    assert [one.item for one in found.acquisitions] == ["one"]
    assert found.dropped == [("7", "is no item"), ("None", "is no item")]


def test_a_bad_item_of_a_file_of_your_own_spoils_no_other(tmp_path, session):
    bad = spoiled("bad", lambda item: item.update(bbox=[None] * 4))
    items = [s2_item("good"), bad, None, spoiled("bare", lambda item: item.update(assets=None))]
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    own = replace(open_catalogue("planetary-computer"), url=None, items=tmp_path / "items.json")
    found = search(own, "s2", GRID, START, END, session=session)
    assert [one.item for one in found.acquisitions] == ["good"]
    assert [(name, why.split(" [")[0].split(" B02")[0]) for name, why in found.dropped] == [
        ("None", "is no item"),
        ("bad", "has an impossible bbox"),
        ("bare", "has no asset"),
    ]


def test_an_item_without_scene_classification_is_used(archive, session):
    Api(archive, [spoiled("one", lambda item: item["assets"].pop("SCL"))])
    (acquisition,) = find(archive, session).acquisitions
    assert "SCL" not in acquisition.assets


def test_a_short_span_is_a_date_and_a_long_one_is_none(archive, session):
    span = {"datetime": None, "start_datetime": "2023-06-01T10:00:00+02:00", "end_datetime": "2023-06-01T10:00:25Z"}
    Api(archive, [s2_item("short", **span), s2_item("long", **span | {"end_datetime": "2023-07-01T00:00:00Z"})])
    found = find(archive, session)
    assert [one.time for one in found.acquisitions] == [datetime(2023, 6, 1, 8, tzinfo=UTC)]
    assert found.dropped == [("long", "spans more than a day")]


def test_versions_of_the_extensions(archive, session):
    """proj:code and bands of STAC 1.1 as well as proj:epsg and raster:bands; what is at the asset goes first."""
    item = s2_item("new", **{"proj:epsg": None, "proj:code": "EPSG:32633", "proj:shape": [7, 7]})
    item["assets"]["B04"] |= {"proj:code": "EPSG:32632", "bands": [{"raster:scale": 0.0001, "raster:offset": -0.1}]}
    item["assets"]["B02"] |= {"raster:bands": [{"scale": 0.0001, "offset": 0}]}
    item["assets"]["B03"] = {"href": "https://host/B03.tif", "raster:scale": 0.5}
    Api(archive, [item])
    ((assets),) = [one.assets for one in find(archive, session).acquisitions]
    assert (assets["B4"].crs, assets["B4"].scale, assets["B4"].offset) == ("EPSG:32632", 0.0001, -0.1)
    assert (assets["B2"].crs, assets["B2"].scale, assets["B2"].offset) == ("EPSG:32633", 0.0001, 0)
    assert (assets["B3"].shape, assets["B3"].scale, assets["B3"].offset) == ((7, 7), 0.5, None)


@pytest.mark.parametrize(("said", "known"), [(True, True), (False, None), (None, None), ("yes", None)])
def test_an_items_word_on_its_offset(archive, session, said, known):
    item = s2_item(**{"earthsearch:boa_offset_applied": said})
    keys = open_catalogue("earth-search-all-baselines").of("s2")[0].bands
    item["assets"] = {source.asset: {"href": f"https://host/{band}.tif"} for band, source in keys.items()}
    Api(archive, [item])
    (acquisition,) = find(archive, session, name="earth-search-all-baselines").acquisitions
    assert acquisition.offset_applied is known
    assert acquisition.assets["B8A"].href == "https://host/B8A.tif"


def test_radar_is_asked_for_its_mode_and_needs_both_polarisations(archive, session):
    def radar(name: str, *keys: str, mode: str = "IW") -> dict[str, Any]:
        item = s2_item(name, platform="SENTINEL-1A", **{"sar:instrument_mode": mode, "eo:cloud_cover": None})
        item["assets"] = {key: {"href": f"https://host/{name}_{key}.tif"} for key in keys}
        return item

    Api(archive, [radar("dv", "vv", "vh"), radar("dh", "hh", "hv"), radar("ew", "vv", "vh", mode="EW")])
    found = find(archive, session, "s1")
    assert archive.asked[0].document["query"] == {"sar:instrument_mode": {"eq": "IW"}}
    (acquisition,) = found.acquisitions
    assert (acquisition.unit, acquisition.platform, acquisition.baseline) == ("power", "sentinel-1a", None)
    assert acquisition.assets["VV"] == Asset("https://host/dv_vv.tif", nodata=-32768, crs="EPSG:32632")
    assert found.dropped == [("dh", "has no asset vh, vv"), ("ew", "sar:instrument_mode is EW, not IW")]


def test_bands_of_one_file(archive, session):
    item = s2_item("m_one", platform=None)
    item["assets"] = {"image": {"href": "https://naipeuwest.blob.core.windows.net/naip/x.tif"}}
    Api(archive, [item])
    (acquisition,) = find(archive, session, "hr").acquisitions
    assert {name: asset.band for name, asset in acquisition.assets.items()} == {"R": 1, "G": 2, "B": 3, "NIR": 4}
    assert acquisition.assets["R"].imagery == (1, 2, 3, 4)


def test_a_catalogue_that_refuses_or_answers_nonsense(archive, session):
    with pytest.raises(InputError, match=r"refuses the search for sentinel-2-l2a: .* \(HTTP 404\)"):
        find(archive, session)
    Api(archive, [])
    archive.faults["/stac/search"] = [Fault(body=b'{"features": [{"id": 1}], "links": [{"rel": "next"}]}')]
    with pytest.raises(Unavailable, match="leads nowhere"):
        find(archive, session)
    archive.faults["/stac/search"] = [Fault(status=502)] * 8
    with pytest.raises(Unavailable, match="HTTP 502"):
        find(archive, session)
    with pytest.raises(ConfigError, match="offers no s1"):
        find(archive, session, "s1", name="earth-search")


RUBBISH = [b"<html>", b'{"features": [1', b'{"features": null}', b"[]", b'{"message": "try later"}', b'"features"']


@pytest.mark.parametrize("body", RUBBISH)
def test_rubbish_with_status_200_is_asked_again_and_never_means_nothing(archive, session, body):
    Api(archive, [s2_item("one")])
    archive.faults["/stac/search"] = [Fault(body=body)] * 2
    assert [one.item for one in find(archive, session).acquisitions] == ["one"]
    assert session.traffic.retries == 2
    archive.faults["/stac/search"] = [Fault(body=body)] * TRIES
    with pytest.raises(Unavailable, match="something else than was asked for, 8 times over"):
        find(archive, session)


def test_images_of_your_own(tmp_path, session):
    raster(tmp_path / "near_20230615.tif")
    raster(tmp_path / "old_20220615.tif")
    collection = {"id": "ortho", "modality": "hr", "licence": "-", "attribution": "-", "unit": "uint8"}
    tree = {
        "files": "*.tif",
        "taken": r"_(\d{8})",
        "collections": [collection | {"bands": {"R": 1, "G": 2, "B": 3}}],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"mine": tree}))
    own = open_catalogue(tmp_path / "mine.yaml")
    place = PlaceGrid("EPSG:32632", 499_700, 5_200_300, (64, 64))
    found = search(own, "hr", place, START, END, session=session)
    (acquisition,) = found.acquisitions
    assert acquisition.time == datetime(2023, 6, 15, tzinfo=UTC)
    assert acquisition.assets["B"] == Asset(
        str(tmp_path / "near_20230615.tif"), 3, crs="EPSG:32632",
        transform=Affine(2, 0, 500_000, 0, -2, 5_200_000), shape=(20, 30), imagery=(1, 2, 3),
    )  # fmt: skip
    assert search(own, "hr", grid_at(12.0, 46.95), START, END, session=session) == Found()
    assert session.traffic.requests == 0
