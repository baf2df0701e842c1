"""COCO files: boxes, rectangles and masks out of annotations, and annotations that cannot be right."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from skysense.data.labelled.open import open_labelled
from skysense.errors import InputError
from tests.data.labelled.files import coco, rgb, write

IMAGE = {"file_name": "a.png", "height": 64, "width": 100}


def one_image(root: Path, annotations: list[dict], image: dict = IMAGE, **how):
    write(root / "images" / "a.png", rgb(64, 100))
    coco(root / "labels.json", [image], annotations)
    return open_labelled(root, **how)


def test_boxes(tmp_path: Path) -> None:
    boxes = [
        {"bbox": [10, 20, 30, 15]},
        {"bbox": [90, -5, 20, 25], "category_id": 11},
        {"bbox": [0, 0, 50, 50], "iscrowd": 1},
    ]
    data = one_image(tmp_path, boxes)
    assert (data.task, data.classes) == ("detection", ("car", "ship"))
    target = data.read(0).target
    np.testing.assert_array_equal(target.corners_N4, [[10, 20, 40, 35], [90, 0, 100, 20], [0, 0, 50, 50]])
    assert target.label_N.tolist() == [0, 1, 0] and target.ignore_N.tolist() == [False, False, True]
    assert "1 boxes reach over the edge of their image and are cut there" in data.notes


@pytest.mark.parametrize(
    ("box", "rule"),
    [
        ([10, 10, 0, 5], "annotation 100 of a.png has no area"),
        ([10, 10, -4, 5], "annotation 100 of a.png has no area"),
        ([100, 10, 5, 5], "annotation 100 of a.png lies wholly outside the image"),
        ([10, -9, 5, 9], "annotation 100 of a.png lies wholly outside the image"),
        ([float("nan"), 1, 5, 9], "annotation 100 of a.png holds numbers that are not finite"),
    ],
)
def test_boxes_that_are_refused(tmp_path: Path, box: list[float], rule: str) -> None:
    data = one_image(tmp_path, [{"bbox": box}])
    with pytest.raises(InputError, match=re.escape(rule)) as caught:
        data.read(0)
    assert caught.value.file == tmp_path / "labels.json"


def test_size_that_the_file_says(tmp_path: Path) -> None:
    data = one_image(tmp_path, [{"bbox": [1, 1, 5, 5]}], {**IMAGE, "height": 100, "width": 64})
    with pytest.raises(InputError, match=r"says that a\.png is 100 x 64 px; it is 64 x 100 px"):
        data.read(0)


def test_tiles_cut_boxes_and_ignore_small_rests(tmp_path: Path) -> None:
    write(tmp_path / "a.png", rgb(64, 128))
    coco(tmp_path / "l.json", [{"file_name": "a.png"}], [{"bbox": [50, 4, 20, 10]}, {"bbox": [100, 0, 8, 8]}])
    data = open_labelled(tmp_path, tile=64)
    left, right = (data.read(index).target for index in (0, 1))
    np.testing.assert_array_equal(left.corners_N4, [[50, 4, 64, 14]])
    assert left.ignore_N.tolist() == [False]  # 14 of 20 pixels
    np.testing.assert_array_equal(right.corners_N4, [[0, 4, 6, 14], [36, 0, 44, 8]])
    assert right.ignore_N.tolist() == [True, False]


def test_polygons_become_rectangles(tmp_path: Path) -> None:
    diamond = [30, 10, 50, 30, 30, 50, 10, 30]
    data = one_image(tmp_path, [{"bbox": [10, 10, 40, 40], "segmentation": [diamond]}], task="oriented-detection")
    corners = data.read(0).target.corners_N42[0]
    assert {tuple(corner) for corner in corners.round(3).tolist()} == {(30, 10), (50, 30), (30, 50), (10, 30)}
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
    np.testing.assert_allclose(sides, 20 * np.sqrt(2), rtol=1e-5)  # in order round the rectangle


def test_polygons_become_masks(tmp_path: Path) -> None:
    rings = [[2, 3, 10, 3, 10, 8, 2, 8], [20, 20, 25, 20, 25, 25, 20, 25]]
    crowd = {"segmentation": [[40, 40, 50, 40, 50, 50, 40, 50]], "iscrowd": 1}
    annotations = [{"segmentation": rings, "category_id": 11}, crowd]
    data = one_image(tmp_path, annotations, task="segmentation")
    assert data.classes == ("background", "car", "ship")
    wanted = np.zeros((64, 100), np.uint8)
    wanted[3:8, 2:10] = wanted[20:25, 20:25] = 2
    wanted[40:50, 40:50] = 255
    np.testing.assert_array_equal(data.read(0).target[:64, :100], wanted)
    bare = one_image(tmp_path, annotations, task="segmentation", background=None)
    assert bare.classes == ("car", "ship")
    np.testing.assert_array_equal(bare.read(0).target[:64, :100], np.where(wanted == 2, 1, 255))


def test_a_polygon_that_crosses_itself_is_repaired(tmp_path: Path) -> None:
    bow_tie = [10, 10, 30, 30, 30, 10, 10, 30]
    data = one_image(tmp_path, [{"segmentation": [bow_tie]}], task="segmentation")
    mask = data.read(0).target
    assert "1 polygons cross themselves and were repaired" in data.notes
    assert mask[20, 12] == 1 and mask[20, 28] == 1 and mask[12, 20] == 0 and mask[28, 20] == 0


def test_a_polygon_without_area(tmp_path: Path) -> None:
    data = one_image(tmp_path, [{"segmentation": [[5, 5, 10, 10, 15, 15]]}], task="oriented-detection")
    with pytest.raises(InputError, match=r"annotation 100 of a\.png has no area"):
        data.read(0)


@pytest.mark.parametrize(
    ("annotation", "task", "message"),
    [
        ({"bbox": [1, 2, 3]}, "detection", "needs a bbox"),
        ({"image_id": 7, "bbox": [1, 2, 3, 4]}, "detection", "annotation 100 belongs to no image"),
        ({"category_id": 99, "bbox": [1, 2, 3, 4]}, "detection", "annotation 100 has the unknown category 99"),
        ({"bbox": [1, 2, 3, 4]}, "segmentation", "has no polygon"),
        ({"segmentation": {"counts": "abc"}}, "segmentation", "is run-length encoded"),
    ],
)
def test_annotations_that_are_refused(tmp_path: Path, annotation: dict, task: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        one_image(tmp_path, [annotation], task=task)
    assert caught.value.file == tmp_path / "labels.json"


def test_splits_by_file_name_folder_and_entry(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path / split / f"{split}.png", rgb())
        coco(tmp_path / "annotations" / f"instances_{split}2017.json", [{"file_name": f"{split}.png"}], [])
    data = open_labelled(tmp_path)
    assert {item.name: item.split for item in data.items} == {"train/train.png": "train", "val/val.png": "val"}
    write(tmp_path / "x" / "valid" / "1.png", rgb())
    coco(tmp_path / "x" / "valid" / "_annotations.coco.json", [{"file_name": "1.png"}], [])
    assert [item.split for item in open_labelled(tmp_path / "x").items] == ["val"]
    image = {**IMAGE, "split": "test", "lon": 11.5, "lat": 48.1}
    (item,) = one_image(tmp_path / "y", [], image).items
    assert (item.split, item.lon, item.lat) == ("test", 11.5, 48.1)


def test_a_truncated_file(tmp_path: Path) -> None:
    write(tmp_path / "a.png", rgb())
    (tmp_path / "l.json").write_text('{"images": [')
    with pytest.raises(InputError, match=r"l\.json: is not valid JSON"):
        open_labelled(tmp_path / "l.json")
    (tmp_path / "l.json").write_text(json.dumps({"images": []}))
    with pytest.raises(InputError, match="is not COCO: it has no list of annotations, categories"):
        open_labelled(tmp_path / "l.json")
