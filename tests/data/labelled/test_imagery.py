"""What image files are taken for, and which are refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from skysense.data.labelled.open import open_labelled
from skysense.data.labelled.padding import pad_sample
from skysense.data.labelled.photograph import read_photograph
from skysense.errors import InputError
from skysense.geo import Footprint
from skysense.observation import Sample
from skysense.sensors import OPTICAL_HR, OPTICAL_HR_NIR, SENTINEL1, SENTINEL2_L2A
from tests.data.labelled.files import GRID, S2_NAMES, UTM, rgb, sentinel2, write
from tests.data.places_samples import make_sample


def opened(file: Path, **how):
    """A data set of one class around one file, which lies in a folder of its own."""
    return open_labelled(file.parent.parent, **how)


def test_nameless_bands_of_a_tif_are_taken_in_order_and_noted(tmp_path: Path) -> None:
    data = opened(write(tmp_path / "a" / "1.tif", rgb(), photometric="MINISBLACK"))
    assert data.read(0).sample.series["hr"].sensor is OPTICAL_HR
    assert data.notes == ("the three bands have no names: taken as red, green and blue",)


def test_described_bands_in_any_order(tmp_path: Path) -> None:
    values = np.concatenate([rgb()[::-1], rgb(seed=1)[:1]])
    data = opened(write(tmp_path / "a" / "1.tif", values, names=("B", "G", "R", "NIR")))
    series = data.read(0).sample.series["hr"]
    assert series.sensor is OPTICAL_HR_NIR and any("would also suit optical-hr" in note for note in data.notes)
    np.testing.assert_array_equal(series.values[0, :, :64, :64], np.concatenate([rgb(), rgb(seed=1)[:1]]))
    three = opened(tmp_path / "a" / "1.tif", sensor="optical-hr").read(0)
    np.testing.assert_array_equal(three.sample.series["hr"].values[0, :, :64, :64], rgb())


def test_alpha_is_what_was_observed_unless_the_sensor_has_four_bands(tmp_path: Path) -> None:
    values = np.concatenate([rgb(), np.full((1, 64, 64), 255, np.uint8)])
    values[3, :, :10] = 0
    file = write(tmp_path / "a" / "1.png", values)
    series = opened(file).read(0).sample.series["hr"]
    assert series.sensor is OPTICAL_HR and series.valid.sum() == 64 * 54
    data = opened(file, sensor="optical-hr-nir")
    series = data.read(0).sample.series["hr"]
    assert series.valid.sum() == 64 * 64 and (series.values[0, 3, :64, :10] == 0).all()
    assert "bands have no names: taken as R, G, B, NIR, in this order" in data.notes


def test_sixteen_bits_need_a_stretch(tmp_path: Path) -> None:
    values = np.array([0, 500, 1000, 2000, 4000], np.uint16).repeat(20)[None, None].repeat(3, 0).repeat(32, 1)
    file = write(tmp_path / "a" / "1.tif", values, photometric="RGB")
    with pytest.raises(InputError, match=re.escape("optical-hr is 8-bit; found uint16. Convert it to 8 bit, or")):
        opened(file).read(0)
    data = opened(file, stretch=(500, 2000))
    np.testing.assert_array_equal(data.read(0).sample.series["hr"].values[0, 1, 0, 10:100:20], [0, 0, 85, 255, 255])
    assert "values 500 .. 2000 are stretched to 0 .. 255" in data.notes
    with pytest.raises(InputError, match="must be"):
        opened(file, stretch=(2000, 500))


def test_sentinel_units_are_declared(tmp_path: Path) -> None:
    file = write(tmp_path / "a" / "1.tif", sentinel2(), names=S2_NAMES)
    with pytest.raises(InputError, match="does not say its unit; sentinel-2-l2a must be 'reflectance"):
        opened(file).read(0)
    assert opened(file, sensor="sentinel-2-l2a").read(0).sample.series["s2"].sensor is SENTINEL2_L2A
    declared = write(tmp_path / "a" / "1.tif", sentinel2(), names=S2_NAMES, tags={"SKYSENSE_UNIT": "reflectance*1e4"})
    np.testing.assert_array_equal(opened(declared).read(0).sample.series["s2"].values[0], sentinel2())


def test_sentinel_1_and_its_date(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(-14, 3, (2, 8, 8)).astype(np.float32)
    values[:, 0, 0] = np.nan
    tags = {"SKYSENSE_UNIT": "dB", "SKYSENSE_DATE": "2024-07-14"}
    series = opened(write(tmp_path / "a" / "1.tif", values, names=("VV", "VH"), tags=tags)).read(0).sample.series["s1"]
    assert series.sensor is SENTINEL1 and series.dates[0] == np.datetime64("2024-07-14")
    assert not series.valid[0, 0, 0] and series.valid.sum() == 63


def test_linear_power_is_refused(tmp_path: Path) -> None:
    values = np.full((2, 8, 8), 0.1, np.float32)
    data = opened(write(tmp_path / "a" / "1.tif", values, names=("VV", "VH")), sensor="sentinel-1-grd")
    with pytest.raises(InputError, match=r"1\.tif: looks like linear power"):
        data.read(0)


def test_one_band_is_no_known_sensor(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="are those of no known sensor"):
        opened(write(tmp_path / "a" / "1.png", rgb()[:1]))


def test_every_file_is_of_the_same_sensor(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.png", rgb())
    write(tmp_path / "a" / "2.png", rgb()[:1])
    data = open_labelled(tmp_path)
    data.read(0)
    with pytest.raises(InputError, match=r"2\.png: optical-hr needs the bands R, G, B"):
        data.read(1)


def test_nothing_observed(tmp_path: Path) -> None:
    data = opened(write(tmp_path / "a" / "1.tif", np.zeros((3, 64, 64), np.uint8), nodata=0, photometric="RGB"))
    with pytest.raises(InputError, match=r"1\.tif: holds no observed pixel \(all no-data\)"):
        data.read(0)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_truncated_files_are_named(tmp_path: Path, suffix: str, share: float) -> None:
    write(tmp_path / "a" / f"whole.{suffix}", rgb(256, 256))
    cut = write(tmp_path / "a" / f"cut.{suffix}", rgb(256, 256, seed=1))
    cut.write_bytes(cut.read_bytes()[: int(share * cut.stat().st_size)])
    data = open_labelled(tmp_path)
    with pytest.raises(InputError) as caught:
        data.read([item.name for item in data.items].index(f"a/cut.{suffix}"))
    assert caught.value.file == cut
    assert data.read([item.name for item in data.items].index(f"a/whole.{suffix}")).target == 0


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a" / "1.png", rgb())
    write(tmp_path / "a" / "2.png", rgb())
    data = opened(file)
    file.unlink()
    with pytest.raises(InputError, match=r"1\.png: does not exist"):
        data.read(0)


def test_georeferenced_images_know_their_place(tmp_path: Path) -> None:
    data = opened(write(tmp_path / "a" / "1.tif", rgb(128, 96), crs=UTM, transform=GRID, photometric="RGB"))
    item, sample = data.items[0], data.read(0).sample
    assert item.lon == pytest.approx(10.362, abs=0.002) and item.lat == pytest.approx(48.744, abs=0.002)
    assert (sample.lon, sample.lat) == (item.lon, item.lat)
    assert sample.footprint == Footprint((600_000, 5_399_960, 600_040, 5_400_000), UTM)  # of the padded 128 x 128 px


def test_the_ground_scale_is_noted(tmp_path: Path) -> None:
    wide = Affine(1.25, 0, 600_000, 0, -1.25, 5_400_000)
    data = opened(write(tmp_path / "a" / "1.tif", rgb(), crs=UTM, transform=wide, photometric="RGB"))
    assert any("pixels are 1.25 m, the model was trained at 0.3125 m" in note for note in data.notes)


def test_padding_of_a_place_with_all_sensors() -> None:
    sample = make_sample(height=6, width=8)
    placed = Sample("p", sample.series, footprint=Footprint((0, 0, 80, 60), UTM))
    padded = pad_sample(placed)
    assert padded.grid == (8, 8) and padded.footprint == Footprint((0, -20, 80, 60), UTM)
    for key, series in padded.series.items():
        old = placed.series[key]
        rows = old.values.shape[2]
        np.testing.assert_array_equal(series.values[:, :, :rows], old.values)
        assert series.valid.sum() == old.valid.sum() and not series.valid[:, rows:].any()


def test_a_jpeg_is_read_by_whoever_knows_all_it_says(tmp_path: Path) -> None:
    from PIL import Image as Picture

    plain, placed = tmp_path / "plain.jpg", tmp_path / "placed.jpg"
    slope_HWC = np.add.outer(np.arange(64), np.arange(64))[..., None].repeat(3, axis=2).astype(np.uint8)
    for file in (plain, placed):
        Picture.fromarray(slope_HWC).save(file, quality=95)
    placed.with_suffix(".jgw").write_text("0.2\n0\n0\n-0.2\n500000\n5500000\n")
    assert read_photograph(placed) is None and read_photograph(tmp_path / "missing.jpg") is None
    found = read_photograph(plain)
    assert found is not None and np.abs(found.astype(int) - slope_HWC).mean() < 2
    grey = tmp_path / "grey.jpg"
    Picture.fromarray(slope_HWC[..., 0]).save(grey)
    assert read_photograph(grey) is None
    plain.write_bytes(plain.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"plain\.jpg: is truncated or damaged"):
        read_photograph(plain)
