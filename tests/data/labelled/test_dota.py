"""DOTA label files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.data.labelled.open import open_labelled
from skysense.errors import InputError
from tests.data.labelled.files import rgb, write


def dota(root: Path, *lines: str, height: int = 64, width: int = 128) -> Path:
    write(root / "images" / "a.png", rgb(height, width))
    (root / "labelTxt").mkdir(exist_ok=True)
    (root / "labelTxt" / "a.txt").write_text("\n".join(lines))
    return root


PLANE = "30 10 50 30 30 50 10 30 plane 0"


def test_corners_classes_and_difficult_ones(tmp_path: Path) -> None:
    root = dota(tmp_path, "imagesource:GoogleEarth", "gsd:0.1", PLANE, "60 5 80 5 80 9 60 9 small-vehicle 1", "")
    data = open_labelled(root)
    assert (data.task, data.classes) == ("oriented-detection", ("plane", "small-vehicle"))
    target = data.read(0).target
    assert target.label_N.tolist() == [0, 1] and target.ignore_N.tolist() == [False, True]
    corners = {tuple(corner) for corner in target.corners_N42[1].tolist()}
    assert corners == {(60, 5), (80, 5), (80, 9), (60, 9)}


def test_horizontal_boxes_around_them(tmp_path: Path) -> None:
    target = open_labelled(dota(tmp_path, PLANE, "-4 5 20 5 20 9 -4 9 ship"), task="detection").read(0).target
    np.testing.assert_array_equal(target.corners_N4, [[10, 10, 50, 50], [0, 5, 20, 9]])


def test_a_quadrilateral_becomes_the_least_rectangle(tmp_path: Path) -> None:
    target = open_labelled(dota(tmp_path, "10 10 30 12 30 20 10 20 x 0")).read(0).target
    sides = np.linalg.norm(np.diff(target.corners_N42[0], axis=0), axis=1)
    assert sides[0] * sides[1] == pytest.approx(200, rel=0.01)


def test_tiles(tmp_path: Path) -> None:
    root = dota(tmp_path, "60 5 84 5 84 9 60 9 x 0", "100 20 110 20 110 30 100 30 x 0")
    data = open_labelled(root, tile=64)
    left, right = (data.read(index).target for index in (0, 1))
    assert left.ignore_N.tolist() == [True] and right.ignore_N.tolist() == [False, False]
    assert right.corners_N42[0, :, 0].min() == -4 and right.corners_N42[1, :, 0].max() == 46


def test_a_line_that_is_refused_is_named_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1 is no object of DOTA, it has 8 words") as caught:
        open_labelled(dota(tmp_path, "1 2 3 4 5 6 7 8"))
    assert caught.value.file == tmp_path / "labelTxt" / "a.txt"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("200 5 220 5 220 9 200 9 x 0", "object 1 lies wholly outside the image"),
        ("5 5 5 5 5 5 5 5 x 0", "object 1 has no area"),
        ("5 5 10 10 15 15 20 20 x 0", "object 1 has no area"),
    ],
)
def test_objects_that_are_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_labelled(dota(tmp_path, line)).read(0)


def test_images_without_a_label_file_and_files_without_an_object(tmp_path: Path) -> None:
    write(dota(tmp_path, PLANE) / "images" / "b.png", rgb())
    write(tmp_path / "images" / "c.png", rgb())
    (tmp_path / "labelTxt" / "c.txt").write_text("")
    data = open_labelled(tmp_path)
    assert [item.name for item in data.items] == ["images/a.png", "images/c.png"]
    assert len(data.read(1).target) == 0
    assert "1 images without a label file are left out, first images/b.png" in data.notes
