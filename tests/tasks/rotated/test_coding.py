"""A coded box comes back, small changes are small numbers, and numbers by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from skysense.tasks.rotated.boxes import canonical, corners, enclosing_horizontal
from skysense.tasks.rotated.coding import decode_midpoint, decode_rotated, encode_midpoint, encode_rotated
from skysense.tasks.rotated.iou import paired_rotated_iou
from tests.tasks.rotated.random_boxes import random_boxes

HALF = math.pi / 2
SIDE, PLACE, ANGLE = st.floats(1, 100), st.floats(-500, 500), st.floats(-7, 7)
BOX = st.tuples(PLACE, PLACE, SIDE, SIDE, ANGLE)
MEANS, STDS = (0.1, -0.2, 0.3, 0.0, 0.05, 0.2), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def box(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def corners_apart(a: Tensor, b: Tensor) -> float:
    """How far corners of the one are from the nearest of the other, at most."""
    return float((corners(a)[:, :, None] - corners(b)[:, None]).norm(dim=-1).amin(dim=2).max())


@settings(deadline=None, max_examples=60)
@given(BOX, BOX)
def test_rotated_boxes_come_back(proposal: tuple, target: tuple) -> None:
    proposal, target = box(*proposal), box(*target)
    ratios = target[:, 2:4, None] / proposal[:, None, 2:4]
    deltas = encode_rotated(proposal, target, MEANS[:5], STDS[:5])
    back = decode_rotated(proposal, deltas, MEANS[:5], STDS[:5])
    if float(ratios.log().abs().max()) < math.log(62.5):
        assert corners_apart(back, target) < 1e-6
    turn = float(deltas[0, 4]) * STDS[4] + MEANS[4]
    assert abs(turn) <= math.pi / 4 + 1e-9
    assert bool((back[:, 2] >= back[:, 3]).all() and (back[:, 4] >= -HALF).all() and (back[:, 4] < HALF).all())


def test_rotated_numbers_by_hand() -> None:
    # the proposal points down: right of it on the screen is against its side h
    deltas = encode_rotated(box(10, 10, 8, 4, HALF), box(12, 14, 16, 2, HALF + 0.2), stds=(1.0,) * 5)
    torch.testing.assert_close(deltas, box(4 / 8, -2 / 4, math.log(2), -math.log(2), 0.2))
    # across the end of the range of angles a small turn stays small
    deltas = encode_rotated(box(0, 0, 8, 4, HALF - 0.05), box(0, 0, 8, 4, -HALF + 0.05), stds=(1.0,) * 5)
    torch.testing.assert_close(deltas, box(0, 0, 0, 0, 0.1))
    # two boxes that are nearly square, with different sides longer
    deltas = encode_rotated(box(0, 0, 8, 7, 0.0), box(0, 0, 8, 7, HALF - 0.1), stds=(1.0,) * 5)
    torch.testing.assert_close(deltas, box(0, 0, math.log(7 / 8), math.log(8 / 7), -0.1))


def test_no_number_makes_a_box_infinite() -> None:
    wild = torch.tensor([[0.0, 0, 1e4, -1e4, 0]])
    assert decode_rotated(box(0, 0, 10, 10, 0).float(), wild)[0, 2:4].tolist() == pytest.approx([625, 0.16])
    wild = torch.tensor([[0.0, 0, 1e4, -1e4, 9, -9]])
    assert bool(decode_midpoint(torch.tensor([[0.0, 0, 10, 10]]), wild).isfinite().all())


@settings(deadline=None, max_examples=60)
@given(st.tuples(PLACE, PLACE, SIDE, SIDE), BOX)
def test_midpoint_offsets_come_back(anchor: tuple, target: tuple) -> None:
    x, y, w, h = anchor
    anchor, target = torch.tensor([[x, y, x + w, y + h]], dtype=torch.float64), box(*target)
    deltas = encode_midpoint(anchor, target, MEANS, STDS)
    around = enclosing_horizontal(target)
    stretch = ((around[:, 2:] - around[:, :2]) / (anchor[:, 2:] - anchor[:, :2])).log().abs()
    if float(stretch.max()) < math.log(62.5):
        # up to the angle within which a box counts as lying along the axes
        assert corners_apart(decode_midpoint(anchor, deltas, MEANS, STDS), target) < 2e-3
    offsets = deltas[0, 4:] * deltas.new_tensor(STDS[4:]) + deltas.new_tensor(MEANS[4:])
    assert float(offsets.abs().max()) <= 0.5 + 1e-9


def test_midpoint_offsets_are_exact_away_from_the_axes() -> None:
    boxes = random_boxes(1000, 100, (2, 60), 0)
    anchors = torch.tensor([[30.0, 30, 70, 70]], dtype=torch.float64)
    back = decode_midpoint(anchors, encode_midpoint(anchors, boxes))
    assert corners_apart(back, boxes) < 1e-9
    torch.testing.assert_close(back[:, :4], canonical(boxes)[:, :4])


def test_midpoint_numbers_by_hand() -> None:
    anchor = torch.tensor([[0.0, 0, 20, 10]], dtype=torch.float64)
    # a square on its tip: both corners are in the middle of the sides
    tip = encode_midpoint(anchor, box(12, 4, math.sqrt(50), math.sqrt(50), math.pi / 4), stds=(1.0,) * 6)
    torch.testing.assert_close(tip, box(0.1, -0.1, -math.log(2), 0, 0, 0))
    # sides 5 and 10, directions (3, 4) / 5 and (-4, 3) / 5: uppermost corner (2.5, -5), rightmost (5.5, -1)
    turned = encode_midpoint(anchor, box(10, 5, 5, 10, math.atan2(4, 3)), stds=(1.0,) * 6)
    torch.testing.assert_close(turned, box(0, 0, math.log(11 / 20), 0, 2.5 / 11, -0.1))


@pytest.mark.parametrize("noise", [-1e-7, 0.0, 1e-7])
@pytest.mark.parametrize("quarters", [-1, 0, 1, 2])
def test_boxes_along_the_axes_have_one_code(quarters: int, noise: float) -> None:
    anchor = torch.tensor([[0.0, 0, 8, 4]], dtype=torch.float64)
    w, h = (8, 4) if quarters % 2 == 0 else (4, 8)
    deltas = encode_midpoint(anchor, box(4, 2, w, h, quarters * HALF + noise), stds=(1.0,) * 6)
    torch.testing.assert_close(deltas, box(0, 0, 0, 0, 0.5, 0.5), atol=1e-6, rtol=0)


def test_a_parallelogram_becomes_a_rectangle_by_its_longer_diagonal() -> None:
    anchor = torch.tensor([[-4.0, -3, 4, 3]], dtype=torch.float64)
    # corners (4, -3) and (4, 0): diagonals of half length 5 and 4; the second is lengthened to (5, 0)
    out = decode_midpoint(anchor, box(0, 0, 0, 0, 0.5, 0.0), stds=(1.0,) * 6)
    points = {(round(x, 6), round(y, 6)) for x, y in corners(out)[0].tolist()}
    assert points == {(4, -3), (5, 0), (-4, 3), (-5, 0)}


def test_leading_axes_are_broadcast() -> None:
    proposals, anchors = random_boxes(6, 50, (5, 20), 1), torch.tensor([[0.0, 0, 9, 9]], dtype=torch.float64)
    deltas = torch.zeros(6, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(
        decode_rotated(proposals[:, None], deltas), canonical(proposals)[:, None].expand(6, 3, 5)
    )
    assert encode_midpoint(anchors, proposals.view(2, 3, 5)).shape == (2, 3, 6)


class Codes(nn.Module):
    def forward(self, proposals: Tensor, anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        one = decode_rotated(proposals, encode_rotated(proposals, boxes))
        return one, decode_midpoint(anchors, encode_midpoint(anchors, boxes))


def test_a_graph_is_open_to_any_number_of_boxes() -> None:
    def arguments(count: int) -> tuple[Tensor, Tensor, Tensor]:
        proposals, boxes = (random_boxes(count, 90, (9, 50), seed, torch.float32) for seed in (2, 3))
        return proposals, enclosing_horizontal(proposals), boxes

    n = torch.export.Dim("n")
    program = torch.export.export(Codes(), arguments(5), dynamic_shapes=({0: n},) * 3).module()
    for count in (5, 70):
        for ours, theirs in zip(program(*arguments(count)), Codes()(*arguments(count)), strict=True):
            torch.testing.assert_close(ours, theirs)
            assert float(paired_rotated_iou(ours, arguments(count)[2]).min()) > 0.999


def test_gradients_of_the_codes_are_right() -> None:
    proposals, boxes = random_boxes(6, 50, (9, 50), 4), random_boxes(6, 50, (9, 50), 5)
    anchors = enclosing_horizontal(proposals)
    deltas = encode_rotated(proposals, boxes).requires_grad_()
    assert torch.autograd.gradcheck(lambda numbers: decode_rotated(proposals, numbers), deltas)
    # off the rectangles, where both diagonals are the longest
    deltas = (encode_midpoint(anchors, boxes) * 0.9).requires_grad_()
    assert torch.autograd.gradcheck(lambda numbers: decode_midpoint(anchors, numbers), deltas)
