"""DIOR and DIOR-R."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.datasets.card import card
from skysense.datasets.catalogue import open_dataset
from skysense.datasets.check import check_dataset
from skysense.datasets.splits import split_hash
from skysense.errors import InputError
from tests.datasets.fakes import dior

HORIZONTAL, ORIENTED = "Annotations/Horizontal Bounding Boxes", "Annotations/Oriented Bounding Boxes"


def opened(name: str, root: Path, **options) -> LabelledData:
    return open_dataset(name, root, **options)


def by_name(data: LabelledData) -> dict:
    return {item.name: data.read_item(item) for item in data.items}


def corners_of(corners_42) -> set[tuple[float, float]]:
    return {tuple(np.round(corner, 2).tolist()) for corner in corners_42}


@pytest.mark.parametrize("old", [False, True])
def test_horizontal_boxes(tmp_path: Path, old: bool) -> None:
    truth = dior.write(tmp_path, old=old)
    data = opened("dior", tmp_path)
    assert (data.task, data.classes) == ("detection", truth.classes)
    splits = {item.name: item.split for item in data.items}
    train, val, test = ("00001", "00002", "00003"), ("05863", "05864"), ("11726", "11727")  # in both downloads
    expected = {"train": train, "val": val, "test": test}
    assert splits == {f"{stem}.jpg": split for split, stems in expected.items() for stem in stems}
    paths = {Path(path).name: path for path in truth.pixels}
    for item, example in by_name(data).items():
        name = paths[item]
        found = example.sample.series["hr"].values[0][:, :160, :160]
        assert np.abs(found.astype(int) - truth.pixels[name]).mean() < 2  # decoders of JPEG differ a little
        target = example.target
        assert [data.classes[label] for label in target.label_N] == [label for label, _, _ in truth.labels[name]]
        wanted = [[*corners.min(axis=0), *corners.max(axis=0)] for _, corners, _ in truth.labels[name]]
        np.testing.assert_array_equal(target.corners_N4, wanted)
        assert not target.ignore_N.any()
    assert any("7 of 23,463 published images" in note for note in data.notes)


def test_oriented_boxes(tmp_path: Path) -> None:
    truth = dior.write(tmp_path)
    data = opened("dior-r", tmp_path)
    assert (data.task, data.classes) == ("oriented-detection", truth.classes)
    assert {item.name: item.split for item in data.items} == {Path(path).name: s for path, s in truth.splits.items()}
    for name, example in by_name(data).items():
        boxes = truth.labels[f"{ORIENTED}/{Path(name).stem}.xml"]
        assert [data.classes[label] for label in example.target.label_N] == [label for label, _, _ in boxes]
        assert not example.target.ignore_N.any()  # the field counts what is marked as difficult
        for found, (_, corners, _) in zip(example.target.corners_N42, boxes, strict=True):
            # Corners in whole pixels are nearly a rectangle: that of least area lies close around them.
            assert all(np.abs(found - corner).sum(axis=1).min() < 2 for corner in corners)
            upright = len(set(corners[:, 0])) == 2
            assert not upright or corners_of(found) == corners_of(corners)


def test_faults_of_the_original_are_lived_with(tmp_path: Path) -> None:
    truth = dior.write(tmp_path, faults=True)
    name = "JPEGImages-trainval/00003.jpg"
    example = by_name(opened("dior-r", tmp_path))["00003.jpg"]
    assert example.size == truth.pixels[name].shape[1:] != (160, 160)  # its XML is wrong
    boxes = truth.labels[f"{ORIENTED}/00003.xml"]
    assert boxes[0][1][:, 0].max() < 0 and not np.ptp(boxes[1][1], axis=0).any()
    assert [truth.classes[label] for label in example.target.label_N] == [label for label, _, _ in boxes[2:]]
    assert corners_of(example.target.corners_N42[0]) == corners_of(boxes[2][1])  # given by <bndbox>


def test_a_rectangle_may_hang_over_and_corners_stand_in_for_a_box(tmp_path: Path) -> None:
    dior.write(tmp_path, train=1, val=1, test=1, objects=1)
    file = tmp_path / ORIENTED / "00001.xml"
    xs = iter((-20, 30, 30, -20))
    file.write_text(re.sub(r"(<x_\w+>)\d+", lambda found: f"{found[1]}{next(xs)}", file.read_text()))
    ys = iter((50, 50, 70, 70))
    file.write_text(re.sub(r"(<y_\w+>)\d+", lambda found: f"{found[1]}{next(ys)}", file.read_text()))
    turned = opened("dior-r", tmp_path).read(0).target
    assert corners_of(turned.corners_N42[0]) == {(-20, 50), (30, 50), (30, 70), (-20, 70)}
    (tmp_path / HORIZONTAL / "00001.xml").write_text(file.read_text())
    np.testing.assert_array_equal(opened("dior", tmp_path).read(0).target.corners_N4, [[0, 50, 30, 70]])


@pytest.mark.parametrize("name", ["dior", "dior-r"])
def test_tiles_are_crops_of_the_whole(tmp_path: Path, name: str) -> None:
    dior.write(tmp_path, train=1, val=1, test=1)
    whole, tiled = opened(name, tmp_path).read(0), opened(name, tmp_path, tile=96)
    tiles = [item for item in tiled.items if item.split == "train"]
    assert [item.name.split("@")[1] for item in tiles] == ["0,0", "0,96", "96,0", "96,96"]
    assert {item.group for item in tiles} == {"00001.jpg"}
    values = whole.sample.series["hr"].values[:, :, :160, :160]
    counted: Counter[int] = Counter()
    for item in tiles:
        example = tiled.read_item(item)
        row, col = map(int, item.name.split("@")[1].split(","))
        height, width = example.size
        part = example.sample.series["hr"].values[:, :, :height, :width]
        np.testing.assert_array_equal(part, values[:, :, row : row + height, col : col + width])
        counted.update(example.target.label_N[~example.target.ignore_N].tolist())
        if name == "dior":
            cut = whole.target.corners_N4.clip([col, row] * 2, [col + width, row + height] * 2) - [col, row] * 2
            kept = cut[((cut[:, 2:] - cut[:, :2]) > 0.01).all(axis=1)]
            np.testing.assert_allclose(example.target.corners_N4, kept)
    assert set(counted) <= set(whole.target.label_N.tolist()) and sum(counted.values()) <= len(whole.target)


def test_the_hash_of_a_whole_copy() -> None:
    bounds = (("train", 1, 5862), ("val", 5863, 11725), ("test", 11726, 23463))  # as published
    items = [Item(f"{number:05}.jpg", "", split) for split, first, last in bounds for number in range(first, last + 1)]
    for name in ("dior", "dior-r"):
        assert card(name).hashes == {"as published": split_hash(items)}
        assert card(name).amounts == Counter(item.split for item in items)


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    dior.write(tmp_path)
    (tmp_path / "JPEGImages-test/11726.jpg").write_bytes(b"no image")
    (tmp_path / HORIZONTAL / "11727.xml").write_text("<annotation><object>")
    data = pickle.loads(pickle.dumps(opened("dior", tmp_path)))
    test = data.select("test")
    with pytest.raises(InputError, match="not a raster") as image:
        test.read(0)
    with pytest.raises(InputError, match="truncated or no XML") as label:
        test.read(1)
    assert (image.value.file.name, label.value.file.name) == ("11726.jpg", "11727.xml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<annotation>", '<!DOCTYPE annotation [<!ENTITY a "aaaa">]>\n<annotation>', "declares a document type"),
        ("annotation>", "html>", "is no annotation but <html>"),
        ("<name>airplane<", "<name>Airliner<", "object 1 is of the class 'Airliner', which DIOR does not have"),
        ("xmax>", "right>", "object 1 cannot be read: it has no <xmax>"),
        ("bndbox>", "box>", "object 1 cannot be read: it has no <bndbox>"),
        ("<ymin>", "<ymin>n", "object 1 cannot be read: its <ymin> is 'n"),
    ],
)
def test_bad_annotations_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    dior.write(tmp_path, train=1, val=1, test=1)
    file = tmp_path / HORIZONTAL / "00001.xml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        opened("dior", tmp_path)
    assert caught.value.file == file


def test_classes_may_be_spelled_otherwise(tmp_path: Path) -> None:
    truth = dior.write(tmp_path, train=3, val=1, test=1)
    for file in (tmp_path / HORIZONTAL).iterdir():
        file.write_text(file.read_text().replace("Expressway-Service-area", "expressway_service area"))
    examples = by_name(opened("dior", tmp_path)).values()
    found = {label for example in examples for label in example.target.label_N}
    assert truth.classes.index("Expressway-Service-area") in found


def test_copies_that_are_none(tmp_path: Path) -> None:
    def refused(name: str, root: Path, message: str) -> None:
        with pytest.raises(InputError, match=message):
            opened(name, root)

    whole = tmp_path / "whole"
    dior.write(whole)
    dior.write(tmp_path / "old", old=True)
    refused("dior-r", tmp_path / "old", "older download of DIOR, which has horizontal boxes only")
    refused("dior", tmp_path, "holds several copies of dior: old, whole")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/sample_df.csv").write_text("image_path,label_path,split\n")
    refused("dior", tmp_path / "hub", "copy of DIOR on Hugging Face, whose test images have no labels")
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/JPEGImages-trainval.zip").write_bytes(b"")
    refused("dior", tmp_path / "packed", "holds JPEGImages-trainval.zip, still to be unpacked")
    (whole / "JPEGImages-test/11727.jpg").unlink()
    refused("dior", whole, "1 of 7 images are missing, first JPEGImages-test/11727.jpg")
    (whole / ORIENTED / "05863.xml").unlink()
    (whole / "JPEGImages-test/11727.jpg").write_bytes(b"")
    refused("dior-r", whole, "1 of 7 annotations are missing, first Annotations/Oriented Bounding Boxes/05863.xml")
    (whole / "ImageSets/Main/val.txt").unlink()
    refused("dior", whole, "is missing: it says which images are for what")


def test_check_counts_images_and_objects(tmp_path: Path) -> None:
    dior.write(tmp_path)
    found = {one.about: one for one in check_dataset("dior-r", tmp_path)}
    assert found["layout"].state == found["read"].state == "good"
    assert found["images for train"].state == "bad" and found["images for train"].says == "3 of 5,862"
    assert found["objects of test"].state == "bad" and found["objects of test"].says == "16 of 124,445"
    tiled = {one.about: one for one in check_dataset("dior-r", tmp_path, tile=96)}
    assert tiled["objects"].state == "unsure"
    assert tiled["images for test"].says == "2 of 11,738"
