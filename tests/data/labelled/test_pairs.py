"""Images of two dates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.data.labelled.open import open_labelled
from skysense.errors import InputError
from tests.data.labelled.files import rgb, write


def masks(*values: int) -> np.ndarray:
    return np.repeat(np.array(values, np.uint8)[None], 64, axis=0).repeat(16, axis=1)


def pair(root: Path, change: np.ndarray | None, names=("before", "after", "change"), **classes) -> Path:
    write(root / names[0] / "1.png", rgb(64, 64))
    write(root / names[1] / "1.png", rgb(64, 64, seed=1))
    for name, mask in ({names[2]: change} | classes).items():
        if mask is not None:
            write(root / name / "1.png", mask)
    return root


@pytest.mark.parametrize("names", [("before", "after", "change"), ("A", "B", "label")])
@pytest.mark.parametrize("split", ["", "test"])
def test_black_and_white_change(tmp_path: Path, names: tuple[str, str, str], split: str) -> None:
    pair(tmp_path / split, masks(0, 255, 0, 255), names)
    data = open_labelled(tmp_path)
    assert (data.task, data.classes) == ("change", ("unchanged", "changed"))
    assert data.items[0].split == (split or None)
    example = data.read(0)
    np.testing.assert_array_equal(example.target.changed_HW[:64, :64], masks(0, 1, 0, 1))
    assert example.target.before_HW is None and (example.target.changed_HW[64:] == 255).all()
    assert example.after is not None
    np.testing.assert_array_equal(example.sample.series["hr"].values[0, :, :64, :64], rgb())
    np.testing.assert_array_equal(example.after.series["hr"].values[0, :, :64, :64], rgb(seed=1))


def test_where_ones_occur_255_is_unknown(tmp_path: Path) -> None:
    data = open_labelled(pair(tmp_path, masks(0, 1, 255, 1)))
    np.testing.assert_array_equal(data.read(0).target.changed_HW[:64, :64], masks(0, 1, 255, 1))
    assert "255 in change masks is taken for unknown" in data.notes


def test_splits_below_the_folders(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name, values in (("A", rgb()), ("B", rgb(seed=1)), ("label", masks(0, 1))):
            write(tmp_path / name / split / "1.png", values if name != "label" else np.zeros((64, 64), np.uint8))
    assert [item.split for item in open_labelled(tmp_path).items] == ["train", "val"]


def test_classes_of_either_date(tmp_path: Path) -> None:
    before, after = masks(1, 1, 2, 3), masks(1, 2, 255, 3)
    data = open_labelled(
        pair(tmp_path, None, before_masks=before, after_masks=after), classes={1: "water", 2: "trees", 3: "town"}
    )
    assert (data.task, data.classes) == ("semantic-change", ("water", "trees", "town"))
    target = data.read(0).target
    np.testing.assert_array_equal(target.before_HW[:64, :64], masks(0, 0, 1, 2))
    np.testing.assert_array_equal(target.after_HW[:64, :64], masks(0, 1, 255, 2))
    np.testing.assert_array_equal(target.changed_HW[:64, :64], masks(0, 1, 255, 0))


def test_images_of_different_size(tmp_path: Path) -> None:
    write(pair(tmp_path, masks(0, 1, 0, 1)) / "after" / "1.png", rgb(64, 65))
    with pytest.raises(InputError, match=r"after/1\.png: is 64 x 65 px; the earlier image is 64 x 64 px"):
        open_labelled(tmp_path).read(0)


def test_incomplete_pairs_are_left_out(tmp_path: Path) -> None:
    pair(tmp_path, masks(0, 1, 0, 1))
    write(tmp_path / "before" / "2.png", rgb())
    data = open_labelled(tmp_path)
    assert len(data) == 1
    assert "1 images without a later image or mask are left out, first before/2.png" in data.notes


def test_a_value_that_is_no_change(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"change/1\.png: holds the values 7"):
        open_labelled(pair(tmp_path, masks(0, 1, 7, 1))).read(0)
