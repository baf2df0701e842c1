"""OSCD: bands by name, both kinds of masks, dates, places, what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.pairs import CHANGE_CLASSES
from skysense.datasets.card import card
from skysense.datasets.catalogue import open_dataset
from skysense.datasets.check import check_dataset
from skysense.datasets.splits import split_hash
from skysense.errors import InputError
from skysense.sensors import SENTINEL2_L2A
from tests.data.labelled.files import write
from tests.datasets.fakes import oscd
from tests.datasets.truth import Truth

TEN = [oscd.BANDS.index(f"B{band[1:]:0>2}") for band in SENTINEL2_L2A.bands]


def agree(data: LabelledData, truth: Truth) -> None:
    reader = pickle.loads(pickle.dumps(data.read_item))
    for item in data.items:
        city, _, corner = item.name.partition("@")
        row, col = map(int, corner.split(",")) if corner else (0, 0)
        example = reader(item)
        rows, cols = example.size
        here = (slice(row, row + rows), slice(col, col + cols))
        both = [one.series["s2"] for one in (example.sample, example.after)]
        found = [series.values[0, :, :rows, :cols] for series in both]
        np.testing.assert_array_equal(found, truth.pixels[city][:, TEN][..., *here])
        assert (
            found[0].dtype == np.uint16 and both[0].valid[0, :rows, :cols].all() and not both[0].valid[0, rows:].any()
        )
        np.testing.assert_array_equal(example.target.changed_HW[:rows, :cols], truth.labels[city][here])
        dates = [str(day).replace("-", "") for day in np.concatenate([series.dates for series in both])]
        assert dates == [str(day) for day in (oscd.TRAIN | oscd.TEST)[city][2:]]
        assert item.split == truth.splits[city] and item.group == city


@pytest.mark.parametrize(("merged", "tile"), [(False, None), (True, 32)])
def test_cities(merged: bool, tile: int | None, tmp_path: Path) -> None:
    truth = oscd.write(tmp_path / "OSCD", merged=merged)
    data = open_dataset("oscd", tmp_path, tile=tile)
    agree(data, truth)
    assert data.task == "change" and data.classes == CHANGE_CLASSES
    assert {item.name.split("@")[0] for item in data.items} == set(truth.splits)
    assert "5 of 24 published" in data.notes[-1]
    assert (len(data) == 5) == (tile is None)


def test_masks_of_the_other_kind(tmp_path: Path) -> None:
    truth = oscd.write(tmp_path, merged=True)
    for file in tmp_path.rglob("cm.png"):
        file.unlink()
    agree(open_dataset("oscd", tmp_path, tile=32), truth)  # in tiles without change every number is 1
    write(tmp_path / "bercy/cm/bercy-cm.tif", truth.labels["bercy"])  # 0 and 1
    agree(open_dataset("oscd", tmp_path), truth)
    write(tmp_path / "bercy/cm/bercy-cm.tif", truth.labels["bercy"] * np.uint8(3))
    data = open_dataset("oscd", tmp_path)
    with pytest.raises(InputError, match=r"bercy-cm\.tif: holds the values 3"):
        data.read(1)


def test_places_and_dates(tmp_path: Path) -> None:
    oscd.write(tmp_path, merged=True)
    first, second, *_ = open_dataset("oscd", tmp_path).items
    shape = json.loads((tmp_path / f"{first.name}/{first.name}.geojson").read_text())
    corner = shape["features"][0]["geometry"]["coordinates"][0][0]
    assert (first.lon, first.lat) == pytest.approx((corner[0] + 0.025, corner[1] + 0.025))
    assert (second.lon, second.lat) == (None, None)
    (tmp_path / first.name / f"{first.name}.geojson").write_text('{"coordinates": [[500000, 4000000]]}', "utf-8")
    (tmp_path / first.name / "dates.txt").unlink()
    data = open_dataset("oscd", tmp_path)
    assert data.items[0].lon is None and np.isnat(data.read(0).sample.series["s2"].dates).all()
    assert data.notes[0].startswith("1 cities without dates.txt")
    for text in ("date_1: 20160120\n", "date_1: 20160120\ndate_2: 20161340\n"):
        (tmp_path / second.name / "dates.txt").write_text(text, "utf-8")
        with pytest.raises(InputError, match=r"dates\.txt: must hold date_1: YYYYMMDD and date_2"):
            open_dataset("oscd", tmp_path)


def test_the_published_division() -> None:
    items = [Item(city, city, split) for split, of in (("train", oscd.TRAIN), ("test", oscd.TEST)) for city in of]
    assert card("oscd").hashes == {"as published": split_hash(items)}
    assert card("oscd").amounts == {"train": len(oscd.TRAIN), "test": len(oscd.TEST)}


def test_archives_that_unpacked_into_folders_of_their_own(tmp_path: Path) -> None:
    truth = oscd.write(tmp_path / "a")
    for folder in list((tmp_path / "a").iterdir()):
        (tmp_path / "b" / folder.name).mkdir(parents=True)
        folder.rename(tmp_path / "b" / folder.name / folder.name)
    agree(open_dataset("oscd", tmp_path / "b"), truth)


def test_what_is_no_whole_copy(tmp_path: Path) -> None:
    oscd.write(tmp_path)
    images = tmp_path / oscd.IMAGES
    with pytest.raises(InputError, match=r"5 of 5 masks are missing, first aguasclaras/cm/cm\.png"):
        open_dataset("oscd", images)
    shutil.rmtree(images / "bercy/imgs_2_rect")
    with pytest.raises(
        InputError, match=r"10 of 100 bands of registered images are missing, first .*bercy/imgs_2_rect/B02"
    ):
        open_dataset("oscd", tmp_path)
    shutil.rmtree(images / "bercy")
    with pytest.raises(InputError, match=r"1 of 5 cities are missing, first .* - Images/bercy"):
        open_dataset("oscd", tmp_path)
    (images / "train.txt").write_text(" \n", "utf-8")
    with pytest.raises(InputError, match=r"train\.txt: names no city"):
        open_dataset("oscd", tmp_path)
    (images / "train.txt").unlink()
    with pytest.raises(InputError, match=r"train\.txt: is missing: it says which images are for what"):
        open_dataset("oscd", tmp_path)
    shutil.rmtree(tmp_path / oscd.TEST_LABELS)
    (tmp_path / f"{oscd.TEST_LABELS}.zip").touch()
    with pytest.raises(InputError, match=r"Test Labels missing; it holds .*Test Labels\.zip, still to be unpacked"):
        open_dataset("oscd", tmp_path)


def test_bands_that_do_not_belong(tmp_path: Path) -> None:
    oscd.write(tmp_path, merged=True, train=5)
    names = [item.name for item in open_dataset("oscd", tmp_path).items]
    folder = tmp_path / names[0] / "imgs_2_rect"
    shutil.copy(next((tmp_path / names[0] / "imgs_2").glob("*B8A.tif")), folder / "B8A.tif")  # not registered
    write(tmp_path / names[1] / "imgs_1_rect/B02.tif", np.ones((40, 30), np.uint16))
    write(tmp_path / names[2] / "imgs_1_rect/B12.tif", np.full((52, 46), 0.2, np.complex64))
    broken = tmp_path / names[3] / "imgs_1_rect/B04.tif"
    broken.write_bytes(broken.read_bytes()[:1500])
    write(tmp_path / names[4] / "cm/cm.png", np.zeros((7, 7), np.uint8))
    data = open_dataset("oscd", tmp_path)
    for index, said in enumerate((
        r"imgs_2_rect/B8A\.tif: is 27 x 30 px, which are not the 47 x 52 px of the first band",
        r"imgs_1_rect/B03\.tif: is 40 x 36 px, which are not the 40 x 30 px of the first band",
        r"imgs_1_rect/B12\.tif: holds complex64",
        r"imgs_1_rect/B04\.tif: is ",
        r"cm\.png: is 7 x 7 px; its image is",
    )):  # fmt: skip
        with pytest.raises(InputError, match=said):
            data.read(index)


def test_what_is_zero_in_every_band_was_not_observed(tmp_path: Path) -> None:
    oscd.write(tmp_path, merged=True)
    for band in oscd.BANDS:
        values = np.full((40, 36), 1000, np.uint16)
        values[:10, 4:] = 0
        write(tmp_path / f"bercy/imgs_1_rect/{band}.tif", values)
    series = open_dataset("oscd", tmp_path).read(1).sample.series["s2"]
    assert not series.valid[0, :10, 4:36].any() and series.valid[0, 10:40, :36].all() and series.valid[0, :10, :4].all()


def test_the_report_on_a_copy(tmp_path: Path) -> None:
    oscd.write(tmp_path)
    found = {one.about: one for one in check_dataset("oscd", tmp_path)}
    assert found["layout"].state == "good" and found["read"].state == "good" and found["classes"].state == "good"
    assert (found["images for train"].state, found["images for train"].says) == ("bad", "3 of 14")
    assert found["splits"].state == "bad"  # the list is not that of a whole copy
