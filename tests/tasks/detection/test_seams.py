"""Objects across the seams of windows are found once, by the window that sees most of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from skysense.tasks.detection.boxes import Found
from skysense.tasks.detection.seams import View, of_image
from skysense.tasks.rotated.boxes import from_horizontal, smallest_rectangles

INF = math.inf
VIEWS = [View((0, 0, 128, 128), (-INF, -INF, 112, INF)), View((96, 0, 224, 128), (112, -INF, INF, INF))]
"""Two windows side by side that share 32 pixels."""
FOUR = [
    View((x, y, x + 128, y + 128), (112 if x else -INF, 112 if y else -INF, INF if x else 112, INF if y else 112))
    for y in (0, 96)
    for x in (0, 96)
]
"""Four windows round a corner."""


def found(*boxes: tuple[float, ...], score: float = 0.9) -> Found:
    numbers = torch.tensor(boxes, dtype=torch.float32).reshape(-1, len(boxes[0]) if boxes else 4)
    return Found(numbers, torch.full((len(boxes),), score), torch.zeros(len(boxes), dtype=torch.long))


def seen(box: tuple[float, ...], view: View, rotated: bool) -> Found:
    """What a faultless detector says of one object in a window: the part of it that is in there."""
    (x1, y1), (x2, y2) = np.maximum(box[:2], view.seen[:2]), np.minimum(box[2:], view.seen[2:])
    none = x2 - x1 < 3 or y2 - y1 < 3
    made = found() if none else found((x1, y1, x2, y2))
    return Found(from_horizontal(made.boxes_NP), made.scores_N, made.label_N) if rotated else made


@settings(deadline=None)
@given(st.floats(0, 192), st.floats(0, 192), st.floats(4, 32), st.floats(4, 32), st.booleans())
def test_what_is_no_longer_than_the_overlap_is_found_once_and_whole(
    x: float, y: float, width: float, height: float, rotated: bool
) -> None:
    box = torch.tensor([x, y, x + width, y + height])
    parts = of_image([seen(tuple(box.tolist()), view, rotated) for view in FOUR], FOUR)
    wanted = from_horizontal(box) if rotated else box
    assert len(parts.scores_N) == 1
    np.testing.assert_allclose(parts.boxes_NP[0], wanted, atol=1e-3)


@settings(deadline=None)
@example(62, 100, False)  # as much of it in either window
@given(st.floats(0, 220), st.floats(4, 120), st.booleans())
def test_what_is_shorter_than_a_window_is_found_once_and_more_than_half_of_it(
    x: float, width: float, rotated: bool
) -> None:
    end = min(x + width, 224)
    if end - x < 4:
        return
    parts = of_image([seen((x, 20, end, 60), view, rotated) for view in VIEWS], VIEWS)
    assert len(parts.scores_N) == 1
    long = parts.boxes_NP[0, 2] - (0 if rotated else parts.boxes_NP[0, 0])
    if rotated and end - x < 40:  # the longer side is the upright one
        long = parts.boxes_NP[0, 3]
    assert long > (end - x) / 2


def test_an_object_that_fills_windows_stays_in_pieces() -> None:
    parts = of_image([seen((0, 20, 224, 60), view, False) for view in VIEWS], VIEWS)
    np.testing.assert_allclose(parts.boxes_NP, [[0, 20, 128, 60], [96, 20, 224, 60]])


def test_an_object_round_a_corner_is_found_once() -> None:
    parts = of_image([seen((70, 80, 170, 150), view, False) for view in FOUR], FOUR)
    assert parts.boxes_NP.tolist() == [[96, 96, 170, 150]]


def test_an_object_on_the_border_is_not_left_by_both_windows_to_the_other() -> None:
    """Its middle is at 112; each window puts it a little into the half of the other."""
    parts = of_image([found((93.5, 20, 131.5, 60)), found((92.5, 20, 130.5, 60))], VIEWS)
    assert len(parts.scores_N) == 1


def test_what_the_neighbour_hardly_believes_or_does_not_see_removes_nothing() -> None:
    piece = (60.0, 20.0, 128.0, 60.0)
    for other in (found((100.0, 20.0, 140.0, 60.0), score=0.1), found((100.0, 70.0, 140.0, 100.0)), found()):
        parts = of_image([found(piece), other], VIEWS)
        assert list(piece) in parts.boxes_NP.tolist()
    doubt = of_image([found(piece), found((100.0, 20.0, 140.0, 60.0))], VIEWS)  # it believes, and sees the end of it
    assert doubt.boxes_NP.tolist() == [[100, 20, 140, 60]]


@pytest.mark.parametrize("gap", [0, -14])
def test_a_cut_ship_beside_a_whole_one_is_another_ship(gap: float) -> None:
    """Slanted boxes whose enclosing boxes overlap; without a gap they are one object."""
    along, across = torch.tensor([1.0, 1.0]) / math.sqrt(2), torch.tensor([-1.0, 1.0]) / math.sqrt(2)

    def ship(middle: Tensor, length: float) -> Tensor:
        ends = [
            middle + sign * length / 2 * along + side * 5 * across
            for sign, side in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        return smallest_rectangles(torch.stack(ends))

    cut, whole = ship(torch.tensor([105.0, 50]), 60), ship(torch.tensor([115.0, 60]) + gap * across, 44)
    boxes = [tuple(one.tolist()) for one in (cut, whole)]
    parts = of_image([found(boxes[0]), found(boxes[1])], VIEWS)
    assert len(parts.scores_N) == (2 if gap else 1)
