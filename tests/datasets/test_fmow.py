"""fMoW-Sentinel beside a small copy."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio

from skysense.data.labelled.split import assign_splits
from skysense.datasets.catalogue import open_dataset
from skysense.datasets.check import check_dataset
from skysense.errors import InputError
from skysense.sensors import SENTINEL2_L2A
from tests.datasets.fakes.fmow_s2 import write

SOME = ("airport", "multi-unit_residential", "zoo")
TEN = (1, 2, 3, 4, 5, 6, 7, 8, 11, 12)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("inside", [False, True])
def test_holds_what_was_written(tmp_path: Path, dtype: type, inside: bool) -> None:
    truth = write(tmp_path, classes=SOME, places=2, dtype=dtype, inside=inside)
    data = pickle.loads(pickle.dumps(open_dataset("fmow-s2", tmp_path)))
    assert data.classes == truth.classes and len(data) == len(truth.labels) == 36
    for index, item in enumerate(data.items):
        key = f"fmow-sentinel/{item.name}"
        assert item.split == truth.splits[key].removesuffix("_gt")
        example = data.read(index)
        (series,) = example.sample.series.values()
        pixels = truth.pixels[key]
        assert isinstance(pixels, np.ndarray)
        height, width = pixels.shape[1:]
        assert data.classes[example.target] == truth.labels[key]
        assert example.size == (height, width) and example.per_cell == 1 and series.sensor == SENTINEL2_L2A
        assert series.values.dtype == (np.uint16 if dtype is np.uint16 else np.float32)
        np.testing.assert_array_equal(
            series.values[0, :, :height, :width], pixels[TEN, :, :].astype(series.values.dtype)
        )
        assert series.valid[0, :height, :width].all() and series.valid.sum() == height * width
        first = item.name.endswith("_6.tif")
        assert str(series.dates[0]) == ("2016-04-16" if first else "2016-10-01")
        assert item.lon == pytest.approx(example.sample.lon, abs=1e-6)
        assert item.lat == pytest.approx(example.sample.lat, abs=1e-6)
        assert item.group == item.name.rsplit("/", 1)[0]
    assert len(assign_splits(data).select("val")) == 12


def test_every_class_has_its_place_and_the_same_hash_in_all_layouts(tmp_path: Path) -> None:
    truth = write(tmp_path / "a", images=1)
    data = open_dataset("fmow-s2", tmp_path / "a")
    assert [data.read(row).target for row in range(62)] == list(range(62)) and len(truth.classes) == 62
    write(tmp_path / "b", classes=SOME, inside=True)
    write(tmp_path / "c", classes=SOME)
    (tmp_path / "c" / "fmow-sentinel").rename(tmp_path / "c" / "inner")
    (tmp_path / "c" / "fmow-sentinel").mkdir()
    (tmp_path / "c" / "inner").rename(tmp_path / "c" / "fmow-sentinel" / "fmow-sentinel")
    names = [[item.name for item in open_dataset("fmow-s2", tmp_path / one).items] for one in "bc"]
    assert names[0] == names[1] and names[0][0] == "test_gt/airport/airport_0/airport_0_100.tif"
    open_dataset("fmow-s2", tmp_path / "b").read(0)
    open_dataset("fmow-s2", tmp_path / "c").read(0)


def test_check_finds_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path, classes=SOME)
    found = {one.about: one for one in check_dataset("fmow-s2", tmp_path)}
    assert found["layout"].state == found["listed"].state == found["read"].state == "good"
    assert found["images for train"].says == "6 of 712,874" and found["images for train"].state == "bad"
    gone = tmp_path / "fmow-sentinel" / "val" / "zoo" / "zoo_0" / "zoo_0_6.tif"
    gone.unlink()
    found = {one.about: one for one in check_dataset("fmow-s2", tmp_path)}
    assert str(gone) in found["listed"].says and found["read"].says.startswith("17 of 18")


def test_images_that_cannot_be_used(tmp_path: Path) -> None:
    write(tmp_path, classes=SOME)
    data = open_dataset("fmow-s2", tmp_path)

    def error(name: str) -> str:
        (item,) = (one for one in data.items if one.name == name)
        with pytest.raises(InputError) as caught:
            data.read_item(item)
        return str(caught.value)

    folder = tmp_path / "fmow-sentinel" / "train" / "airport" / "airport_0"
    (folder / "airport_0_108.tif").rename(folder / "airport_0_6.tif")
    assert "has 1 bands; it should have 13: B1, B2" in error("train/airport/airport_0/airport_0_6.tif")
    (folder / "airport_0_100.tif").write_bytes((folder / "airport_0_100.tif").read_bytes()[:-300])
    assert "truncated or damaged" in error("train/airport/airport_0/airport_0_100.tif")
    with rasterio.open(tmp_path / "fmow-sentinel/val/zoo/zoo_0/zoo_0_6.tif", "r+") as file:
        values = file.read()
        values[:, 0] = 0
        file.write(values)
    zoo = next(one for one in data.items if one.name == "val/zoo/zoo_0/zoo_0_6.tif")
    valid_HW = data.read_item(zoo).sample.series["s2"].valid[0]
    assert not valid_HW[0].any() and valid_HW[1, : values.shape[2]].all()
    with rasterio.open(tmp_path / "fmow-sentinel/val/zoo/zoo_0/zoo_0_6.tif", "r+") as file:
        file.write(np.zeros_like(values))
    assert "no observed pixel" in error("val/zoo/zoo_0/zoo_0_6.tif")
    (folder.parent / "airport_0").rename(folder.parent / "airport_9")
    assert "does not exist" in error("train/airport/airport_0/airport_0_6.tif")


def test_copies_that_are_not_whole(tmp_path: Path) -> None:
    write(tmp_path, classes=SOME)

    def wrong() -> str:
        with pytest.raises(InputError) as caught:
            open_dataset("fmow-s2", tmp_path)
        return str(caught.value)

    table = tmp_path / "val.csv"
    whole = table.read_text()
    table.write_text(whole[: len(whole) - 60])
    assert "was not downloaded whole" in wrong()
    table.write_text(whole.replace("zoo", "cinema"))
    assert "category 'cinema'" in wrong()
    table.write_text(whole.replace("2016-04-16", "2016-04-99"))
    assert "val.csv" in wrong() and "is no list of fMoW-Sentinel" in wrong()
    rows = list(csv.reader(whole.splitlines()))
    table.write_text("\n".join(",".join(row[:4]) for row in rows))
    assert "has no column timestamp, polygon" in wrong()
    table.write_text(",".join(rows[0]) + "\n")
    assert "val.csv: names no image" in wrong()
    table.write_text(whole + whole.splitlines()[-1] + "\n")
    assert "1 rows of the lists name an image a second time" in open_dataset("fmow-s2", tmp_path).notes
    table.write_text(whole)
    (tmp_path / "fmow-sentinel").rename(tmp_path / "fmow-sentinel.tar.gz")
    assert "fmow-sentinel/train missing" in wrong() and "still to be unpacked" in wrong()
    table.unlink()
    assert "val.csv missing" in wrong()
