"""Folders of places as labelled data: every kind of label, all sensors and dates."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from skysense.data.labelled.open import open_labelled
from skysense.data.places import write_dataset, write_place
from skysense.errors import InputError
from tests.data.places_samples import LABELS, LEGENDS, make_masks, make_sample


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_dataset(tmp_path, title="farms", simulated=True, legends=LEGENDS)
    masks = make_masks(6, 8)
    write_place(tmp_path, make_sample("p0", height=6), labels=LABELS, masks=masks, split="train")
    write_place(tmp_path, make_sample("p1", seed=1, height=6).only(["s2"]), labels={"scene": "forest"}, split="test")
    return tmp_path


def test_scene_with_all_sensors(root: Path) -> None:
    data = open_labelled(root, label="scene")
    assert (data.task, data.classes) == ("classification", ("forest", "town"))
    assert data.simulated and data.title == "farms"
    assert [(item.name, item.split, item.lon) for item in data.items] == [("p0", "train", 11.58), ("p1", "test", 11.58)]
    first, second = pickle.loads(pickle.dumps(data)).read(0), data.read(1)
    assert (first.target, second.target) == (1, 0)
    assert list(first.sample.series) == ["hr", "s2", "s1"] and len(first.sample.series["s1"].dates) == 5
    assert first.per_cell == 32 and first.size == (192, 256) and first.sample.grid == (8, 8)
    assert second.per_cell == 1 and second.size == (6, 8)


def test_multilabel(root: Path) -> None:
    data = open_labelled(root, task="multilabel")
    np.testing.assert_array_equal(data.read(0).target, [True, False, True])
    assert len(data) == 1 and "1 places without 'cover' or the sensor are left out" in data.notes


def test_masks_on_either_grid(root: Path) -> None:
    masks = make_masks(6, 8)
    fine = open_labelled(root, label="fine").read(0)
    assert fine.per_cell == 32 and fine.size == (192, 256)
    np.testing.assert_array_equal(fine.target[:192, :256], masks["fine"])
    assert (fine.target[192:] == 255).all()
    data = open_labelled(root, label="coarse", sensor="sentinel-2-l2a-10m")
    coarse = data.read(0)
    assert data.classes == ("wheat",) and coarse.per_cell == 1  # "none" is what the legend ignores
    np.testing.assert_array_equal(coarse.target[:6, :8], np.where(masks["coarse"] == 1, 0, 255))
    assert list(coarse.sample.series) == ["s2"] and coarse.sample.series["s2"].values.shape[1] == 4


def test_a_label_must_be_named_where_there_are_several(root: Path) -> None:
    with pytest.raises(InputError, match=r"has several labels for segmentation; its labels are scene \(scene\), cover"):
        open_labelled(root, task="segmentation")
    with pytest.raises(InputError, match="has no label 'crops'"):
        open_labelled(root, label="crops")
    with pytest.raises(InputError, match="it does not take classes"):
        open_labelled(root, label="scene", classes=["a"])
