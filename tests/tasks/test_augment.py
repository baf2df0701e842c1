"""Random views keep imagery and labels together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skysense.data.labelled.example import UNLABELLED, Boxes, Change, OrientedBoxes
from skysense.errors import InputError
from skysense.tasks.augment import AugmentConfig, augmented, cropped, scaled, turn_pixels, turned, turned_part
from tests.tasks.labelled_samples import both_example, example, optical, series_example, trimmed

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


@given(st.integers(0, 7), st.sampled_from([(100, 70), (128, 33), (1, 128), (90, 90)]))
def test_padding_stays_right_and_below(symmetry: int, size: tuple[int, int]) -> None:
    for whole in (example("segmentation", 1), example("change", 1), example("detection", 1)):
        whole = trimmed(whole, *size)
        found = turned(whole, symmetry)
        height, width = found.size
        assert found.size == (size[::-1] if symmetry & 1 else size)
        real = whole.sample.series["hr"].values[..., : size[0], : size[1]]
        series = found.sample.series["hr"]
        np.testing.assert_array_equal(series.values[..., :height, :width], turn_pixels(real, symmetry))
        assert series.valid[:, :height, :width].all() and series.valid.sum() == height * width
        assert not series.values[..., height:, :].any() and not series.values[..., width:].any()
    assert isinstance(found.target, Boxes)  # of the last
    painted = np.zeros(found.grid, bool)
    for x1, y1, x2, y2 in found.target.corners_N4.astype(int):
        painted[y1:y2, x1:x2] = True
    np.testing.assert_array_equal(painted, bright(found))
    mask = turned(trimmed(example("segmentation", 1), *size), symmetry)
    np.testing.assert_array_equal(mask.target == 1, bright(mask))
    assert (mask.target[height:] == UNLABELLED).all()  # type: ignore[index]
    assert (mask.target[:, width:] == UNLABELLED).all()  # type: ignore[index]


def test_pixels_of_a_coarser_sensor_turn_whole() -> None:
    whole = replace(both_example(1), size=(100, 70))
    assert turned_part(whole) == (128, 96)
    found = turned(whole, 7)
    assert found.size == (96, 128)
    before, after = whole.sample.series["s2"].values, found.sample.series["s2"].values
    np.testing.assert_array_equal(after[..., :3, :4], before[..., :4, :3].swapaxes(-1, -2)[..., ::-1, ::-1])
    assert not after[..., 3:, :].any()
    before, after = whole.sample.series["hr"].values, found.sample.series["hr"].values
    np.testing.assert_array_equal(after[..., :96, :128], before[..., :128, :96].swapaxes(-1, -2)[..., ::-1, ::-1])


def test_labels_and_boxes_per_cell_turn_in_cells() -> None:
    base = replace(series_example(0), size=(7, 5))
    found = turned(base, 4)
    np.testing.assert_array_equal(found.target[:7, :5], base.target[:7, 4::-1])  # type: ignore[index]
    boxes = Boxes(np.array([[0, 1, 2, 3]], np.float32), np.zeros(1, np.int64), np.zeros(1, bool))
    turned_boxes = turned(replace(base, target=boxes), 4).target
    assert isinstance(turned_boxes, Boxes)
    np.testing.assert_array_equal(turned_boxes.corners_N4, [[3, 1, 5, 3]])
    image = replace(both_example(0), target=0, per_cell=1, size=(3, 2))  # the image is finer than the labels
    values = turned(image, 2).sample.series["hr"].values
    np.testing.assert_array_equal(values[..., :96, :64], image.sample.series["hr"].values[..., 95::-1, :64])


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


def test_a_crop_of_several_sensors_starts_and_ends_on_cells() -> None:
    for place in ((10, 0, 64, 64), (0, 32, 64, 40)):
        with pytest.raises(InputError, match="cuts pixels of a sensor"):
            cropped(both_example(1), *place)


def test_a_crop_over_the_edge_pads_every_sensor() -> None:
    whole = both_example(1)
    found = cropped(whole, 96, 0, 64, 256)
    assert found.sample.grid == (2, 8) and found.size == (32, 128)
    series = found.sample.series["s2"]
    np.testing.assert_array_equal(series.values[..., :1, :4], whole.sample.series["s2"].values[..., 3:, :])
    assert series.valid[:, :1, :4].all() and series.valid[0].sum() == 4
    beyond = cropped(whole, 128, 160, 64, 64)
    assert beyond.size == (0, 0) and not beyond.sample.series["s2"].valid.any()


def test_an_image_smaller_than_the_crop_along_one_side() -> None:
    whole = cropped(example("segmentation", 0, side=256), 0, 0, 128, 256)
    starts = set()
    for seed in range(6):
        view = augmented(whole, replace(PLAIN, crop_cells=6), np.random.default_rng(seed), most_cells=16)
        assert view.grid == (192, 192) and view.size == (128, 192)
        np.testing.assert_array_equal(view.target == 1, bright(view))
        assert (view.target[128:] == UNLABELLED).all()  # type: ignore[index]
        starts.add(view.sample.series["hr"].values[0, 0, 0].tobytes())
    assert len(starts) > 3


def test_crops_of_several_sensors_reach_the_last_cells_of_an_image() -> None:
    """Of 4 x 4 cells 100 px are no padding: what is left beside a crop of 3 cells is less than a cell."""
    whole, sizes = replace(both_example(1), size=(100, 100)), set()
    for seed in range(12):
        sizes.add(augmented(whole, replace(PLAIN, crop_cells=3), np.random.default_rng(seed), most_cells=16).size)
    assert sizes == {(96, 96), (96, 68), (68, 96), (68, 68)}


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


def test_every_factor_fills_the_last_pixels_and_keeps_edges_where_labels_have_them() -> None:
    whole = example("segmentation", 0)
    pixels = np.full((128, 128, 3), 60, np.uint8)
    pixels[40:, 64:] = 200
    corners = np.array([[64, 40, 128, 128]], np.float32)
    image = replace(whole, sample=replace(whole.sample, series={"hr": optical(pixels)}))
    masked = replace(image, target=(pixels[..., 0] > 100).astype(np.uint8))
    boxed = replace(image, target=Boxes(corners, np.zeros(1, np.int64), np.zeros(1, bool)))
    for factor in np.linspace(0.5, 2, 37):
        found = scaled(masked, float(factor))
        height, width = found.size
        values = found.sample.series["hr"].values[0, 0]
        assert values[:height, :width].min() >= 60 and not values[height:].any() and not values[:, width:].any()
        bright_HW = values[:height, :width] > 130
        mask_HW = found.target[:height, :width] == 1  # type: ignore[index]
        assert abs(int(bright_HW[-1].argmax()) - int(mask_HW[-1].argmax())) <= 1
        assert abs(int(bright_HW[:, -1].argmax()) - int(mask_HW[:, -1].argmax())) <= 1
        boxes = scaled(boxed, float(factor)).target
        assert isinstance(boxes, Boxes)
        np.testing.assert_allclose(boxes.corners_N4[0, 2:], [width, height], rtol=1e-6)  # at the edge it stays
        assert abs(boxes.corners_N4[0, 0] - mask_HW[-1].argmax()) <= 1


def test_padding_does_not_bleed_into_another_size() -> None:
    found = scaled(trimmed(example("segmentation", 0), 101, 77), 1.37)
    assert found.size == (138, 105) and found.grid == (256, 128)
    assert found.sample.series["hr"].values[..., :138, :105].min() >= 55
    assert found.sample.series["hr"].valid.sum() == 138 * 105


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
