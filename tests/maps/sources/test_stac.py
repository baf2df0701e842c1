"""Images by their STAC items."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from skysense.errors import InputError
from skysense.maps.sources.open import open_source
from skysense.sensors import SENTINEL2_L2A
from tests.maps.scenes import S2_GRID, hr_values, s1_values, write_scene
from tests.maps.sources.reading import READS, hr_file, read, s2_like, whole

EARTH_SEARCH = dict(
    zip(
        SENTINEL2_L2A.bands,
        ("blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16", "swir22"),
        strict=True,
    )
)


def item(name: str, collection: str, assets: dict[str, str], when: str = "2023-05-06T10:30:00Z", **properties) -> dict:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "geometry": None,
        "properties": {"datetime": when, **properties},
        "links": [],
        "assets": {key: {"href": href} for key, href in assets.items()},
    }


def s2_item(folder: Path, name: str, numbers, *, classes=None, collection="sentinel-2-c1-l2a", **more) -> dict:
    """An item of Earth Search whose bands are files beside it."""
    assets = {}
    for band, values in zip(SENTINEL2_L2A.bands, numbers, strict=True):
        assets[EARTH_SEARCH[band]] = write_scene(folder / f"{name}-{band}.tif", values[None], transform=S2_GRID).name
    if classes is not None:
        assets["scl"] = write_scene(folder / f"{name}-scl.tif", classes[None], transform=S2_GRID).name
    return item(name, collection, assets, **more)


def write(path: Path, *items: dict) -> Path:
    path.write_text(json.dumps(items[0] if len(items) == 1 else {"type": "FeatureCollection", "features": items}))
    return path


def test_the_offset_goes_by_the_baseline_and_clouds_by_the_classes(tmp_path: Path) -> None:
    old, new = s2_like(8, 8), s2_like(8, 8, 1)
    new[:, 0, 0], new[:, 0, 1] = 300, 2000
    numbers = np.where(new > 0, new + 1000, 0).astype(np.uint16)
    numbers[:, 1, 1], numbers[3, 2, 2], numbers[0, 0, 0] = 0, 65535, 900
    classes = np.full((8, 8), 4, np.uint8)
    classes[3, 3], classes[4, 4] = 9, 1
    path = write(
        tmp_path / "items.json",
        s2_item(tmp_path, "b", numbers, classes=classes, **{"s2:processing_baseline": "05.09"}),
        s2_item(tmp_path, "a", old, when="2021-05-06T10:30:00Z", **{"s2:processing_baseline": "03.00"}),
        item("c", "sentinel-2-c1-l2a", {"blue": "x.tif"}),
    )
    source = pickle.loads(pickle.dumps(open_source(path, reads=READS)))
    series = whole(source).series["s2"]
    assert [str(day) for day in series.dates] == ["2021-05-06", "2023-05-06"]
    np.testing.assert_array_equal(series.values[0], old)
    assert np.argwhere(~series.valid[1]).tolist() == [[1, 1], [2, 2], [4, 4]]
    expected = np.where(series.valid[1], new, 0)
    expected[0, 0, 0] = 1  # reflectance of zero and below is 1
    np.testing.assert_array_equal(np.where(series.valid[1], series.values[1], 0), expected)
    assert series.clear is None  # not known of all of its frames
    only = write(
        tmp_path / "b.json", s2_item(tmp_path, "b", numbers, classes=classes, **{"s2:processing_baseline": "05.09"})
    )
    clear = read(only).series["s2"].clear
    assert clear is not None and not clear[0, 3, 3] and clear.sum() == 60
    assert source.notes[1].startswith("1 items are left out; the first: c has no asset green, ")
    assert source.about()["sensors"]["s2"]["files"][0]["name"] == "items.json"


def test_an_offset_that_is_not_settled_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", s2_item(tmp_path, "a", s2_like(8, 8), collection="sentinel-2-l2a"))
    with pytest.raises(InputError, match=r"a\.json: item a does not settle whether the \+1000 offset"):
        open_source(path, reads=READS)


def test_power_becomes_decibel_and_sensors_go_by_their_collections(tmp_path: Path) -> None:
    decibel = s1_values(8, 8)
    power = (10 ** (decibel / 10)).astype(np.float32)
    power[0, 2, 2], power[1, 3, 3], power[0, 4, 4] = 0, 1e-6, -32768
    names = [write_scene(tmp_path / f"{at}.tif", power[at][None], transform=S2_GRID).name for at in range(2)]
    hr_file(tmp_path / "naip.tif", hr_values(256, 256))
    radar = item("r", "sentinel-1-rtc", {"vv": names[0], "vh": names[1]}, **{"sar:instrument_mode": "IW"})
    path = write(
        tmp_path / "items.json",
        radar,
        item("n", "naip", {"image": "naip.tif"}, when="2020-07-01T00:00:00Z"),
    )
    source = open_source(path, reads=READS)
    assert list(source.sensors) == ["hr", "s1"]
    sample = whole(source)
    series = sample.series["s1"]
    assert np.argwhere(~series.valid[0]).tolist() == [[2, 2], [3, 3], [4, 4]]
    seen = np.broadcast_to(series.valid[0], decibel.shape)
    np.testing.assert_allclose(series.values[0][seen], decibel[seen], atol=1e-4)
    np.testing.assert_array_equal(sample.series["hr"].values[0], hr_values(256, 256))
    assert list(open_source({"s1": path}, reads=READS).sensors) == ["s1"]


def test_items_of_an_unknown_collection_need_bands_by_name_and_a_unit(tmp_path: Path) -> None:
    values = s1_values(8, 8)
    name = write_scene(tmp_path / "a.tif", values, transform=S2_GRID).name
    one = item("a", "our-radar", {"data": name})
    one["assets"]["data"]["bands"] = [{"name": "VV"}, {"name": "VH"}]
    path = write(tmp_path / "a.json", one)
    np.testing.assert_array_equal(read(path, unit="dB").series["s1"].values[0], values)
    with pytest.raises(InputError, match="a is of the collection 'our-radar', whose unit is not known"):
        open_source(path, reads=READS)
    with pytest.raises(InputError, match=r"a has assets \(data\) that are no bands of hr, s2, s1 in reflectance"):
        open_source(path, reads=READS, unit="reflectance*1e4")


def test_what_is_no_item_or_lies_on_the_web(tmp_path: Path) -> None:
    radar = {"vv": "https://host/vv.tif", "vh": "https://host/vh.tif"}
    path = write(tmp_path / "a.json", item("a", "sentinel-1-rtc", radar, **{"sar:instrument_mode": "IW"}))
    with pytest.raises(InputError, match=r"a\.json: item a keeps its pixels on the web \(https://host/vv\.tif\)"):
        open_source(path, reads=READS)
    path = write(tmp_path / "b.json", item("b", "sentinel-1-rtc", {"vv": "v.tif", "vh": "w.tif"}, when="yesterday"))
    with pytest.raises(InputError, match=r"b\.json: holds no item that can be used; the first: b sar:instrument_mode"):
        open_source(path, reads=READS)
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(InputError, match="is neither a FeatureCollection"):
        open_source(tmp_path / "c.json", reads=READS)
