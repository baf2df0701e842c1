"""FAIR1M."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from skysense.data.labelled.dataset import Item
from skysense.datasets.card import card
from skysense.datasets.catalogue import open_dataset
from skysense.datasets.check import check_dataset
from skysense.datasets.splits import split_hash
from skysense.errors import InputError
from tests.datasets.fakes import fair1m

FIRST = "train/part1/labelXml/0.xml"


def item_name(path: str) -> str:
    """How an item is called whose image lies at a path."""
    return f"{'train' if path.startswith('train/') else 'val'}/{Path(path).name}"


def only(box_42: np.ndarray, corner: np.ndarray) -> bool:
    """Whether a corner lies on one of a box, but for what rounding to whole pixels has moved."""
    return bool(np.abs(box_42 - corner).sum(axis=1).min() < 2)


def test_images_boxes_and_splits(tmp_path: Path) -> None:
    truth = fair1m.write(tmp_path)
    data = open_dataset("fair1m", tmp_path)
    assert (data.task, data.classes) == ("oriented-detection", truth.classes)
    paths = {item_name(path): path for path, of in truth.splits.items() if of != "test"}
    splits = {item.name: item.split for item in data.items}
    assert splits == {name: name.split("/")[0] for name in paths}
    assert Counter(splits.values()) == {"train": 5, "val": 2}
    assert data.notes == (
        "7 of 24,775 published images: numbers cannot be compared; skysense datasets check says more",
    )
    for item in data.items:
        example = data.read_item(item)
        pixels, boxes = truth.pixels[paths[item.name]], truth.labels[paths[item.name]]
        assert example.size == pixels.shape[1:]
        np.testing.assert_array_equal(
            example.sample.series["hr"].values[0][:, : example.size[0], : example.size[1]], pixels
        )
        assert [data.classes[label] for label in example.target.label_N] == [label for label, _, _ in boxes]
        for found, (_, corners, _) in zip(example.target.corners_N42, boxes, strict=True):
            assert all(only(found, corner) for corner in corners)
        odd = int(Path(item.name).stem) % 2 == 1
        assert (example.sample.lon is not None) == odd  # some know where they lie


@pytest.mark.parametrize("label_folder", ["labelXmls", "labelXmls/labelXml"])
def test_folders_of_labels_with_other_names(tmp_path: Path, label_folder: str) -> None:
    truth = fair1m.write(tmp_path, label_folder=label_folder)
    data = open_dataset("fair1m", tmp_path)
    assert len(data.read(0).target) == len(truth.labels["train/part1/images/0.tif"]) == 10


def test_items_are_called_the_same_in_every_layout(tmp_path: Path) -> None:
    fair1m.write(tmp_path)
    apart = open_dataset("fair1m", tmp_path).items
    (tmp_path / "validation").rename(tmp_path / "val")
    for kind in ("images", "labelXml"):
        (tmp_path / "train" / kind).mkdir()
        for part in ("part1", "part2"):
            for file in (tmp_path / "train" / part / kind).iterdir():
                file.rename(tmp_path / "train" / kind / file.name)
            (tmp_path / "train" / part / kind).rmdir()
    for part in ("part1", "part2"):
        (tmp_path / "train" / part).rmdir()
    assert open_dataset("fair1m", tmp_path).items == apart
    assert {item.name for item in apart} >= {"train/0.tif", "train/1732.tif", "val/0.tif"}


def test_the_hash_of_a_whole_copy() -> None:
    amounts = card("fair1m").amounts
    assert amounts == {"train": 16_488, "val": 8_287}  # numbered from 0, train through both of its parts
    items = [Item(f"{split}/{number}.tif", "", split) for split in ("train", "val") for number in range(amounts[split])]
    assert card("fair1m").hashes == {"as published": split_hash(items)}


def test_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fair1m.write(tmp_path / "one", version="1.0")
    data = open_dataset("fair1m", tmp_path / "one")
    assert {item.split for item in data.items} == {"train"}
    assert "this is FAIR1M 1.0, or a part of 2.0" in data.notes[0]
    monkeypatch.setattr("skysense.datasets.fair1m._TEST_OF_1_0", 1)
    with pytest.raises(InputError, match=r"is FAIR1M 2.0 \(2 images in test\) without its folder validation"):
        open_dataset("fair1m", tmp_path / "one")


def test_objects_without_area_are_left_out(tmp_path: Path) -> None:
    truth = fair1m.write(tmp_path, faults=True)
    data = open_dataset("fair1m", tmp_path)
    boxes = truth.labels["train/part1/images/0.tif"]
    assert [data.classes[label] for label in data.read(0).target.label_N] == [name for name, _, _ in boxes[1:]]


def test_tiles_are_crops_of_the_whole(tmp_path: Path) -> None:
    truth = fair1m.write(tmp_path, size=160)
    data = open_dataset("fair1m", tmp_path, tile=64)
    tiles = [item for item in data.items if item.name.startswith("train/0.tif@")]
    assert len(tiles) == 9 and len({item.name.split("@")[0] for item in data.items}) == 7
    pixels, boxes = truth.pixels["train/part1/images/0.tif"], truth.labels["train/part1/images/0.tif"]
    counted: Counter[str] = Counter()
    for item in tiles:
        example = data.read_item(item)
        row, col = map(int, item.name.split("@")[1].split(","))
        height, width = example.size
        np.testing.assert_array_equal(
            example.sample.series["hr"].values[0][:, :height, :width], pixels[:, row : row + height, col : col + width]
        )
        for corners, label in zip(example.target.corners_N42, example.target.label_N, strict=True):
            (whole,) = [box for name, box, _ in boxes if name == data.classes[label]]
            assert all(only(corners + np.array([col, row]), corner) for corner in whole)  # moved, not cut
        counted.update(data.classes[label] for label in example.target.label_N[~example.target.ignore_N])
    assert set(counted) <= {name for name, _, _ in boxes} and set(counted.values()) == {1}


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    fair1m.write(tmp_path)
    (tmp_path / "validation/images/0.tif").write_bytes(b"no image")
    (tmp_path / "validation/labelXml/1.xml").write_text("<annotation>")
    data = pickle.loads(pickle.dumps(open_dataset("fair1m", tmp_path))).select("val")
    for index, (message, name) in enumerate([("not a raster", "0.tif"), ("truncated or no XML", "1.xml")]):
        with pytest.raises(InputError, match=message) as caught:
            data.read(index)
        assert caught.value.file.name == name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Passenger Ship", "Airplane", "object 1 is of the class 'Airplane', which FAIR1M 2.0 does not have"),
        (">pixel<", ">degree<", "object 1 cannot be read: its coordinates are in 'degree' and not in pixels"),
        ("</points>", "<point>1,1</point></points>", "object 1 cannot be read: it has 6 points"),
        ("<point>", "<point>x", "object 1 cannot be read: its x of a point is 'x"),
        (",", " ", "object 1 cannot be read: its point '.*' is not 'x,y'"),
    ],
)
def test_bad_labels_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    fair1m.write(tmp_path)
    text = (tmp_path / FIRST).read_text()
    head, objects = text.split("<objects>")
    (tmp_path / FIRST).write_text(head + "<objects>" + objects.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        open_dataset("fair1m", tmp_path)
    assert caught.value.file == tmp_path / FIRST


def test_labels_in_chinese_and_names_spelled_otherwise(tmp_path: Path) -> None:
    fair1m.write(tmp_path)
    text = (tmp_path / FIRST).read_text().replace("Passenger Ship", "passenger_ship").replace("None", "客船")
    text = text.replace("</point>", " </point>").replace(".000000,", ".0, ")
    (tmp_path / FIRST).write_text(text, "gb2312")
    assert open_dataset("fair1m", tmp_path).read(0).target.label_N.tolist() == list(range(10))


def test_copies_that_are_none(tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message):
            open_dataset("fair1m", tmp_path)

    refused("is no copy of fair1m: train missing; it is empty")
    fair1m.write(tmp_path)
    (tmp_path / "validation/labelXml/1.xml").unlink()
    refused("1 of 2 labels of validation are missing, first validation/labelXml/1.xml")
    (tmp_path / "validation/labelXml/1.xml").touch()
    (tmp_path / "train/part2/images/1733.tif").unlink()
    refused("1 of 2 images of labels in train/part2 are missing, first train/part2/images/1733.tif")
    (tmp_path / "train/part1/labelXml").rename(tmp_path / "train/part1/labelXml.zip")
    refused("train/part1: is no copy of fair1m: labelXml missing; it holds labelXml.zip, still to be unpacked")
    (tmp_path / "train/part1/labelXml.zip").rename(tmp_path / "train/part1/labelXml")
    for copy in ("images-1", "images-2"):
        (tmp_path / "train/part1" / copy / "images").mkdir(parents=True)
    (tmp_path / "train/part1/images").rename(tmp_path / "images")
    refused("train/part1: holds several folders images: images-1/images, images-2/images. Put them into one")
    (tmp_path / "train/part2").rename(tmp_path / "part2")
    refused("1 of 2 parts of train are missing, first train/part2")


def test_check(tmp_path: Path) -> None:
    fair1m.write(tmp_path)
    found = {one.about: one for one in check_dataset("fair1m", tmp_path)}
    assert found["layout"].state == found["read"].state == "good"
    assert (found["images for val"].state, found["images for val"].says) == ("bad", "2 of 8,287")
