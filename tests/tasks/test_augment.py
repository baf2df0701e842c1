"""Random views keep imagery and labels together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skysense.data.labelled.example import UNLABELLED, Boxes, Change, OrientedBoxes
from skysense.tasks.augment import AugmentConfig, augmented, cropped, scaled, turned
from tests.tasks.labelled_samples import both_example, example, series_example

PLAIN = AugmentConfig(flips=False, brightness=0.0)


def bright(one: object) -> np.ndarray:
    return one.sample.series["hr"].values[0, 1] > 150  # type: ignore[attr-defined]


@given(st.integers(0, 7), st.integers(0, 3))
def test_masks_and_boxes_turn_with_the_pixels(symmetry: int, index: int) -> None:
    whole = example("segmentation", index)
    found = turned(whole, symmetry)
    np.testing.assert_array_equal(found.target == 1, bright(found))
    boxes = turned(example("detection", index), symmetry)
    assert isinstance(boxes.target, Boxes)
    painted = np.zeros(boxes.grid, bool)
    for x1, y1, x2, y2 in boxes.target.corners_N4.astype(int):
        assert x1 < x2 and y1 < y2
        painted[y1:y2, x1:x2] = True
    np.testing.assert_array_equal(painted, bright(boxes))
    quads = turned(example("oriented-detection", index), symmetry).target
    assert isinstance(quads, OrientedBoxes)
    np.testing.assert_allclose(quads.corners_N42.min(1), boxes.target.corners_N4[:, :2])
    np.testing.assert_allclose(quads.corners_N42.max(1), boxes.target.corners_N4[:, 2:])


def test_turning_an_oblong_exchanges_its_sides() -> None:
    whole = cropped(example("segmentation", 0), 0, 0, 128, 64)
    found = turned(whole, 1)
    assert found.grid == (64, 128) and found.size == (64, 128)
    np.testing.assert_array_equal(found.target, whole.target.T)  # type: ignore[union-attr]


def test_mirror_images_undo_themselves() -> None:
    whole = example("oriented-detection", 3)
    for symmetry in (2, 4, 6):
        again = turned(turned(whole, symmetry), symmetry)
        np.testing.assert_array_equal(again.sample.series["hr"].values, whole.sample.series["hr"].values)
        np.testing.assert_allclose(again.target.corners_N42, whole.target.corners_N42)  # type: ignore[union-attr]


def test_a_crop_over_the_edge_is_padding_without_labels() -> None:
    whole = example("segmentation", 0)
    found = cropped(whole, 96, 64, 64, 64)
    assert found.grid == (64, 64) and found.size == (32, 64)
    assert isinstance(found.target, np.ndarray)
    assert (found.target[32:] == UNLABELLED).all()
    np.testing.assert_array_equal(found.target[:32], whole.target[96:, 64:])  # type: ignore[index]
    valid = found.sample.series["hr"].valid[0]
    assert valid[:32].all() and not valid[32:].any()


def test_a_crop_of_several_sensors_covers_the_same_ground() -> None:
    whole = both_example(1)
    found = cropped(whole, 32, 64, 64, 32)
    assert found.sample.grid == (2, 1)
    np.testing.assert_array_equal(found.sample.series["s2"].values, whole.sample.series["s2"].values[..., 1:3, 2:3])
    np.testing.assert_array_equal(found.sample.series["hr"].values, whole.sample.series["hr"].values[..., 32:96, 64:96])


def test_labels_per_cell_are_cropped_in_cells() -> None:
    whole = series_example(0)
    found = cropped(whole, 4, 0, 4, 8)
    np.testing.assert_array_equal(found.target, whole.target[4:])  # type: ignore[index]
    assert found.sample.grid == (4, 8)


def test_boxes_in_a_crop_are_cut_and_those_mostly_outside_ignored() -> None:
    whole = example("detection", 0)
    corners = np.array([[10, 10, 30, 30], [60, 0, 72, 20], [90, 90, 120, 120], [50, 40, 65, 50]], np.float32)
    target = Boxes(corners, np.arange(4), np.zeros(4, bool))
    found = cropped(replace(whole, target=target), 0, 0, 64, 64).target
    assert isinstance(found, Boxes)
    np.testing.assert_allclose(found.corners_N4, [[10, 10, 30, 30], [60, 0, 64, 20], [50, 40, 64, 50]])
    np.testing.assert_array_equal(found.label_N, [0, 1, 3])
    np.testing.assert_array_equal(found.ignore_N, [False, True, False])  # a third is left of the second


def test_oriented_boxes_stay_whole_and_count_where_their_centre_is() -> None:
    whole = example("oriented-detection", 0)
    quads = np.array([[[54, 10], [78, 10], [78, 20], [54, 20]], [[44, 10], [74, 10], [74, 20], [44, 20]]], np.float32)
    far = quads[:1] + 60
    target = OrientedBoxes(np.concatenate([quads, far]), np.arange(3), np.zeros(3, bool))
    found = cropped(replace(whole, target=target), 0, 0, 64, 64).target
    assert isinstance(found, OrientedBoxes)
    np.testing.assert_allclose(found.corners_N42, quads)
    np.testing.assert_array_equal(found.ignore_N, [True, False])


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_another_size_keeps_labels_on_their_pixels(factor: float) -> None:
    whole = example("segmentation", 0)
    found = scaled(whole, factor)
    assert found.size == (round(128 * factor),) * 2 and found.grid[0] % 128 == 0
    inside = found.sample.series["hr"].valid[0]
    agrees = (found.target == 1)[inside] == bright(found)[inside]  # type: ignore[index, operator]
    assert agrees.mean() > 0.97  # but for edges between pixels
    view = augmented(whole, replace(PLAIN, scale=2.0), np.random.default_rng(0), most_cells=16)
    assert view.size != whole.size


def test_brightness_is_drawn_for_each_date_of_a_pair() -> None:
    whole = replace(example("change", 0), after=example("change", 0).sample)
    view = augmented(whole, AugmentConfig(flips=False, brightness=0.3), np.random.default_rng(0), most_cells=16)
    assert view.after is not None
    before, after = (one.series["hr"].values.astype(float) for one in (view.sample, view.after))
    assert abs(before.mean() - after.mean()) > 1
    assert isinstance(view.target, Change)


def test_crops_are_drawn_and_large_images_never_stay_whole() -> None:
    whole = example("segmentation", 0, side=256)
    rng = np.random.default_rng(0)
    starts = set()
    for _ in range(8):
        view = augmented(whole, replace(PLAIN, crop_cells=4), rng, most_cells=16)
        assert view.grid == (128, 128)
        starts.add(view.sample.series["hr"].values[0, 0, 0, :8].tobytes())
    assert len(starts) > 4
    assert augmented(whole, PLAIN, rng, most_cells=4).grid == (128, 128)
    assert augmented(whole, PLAIN, rng, most_cells=8).grid == (256, 256)
    scene = example("classification", 0, side=256)
    assert augmented(scene, PLAIN, rng, most_cells=4).grid == (256, 256)  # its class is that of the whole


def test_the_same_generator_draws_the_same_view() -> None:
    config = AugmentConfig(crop_cells=4)
    whole = both_example(0)
    one, two = (augmented(whole, config, np.random.default_rng(7), most_cells=4) for _ in range(2))
    np.testing.assert_array_equal(one.sample.series["hr"].values, two.sample.series["hr"].values)
    other = augmented(whole, config, np.random.default_rng(8), most_cells=4)
    assert not np.array_equal(one.sample.series["hr"].values, other.sample.series["hr"].values)
