"""LEVIR-CD: whole pairs, crops, tiles, what is refused."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.pairs import CHANGE_CLASSES
from skysense.datasets.catalogue import open_dataset
from skysense.datasets.check import check_dataset
from skysense.errors import InputError
from tests.data.labelled.files import write
from tests.datasets.fakes import levir_cd
from tests.datasets.truth import Truth


def agree(data: LabelledData, truth: Truth) -> None:
    keys = {Path(path).name: path for path in truth.pixels}
    assert {item.name.split("@")[0] for item in data.items} == set(keys)
    reader = pickle.loads(pickle.dumps(data.read_item))
    for item in data.items:
        name, _, corner = item.name.partition("@")
        row, col = map(int, corner.split(",")) if corner else (0, 0)
        example = reader(item)
        rows, cols = example.size
        here = (slice(row, row + rows), slice(col, col + cols))
        dates = [one.series["hr"].values[0, :, :rows, :cols] for one in (example.sample, example.after)]
        np.testing.assert_array_equal(dates, truth.pixels[keys[name]][..., *here])
        np.testing.assert_array_equal(example.target.changed_HW[:rows, :cols], truth.labels[keys[name]][here])
        assert (example.target.changed_HW[rows:] == 255).all()
        assert item.split == truth.splits[keys[name]] and item.group == "_".join(
            name.removesuffix(".png").split("_")[:2]
        )


@pytest.mark.parametrize("flat", [False, True])
def test_whole_pairs(flat: bool, tmp_path: Path) -> None:
    truth = levir_cd.write(tmp_path / "LEVIR-CD", flat=flat)
    data = open_dataset("levir-cd", tmp_path)
    agree(data, truth)
    assert data.task == "change" and data.classes == CHANGE_CLASSES and data.version is None and len(data) == 7
    assert "7 of 637 published" in data.notes[-1]


def test_tiles_are_the_crops(tmp_path: Path) -> None:
    truth = levir_cd.write(tmp_path / "whole", size=128, train=1, val=1, test=1)
    levir_cd.write_crops(tmp_path / "crops", size=128, train=1, val=1, test=1)
    whole, crops = open_dataset("levir-cd", tmp_path / "whole", tile=32), open_dataset("levir-cd", tmp_path / "crops")
    agree(whole, truth)
    by_name = {item.name: index for index, item in enumerate(crops.items)}
    assert len(whole) == len(crops) == 48
    for index, item in enumerate(whole.items):
        name, corner = item.name.split("@")
        row, col = (int(one) // 32 for one in corner.split(","))
        twin = crops.read(by_name[f"{name.removesuffix('.png')}_{row * 4 + col + 1}.png"])
        np.testing.assert_array_equal(whole.read(index).target.changed_HW, twin.target.changed_HW)
        np.testing.assert_array_equal(whole.read(index).after.series["hr"].values, twin.after.series["hr"].values)


@pytest.mark.parametrize("naming", ["number", "offsets"])
def test_crops(naming: str, tmp_path: Path) -> None:
    truth = levir_cd.write_crops(tmp_path, naming=naming)
    data = open_dataset("levir-cd", tmp_path)
    agree(data, truth)
    assert data.version == "crops of 256 px" and "64 of 10,192 published" in data.notes[-1]
    (tmp_path / "list/val.txt").write_text(
        "val_1_1.png 7\n\n" if naming == "number" else "val_1_0000_0000.png\n", "utf-8"
    )
    assert sum(item.split == "val" for item in open_dataset("levir-cd", tmp_path).items) == 1
    (tmp_path / "list/val.txt").write_text("train_1_1.png\n", "utf-8")
    with pytest.raises(InputError, match="holds 'train_1_1' for val"):
        open_dataset("levir-cd", tmp_path)
    (tmp_path / "list/val.txt").unlink()
    with pytest.raises(InputError, match=r"val\.txt: is missing"):
        open_dataset("levir-cd", tmp_path)


def test_masks_as_copies_have_them(tmp_path: Path) -> None:
    truth = levir_cd.write(tmp_path, train=3, val=1, test=1)
    mask = truth.labels["train/A/train_1.png"]
    write(tmp_path / "train/label/train_1.png", mask)  # 0 and 1
    write(tmp_path / "train/label/train_2.png", (mask * np.uint8(255))[None].repeat(3, axis=0))
    write(tmp_path / "train/label/train_3.png", mask * np.uint8(254))
    data = open_dataset("levir-cd", tmp_path)
    first, second, third = (item for item in data.items if item.split == "train")
    for item in (first, second):
        np.testing.assert_array_equal(data.read_item(item).target.changed_HW[:64, :64], mask)
    with pytest.raises(InputError, match=r"train_3\.png: holds 254; a mask of change holds 0 and 255"):
        data.read_item(third)


def test_what_is_no_whole_copy(tmp_path: Path) -> None:
    levir_cd.write(tmp_path)
    for folder, said in (
        ("label", r"1 of 7 masks of change \(label\) are missing, first train/label/train_2\.png"),
        ("B", r"1 of 7 later images \(B\) are missing, first train/B/train_2\.png"),
        ("A", "6 of 637"),
    ):
        (tmp_path / "train" / folder / "train_2.png").unlink()
        if folder != "A":
            with pytest.raises(InputError, match=said):
                open_dataset("levir-cd", tmp_path)
        else:  # now nothing is known of it
            assert said in open_dataset("levir-cd", tmp_path).notes[-1]
    whole = (tmp_path / "val/B/val_1.png").read_bytes()
    (tmp_path / "val/B/val_1.png").write_bytes(whole[:300])
    data = open_dataset("levir-cd", tmp_path)
    with pytest.raises(InputError, match=r"B/val_1\.png: is truncated or damaged"):
        data.read_item(next(item for item in data.items if item.name == "val_1.png"))
    write(tmp_path / "test/A/scene.png", np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(InputError, match="holds 'scene' for test; LEVIR-CD has names as test_1 or test_1_1"):
        open_dataset("levir-cd", tmp_path)
    shutil.rmtree(tmp_path / "val")
    (tmp_path / "val.zip").touch()
    with pytest.raises(
        InputError, match=r"val/A missing; it holds test, train, val\.zip|val\.zip, still to be unpacked"
    ):
        open_dataset("levir-cd", tmp_path)


def test_the_successor_is_another_data_set(tmp_path: Path) -> None:
    levir_cd.write(tmp_path)
    shutil.rmtree(tmp_path / "val")
    for folder in ("A", "B", "label"):
        (tmp_path / "test" / folder / "test_1.png").rename(tmp_path / "test" / folder / "train_638.png")
    with pytest.raises(InputError, match=r"is LEVIR-CD\+, another data set: 985 pairs"):
        open_dataset("levir-cd", tmp_path)


def test_names_in_one_place_must_say_the_split(tmp_path: Path) -> None:
    levir_cd.write(tmp_path, flat=True)
    (tmp_path / "A/train_1.png").rename(tmp_path / "A/1.png")
    with pytest.raises(InputError, match="holds '1', whose name says no split"):
        open_dataset("levir-cd", tmp_path)


def test_the_report_on_a_copy(tmp_path: Path) -> None:
    levir_cd.write(tmp_path)
    found = {one.about: one for one in check_dataset("levir-cd", tmp_path)}
    assert found["layout"].state == "good" and found["read"].state == "good" and found["classes"].state == "good"
    assert (found["images for val"].state, found["images for val"].says) == ("bad", "2 of 64")
