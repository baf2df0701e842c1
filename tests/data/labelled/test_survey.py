"""Reading everything once: failures, counts, band statistics, copies."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from skysense.data.labelled.dataset import ItemTable
from skysense.data.labelled.example import Boxes, Change
from skysense.data.labelled.open import open_labelled
from skysense.data.labelled.survey import BandStatistics, Survey, amounts, check_copies, readable, survey
from skysense.errors import InputError
from tests.data.labelled.files import S2_NAMES, rgb, sentinel2, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, inside in enumerate(("train/a", "train/a", "train/b", "val/a", "val/c")):
        write(tmp_path / inside / f"{seed}.png", rgb(seed=seed))
    return tmp_path


def test_what_cannot_be_read_is_listed(folder: Path) -> None:
    broken = folder / "train" / "a" / "1.png"
    broken.write_bytes(broken.read_bytes()[:50])
    seen: list[tuple[int, int]] = []
    data, failures = readable(open_labelled(folder), lambda done, all_: seen.append((done, all_)))
    assert [failure.item for failure in failures] == ["train/a/1.png"] and str(broken) in failures[0].message
    assert len(data) == 4 and all(data.read(index) for index in range(4))
    assert seen == [(n, 5) for n in range(1, 6)]
    assert survey(open_labelled(folder)).failures == failures


def test_nothing_can_be_read(tmp_path: Path) -> None:
    file = write(tmp_path / "a" / "1.png", rgb())
    data = open_labelled(tmp_path)
    file.write_bytes(b"x")
    with pytest.raises(InputError, match=r"holds no example that can be read; the first: .*1\.png"):
        readable(data)


def test_counts_and_a_class_that_is_missing_in_training(folder: Path) -> None:
    seen = survey(open_labelled(folder))
    assert seen.items == {"train": 3, "val": 2}
    assert seen.items_K["train"].tolist() == [2, 1, 0] and seen.items_K["val"].tolist() == [1, 0, 1]
    assert seen.sizes == {(64, 64): 5}
    assert "no training example has c: it cannot be learned" in seen.warnings()


def test_folders_that_are_places_rather_than_classes(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert not any("no class has two images" in text for text in survey(open_labelled(folder)).warnings())
    other = tmp_path_factory.mktemp("places")
    for place in ("here", "there"):
        write(other / place / "image.png", rgb())
    assert any("no class has two images" in text for text in survey(open_labelled(other)).warnings())


def test_the_same_image_in_two_splits(folder: Path) -> None:
    data = open_labelled(folder)
    check_copies(data)
    write(folder / "val" / "b" / "copy.png", rgb(seed=1))
    data = open_labelled(folder)
    with pytest.raises(InputError, match=r"train/a/1\.png \(train\) and val/b/copy\.png \(val\) are the same image"):
        check_copies(data)
    (warning,) = [text for text in survey(data).warnings() if "same image" in text]
    assert "val/b/copy.png" in warning


def test_band_statistics(tmp_path: Path) -> None:
    values = sentinel2(10, 10)
    write(tmp_path / "a" / "1.tif", values, names=S2_NAMES)
    seen = survey(open_labelled(tmp_path, sensor="sentinel-2-l2a"))
    bands = seen.bands["sentinel-2-l2a"]
    assert bands.count == 100  # padding is not counted
    np.testing.assert_allclose(bands.mean_C, values.mean((1, 2)))
    np.testing.assert_allclose(bands.std_C, values.std((1, 2)))
    np.testing.assert_array_equal(bands.high_C, values.max((1, 2)))


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        (np.clip(sentinel2(16, 16), 1000, None) + 1, "the offset of processing baseline 04.00 still in"),
        (sentinel2(16, 16) + 8000, "the mean of B2, B3, .* is more than 1.5 standard deviations from that"),
        (sentinel2(16, 16) // 30, "spread far less or more than the sensor's: is the scale right"),
    ],
)
def test_sentinel_numbers_that_look_wrong(tmp_path: Path, values: np.ndarray, warning: str) -> None:
    write(tmp_path / "a" / "1.tif", values.astype(np.uint16), names=S2_NAMES)
    found = survey(open_labelled(tmp_path, sensor="sentinel-2-l2a")).warnings()
    assert any(re.search(warning, text) for text in found), found


def test_eight_bits_that_are_hardly_used(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.png", rgb() // 20)
    found = survey(open_labelled(tmp_path)).warnings()
    assert "optical-hr: no value is above 12 of 255: was it stretched wrongly?" in found


def test_other_processes_find_the_same(folder: Path) -> None:
    for number in range(40):
        write(folder / "train" / "b" / f"more{number}.png", rgb(seed=100 + number % 30))
    write(folder / "val" / "b" / "copy.png", rgb(seed=110))
    broken = folder / "train" / "a" / "1.png"
    broken.write_bytes(broken.read_bytes()[:50])
    data, told = open_labelled(folder), list[tuple[int, int]]()
    torch.manual_seed(0)
    drawn = torch.get_rng_state()
    one, two = survey(data), survey(data, lambda done, total: told.append((done, total)), workers=2)
    assert torch.equal(torch.get_rng_state(), drawn), "what learning draws does not depend on it"
    assert told == [(number, len(data)) for number in range(1, len(data) + 1)]
    assert len(one.data) == len(data) - 1 and len(one.copies) == 1 and one.failures[0].item == "train/a/1.png"
    assert_same(two, one)


def assert_same(found: object, wanted: object) -> None:
    """Arrays, and what holds arrays, to the last digit."""
    if isinstance(wanted, np.ndarray):
        np.testing.assert_array_equal(found, wanted)
    elif isinstance(wanted, dict):
        assert isinstance(found, dict) and list(found) == list(wanted)
        for key in wanted:
            assert_same(found[key], wanted[key])
    elif isinstance(wanted, Survey | BandStatistics):
        assert_same(vars(found), vars(wanted))
    else:
        assert found == wanted


def test_columns_stay_columns_without_what_cannot_be_read(folder: Path) -> None:
    broken = folder / "train" / "a" / "1.png"
    broken.write_bytes(broken.read_bytes()[:50])
    data = open_labelled(folder)
    items = sorted(data.items, key=lambda item: item.name)
    columns = ItemTable(np.array([item.name for item in items], "S"), np.array([0, 0, 0, 1, 1], np.int8))
    for found in (survey(replace(data, items=columns)).data, readable(replace(data, items=columns))[0]):
        assert isinstance(found.items, ItemTable)
        assert [item.name for item in found.items] == [item.name for item in items if item.name != "train/a/1.png"]


def test_which_items_have_a_class(folder: Path) -> None:
    seen = survey(replace(open_labelled(folder), classes=("a", "b", "c", *map(str, range(20)))))
    labels = [item.name.split("/")[1] for item in seen.data.items]
    for index, name in enumerate(seen.data.classes):
        assert seen.has(index).tolist() == [label == name for label in labels]


def test_amounts() -> None:
    boxes = Boxes(np.array([[0, 0, 2, 2]] * 3, np.float32), np.array([1, 1, 0]), np.array([False, True, False]))
    assert amounts(boxes, 3, "detection").tolist() == [1, 1, 0]
    mask = np.array([[0, 2], [255, 2]], np.uint8)
    assert amounts(mask, 3, "segmentation").tolist() == [1, 0, 2]
    assert amounts(np.array([True, False, True]), 3, "multilabel").tolist() == [1, 0, 1]
    assert amounts(2, 3, "classification").tolist() == [0, 0, 1]
    change = Change(np.array([[0, 1], [1, 255]], np.uint8), mask, mask)
    assert amounts(change, 2, "change").tolist() == [1, 2]
    assert amounts(change, 3, "semantic-change").tolist() == [2, 0, 4]
