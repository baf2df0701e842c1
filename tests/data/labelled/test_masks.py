"""Images with masks: which value is which class, what is padded, what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from skysense.data.labelled.open import open_labelled
from skysense.errors import InputError
from tests.data.labelled.files import S2_NAMES, rgb, sentinel2, write


def pair(root: Path, mask: np.ndarray, stem: str = "a") -> Path:
    write(root / "images" / f"{stem}.png", rgb(*mask.shape))
    write(root / "masks" / f"{stem}.png", mask.astype(np.uint8))
    return root


def stripes(*values: int, height: int = 40) -> np.ndarray:
    return np.repeat(np.array(values, np.uint8)[None], height, axis=0).repeat(20, axis=1)


def test_a_list_of_classes_and_padding(tmp_path: Path) -> None:
    data = open_labelled(pair(tmp_path, stripes(0, 1, 2, 255)), classes=["no", "water", "trees"])
    example = data.read(0)
    assert (data.task, data.classes) == ("segmentation", ("no", "water", "trees"))
    assert example.size == (40, 80) and example.grid == (128, 128)
    np.testing.assert_array_equal(example.target[:40, :80], stripes(0, 1, 2, 255))
    assert (example.target[40:] == 255).all() and (example.target[:, 80:] == 255).all()
    series = example.sample.series["hr"]
    np.testing.assert_array_equal(series.values[0, :, :40, :80], rgb(40, 80))
    assert series.valid.sum() == 40 * 80 and series.valid[0, :40, :80].all()


def test_names_by_value_and_an_ignored_value(tmp_path: Path) -> None:
    data = open_labelled(pair(tmp_path, stripes(0, 3, 7)), classes={7: "water", 3: "trees"}, ignore=0)
    assert data.classes == ("water", "trees")
    np.testing.assert_array_equal(data.read(0).target[0, [0, 20, 40]], [255, 1, 0])


def test_a_list_in_the_folder(tmp_path: Path) -> None:
    pair(tmp_path, stripes(4, 5))
    (tmp_path / "classes.json").write_text(json.dumps({"4": "water", "5": "trees"}))
    assert open_labelled(tmp_path).classes == ("water", "trees")
    (tmp_path / "classes.json").unlink()
    (tmp_path / "classes.txt").write_text("a\nb\nc\nd\nwater\ntrees\n")
    np.testing.assert_array_equal(open_labelled(tmp_path).read(0).target[0, [0, 20]], [4, 5])


def test_values_that_occur(tmp_path: Path) -> None:
    data = open_labelled(pair(tmp_path, stripes(2, 9, 255)))
    assert data.classes == ("2", "9")
    assert "255 in masks is taken for no label" in data.notes
    assert "no list of classes: masks hold 2, 9; name them" in data.notes
    np.testing.assert_array_equal(data.read(0).target[0, [0, 20, 40]], [0, 1, 255])


@pytest.mark.parametrize("classes", [None, ["ground", "building"]])
def test_black_and_white_masks_have_two_classes(tmp_path: Path, classes: list[str] | None) -> None:
    pair(tmp_path, stripes(0, 255))
    pair(tmp_path, stripes(0, 0), "empty")
    data = open_labelled(tmp_path, classes=classes)
    assert data.classes == tuple(classes or ("background", "foreground"))
    assert any("masks hold only 0 and 255" in note for note in data.notes)
    np.testing.assert_array_equal(data.read(0).target[0, [0, 20]], [0, 1])


def test_a_value_that_is_no_class(tmp_path: Path) -> None:
    data = open_labelled(pair(tmp_path, stripes(0, 1, 6)), classes=["no", "water", "trees"])
    with pytest.raises(InputError, match=re.escape("a.png: holds the values 6; classes have 0, 1, 2")) as caught:
        data.read(0)
    assert caught.value.file == tmp_path / "masks" / "a.png"


def test_a_mask_of_another_size(tmp_path: Path) -> None:
    pair(tmp_path, stripes(0, 1))
    write(tmp_path / "masks" / "a.png", stripes(0, 1, height=41))
    data = open_labelled(tmp_path, classes=["x", "y"])
    with pytest.raises(InputError, match=r"masks/a\.png: is 41 x 40 px; its image is 40 x 40 px"):
        data.read(0)


def test_a_coloured_mask(tmp_path: Path) -> None:
    pair(tmp_path, stripes(0, 1))
    write(tmp_path / "masks" / "a.png", rgb(40, 40))
    with pytest.raises(InputError, match="has 3 bands; a mask has one"):
        open_labelled(tmp_path, classes=["x", "y", "z"]).read(0)


def test_images_without_a_mask_are_left_out(tmp_path: Path) -> None:
    pair(tmp_path, stripes(0, 1))
    write(tmp_path / "images" / "b.png", rgb())
    data = open_labelled(tmp_path)
    assert len(data) == 1 and "1 images without a mask are left out, first images/b.png" in data.notes


@pytest.mark.parametrize("inside", ["{split}/images", "images/{split}"])
def test_split_folders_above_and_below(tmp_path: Path, inside: str) -> None:
    for split in ("train", "test"):
        images = tmp_path / inside.format(split=split)
        write(images / "a.png", rgb())
        write(Path(str(images).replace("images", "masks")) / "a.png", np.zeros((64, 64), np.uint8))
    data = open_labelled(tmp_path)
    assert sorted((item.name, item.split) for item in data.items) == sorted(
        (f"{inside.format(split=split)}/a.png", split) for split in ("train", "test")
    )


def test_tiles_side_by_side(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 3, (200, 150)).astype(np.uint8)
    data = open_labelled(pair(tmp_path, mask), classes=["a", "b", "c"], tile=96)
    assert [item.name.split("@")[1] for item in data.items] == ["0,0", "0,96", "96,0", "96,96", "192,0", "192,96"]
    assert {item.group for item in data.items} == {"images/a.png"}  # no position: they must stay together
    together = np.zeros_like(mask)
    for index, item in enumerate(data.items):
        row, col = map(int, item.name.split("@")[1].split(","))
        example = data.read(index)
        rows, cols = example.size
        together[row : row + rows, col : col + cols] = example.target[:rows, :cols]
        part = example.sample.series["hr"].values[0, :, :rows, :cols]
        np.testing.assert_array_equal(part, rgb(200, 150)[:, row : row + rows, col : col + cols])
    np.testing.assert_array_equal(together, mask)


def test_masks_of_sentinel_images_lie_on_cells(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.tif", sentinel2(10, 6), names=S2_NAMES)
    write(tmp_path / "masks" / "a.tif", np.ones((10, 6), np.uint8))
    example = open_labelled(tmp_path, sensor="sentinel-2-l2a", classes=["x", "y"]).read(0)
    assert example.per_cell == 1 and example.grid == (12, 8) and example.size == (10, 6)
    assert (example.target[:10, :6] == 1).all() and (example.target != 255).sum() == 60


def test_a_tile_that_is_not_whole_cells(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tile=100 must be a positive multiple of 32"):
        open_labelled(pair(tmp_path, stripes(0, 1)), tile=100)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_truncated_mask_is_named(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / "images" / "a.png", rgb(200, 200))
    mask = write(tmp_path / "masks" / f"a.{suffix}", rgb(200, 200)[0] % 3)
    mask.write_bytes(mask.read_bytes()[: mask.stat().st_size // 2])
    with pytest.raises(InputError) as caught:
        open_labelled(tmp_path, classes=["a", "b", "c"]).read(0)
    assert caught.value.file == mask
