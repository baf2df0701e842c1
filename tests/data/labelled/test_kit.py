"""Real labels of every format: counted, read and laid over each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from examples.kit_to_places import convert
from skysense.data.labelled.open import open_labelled
from skysense.data.labelled.split import assign_splits
from skysense.data.labelled.survey import readable, survey
from tests.data.labelled.files import coco

FLAIR = (
    *("building", "pervious", "impervious", "bare soil", "water", "coniferous", "deciduous", "brushwood"),
    *("vineyard", "herbaceous", "agricultural", "plowed", "other"),
)


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


def test_buildings_in_four_formats(kit: Path, tmp_path: Path) -> None:
    area = kit / "buildings" / "aoi4_catanduanes"
    boxes = open_labelled(area / "annotations.json")
    counts = survey(boxes)
    assert (len(boxes), counts.failures, counts.amount_K["val"].tolist()) == (16, [], [163])
    link(area / "images", tmp_path / "images")
    link(area / "labels_obb", tmp_path / "labelTxt")
    link(area / "masks", tmp_path / "masks")
    oriented = survey(open_labelled(tmp_path, format="dota"))
    assert oriented.failures == [] and oriented.amount_K["no split"].tolist() == [121]
    masks = open_labelled(tmp_path, format="masks", classes=["ground", "building"])
    drawn = open_labelled(area / "annotations.json", task="segmentation")
    assert drawn.classes == ("background", "building")
    same = [np.mean(masks.read(index).target == drawn.read(index).target) for index in range(16)]
    assert min(same) > 0.97
    first = next(index for index in range(16) if len(boxes.read(index).target))
    mask = masks.read(first).target
    inside = np.zeros_like(mask, bool)
    for x1, y1, x2, y2 in boxes.read(first).target.corners_N4.round().astype(int):
        inside[y1:y2, x1:x2] = True
    assert ((mask == 1) & ~inside).mean() < 0.01


def test_oriented_boxes_of_polygons_are_those_of_the_label_files(kit: Path, tmp_path: Path) -> None:
    area = kit / "buildings" / "aoi4_catanduanes"
    link(area / "images", tmp_path / "images")
    link(area / "labels_obb", tmp_path / "labelTxt")
    files = open_labelled(tmp_path)
    polygons = open_labelled(area / "annotations.json", task="oriented-detection")
    close: list[bool] = []
    for index in range(len(files)):
        made = {tuple(box.mean(axis=0).round(0)) for box in polygons.read(index).target.corners_N42}
        given = {tuple(box.mean(axis=0).round(0)) for box in files.read(index).target.corners_N42}
        close += [any(np.hypot(x - u, y - v) <= 2 for u, v in made) for x, y in given]
    assert len(close) == 121 and sum(close) >= 120  # around one cut corner two rectangles have the same area


def test_cattle_and_trees(kit: Path, tmp_path: Path) -> None:
    images, boxes = [], []
    for index, file in enumerate(sorted((kit / "nzcattle").glob("*.json"))):
        content = json.loads(file.read_text())
        link(file.with_suffix(".tif"), tmp_path / "images" / content["image"])
        images.append({"file_name": content["image"], **{key: content[key] for key in ("height", "width", "split")}})
        boxes += [{"bbox": one["bbox"], "image_id": index} for one in content["annotations"]]
    coco(tmp_path / "labels.json", images, boxes, ("cattle",))
    data = open_labelled(tmp_path)
    seen = survey(data)
    assert seen.failures == [] and seen.sizes == {(500, 500): 3}
    assert {split: int(count[0]) for split, count in seen.amount_K.items()} == {"train": 81, "val": 96}
    assert data.read(0).sample.grid == (16, 16) and data.items[0].lon == pytest.approx(175.3, abs=0.1)
    trees = survey(open_labelled(kit / "trees"))
    assert trees.failures == [] and sum(int(count[0]) for count in trees.amount_K.values()) == 512
    tiles = open_labelled(kit / "trees", tile=256)
    assert len(tiles) > 4 and readable(tiles)[1] == []


def test_fields(kit: Path, tmp_path: Path) -> None:
    for name in ("image.tif", "fields.geojson"):
        link(kit / "fields" / name, tmp_path / name)
    data = assign_splits(open_labelled(tmp_path, tile=64, stretch=(0, 3000)))
    assert {item.split for item in data.items} == {"train", "val", "test"}
    assert data.notes[-1].startswith("divided by location")
    seen = survey(data)
    assert seen.failures == []
    covered = sum(count[1] for count in seen.amount_K.values()) / (452 * 413)
    assert covered == pytest.approx(0.78, abs=0.01)  # as the kit says
    boxes = open_labelled(tmp_path, task="oriented-detection", tile=512, stretch=(0, 3000))
    assert len(boxes) == 1 and 270 <= len(boxes.read(0).target) <= 290


def test_land_cover_masks(kit: Path, tmp_path: Path) -> None:
    for folder in sorted((kit / "flair").iterdir()):
        split = json.loads((folder / "info.json").read_text())["split"]
        for name in ("image", "mask"):
            link(folder / f"{name}.tif", tmp_path / "flair" / split / f"{name}s" / f"{folder.name}.tif")
    data = open_labelled(tmp_path / "flair", classes={index: name for index, name in enumerate(FLAIR, 1)})
    seen = survey(data)
    assert seen.items == {"train": 5, "val": 2} and seen.failures == []
    found = dict(zip(FLAIR, seen.amount_K["val"] + seen.amount_K["train"], strict=True))
    counts = json.loads((kit / "flair" / "img_000473" / "info.json").read_text())["class_counts"]
    assert all(found[name] >= count for name, count in counts.items())
    assert data.read(0).sample.series["hr"].values.shape[1] == 4  # near infrared, and no elevation
    for folder in sorted((kit / "chesapeake").iterdir()):
        for name in ("image", "mask"):
            link(folder / f"{name}.tif", tmp_path / "chesapeake" / f"{name}s" / f"{folder.name}.tif")
    bay = open_labelled(tmp_path / "chesapeake", sensor="optical-hr")
    example = bay.read(0)
    assert bay.classes == ("1", "2", "3", "4", "5", "6") and survey(bay).failures == []
    assert example.sample.series["hr"].valid.all()  # near infrared that is marked as alpha is no mask


def test_floods(kit: Path, tmp_path: Path) -> None:
    index = json.loads((kit / "floods" / "index.json").read_text())
    for place in index:
        for name, ours in (("s2_before", "before"), ("s2_after", "after"), ("mask", "change")):
            split, number = place.split("/")
            link(kit / "floods" / place / f"{name}.png", tmp_path / split / ours / f"{number}.png")
    data = open_labelled(tmp_path)
    assert (data.task, len(data)) == ("change", len(index))
    for number in (0, 40, len(data) - 1):
        split, _, name = data.items[number].name.split("/")
        share = index[f"{split}/{name.removesuffix('.png')}"]["flood_share"]
        assert data.read(number).target.changed_HW.mean() == pytest.approx(share, abs=1e-4)


def test_places(kit: Path, tmp_path: Path) -> None:
    convert(kit, tmp_path, ("bigearthnet", "treesat", "terramesh"))
    europe = open_labelled(tmp_path / "bigearthnet", task="multilabel")
    example = europe.read(0)
    assert len(europe) == 34 and len(europe.classes) == 19 and example.target.any()
    assert list(example.sample.series) == ["s2", "s1"] and example.sample.grid == (120, 120)
    forest = open_labelled(tmp_path / "treesat")
    examples = [forest.read(index) for index in range(len(forest))]
    assert len(forest) == 30 and max(len(one.sample.series["s2"].dates) for one in examples) > 40
    assert {one.sample.grid for one in examples} == {(8, 8)} and {one.size for one in examples} == {(192, 192)}
    world = open_labelled(tmp_path / "terramesh").read(0)
    assert world.per_cell == 1 and world.target.shape == (224, 224)
