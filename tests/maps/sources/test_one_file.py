"""What one GeoTIFF is taken for, and what is refused with which words."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.blend import Layout
from skysense.maps.source import UnreadableWindow
from skysense.maps.sources.imagery import Imagery
from skysense.maps.sources.open import open_source
from skysense.maps.sources.probe import probe
from skysense.sensors import OPTICAL_HR, PUBLISHED, SENTINEL1, SENTINEL2_L2A
from tests.maps.scenes import (
    HR_GRID,
    S2_GRID,
    hr_scene,
    hr_values,
    s1_scene,
    s1_values,
    s2_scene,
    s2_values,
    write_scene,
)


def open_scene(path: Path, **how) -> Imagery:
    return open_source(path, reads={one.modality: one for one in PUBLISHED}, **how)


def only_file(scene: Imagery):
    """The raster of a source of one file."""
    (stack,) = scene.stacks.values()
    ((((raster,),),),) = (((sheet.rasters for sheet in group.sheets) for group in stack.frames[0].groups),)
    return raster


def check(path: Path, **how) -> tuple[str, ...]:
    scene = open_scene(path, **how)
    return probe(scene, Layout(scene.grid.height, scene.grid.width, 16, 2).shuffled())


def test_high_resolution_by_descriptions(tmp_path: Path) -> None:
    scene = open_scene(hr_scene(tmp_path / "a.tif", 70, 100))
    assert only_file(scene).sensor is OPTICAL_HR
    assert only_file(scene).indexes == (1, 2, 3)
    assert (scene.grid.height, scene.grid.width) == (3, 4)
    assert only_file(scene).grid.transform == HR_GRID
    assert scene.grid.transform[:6] == tuple(
        value if at in (2, 5) else 32 * value for at, value in enumerate(HR_GRID[:6])
    )


def test_high_resolution_by_colours_with_a_near_infrared_band_in_front(tmp_path: Path) -> None:
    values = hr_values(64, 64)
    path = write_scene(tmp_path / "a.tif", np.concatenate([values[:1], values[[2, 1, 0]]]), photometric="MINISBLACK")
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.undefined, ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    scene = open_scene(path)
    assert only_file(scene).indexes == (4, 3, 2)
    with scene.open() as reader:
        read = reader.read(Window(0, 0, 4, 4)).series["hr"]
    np.testing.assert_array_equal(read.values[0, :, :64, :64], values)


def test_words_for_colours_are_names(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", hr_values(64, 64), names=["Blue", "Green", "Red"], photometric="MINISBLACK")
    assert only_file(open_scene(path)).indexes == (3, 2, 1)


def test_bare_positions_are_not_names(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", hr_values(64, 64), photometric="MINISBLACK")
    with pytest.raises(InputError, match=r"a\.tif: its bands \(.*band 2 has no name.*no known sensor.*Name the bands"):
        open_scene(path)
    with pytest.raises(InputError, match=r"optical-hr needs the bands R, G, B.*missing or doubled: R, G, B"):
        open_scene(path, sensor="optical-hr")


def test_sentinel_2_by_names_in_any_order(tmp_path: Path) -> None:
    scene = open_scene(s2_scene(tmp_path / "a.tif", 9, 13), date="2024-02-29")
    assert only_file(scene).sensor is SENTINEL2_L2A
    assert (scene.grid.height, scene.grid.width) == (9, 13)
    assert scene.grid.transform == S2_GRID
    assert only_file(scene).date == np.datetime64("2024-02-29")
    with scene.open() as reader:
        series = reader.read(Window(4, 8, 8, 8)).series["s2"]
    np.testing.assert_array_equal(series.values[0, :, :5, :5], s2_values(9, 13)[:, 4:, 8:])
    assert series.valid[0, :5, :5].all()
    assert not series.valid[0, 5:].any()
    assert not series.valid[0, :, 5:].any()
    assert series.days.tolist() == [59]


def test_date_from_tags(tmp_path: Path) -> None:
    scene = open_scene(s1_scene(tmp_path / "a.tif", s1_values(8, 8)))
    assert only_file(scene).sensor is SENTINEL1
    assert only_file(scene).date == np.datetime64("2024-07-14")
    assert scene.notes == ("date 2024-07-14 (tag SKYSENSE_DATE)",)
    stamped = open_scene(hr_scene(tmp_path / "b.tif", 64, 64, tags={"TIFFTAG_DATETIME": "2023:05:06 11:12:13"}))
    assert only_file(stamped).date == np.datetime64("2023-05-06")
    undated = open_scene(hr_scene(tmp_path / "c.tif", 64, 64))
    assert np.isnat(only_file(undated).date)
    assert undated.notes == ("no date: the date embedding is left out",)


def test_a_date_that_is_none(tmp_path: Path) -> None:
    path = hr_scene(tmp_path / "a.tif", 64, 64, tags={"SKYSENSE_DATE": "2023-02-30"})
    with pytest.raises(InputError, match=r"a\.tif: tag SKYSENSE_DATE says '2023-02-30', which is no date"):
        open_scene(path)
    assert only_file(open_scene(path, date="2023-02-28")).date == np.datetime64("2023-02-28")


@pytest.mark.parametrize(
    ("crs", "pixel", "words"),
    [
        ("EPSG:32632", 0.3125, None),
        ("EPSG:32632", 1.0, "pixels are 1 m, the model was trained at 0.3125 m.*one output cell is 32 m"),
        ("EPSG:2263", 1.0, None),  # US feet: 0.305 m
        ("EPSG:4326", 0.3125 / 111_320 / np.sqrt(0.5), None),  # 60 degrees north: pixels half as wide as high
        ("EPSG:4326", 2e-5, "the ground scale differs from training"),
    ],
)
def test_another_ground_scale_is_noted(tmp_path: Path, crs: str, pixel: float, words: str | None) -> None:
    transform = Affine(pixel, 0, 10, 0, -pixel, 60)
    scene = open_scene(hr_scene(tmp_path / "a.tif", 64, 64, crs=crs, transform=transform))
    if words is None:
        assert len(scene.notes) == 1
    else:
        assert re.search(words, scene.notes[1]), scene.notes


def test_no_data_by_value_mask_and_alpha(tmp_path: Path) -> None:
    values = hr_values(64, 64).clip(1)
    values[:, 10:20, 5:9] = 0
    values[0, 30, 30] = 0  # a pixel without red is dark red, not missing
    expected = np.ones((64, 64), bool)
    expected[10:20, 5:9] = False
    by_value = hr_scene_of(tmp_path / "value.tif", values, nodata=0)
    alpha = np.concatenate([values, 255 * expected[None].astype(np.uint8)])
    by_alpha = write_scene(tmp_path / "alpha.tif", alpha, names=["R", "G", "B", ""], photometric="RGB", alpha="YES")
    by_mask = hr_scene_of(tmp_path / "mask.tif", values)
    with rasterio.open(by_mask, "r+") as file:
        file.write_mask(expected)
    for path in (by_value, by_alpha, by_mask):
        with open_scene(path).open() as reader:
            read = reader.read(Window(0, 0, 4, 4)).series["hr"].valid
        np.testing.assert_array_equal(read[0, :64, :64], expected, err_msg=path.name)
        assert not read[0, 64:].any()


def test_a_near_infrared_band_that_is_marked_as_alpha_is_no_mask(tmp_path: Path) -> None:
    values = np.concatenate([hr_values(64, 64), np.zeros((1, 64, 64), np.uint8)])
    options = {"photometric": "RGB", "alpha": "YES"}
    named = open_scene(write_scene(tmp_path / "a.tif", values, names=["R", "G", "B", "NIR"], **options))
    plain = open_scene(write_scene(tmp_path / "b.tif", values, names=["R", "G", "B", ""], **options))
    for scene, seen in ((named, 64 * 64), (plain, 0)):
        with scene.open() as reader:
            assert reader.read(Window(0, 0, 4, 4)).series["hr"].valid.sum() == seen
    assert named.notes[1] == "band 4 is marked as alpha but called NIR: it is not used as a mask"
    assert plain.notes[1] == "band 4 (alpha) marks what is no-data"


def hr_scene_of(path: Path, values: np.ndarray, **options) -> Path:
    return write_scene(path, values, names="RGB", **options)


def test_nan_and_infinite_pixels_count_as_no_data_and_are_counted(tmp_path: Path) -> None:
    values = s1_values(16, 16)
    values[0, 2, 3], values[1, 4, 5], values[:, 6, 7] = np.nan, -np.inf, np.inf
    with open_scene(s1_scene(tmp_path / "a.tif", values)).open() as reader:
        series = reader.read(Window(0, 0, 16, 16)).series["s1"]
        assert reader.pixels_not_finite == 3
    assert (~series.valid[0]).nonzero()[0].tolist() == [2, 4, 6]
    assert np.isfinite(series.values).all()


def test_a_sentinel_pixel_needs_all_its_bands(tmp_path: Path) -> None:
    values = s1_values(16, 16)
    values[1, 3, 3] = -9999
    with open_scene(s1_scene(tmp_path / "a.tif", values, nodata=-9999)).open() as reader:
        valid = reader.read(Window(0, 0, 16, 16)).series["s1"].valid[0]
    assert not valid[3, 3]
    assert valid.sum() == 255


def test_foreign_missing_and_truncated_files(tmp_path: Path) -> None:
    foreign = tmp_path / "notes.tif"
    foreign.write_text("dear diary")
    with pytest.raises(InputError, match=r"notes\.tif: is not a raster that can be read \(foreign or truncated\)"):
        open_scene(foreign)
    with pytest.raises(InputError, match=r"nowhere\.tif: does not exist"):
        open_scene(tmp_path / "nowhere.tif")
    whole = hr_scene(tmp_path / "whole.tif", 512, 512).read_bytes()
    (tmp_path / "stump.tif").write_bytes(whole[:6])
    with pytest.raises(InputError, match=r"stump\.tif: is not a raster that can be read"):
        open_scene(tmp_path / "stump.tif")
    (tmp_path / "head.tif").write_bytes(whole[:4000])
    with pytest.raises(InputError, match=r"head\.tif: (is not a raster|none of its \d+ windows could be used)"):
        check(tmp_path / "head.tif")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_place_is_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no CRS, and a map needs one\. Assign it: rio edit-info --crs EPSG:"):
        open_scene(hr_scene(tmp_path / "a.tif", 64, 64, crs=None))
    with pytest.raises(InputError, match=r"has a CRS but no geotransform"):
        open_scene(hr_scene(tmp_path / "b.tif", 64, 64, transform=Affine.identity()))


def test_wrong_bands(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", hr_values(64, 64), names=["R", "G", "G"])
    with pytest.raises(InputError, match=r"its bands \(R, G, G\) are those of no known sensor"):
        open_scene(path)
    with pytest.raises(InputError, match=r"missing or doubled: VV, VH; found: R, G, G"):
        open_scene(path, sensor=SENTINEL1)
    with pytest.raises(InputError, match=r"sensor 'landsat' is unknown; known are optical-hr, sentinel-2"):
        open_scene(path, sensor="landsat")
    both = write_scene(tmp_path / "b.tif", s1_values(8, 8)[[0, 1, 0, 1, 0]], names=["R", "G", "B", "VV", "VH"])
    with pytest.raises(InputError, match="suit several sensors"):
        open_scene(both)


def test_units_are_never_guessed(tmp_path: Path) -> None:
    names = SENTINEL1.bands
    path = write_scene(tmp_path / "a.tif", s1_values(16, 16), names=names, transform=S2_GRID)
    with pytest.raises(InputError, match=r"does not say its unit; sentinel-1-grd must be 'dB'.*SKYSENSE_UNIT=dB"):
        open_scene(path)
    assert only_file(open_scene(path, unit="dB")).sensor is SENTINEL1
    with pytest.raises(InputError, match=r"is in 'linear'; sentinel-1-grd must be 'dB'\. Convert it first"):
        open_scene(path, unit="linear")
    wide = write_scene(tmp_path / "b.tif", hr_values(64, 64).astype(np.uint16), names="RGB")
    with pytest.raises(InputError, match=r"b\.tif: optical-hr is 8-bit; found uint16"):
        open_scene(wide)
    with pytest.raises(InputError, match=r"declares the unit 'dB'; optical-hr is 'uint8'"):
        open_scene(hr_scene(tmp_path / "c.tif", 64, 64), unit="dB")
    unsigned = write_scene(tmp_path / "d.tif", s2_values(8, 8).astype(np.uint32), names=SENTINEL2_L2A.bands)
    with pytest.raises(InputError, match=r"holds uint32; known are uint8, int16"):
        open_scene(unsigned, unit="reflectance*1e4")


def test_values_that_the_unit_cannot_hold(tmp_path: Path) -> None:
    power = 10 ** (s1_values(40, 40) / 10)
    with pytest.raises(InputError, match=r"a\.tif: looks like linear power, not decibel"):
        check(s1_scene(tmp_path / "a.tif", power))
    fraction = (s2_values(40, 40) / 10_000).astype(np.float32)
    path = write_scene(tmp_path / "b.tif", fraction, names=SENTINEL2_L2A.bands, transform=S2_GRID)
    with pytest.raises(InputError, match="looks like reflectance between 0 and 1"):
        check(path, unit="reflectance*1e4")
    path = write_scene(tmp_path / "c.tif", np.full((2, 20, 20), -9999, np.float32), names=["VV", "VH"])
    with pytest.raises(InputError, match=r"none of its 4 windows could be used.*-9999.*lies within -100 \.\. 60 dB"):
        check(path, unit="dB")


def test_the_offset_of_newer_products_is_noted(tmp_path: Path) -> None:
    names, unit = SENTINEL2_L2A.bands, "reflectance*1e4"
    shifted = write_scene(tmp_path / "a.tif", s2_values(40, 40) + np.uint16(1000), names=names, transform=S2_GRID)
    assert "+1000 offset" in check(shifted, unit=unit)[0]
    plain = write_scene(tmp_path / "b.tif", s2_values(40, 40), names=names, transform=S2_GRID)
    assert check(plain, unit=unit) == ()


@pytest.mark.parametrize("kind", ["hr", "s1"])
def test_nothing_observed(tmp_path: Path, kind: str) -> None:
    if kind == "hr":
        path = write_scene(tmp_path / "a.tif", np.zeros((3, 600, 600), np.uint8), names="RGB", nodata=0)
    else:
        path = s1_scene(tmp_path / "a.tif", np.full((2, 40, 40), np.nan, np.float32))
    with pytest.raises(InputError, match=r"a\.tif: holds no observed pixel \(all no-data\)"):
        check(path)


def test_a_window_outside_the_scene(tmp_path: Path) -> None:
    with (
        open_scene(hr_scene(tmp_path / "a.tif", 64, 64)).open() as reader,
        pytest.raises(UnreadableWindow, match="outside"),
    ):
        reader.read(Window(8, 0, 4, 4))


def test_imagery_of_another_sensor_is_told_what_it_is_and_what_is_needed(tmp_path: Path) -> None:
    scene = hr_scene(tmp_path / "rgb.tif", 64, 64)
    for what in (scene, [scene, scene], f"{{s2: {scene}}}"):
        with pytest.raises(InputError) as found:
            open_source(what, reads={"s2": SENTINEL2_L2A})
        assert str(found.value) == (
            f"{scene}: its bands (R, G, B) are those of optical-hr; needed here are those of sentinel-2-l2a: B2, B3, "
            "B4, B5, B6, B7, B8, B8A, B11, B12. Give imagery with these bands; what is of optical-hr goes by hr, to a "
            "model that reads it"
        )
    with pytest.raises(InputError, match=r"s2\.tif: its bands .* are those of sentinel-2-l2a; needed .* optical-hr"):
        open_source(s2_scene(tmp_path / "s2.tif", 8, 8), reads={"hr": OPTICAL_HR})
    some = write_scene(tmp_path / "some.tif", s2_values(8, 8)[:8], names=SENTINEL2_L2A.bands[:8])
    with pytest.raises(InputError, match=r"no known sensor: sentinel-2-l2a also needs B11, B12 \("):
        open_source(some, reads={"s2": SENTINEL2_L2A, "hr": OPTICAL_HR})


@pytest.mark.parametrize("options", [{}, {"nodata": 0}])
def test_a_mask_in_a_file_of_its_own_is_no_data_and_a_part_of_what_is_read(tmp_path: Path, options) -> None:
    scene = hr_scene(tmp_path / "scene.tif", 64, 96, **options)
    bare = open_scene(scene).about()
    mask = np.full((64, 96), 255, np.uint8)
    mask[:20, 32:] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(scene, "r+") as file:
        file.write_mask(mask)
    assert (tmp_path / "scene.tif.msk").exists()
    source = open_scene(scene)
    with source.open() as reader:
        series = reader.read(Window(0, 0, 4, 4)).series["hr"]
    np.testing.assert_array_equal(series.valid[0, :64, :96], mask > 0)
    assert not series.valid[0, 64:].any()
    files = source.about()["sensors"]["hr"]["files"]
    assert [file["name"] for file in files] == ["scene.tif", "scene.tif.msk"]
    assert [file["name"] for file in bare["sensors"]["hr"]["files"]] == ["scene.tif"]
