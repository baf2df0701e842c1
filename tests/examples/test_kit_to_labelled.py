"""The kit as folders of labelled imagery: each is recognised, and has the labels that the kit counts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from examples.kit_to_labelled import FOLDERS, main
from skysense.data.labelled.open import open_labelled
from skysense.data.labelled.survey import survey


@pytest.fixture(scope="module")
def out(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kit") / "labelled"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kit_to_labelled.py", str(folder), "--data", str(kit)])
        main()
        with pytest.raises(SystemExit):  # the folder is there now
            main()
    return folder


def test_every_folder_is_of_one_format(out: Path) -> None:
    known = {name: open_labelled(out / name, task="segmentation" if name == "fields" else None,
                                 stretch=(0, 2500) if name == "fields" else None) for name in FOLDERS}  # fmt: skip
    assert {name: (data.task, len(data)) for name, data in known.items()} == {
        "land_cover": ("segmentation", 7),
        "scenes": ("classification", 277),
        "building_masks": ("segmentation", 200),
        "building_boxes": ("detection", 200),
        "building_quads": ("oriented-detection", 200),
        "cattle": ("detection", 3),
        "trees": ("detection", 4),
        "fields": ("segmentation", 1),
        "floods": ("change", 160),
    }


def test_labels_are_those_of_the_kit(kit: Path, out: Path) -> None:
    cover = survey(open_labelled(out / "land_cover"))
    assert cover.items == {"train": 5, "val": 2} and not cover.failures
    counts = dict.fromkeys(cover.data.classes, 0)
    for file in (kit / "flair").glob("*/info.json"):
        for name, count in json.loads(file.read_text())["class_counts"].items():
            counts[name.removesuffix(" vegetation")] += count
    found = (cover.amount_K["train"] + cover.amount_K["val"]).tolist()
    assert dict(zip(cover.data.classes, found, strict=True)) == counts
    cattle = survey(open_labelled(out / "cattle"))
    assert {split: int(count[0]) for split, count in cattle.amount_K.items()} == {"train": 81, "val": 96}
    quads = survey(open_labelled(out / "building_quads"))
    assert {split: int(count[0]) for split, count in quads.amount_K.items()} == {"train": 227, "val": 121}


def test_scenes_of_an_image_stay_together(out: Path) -> None:
    data = open_labelled(out / "scenes")
    assert data.classes == ("bare", "built-up", "low vegetation", "trees", "water")
    assert len({item.group for item in data.items}) == 7 and {item.split for item in data.items} == {"train", "val"}
    water = next(item for item in data.items if data.read_item(item).target == 4)
    assert data.read_item(water).size == (64, 64)
