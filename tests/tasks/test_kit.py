"""Every decoder learns a handful of real images by heart, through the same runs that people start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from examples import kit_to_labelled, kit_to_places
from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import Example
from skysense.data.labelled.open import open_labelled
from skysense.tasks import heads
from skysense.tasks.adapt import adapt
from skysense.tasks.augment import AugmentConfig, cropped
from skysense.tasks.config import AdaptConfig
from tests.tasks.labelled_samples import tiny

COUNT = 8
BY_HEART = AdaptConfig(
    way="full",
    learning_rate=3e-3,
    layer_decay=1.0,
    drop_path=0.0,
    weight_decay=0.0,
    batch_size=COUNT,
    decoder_width=32,
    augment=AugmentConfig(flips=False, brightness=0.0),
)


def by_heart(
    data: LabelledData, chosen: Sequence[Item], *, passes: int = 10, cut: Callable[[Example], Example] | None = None
) -> LabelledData:
    """Some examples, several times for training in each epoch and once for validation."""
    known = {item.name: data.read_item(item) for item in chosen}
    names = [(f"{number}", "train") for number in range(passes)] + [("again", "val")]
    items = [replace(item, name=f"{name}/{item.name}", split=split) for name, split in names for item in chosen]

    def read(item: Item) -> Example:
        example = known[item.name.partition("/")[2]]
        return replace(example if cut is None else cut(example), name=item.name)

    return replace(data, items=tuple(items), read_item=read)


def learned(config: AdaptConfig, data: LabelledData, out: Path) -> float:
    outcome = adapt(config, tiny(), data, out, device="cpu")
    assert outcome.evaluation is not None and not outcome.skipped
    results = outcome.evaluation.results
    return results.metrics[results.headline].value


def richest(data: LabelledData, amount: Callable[[Example], float]) -> list[Item]:
    """The examples with the most of something."""
    return sorted(data.items, key=lambda item: amount(data.read_item(item)), reverse=True)[:COUNT]


@pytest.mark.long
def test_upernet_learns_masks(kit: Path, tmp_path: Path) -> None:
    kit_to_labelled.building_masks(kit, tmp_path / "data")
    data = open_labelled(tmp_path / "data", classes=["ground", "building"])
    chosen = richest(data, lambda example: (example.target == 1).sum())
    config = replace(BY_HEART, decoder="upernet", epochs=8)
    assert learned(config, by_heart(data, chosen), tmp_path / "run") >= 0.9


@pytest.mark.long
def test_bit_learns_floods(kit: Path, tmp_path: Path) -> None:
    kit_to_labelled.floods(kit, tmp_path / "data")
    data = open_labelled(tmp_path / "data")

    def middle(example: Example) -> Example:
        return cropped(example, 64, 64, 128, 128)

    def smooth(example: Example) -> float:
        """The fewer edges the better: the map is four times coarser than the image."""
        changed = middle(example).target.changed_HW == 1
        edges = (changed[1:] != changed[:-1]).sum() + (changed[:, 1:] != changed[:, :-1]).sum()
        return -edges if 0.25 < changed.mean() < 0.6 else -np.inf

    config = replace(BY_HEART, decoder="bit", epochs=9, batch_size=4)
    data = by_heart(data, richest(data, smooth), cut=middle)
    assert learned(config, data, tmp_path / "run") >= 0.9


@pytest.mark.long
@pytest.mark.parametrize("task", ["detection", "oriented-detection"])
def test_detectors_learn_buildings(task: str, kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = {"proposals_per_level": 500, "proposals": 200, "anchors_sampled": 128, "head_sampled": 128}
    monkeypatch.setattr(heads, "FasterRcnnConfig", partial(heads.FasterRcnnConfig, **fewer))
    monkeypatch.setattr(heads, "OrientedRcnnConfig", partial(heads.OrientedRcnnConfig, **fewer))
    lay_out = kit_to_labelled.building_boxes if task == "detection" else kit_to_labelled.building_quads
    lay_out(kit, tmp_path / "data")
    data = open_labelled(tmp_path / "data")
    assert data.task == task
    data = by_heart(data, richest(data, lambda example: len(example.target)))
    assert learned(replace(BY_HEART, epochs=11, batch_size=4), data, tmp_path / "run") >= 0.9


@pytest.mark.long
def test_scenes_are_learned(kit: Path, tmp_path: Path) -> None:
    kit_to_labelled.scenes(kit, tmp_path / "data")
    data = open_labelled(tmp_path / "data")
    chosen = data.items[:: len(data) // 40][:40]
    assert learned(replace(BY_HEART, epochs=8), by_heart(data, chosen, passes=2), tmp_path / "run") >= 0.9


@pytest.mark.long
@pytest.mark.parametrize("folder", ["bigearthnet", "treesat"])
def test_several_labels_are_learned_from_several_sensors(folder: str, kit: Path, tmp_path: Path) -> None:
    kit_to_places.convert(kit, tmp_path, (folder,))
    data = open_labelled(tmp_path / folder)
    assert data.task == "multilabel"

    def corner(example: Example) -> Example:
        return cropped(example, 0, 0, 4 * example.per_cell, 4 * example.per_cell)

    config = replace(BY_HEART, frames_s2=4, frames_s1=2, epochs=12)
    data = by_heart(data, data.items[:COUNT], cut=corner)
    assert learned(config, data, tmp_path / "run") >= 0.9


def windows(data: LabelledData, side: int = 8) -> LabelledData:
    """The only place of a data set in windows, those with the most labels of both common classes."""
    (place,) = data.items
    whole = data.read_item(place)
    corners = [(row, col) for row in range(0, 64, side) for col in range(0, 64, side)]
    known = {f"{row} {col}": cropped(whole, row, col, side, side) for row, col in corners}
    made = replace(data, items=tuple(replace(place, name=name) for name in known), read_item=lambda it: known[it.name])
    return replace(made, items=tuple(richest(made, lambda one: min((one.target == label).sum() for label in (0, 1)))))


@pytest.mark.long
def test_crops_are_learned_from_a_series(kit: Path, tmp_path: Path) -> None:
    kit_to_places.convert(kit, tmp_path, ("crop_patches",))
    data = windows(open_labelled(tmp_path / "crop_patches", label="land_cover"))
    config = replace(BY_HEART, frames_s2=4, frames_s1=2, epochs=8)
    assert learned(config, by_heart(data, data.items), tmp_path / "run") >= 0.9
