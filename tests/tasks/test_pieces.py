"""Windows cover an image, and what they say is put together without seams."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skysense.data.labelled.example import Example
from skysense.geo import Window
from skysense.observation import Sample, Series
from skysense.sensors import SENTINEL2_10M
from skysense.tasks.detection.seams import owned
from skysense.tasks.pieces import Canvas, Piece, grouped, pieces_of
from skysense.tasks.predictions import ChangeMap, ClassMap
from tests.tasks.labelled_samples import example, series_example

SIDES = st.integers(1, 20).map(lambda side: 4 * side)
CPU = torch.device("cpu")


def blank(rows: int, cols: int) -> Example:
    """An image of so many cells with labels per cell."""
    bands = len(SENTINEL2_10M.bands)
    values = np.zeros((1, bands, rows, cols), np.uint16)
    series = Series(SENTINEL2_10M, values, np.array(["2020-06-01"], "datetime64[D]"), np.ones((1, rows, cols), bool))
    return Example("blank", Sample("blank", {"s2": series}), 0, 1, (rows, cols))


def test_windows_cover_the_image_and_share_a_quarter() -> None:
    pieces = pieces_of(0, example("segmentation", 0, side=320), "segmentation", 4)
    assert len(pieces) == 9
    assert {piece.before for piece in pieces} == {(a, b) for a in (0, 32) for b in (0, 32)}
    covered = np.zeros((320, 320), int)
    for piece in pieces:
        rows, cols = piece.window.slices()
        covered[rows, cols] += 1
        assert piece.window.row % 32 == 0 and piece.window.height == 128
    assert covered.min() == 1
    assert [piece.last for piece in pieces] == [False] * 8 + [True]
    assert len(pieces_of(0, example("classification", 0, side=320), "classification", 4)) == 1
    assert len(pieces_of(0, series_example(0), "segmentation", 4)) == 9


def test_the_last_window_is_moved_back_and_shares_more() -> None:
    pieces = pieces_of(0, blank(16, 32), "segmentation", 16)
    assert [piece.window.col for piece in pieces] == [0, 12, 16]
    assert [(piece.before[1], piece.after[1]) for piece in pieces] == [(0, 4), (4, 12), (12, 0)]
    assert [(piece.view.own[0], piece.view.own[2]) for piece in pieces] == [
        (-np.inf, 14.0),
        (14.0, 22.0),
        (22.0, np.inf),
    ]


@settings(deadline=None)
@given(SIDES, SIDES, st.sampled_from([4, 8, 12, 16, 20]), st.integers(0, 1000), st.integers(0, 1000))
def test_every_point_has_one_owner_that_sees_it(rows: int, cols: int, side: int, down: int, right: int) -> None:
    x, y = right / 2 % cols, down / 2 % rows  # halves: borders lie on them
    point = torch.tensor([[x, y, x, y]])
    owners = [piece for piece in pieces_of(0, blank(rows, cols), "detection", side) if owned(point, piece.view)]
    assert len(owners) == 1
    x1, y1, x2, y2 = owners[0].view.seen
    assert x1 <= x <= x2 and y1 <= y <= y2


@settings(deadline=None)
@given(SIDES, SIDES, st.sampled_from([4, 8, 12, 16, 20]))
def test_weights_add_up_to_one(rows: int, cols: int, side: int) -> None:
    total = torch.zeros(rows + side, cols + side)
    for piece in pieces_of(0, blank(rows, cols), "segmentation", side):
        weights = piece.weights(CPU)
        assert weights.min() >= -1e-6
        down, right = piece.window.slices()
        total[down, right] += weights
    np.testing.assert_allclose(total[:rows, :cols], 1, atol=1e-5)


def test_windows_that_disagree_are_blended_without_an_edge() -> None:
    """Columns of windows at 0, 12 and 16 that are 10 %, 90 % and 30 % sure of class 1."""
    canvas = Canvas((16, 32), "segmentation")
    for piece, sure in zip(pieces_of(0, blank(16, 32), "segmentation", 16), (0.1, 0.9, 0.3), strict=True):
        canvas.put(piece, {"mask": torch.tensor([1 - sure, sure])[:, None, None].expand(2, 16, 16)})
    found = canvas.prediction()
    assert isinstance(found, ClassMap)
    sure_W = np.where(found.answer_HW == 1, found.confidence_HW, 1 - found.confidence_HW)[0]
    np.testing.assert_allclose(sure_W[[0, 11, 28, 31]], [0.1, 0.1, 0.3, 0.3], atol=1e-6)
    assert np.abs(np.diff(sure_W)).max() < 0.8 * np.pi / 2 / 4 + 0.01  # the steepest a cosine over 4 pixels is
    assert 0.6 < sure_W.max() < 0.9


def test_rows_are_judged_as_soon_as_no_window_reaches_them() -> None:
    side, grid = 8, (40, 20)
    torch.manual_seed(0)
    whole = torch.rand(3, *grid).softmax(0)
    canvas = Canvas(grid, "segmentation")
    for piece in pieces_of(0, blank(*grid), "segmentation", side):
        canvas.put(piece, {"mask": whole[:, *piece.window.slices()]})
        assert all(sums.shape == (3, side, 20) for sums in canvas._open.values())
    assert not canvas._open
    found = canvas.prediction()
    assert isinstance(found, ClassMap)
    np.testing.assert_array_equal(found.answer_HW, whole.argmax(0))
    np.testing.assert_allclose(found.confidence_HW, whole.amax(0), atol=1e-6)


def test_change_becomes_a_probability_and_two_maps() -> None:
    canvas = Canvas((4, 4), "semantic-change")
    piece = Piece(0, Window(0, 0, 4, 4), (4, 4))
    changed = torch.rand(2, 4, 4).softmax(0)
    before, after = torch.rand(3, 4, 4), torch.rand(3, 4, 4)
    canvas.put(piece, {"changed": changed, "before": before, "after": after})
    found = canvas.prediction()
    assert isinstance(found, ChangeMap) and found.before_HW is not None and found.after_HW is not None
    np.testing.assert_allclose(found.changed_HW, changed[1])
    np.testing.assert_array_equal(found.before_HW, before.argmax(0))
    np.testing.assert_array_equal(found.after_HW, after.argmax(0))


def test_groups_have_one_shape_and_keep_the_order() -> None:
    shapes = [(1, 1), (2, 2), (1, 1), (1, 1), (2, 2)]
    found = list(grouped(range(5), 2, lambda number: shapes[number]))
    assert found == [[0, 2], [1, 4], [3]]
