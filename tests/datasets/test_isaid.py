"""iSAID: whole images in windows, patches, what is refused."""

from __future__ import annotations

import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio

from skysense.data.labelled.dataset import LabelledData
from skysense.datasets.card import card
from skysense.datasets.catalogue import open_dataset
from skysense.datasets.check import check_dataset
from skysense.errors import InputError
from tests.data.labelled.files import rgb, write
from tests.datasets.fakes import isaid
from tests.datasets.truth import Truth

MASK = "_instance_color_RGB.png"


def key(truth: Truth, name: str) -> str:
    """The path of an image whose item is called ``train/P0000.png``."""
    split, file = name.split("@")[0].split("/")
    (found,) = (one for one in truth.splits if one.endswith(f"/{file}") and truth.splits[one] == split)
    return found


def agree(data: LabelledData, truth: Truth) -> None:
    """Every window shows the pixels and the labels of its place, nothing beyond has a label."""
    reader = pickle.loads(pickle.dumps(data.read_item))  # as in another process
    for item in data.items:
        example, path = reader(item), key(truth, item.name)
        row, col = map(int, item.name.split("@")[1].split(",")) if "@" in item.name else (0, 0)
        rows, cols = example.size
        here = (slice(row, row + rows), slice(col, col + cols))
        stored = truth.pixels[path]
        pixels = stored.repeat(3, axis=0) if len(stored) == 1 else stored[:3]  # grey, or with an alpha band
        np.testing.assert_array_equal(example.sample.series["hr"].values[0, :, :rows, :cols], pixels[:, *here])
        np.testing.assert_array_equal(example.target[:rows, :cols], truth.labels[path][here])
        assert (example.target[rows:] == 255).all() and (example.target[:, cols:] == 255).all()
        assert item.split == truth.splits[path] and item.group == item.name[: len(f"{item.split}/P0000")]


@pytest.mark.parametrize(("merged", "odd_bands"), [(True, True), (False, False)])
def test_windows_of_whole_images(merged: bool, odd_bands: bool, tmp_path: Path) -> None:
    truth = isaid.write(tmp_path / "iSAID", merged=merged, odd_bands=odd_bands)
    data = open_dataset("isaid", tmp_path, tile=96)
    agree(data, truth)
    assert data.task == "segmentation" and data.classes[1:] == truth.classes[1:] and data.classes[0] == "background"
    # 160 x 140 px in steps of 4 / 7 of 96 px, in whole cells: 0, 32, and back from the edge 64 of 64 and 44 of 64
    corners = {item.name.split("@")[1] for item in data.items if item.name.startswith("train/P0000")}
    assert corners == {f"{row},{col}" for row in (0, 32, 64) for col in (0, 32, 44)}
    assert {item.split for item in data.items} == {"train", "val"} and data.version is None
    assert "5 images are PNG" in data.notes[0] and "5 of 1,869 published" in data.notes[-1]


def test_windows_are_the_published_patches(tmp_path: Path) -> None:
    isaid.write(tmp_path / "whole", size=320)
    patches = isaid.write_patches(tmp_path / "patches", size=320, patch=224)
    data = open_dataset("isaid", tmp_path / "whole", tile=224)
    names = set()
    for index, item in enumerate(data.items):
        image, _, corner = item.name.removesuffix(".png").partition("@")
        row, col = map(int, corner.split(",")) if corner else (0, 0)
        stem = f"{image.removesuffix('.png')}_{row}_{row + 224}_{col}_{col + 224}"
        names.add(f"img_dir/{stem}.png")
        example, patch = data.read(index), patches.labels[f"img_dir/{stem}.png"]
        rows, cols = example.size
        np.testing.assert_array_equal(example.target[:rows, :cols], patch[:rows, :cols])
        assert (patch[rows:] == 255).all() and (patch[:, cols:] == 255).all()
    assert names == set(patches.labels)


@pytest.mark.parametrize("bmp", [False, True])
def test_patches(bmp: bool, tmp_path: Path) -> None:
    truth = isaid.write_patches(tmp_path, bmp=bmp)
    data = open_dataset("isaid", tmp_path)
    agree(data, truth)
    assert len(data) == len(truth.labels) and data.version == "patches of 896 px"
    assert {item.group for item in data.items} == {f"{split}/{one}" for split, one in (
        ("train", "P0000"), ("train", "P0001"), ("train", "P0002"), ("val", "P0003"), ("val", "P0004"))}  # fmt: skip
    assert f"{len(data)} of 45,622 published" in data.notes[-1]


def test_patches_that_lost_their_classes(tmp_path: Path) -> None:
    isaid.write_patches(tmp_path, collapsed=True)
    with pytest.raises(InputError, match="holds one bit: the converter that cut the patches lost the classes"):
        open_dataset("isaid", tmp_path)


def test_patches_without_their_masks(tmp_path: Path) -> None:
    isaid.write_patches(tmp_path)
    next((tmp_path / "ann_dir/val").iterdir()).unlink()
    with pytest.raises(InputError, match=r"1 of 40 masks of patches for val are missing, first ann_dir/val/P000"):
        open_dataset("isaid", tmp_path)


def test_what_is_no_whole_copy(tmp_path: Path) -> None:
    root = tmp_path / "iSAID"
    isaid.write(root)
    (root / "train/images" / f"P0001{MASK}").unlink()
    with pytest.raises(InputError, match=f"1 of 5 masks with .* missing, first train/images/P0001{MASK}"):
        open_dataset("isaid", root)
    shutil.move(root / "train/images/P0001.png", tmp_path / "P0001.png")  # now it is not known at all
    assert "4 of 1,869" in open_dataset("isaid", root).notes[-1]
    (root / "train/images/P0000.png").unlink()
    with pytest.raises(InputError, match=r"1 of 4 images are missing, first train/images/P0000\.png"):
        open_dataset("isaid", root)
    shutil.rmtree(root / "val")
    with pytest.raises(InputError, match="is no copy of isaid: val missing; it holds test, train"):
        open_dataset("isaid", root)
    for archive in ("part1.zip", "part2.zip"):
        (root / "val/images").mkdir(parents=True, exist_ok=True)
        (root / "val/images" / archive).touch()
    shutil.move(tmp_path / "P0001.png", root / "train/images/P0000.png")
    with pytest.raises(
        InputError, match=r"holds no image P0000\.png; it holds part1\.zip, part2\.zip, still to be unp"
    ):
        open_dataset("isaid", root)
    write(root / "val/images/P0003_0_800_0_800.png", rgb())
    with pytest.raises(InputError, match="holds patches of 800 px"):
        open_dataset("isaid", root)
    with pytest.raises(InputError, match="is not a folder"):
        open_dataset("isaid", tmp_path / "nowhere")


def test_masks_and_images_that_do_not_belong(tmp_path: Path) -> None:
    isaid.write(tmp_path)
    folder = tmp_path / "train/images"
    write(folder / f"P0000{MASK}", np.full((3, 160, 140), 7, np.uint8))
    write(folder / f"P0001{MASK}", np.zeros((3, 160, 139), np.uint8))
    whole = (folder / "P0002.png").read_bytes()
    (folder / "P0002.png").write_bytes(whole[: len(whole) // 2])
    data = open_dataset("isaid", tmp_path)
    for name, said in (
        ("train/P0000.png", r"P0000_.*holds 1 colours that stand for no class, e\.g\. \(7, 7, 7\)"),
        ("train/P0001.png", r"P0001_.*is 160 x 139 px; its image is 160 x 140 px"),
        ("train/P0002.png", r"P0002\.png: is truncated or damaged"),
    ):
        (item,) = (one for one in data.items if one.name == name)
        with pytest.raises(InputError, match=said):
            data.read_item(item)


def test_the_report_on_a_copy(tmp_path: Path) -> None:
    isaid.write(tmp_path, objects=16)
    found = {one.about: one for one in check_dataset("isaid", tmp_path, deep=True, tile=128)}
    assert found["layout"].state == "good" and found["read"].state == "good" and found["classes"].state == "good"
    assert (found["images for train"].state, found["images for train"].says) == ("bad", "3 of 1,411")
    isaid.write_patches(tmp_path / "patches")
    found = {one.about: one for one in check_dataset("isaid", tmp_path / "patches")}
    assert found["layout"].says == "opened as iSAID, patches of 896 px"
    assert re.fullmatch(r"\d+ of 33,978", found["images for train"].says)


def test_colours_of_the_card_are_those_of_the_masks(tmp_path: Path) -> None:
    truth = isaid.write(tmp_path)
    table = np.array(card("isaid").values, np.uint8)
    for path, labels in truth.labels.items():
        if path.endswith(".png") and "_instance" not in path:
            with rasterio.open(tmp_path / path.replace(".png", MASK)) as file:
                np.testing.assert_array_equal(file.read(), np.moveaxis(table[labels], -1, 0))
