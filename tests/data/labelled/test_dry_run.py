"""The page about a data set before anything is learned from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from skysense.data.labelled.draw import palette
from skysense.data.labelled.dry_run import dry_run, labelled_pictures, pick
from skysense.data.labelled.open import open_labelled
from skysense.data.labelled.survey import survey
from tests.data.labelled.files import coco, rgb, write


def scenes(root: Path) -> None:
    for number, (split, name) in enumerate((("train", "town"), ("train", "town"), ("val", "forest"))):
        write(root / split / name / f"{number}.png", rgb(seed=number))
    (root / "train" / "town" / "broken.png").write_bytes(b"no image")


def boxes(root: Path) -> None:
    write(root / "a.png", rgb(100, 64))
    coco(root / "l.json", [{"file_name": "a.png"}], [{"bbox": [4, 4, 20, 20]}, {"bbox": [9, 9, 9, 9], "iscrowd": 1}])


def masks(root: Path) -> None:
    write(root / "images" / "a.png", rgb(100, 64))
    write(root / "masks" / "a.png", np.eye(100, 64, dtype=np.uint8) * 2)
    (root / "classes.txt").write_text("background\nwater\ntrees\n")


def change(root: Path) -> None:
    for name in ("before", "after"):
        write(root / name / "a.png", rgb(64, 64, seed=len(name)))
    write(root / "change" / "a.png", np.eye(64, dtype=np.uint8))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (scenes, ["3 (2 train, 1 val)", "no training example has forest", "broken.png", "is not a raster", "town"]),
        (boxes, ["1 (1 no split)", '<th scope="row">car</th>', "100 x 64 px (1)", "no split: boxes"]),
        (masks, ["optical-hr R", "99.0 %", "no split: pixels", "1.0 %"]),
        (change, ["unchanged", "changed", "no split: pixels"]),
    ],
)
def test_the_page(tmp_path: Path, make: Callable[[Path], None], words: list[str]) -> None:
    make(tmp_path)
    html = dry_run(open_labelled(tmp_path)).html()
    assert [word for word in words if word not in html] == []
    assert "data:image/png" in html and "http" not in html.replace("http://www.w3.org", "")


def test_labels_are_drawn_where_they_lie(tmp_path: Path) -> None:
    boxes(tmp_path)
    example = open_labelled(tmp_path).read(0)
    (drawn,) = labelled_pictures(example, palette(2), ("car", "ship"))
    assert drawn.shape == (400, 256, 3)  # four times as large, without padding
    np.testing.assert_array_equal(drawn[16, 50], palette(1)[0])
    np.testing.assert_array_equal(drawn[60, 60], rgb(100, 64)[:, 15, 15])


def test_both_dates_of_a_change(tmp_path: Path) -> None:
    change(tmp_path)
    before, after = labelled_pictures(open_labelled(tmp_path).read(0), palette(2), ("unchanged", "changed"))
    np.testing.assert_array_equal(before[7, 12], rgb(seed=6)[:, 1, 2])
    np.testing.assert_array_equal(after[7, 12], rgb(seed=5)[:, 1, 2])
    np.testing.assert_array_equal(after[5, 5], palette(2)[1])


def test_rare_classes_are_shown(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path / ("rare" if number == 23 else "often") / f"{number}.png", rgb(32, 32, seed=number))
    shown = pick(survey(open_labelled(tmp_path)), 4)
    assert len(shown) == 4 and "rare/23.png" in {item.name for item in shown}
