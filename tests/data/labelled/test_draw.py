"""Pictures of imagery and labels."""

from __future__ import annotations

import numpy as np
import pytest

from skysense.data.labelled.draw import UNSEEN, draw_boxes, overlay_mask, palette, picture
from skysense.errors import InputError
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR_NIR, SENTINEL1, SENTINEL2_L2A
from tests.data.places_samples import make_sample

NO_DATE = np.array(["NaT"], "datetime64[D]")
GREY = np.full((20, 30, 3), 100, np.uint8)


def test_colours_are_distinct_and_do_not_change_when_classes_are_added() -> None:
    many = palette(40)
    assert len({tuple(colour) for colour in many.tolist()}) == 40
    np.testing.assert_array_equal(palette(5), many[:5])
    assert palette(0).shape == (0, 3)


def test_high_resolution_as_it_is() -> None:
    sample = make_sample()
    np.testing.assert_array_equal(picture(sample), sample.series["hr"].values[0].transpose(1, 2, 0))
    values = np.arange(4 * 128 * 128, dtype=np.uint32).reshape(1, 4, 128, 128).astype(np.uint8)
    valid = np.ones((1, 128, 128), bool)
    valid[0, :4] = False
    drawn = picture(Sample("x", {"hr": Series(OPTICAL_HR_NIR, values, NO_DATE, valid)}))
    np.testing.assert_array_equal(drawn[4:], values[0, :3, 4:].transpose(1, 2, 0))
    assert (drawn[:4] == UNSEEN).all()


def test_true_colours_of_the_clearest_frame() -> None:
    values = np.zeros((2, 10, 4, 4), np.uint16)
    values[1, 2], values[1, 1], values[1, 0] = 2000, 1000, 500  # red, green, blue
    clear = np.array([False, True])[:, None, None].repeat(4, 1).repeat(4, 2)
    dates = np.array(["2024-01-01", "2024-02-01"], "datetime64[D]")
    series = Series(SENTINEL2_L2A, values, dates, np.ones((2, 4, 4), bool), clear)
    np.testing.assert_array_equal(picture(Sample("x", {"s2": series}))[0, 0], [255, 127, 63])


def test_radar_in_false_colours() -> None:
    values = np.array([-12, -18], np.float32)[None, :, None, None] + np.zeros((1, 2, 4, 4), np.float32)
    values[0, 0, 0, 0] = np.nan
    valid = np.ones((1, 4, 4), bool)
    valid[0, 0, 0] = False
    drawn = picture(Sample("x", {"s1": Series(SENTINEL1, values, NO_DATE, valid)}))
    assert drawn[1, 1].tolist() == [127, 127, 127] and tuple(drawn[0, 0]) == UNSEEN


def test_masks_as_translucent_colours_with_an_outline() -> None:
    mask = np.full((20, 30), 255, np.uint8)
    mask[5:15, 10:20] = 1
    colours = palette(2)
    drawn = overlay_mask(GREY, mask, colours, opacity=0.5)
    assert (drawn[:5] == 100).all()
    np.testing.assert_array_equal(drawn[10, 15], np.rint(50 + colours[1] / 2))
    np.testing.assert_array_equal(drawn[10, 10], colours[1])
    assert (GREY == 100).all()


def test_masks_of_another_grid() -> None:
    coarse = np.array([[0, 255], [255, 255]], np.uint8)
    drawn = overlay_mask(np.full((64, 64, 3), 9, np.uint8), coarse, palette(1))
    assert drawn.shape == (64, 64, 3) and (drawn[:32, :32] != 9).any() and (drawn[32:] == 9)[1:].all()
    assert overlay_mask(np.zeros((2, 2, 3), np.uint8), np.zeros((64, 64), np.uint8), palette(1)).shape == (64, 64, 3)
    with pytest.raises(InputError, match="does not lie on a picture"):
        overlay_mask(GREY, np.zeros((7, 30), np.uint8), palette(1))


def test_boxes_as_lines() -> None:
    colours = palette(2)
    drawn = draw_boxes(GREY, np.array([[5, 5, 15, 12]], np.float32), np.array([1]), colours, width=1)
    changed = (drawn != GREY).any(axis=2)
    outline = np.zeros((20, 30), bool)
    outline[4:13, 4:16] = True  # a line of one pixel lies on the pixels before and after an edge between them
    assert changed.any() and not changed[~outline].any() and not changed[7:10, 8:12].any()
    np.testing.assert_array_equal(drawn[changed], np.broadcast_to(colours[1], (changed.sum(), 3)))
    quad = np.array([[[5, 5], [15, 5], [15, 12], [5, 12]]], np.float32)
    np.testing.assert_array_equal(draw_boxes(GREY, quad, np.array([1]), colours, width=1), drawn)


def test_dashed_and_beyond_the_edge() -> None:
    box, label = np.array([[-20, -20, 25, 15]], np.float32), np.array([0])
    whole = (draw_boxes(GREY, box, label, palette(1)) != GREY).any(axis=2).sum()
    dashed = (draw_boxes(GREY, box, label, palette(1), dashed_N=np.array([True])) != GREY).any(axis=2).sum()
    assert 0.3 * whole < dashed < 0.8 * whole
    doubled = draw_boxes(GREY, np.array([[2, 2, 5, 5]]), label, palette(1), scale=2, width=1)
    np.testing.assert_array_equal(doubled, draw_boxes(GREY, np.array([[4, 4, 10, 10]]), label, palette(1), width=1))
