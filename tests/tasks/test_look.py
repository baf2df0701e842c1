"""The look at every example: what it finds is kept with the run, and only as long as it is about the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import Example
from skysense.errors import ConfigError, InputError
from skysense.tasks.config import AdaptConfig
from skysense.tasks.look import LOOK, Look, look_at
from tests.tasks.labelled_samples import both_example, example, labelled, tiny

MODEL = tiny()


class Counted:
    """Examples of which one may be broken; it counts how often they are read."""

    def __init__(self, data: LabelledData) -> None:
        self.inner, self.broken, self.reads = data.read_item, "", 0
        self.data = replace(data, read_item=self)

    def __call__(self, item: Item) -> Example:
        self.reads += 1
        if item.name == self.broken:
            raise InputError("is truncated", file=f"{item.name}.png")
        return self.inner(item)

    def look(self, out: Path, *, opened: dict[str, Any] | None = None, **change: Any) -> Look:
        self.reads = 0
        return look_at(AdaptConfig(**change), MODEL, self.data, opened or {}, out)


@pytest.fixture
def scenes() -> Counted:
    return Counted(labelled("classification", [both_example(index) for index in range(4)]))


def test_nothing_is_read_again(scenes: Counted, tmp_path: Path) -> None:
    scenes.broken = "train-place1"
    first = scenes.look(tmp_path)
    assert scenes.reads == 8 and first.skipped == {"train-place1": "train-place1.png: is truncated"}
    again = scenes.look(tmp_path, epochs=3, workers=2, way="linear", learning_rate=0.1)
    assert scenes.reads == 1, "only what could not be read is tried again"
    assert again.found == first.found and again.data.items == first.data.items and len(again.data) == 7
    assert (again.modalities, again.per_cell) == (first.modalities, first.per_cell) == (("hr", "s2"), 32)
    assert again.notes(scenes.data) == first.notes(scenes.data)
    (tmp_path / LOOK).rename(tmp_path / "moved.json")
    assert scenes.look(tmp_path).found == first.found and scenes.reads == 8


def test_boxes_are_remembered_to_the_last_digit(tmp_path: Path) -> None:
    boxes = Counted(labelled("detection", [example("detection", index) for index in range(3)]))
    first, again = boxes.look(tmp_path), boxes.look(tmp_path)
    assert boxes.reads == 0 and again.found == first.found
    assert again.anchor_scale == first.anchor_scale is not None


@pytest.mark.parametrize(
    "change", [{"modalities": ("s2",)}, {"frames_s2": 1}, {"clear_only": True}, {"opened": {"tile": 64}}]
)
def test_what_is_read_otherwise_is_looked_at_anew(change: dict[str, Any], scenes: Counted, tmp_path: Path) -> None:
    scenes.look(tmp_path)
    scenes.look(tmp_path, **change)
    assert scenes.reads == 8


def test_other_examples_are_looked_at(scenes: Counted, tmp_path: Path) -> None:
    scenes.look(tmp_path)
    items = tuple(replace(item, split="test") if item.split == "val" else item for item in scenes.data.items)
    scenes.data = replace(scenes.data, items=items)
    assert scenes.look(tmp_path).found.items == {"train": 4, "test": 4} and scenes.reads == 8


def _changed(file: Path) -> None:
    content = json.loads(file.read_text())
    content["found"]["items"]["train"] = 5
    file.write_text(json.dumps(content))


DAMAGES: list[Callable[[Path], object]] = [
    lambda file: file.write_bytes(file.read_bytes()[:100]),
    lambda file: file.write_bytes(b"\xff\x00"),
    lambda file: file.write_text("[]"),
    lambda file: file.write_text("{}"),
    lambda file: file.unlink(),
    _changed,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_again(damage: Callable[[Path], object], scenes: Counted, tmp_path: Path) -> None:
    first, whole = scenes.look(tmp_path), (tmp_path / LOOK).read_bytes()
    damage(tmp_path / LOOK)
    assert scenes.look(tmp_path).found == first.found and scenes.reads == 8
    assert (tmp_path / LOOK).read_bytes() == whole


def test_what_was_mended_is_looked_at(scenes: Counted, tmp_path: Path) -> None:
    scenes.broken = "val-place2"
    assert len(scenes.look(tmp_path).data) == 7
    scenes.broken = ""
    assert len(scenes.look(tmp_path).data) == 8 and scenes.reads == 1 + 8


def test_settings_that_cannot_be_do_not_cost_a_second_look(tmp_path: Path) -> None:
    scenes = Counted(labelled("classification", [example("classification", index) for index in range(2)]))
    for reads in (4, 0):
        with pytest.raises(ConfigError, match=r"s2 cannot be used: no example of made up has it"):
            scenes.look(tmp_path, modalities=("hr", "s2"))
        assert scenes.reads == reads


def test_other_processes_find_the_same(scenes: Counted, tmp_path: Path) -> None:
    scenes.broken = "val-place2"
    wanted = scenes.look(tmp_path / "one").found
    assert scenes.look(tmp_path / "two", workers=2).found == wanted
    assert scenes.reads == 0, "it was read elsewhere"
    assert (tmp_path / "one" / LOOK).read_bytes() == (tmp_path / "two" / LOOK).read_bytes()
