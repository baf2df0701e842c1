"""Folders of places as labelled data: every kind of label, all sensors and dates."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from skysense.data.earth import LAND_COVERS, simulate
from skysense.data.labelled.example import Boxes, Change, OrientedBoxes
from skysense.data.labelled.open import open_labelled
from skysense.data.labelled.place_labels import learnables
from skysense.data.places import Boxes as PlaceBoxes
from skysense.data.places import Legend, Places, write_dataset, write_place
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
    assert len(data) == 1 and "places without 'cover' are left out: 1" in data.notes


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
    with pytest.raises(InputError, match=r"has several labels for segmentation; its labels are scene \(classifi"):
        open_labelled(root, task="segmentation")
    with pytest.raises(InputError, match="has no label 'crops'"):
        open_labelled(root, label="crops")
    with pytest.raises(InputError, match="it does not take tile"):
        open_labelled(root, label="scene", tile=128)


def test_classes_in_the_order_of_a_model(root: Path, built: Places) -> None:
    assert open_labelled(root, label="scene", classes=["town", "sea", "forest"]).read(0).target == 0
    cover = open_labelled(root, task="multilabel", classes=["built", "sea", "water", "trees"]).read(0)
    np.testing.assert_array_equal(cover.target, [True, False, False, True])
    fine = open_labelled(root, label="fine", classes=["c", "b", "a"])
    stored = make_masks(6, 8)["fine"]
    np.testing.assert_array_equal(fine.read(0).target[:192], np.where(stored == 255, 255, 2 - stored))
    boxes = open_labelled(built.root, label="buildings", classes=["hall", "tent", "house"])
    assert boxes.classes == ("hall", "tent", "house")
    for index, place in enumerate(built):
        stored = built.read_boxes(place, "buildings").classes
        np.testing.assert_array_equal(boxes.read(index).target.label_N, np.where(stored == 0, 2, 0))
    change = open_labelled(built.root, task="change", classes=["changed", "unchanged"])
    assert change.classes == ("unchanged", "changed")
    with pytest.raises(InputError, match="label 'scene' has forest, which is none of the classes town"):
        open_labelled(root, label="scene", classes=["town"])
    with pytest.raises(InputError, match="give classes as a list"):
        open_labelled(root, label="scene", classes={1: "town"})


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """A simulated Earth with buildings, as a folder of places: six of 40 m."""
    root = tmp_path_factory.mktemp("built")
    simulate(root, regions=1, places_per_region=6, footprint_cells=4, buildings=True)
    return Places(root)


def write_pairs(
    root: Path, legends: Mapping[str, Legend], masks: Mapping[str, np.ndarray], *, height: int = 6, after: bool = True
) -> Path:
    """One place of a user's own with both dates."""
    sample = make_sample("a", height=height)
    later = make_sample("a", height=height, seed=5).series["hr"] if after else None
    write_dataset(root, title="pairs", simulated=False, legends=legends)
    write_place(root, sample, masks=masks, after=later)
    return root


def test_oriented_boxes_are_those_of_the_place(built: Places) -> None:
    data = open_labelled(built.root, label="buildings")
    assert (data.task, data.classes, len(data)) == ("oriented-detection", ("house", "hall"), len(built))
    found, hidden = 0, 0
    for index, place in enumerate(built):
        example, stored = data.read(index), built.read_boxes(place, "buildings")
        assert isinstance(example.target, OrientedBoxes) and example.after is None
        assert list(example.sample.series) == ["hr", "s2", "s1"] and example.per_cell == 32
        np.testing.assert_allclose(example.target.corners_N42, stored.corners, atol=1e-4)
        np.testing.assert_array_equal(example.target.label_N, stored.classes)
        np.testing.assert_array_equal(example.target.ignore_N, stored.visible < 0.3)
        found, hidden = found + len(stored), hidden + int(example.target.ignore_N.sum())
    assert found > 8 and 0 < hidden < found


def test_upright_boxes_are_cut_at_the_edge(built: Places) -> None:
    data = open_labelled(built.root, task="detection")
    cut = 0
    for index, place in enumerate(built):
        example, stored = data.read(index), built.read_boxes(place, "buildings")
        assert isinstance(example.target, Boxes) and example.size == (128, 128)
        np.testing.assert_allclose(example.target.corners_N4, stored.horizontal(128, 128), atol=1e-4)
        np.testing.assert_array_equal(example.target.ignore_N, stored.visible < 0.3)
        cut += int(((stored.corners < 0) | (stored.corners > 128)).any(axis=(1, 2)).sum())
    assert cut > 0


def test_boxes_need_the_image_that_they_lie_on(tmp_path: Path) -> None:
    write_dataset(tmp_path, title="barns", simulated=False, legends={"barns": Legend("boxes", ("barn",))})
    barn = np.array([[40, 20], [60, 40], [40, 60], [20, 40]], float)
    hanging = np.array([[-30, 100], [10, 100], [10, 110], [-30, 110]], float)
    boxes = PlaceBoxes(np.stack([barn, hanging]), np.zeros(2, np.int64), np.array([0.31, 1.0]))
    write_place(tmp_path, make_sample("a", height=6), boxes={"barns": boxes})
    write_place(tmp_path, make_sample("b", height=6).only(["s2"]), boxes={"barns": PlaceBoxes.none()})
    write_place(tmp_path, make_sample("c", height=6))
    data = open_labelled(tmp_path)
    assert [item.name for item in data.items] == ["a"] and set(data.notes) == {
        "places without the high-resolution image that boxes lie on are left out: 1",
        "places without 'barns' are left out: 1",
    }
    example = data.read(0)
    assert example.size == (192, 256) and example.grid == (256, 256)
    upright = open_labelled(tmp_path, task="detection", sensor="sentinel-2-l2a").read(0)
    assert list(upright.sample.series) == ["s2"] and upright.per_cell == 32
    np.testing.assert_array_equal(upright.target.corners_N4, [[20, 20, 60, 60], [0, 100, 10, 110]])
    np.testing.assert_array_equal(upright.target.ignore_N, [False, True])  # a quarter of the second is in the image


def test_a_box_of_which_next_to_nothing_is_in_the_image(tmp_path: Path) -> None:
    write_dataset(tmp_path, title="barns", simulated=False, legends={"barns": Legend("boxes", ("barn",))})
    write_place(tmp_path, make_sample("a"), boxes={"barns": PlaceBoxes.none()})
    left, top = 256 - 1e-9, 10.0
    corners = [[left, top], [left + 20, top], [left + 20, top + 20], [left, top + 20]]
    (tmp_path / "a" / "barns.json").write_text(
        json.dumps({"version": 1, "boxes": [{"class": "barn", "corners": corners}]})
    )
    assert open_labelled(tmp_path).read(0).target.ignore_N.tolist() == [True]
    assert len(open_labelled(tmp_path, task="detection").read(0).target) == 0


def test_change_is_a_pair_of_high_resolution_images(built: Places) -> None:
    data = pickle.loads(pickle.dumps(open_labelled(built.root, task="change")))
    assert data.classes == ("unchanged", "changed") and len(data) == len(built)
    assert data.notes[0].startswith("of the later date there is the high-resolution image alone")
    changed = 0
    for index, place in enumerate(built):
        example = data.read(index)
        assert isinstance(example.target, Change) and example.target.before_HW is None
        assert list(example.sample.series) == list(example.after.series) == ["hr"]
        before, after = built.read_sample(place, ["hr"]), built.read_after(place)
        np.testing.assert_array_equal(example.sample.series["hr"].values, before.series["hr"].values)
        np.testing.assert_array_equal(example.after.series["hr"].values, after.series["hr"].values)
        assert example.after.series["hr"].dates[0] > example.sample.series["hr"].dates[0]
        np.testing.assert_array_equal(example.target.changed_HW, built.read_mask(place, "change"))
        changed += int(example.target.changed_HW.sum())
    assert changed > 100


def test_semantic_change_has_the_classes_of_both_dates(built: Places) -> None:
    data = open_labelled(built.root, task="semantic-change")
    assert data.classes == LAND_COVERS
    for index, place in enumerate(built):
        target = data.read(index).target
        np.testing.assert_array_equal(target.before_HW, built.read_mask(place, "land_cover"))
        np.testing.assert_array_equal(target.after_HW, built.read_mask(place, "land_cover_after"))
        np.testing.assert_array_equal(target.changed_HW, built.read_mask(place, "change"))


def test_change_of_an_own_pair_by_the_names_of_its_classes(tmp_path: Path) -> None:
    legends = {
        "felled": Legend("mask", ("changed", "cloud", "unchanged"), ignore=1, after=True),
        "forest": Legend("mask", ("cloud", "forest", "other"), ignore=0),
        "forest_after": Legend("mask", ("forest", "other"), ignore=255, after=True),
    }
    rng = np.random.default_rng(0)
    felled, forest = (rng.integers(0, 3, (192, 256), np.uint8) for _ in range(2))
    later = np.where(rng.random((192, 256)) < 0.1, 255, rng.integers(0, 2, (192, 256))).astype(np.uint8)
    masks = {"felled": felled, "forest": forest, "forest_after": later}
    root = write_pairs(tmp_path / "with", legends, masks)
    changed_HW = np.array([1, 255, 0])[felled]
    first_HW = np.array([255, 0, 1])[forest]
    example = open_labelled(root, task="change").read(0)
    assert example.size == (192, 256) and example.after.grid == (8, 8)
    np.testing.assert_array_equal(example.target.changed_HW[:192], changed_HW)
    assert (example.target.changed_HW[192:] == 255).all()
    both = open_labelled(root, task="semantic-change")
    assert both.classes == ("forest", "other") and both.read(0).after is not None
    np.testing.assert_array_equal(both.read(0).target.changed_HW[:192], changed_HW)
    np.testing.assert_array_equal(both.read(0).target.before_HW[:192], first_HW)
    np.testing.assert_array_equal(both.read(0).target.after_HW[:192], later)
    del masks["felled"]
    alone = open_labelled(write_pairs(tmp_path / "without", legends, masks), task="semantic-change").read(0)
    unknown = (first_HW == 255) | (later == 255)
    np.testing.assert_array_equal(alone.target.changed_HW[:192], np.where(unknown, 255, first_HW != later))


def test_what_labels_of_the_later_date_do_not_serve(built: Places, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'land_cover_after', but it is not to be learned by itself; its"):
        open_labelled(built.root, label="land_cover_after")
    with pytest.raises(InputError, match=r"'land_cover', but it is not for change; .* change \(change\).*and changed"):
        open_labelled(built.root, task="change", label="land_cover")
    with pytest.raises(InputError, match="sentinel-1-grd has none"):
        open_labelled(built.root, task="change", sensor="sentinel-1-grd")
    legends = {"change": Legend("mask", ("unchanged", "changed"), after=True)}
    masks = {"change": np.zeros((192, 256), np.uint8)}
    with pytest.raises(InputError, match="no place for change of 'change'; places without an image of a later date"):
        open_labelled(write_pairs(tmp_path, legends, masks, after=False))


def test_masks_of_two_dates_on_different_grids(tmp_path: Path) -> None:
    legends = {"cover": Legend("mask", ("a", "b")), "cover_after": Legend("mask", ("a", "b"), after=True)}
    masks = {"cover": np.zeros((6, 8), np.uint8), "cover_after": np.zeros((192, 256), np.uint8)}
    data = open_labelled(write_pairs(tmp_path, legends, masks), task="semantic-change")
    with pytest.raises(InputError, match=r"cover_after.tif.* lies on another grid than 'cover'"):
        data.read(0)


def test_what_labels_are_learned_as() -> None:
    cover = Legend("mask", ("a", "b"))
    legends = {
        "cover": cover,
        "cover_after": Legend("mask", ("a", "c"), after=True),
        "changes": Legend("mask", ("unchanged", "changed"), after=True),
        "early": Legend("mask", ("unchanged", "changed")),
    }
    found = [(one.label, one.task) for one in learnables(legends)]
    assert found == [("cover", "segmentation"), ("changes", "change"), ("early", "segmentation")]
    legends["cover_after"] = Legend("mask", ("b", "a"), after=True)
    semantic = next(one for one in learnables(legends) if one.task == "semantic-change")
    assert (semantic.label, semantic.later, semantic.change) == ("cover", "cover_after", "changes")
    legends["more"] = legends["changes"]
    assert next(one for one in learnables(legends) if one.task == "semantic-change").change is None
