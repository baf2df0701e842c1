"""The kit as places: nothing that `check` objects to, and the numbers of the kit at hand-picked pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from netCDF4 import Dataset as NetCDF

from examples.kit_to_places import (
    CHESAPEAKE_CLASSES,
    CHESAPEAKE_TO_COMMON,
    COMMON,
    FLAIR_CLASSES,
    FLAIR_TO_COMMON,
    RECIPES,
    SKIPPED_FOLDERS,
    Row,
    convert,
)
from skysense.data.places import Place, Places, check
from skysense.errors import InputError


@pytest.fixture(scope="module")
def converted(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Row]]:
    out = tmp_path_factory.mktemp("kit")
    return out, {row.folder: row for row in convert(kit, out)}


@pytest.fixture(scope="module")
def out(converted: tuple[Path, dict[str, Row]]) -> Path:
    return converted[0]


def place_of(root: Path, name: str) -> tuple[Places, Place]:
    places = Places(root)
    return places, next(place for place in places if place.name == name)


def test_every_folder_is_converted_or_explained(kit: Path, converted: tuple[Path, dict[str, Row]]) -> None:
    out, rows = converted
    assert set(RECIPES) | set(SKIPPED_FOLDERS) == {folder.name for folder in kit.iterdir() if folder.is_dir()}
    counts = {"treesat": 30, "crop_patches": 1, "bigearthnet": 34, "terramesh": 4, "flair": 7, "chesapeake": 5}
    assert {name: row.places for name, row in rows.items()} == counts
    skipped = {place.name: place.reason for row in rows.values() for place in row.skipped}
    assert set(skipped) == {"pinus_sylvestris_2_264683", "be_2019_8e7e_partial", "tz_2021_1950_partial"}
    assert "10 m bands" in skipped["tz_2021_1950_partial"]
    for name in counts:
        report = check(out / name)
        assert report.problems == [] and report.ok == counts[name]
        places = Places(out / name)
        assert not places.simulated and places.dataset.licence and places.dataset.source


def test_treesat(kit: Path, out: Path) -> None:
    source = kit / "treesat" / "series" / "betula_spec_1_15679"
    places, place = place_of(out / "treesat", source.name)
    sample = places.read_sample(place)
    hr, s2, s1 = (sample.series[key] for key in ("hr", "s2", "s1"))
    assert place.cells == (6, 6) and hr.values.shape == (1, 3, 192, 192) and np.isnat(hr.dates[0])
    with rasterio.open(source / "hr.tif") as tif:
        image = tif.read([1, 2, 3])[:, 2:302, 2:302]
        left, top = tif.bounds.left + 0.4, tif.bounds.top - 0.4
    assert sample.footprint.bounds == pytest.approx((left, top - 60, left + 60, top))
    assert sample.footprint.crs == "EPSG:25832"
    blocks = hr.values[0].reshape(3, 12, 16, 12, 16).mean((2, 4)), image.reshape(3, 12, 25, 12, 25).mean((2, 4))
    assert np.abs(blocks[0] - blocks[1]).max() < 1.5, "5 m means survive the resampling"
    with NetCDF(source / "s2.nc") as file:
        np.testing.assert_array_equal(s2.values, file["s2"][:].data)
        assert list(file["band"][:])[7] in ("B8A", "B08A") and str(s2.dates[0]) == "2019-01-03"
        dark = file["s2"][:, 0].data.mean((1, 2))
    assert np.median(dark[s2.clear.all((1, 2))]) < 700 < 5000 < np.median(dark[~s2.clear.any((1, 2))])
    with NetCDF(source / "s1_asc.nc") as asc, NetCDF(source / "s1_desc.nc") as desc:
        assert len(s1.dates) == len(asc["time"]) + len(desc["time"])
        first = asc["s1"][0].data if asc["time"].units < desc["time"].units else desc["s1"][0].data
    np.testing.assert_array_equal(s1.values[0], first)
    assert 0.99 < s1.valid.mean() < 1 and np.isfinite(s1.values[:, 0][s1.valid]).all()
    assert place.labels == {"genus": ["Betula", "Picea"]} and place.split == "train"
    assert place.attributes["species_fraction"]["Quercus"] == 0.04406 and place.attributes["hr_year"] == 2019
    assert {one.split for one in places} == {"train", "val", "test"}


def test_crop_patches(kit: Path, out: Path) -> None:
    source = kit / "crop_patches" / "be_2018_424a"
    places, place = place_of(out / "crop_patches", source.name)
    sample = places.read_sample(place)
    s2, s1 = sample.series["s2"], sample.series["s1"]
    assert s2.values.shape == (118, 10, 64, 64) and s1.values.shape == (159, 2, 64, 64) and s2.valid.all()
    with NetCDF(source / "s2.nc") as file:
        np.testing.assert_array_equal(s2.values[7, 6], file["s2_10m"][7, 3].data)  # B8
        np.testing.assert_array_equal(s2.values[7, 8, 1::2, ::2], file["s2_20m"][7, 4].data)  # B11
        assert not s2.clear[np.repeat(np.repeat(file["scl"][:].data == 9, 2, 1), 2, 2)].any()
    with NetCDF(source / "s1.nc") as file:
        np.testing.assert_array_equal(s1.values[:, :, ::2, 1::2], file["s1"][:].data)
    info = json.loads((source / "info.json").read_text())
    assert s2.dates.astype(str).tolist() == info["s2_dates"] and sample.footprint.bounds == tuple(info["bounds"])
    crops = places.read_mask(place, "crop_type")
    counts = {name: int((crops == code).sum()) for code, name in enumerate(places.legends["crop_type"].classes)}
    assert {name: count for name, count in counts.items() if count} == {
        "no label": 1860,
        "Maize": 1249,
        "Cabages": 31,
        "Potatoes": 25,
        "Other Leguminous crops": 96,
        "Permanent grass crops": 835,
    }
    land = places.read_mask(place, "land_cover")
    assert np.bincount(land.ravel()).tolist() == [1753, 1401, 835, 107]


def test_bigearthnet(kit: Path, out: Path) -> None:
    source = kit / "bigearthnet" / "v1" / "s2a_msil2a_20170617t113321_36_85"
    places, place = place_of(out / "bigearthnet", source.name)
    sample = places.read_sample(place)
    assert place.labels == {"classes_19": ["Arable land", "Pastures"]} and place.attributes["country"] == "Ireland"
    assert [str(sample.series[key].dates[0]) for key in ("s2", "s1")] == ["2017-06-17"] * 2
    with rasterio.open(source / "s2.tif") as tif:
        np.testing.assert_array_equal(sample.series["s2"].values[0, 7], tif.read(tif.descriptions.index("B8A") + 1))
        assert sample.footprint.bounds == tuple(tif.bounds)
    with rasterio.open(source / "s1.tif") as tif:
        np.testing.assert_array_equal(sample.series["s1"].values[0], tif.read())
    undated = [one for one in places if np.isnat(places.read_dates(one, "s1")[0])]
    assert len(undated) == 31 and len(places.legends["classes_19"].classes) == 19
    assert len(places.select(split="val")) == 10


def test_terramesh(kit: Path, out: Path) -> None:
    for name, offset in (("433d_629l_3_1", 1000), ("609u_541l_3_0", 0)):
        places, place = place_of(out / "terramesh", name)
        s2 = places.read_sample(place).series["s2"]
        with rasterio.open(kit / "terramesh" / name / "s2l2a.tif") as tif:
            np.testing.assert_array_equal(s2.values[0, 0] + offset, tif.read(2))
        with rasterio.open(kit / "terramesh" / name / "lulc.tif") as tif:
            np.testing.assert_array_equal(places.read_mask(place, "land_cover"), tif.read(1))
        assert np.isnat(s2.dates[0]) and place.cells == (224, 224)
    assert places.legends["land_cover"].classes[7] == "snow or ice"
    assert (places.read_mask(place, "land_cover") == 7).all()


def test_flair(kit: Path, out: Path) -> None:
    source = kit / "flair" / "img_050549"
    places, place = place_of(out / "flair", source.name)
    sample = places.read_sample(place)
    assert place.cells == (10, 10) and sample.series["hr"].values.shape == (1, 3, 320, 320)
    with rasterio.open(source / "image.tif") as tif:
        assert sample.footprint.bounds == pytest.approx(
            (tif.bounds.left + 1.2, tif.bounds.bottom + 1.2, tif.bounds.right - 1.2, tif.bounds.top - 1.2)
        )
        means = tif.read([1, 2, 3])[:, 6:506, 6:506].mean((1, 2))
    assert sample.series["hr"].values[0].mean((1, 2)) == pytest.approx(means, abs=1)
    with rasterio.open(source / "mask.tif") as tif:
        shares = np.bincount(tif.read(1)[6:506, 6:506].ravel(), minlength=14) / 250_000
    native = places.read_mask(place, "land_cover")
    assert np.bincount(native.ravel(), minlength=14) / native.size == pytest.approx(shares, abs=0.005)
    common = places.read_mask(place, "land_cover_common")
    assert (common[native == FLAIR_CLASSES.index("building")] == COMMON.classes.index("impervious")).all()
    dates = {one.name: str(places.read_dates(one, "hr")[0]) for one in places}
    assert dates["img_000473"] == "2021-07-09" and len(places.select(split="val")) == 2


def test_chesapeake(kit: Path, out: Path) -> None:
    source = kit / "chesapeake" / "id_000184"
    places, place = place_of(out / "chesapeake", source.name)
    sample = places.read_sample(place)
    assert place.lon is None and sample.footprint is None and len(places.regions) == 0 and place.cells == (25, 25)
    with rasterio.open(source / "image.tif") as tif:
        image = tif.read([1, 2, 3])[:, 3:253, 3:253]
    seen = sample.series["hr"].values[0].reshape(3, 50, 16, 50, 16).mean((2, 4))
    assert np.abs(seen - image.reshape(3, 50, 5, 50, 5).mean((2, 4))).max() < 6, "5 m means survive the resampling"
    with rasterio.open(source / "mask.tif") as tif:
        native = tif.read(1)[3:253, 3:253]
    common = places.read_mask(place, "land_cover_common")
    np.testing.assert_array_equal(common[8::16, 8::16], CHESAPEAKE_TO_COMMON[native[2::5, 2::5]])
    assert common.max() == COMMON.classes.index("impervious")


def test_the_common_legend_says_the_same_of_both() -> None:
    common = np.array(COMMON.classes)
    flair = dict(zip(FLAIR_CLASSES, common[FLAIR_TO_COMMON], strict=True))
    chesapeake = dict(zip(CHESAPEAKE_CLASSES, common[CHESAPEAKE_TO_COMMON], strict=True))
    assert flair["water"] == chesapeake["water"] == "water"
    assert flair["deciduous"] == flair["coniferous"] == chesapeake["tree canopy"] == "trees"
    assert flair["bare soil"] == chesapeake["barren"] == "bare"
    assert flair["building"] == chesapeake["road"] == chesapeake["impervious other"] == "impervious"
    assert flair["herbaceous"] == flair["plowed"] == chesapeake["low vegetation"] == "low vegetation"
    assert flair["other"] == flair["no label"] == chesapeake["no label"] == COMMON.classes[COMMON.ignore] == "no label"


def test_a_missing_kit_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="treesat: is not there"):
        convert(tmp_path, tmp_path / "out")
