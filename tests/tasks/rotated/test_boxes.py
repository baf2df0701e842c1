"""The forms of a box are one another's inverses, and the canonical form is one form."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skysense.tasks.rotated.boxes import (
    area,
    canonical,
    corners,
    enclosing_horizontal,
    from_horizontal,
    half_turn,
    smallest_rectangles,
)
from tests.tasks.rotated.random_boxes import random_boxes

HALF = math.pi / 2


def same_rectangle(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-6) -> None:
    """Equal up to which side is called w."""
    a, b = (canonical(boxes.double()) for boxes in (a, b))
    torch.testing.assert_close(a[..., :4], b[..., :4], rtol=tolerance, atol=tolerance)
    period = torch.where((a[..., 2] - a[..., 3]).abs() <= tolerance * a[..., 2], HALF, math.pi)
    turn = (a[..., 4] - b[..., 4] + period / 2).remainder(period) - period / 2
    assert float((turn * (a[..., 2] > 0)).abs().max()) <= tolerance


def test_corners_turn_clockwise_on_the_screen() -> None:
    straight = corners(torch.tensor([10.0, 20.0, 4.0, 2.0, 0.0]))
    assert straight.tolist() == [[8, 19], [12, 19], [12, 21], [8, 21]]
    # y points down: a quarter turn brings the side w from right to down
    quarter = corners(torch.tensor([10.0, 20.0, 4.0, 2.0, HALF]))
    torch.testing.assert_close(quarter, torch.tensor([[11.0, 18.0], [11.0, 22.0], [9.0, 22.0], [9.0, 18.0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_canonical_is_the_same_box_in_range(dtype: torch.dtype) -> None:
    boxes = random_boxes(1000, 100, (1, 50), 0, dtype)
    edges = torch.tensor([-3, -2, -1, 0, 1, 2, 3], dtype=dtype) * HALF
    edges = torch.cat([edges, *(torch.nextafter(edges, edges.new_tensor(way)) for way in (-9.0, 9.0))])
    special = torch.cat([torch.tensor([[5.0, 6.0, 4.0, 2.0]], dtype=dtype).repeat(len(edges), 1), edges[:, None]], 1)
    boxes = torch.cat([boxes, special, special[:, [0, 1, 3, 2, 4]]])
    out = canonical(boxes)
    assert bool((out[:, 2] >= out[:, 3]).all())
    assert bool((out[:, 4] >= -HALF).all() and (out[:, 4] < HALF).all())
    assert bool(torch.equal(canonical(out), out))
    torch.testing.assert_close(area(out), area(boxes))
    tolerance = 1e-3 if dtype == torch.float32 else 1e-9
    one, two = (box[:, None, None] for box in (corners(boxes).flatten(1), corners(out).flatten(1)))
    apart = (one.view(-1, 4, 1, 2) - two.view(-1, 1, 4, 2)).norm(dim=-1)
    assert float(apart.amin(dim=2).max()) < tolerance


def test_a_square_keeps_its_angle() -> None:
    assert canonical(torch.tensor([0.0, 0.0, 3.0, 3.0, 0.25])).tolist() == [0, 0, 3, 3, 0.25]


def test_half_turn_ends_inside_the_range_whatever_rounds() -> None:
    angles = torch.tensor([-HALF - 1e-17, -HALF, HALF, 3 * HALF, 1e6], dtype=torch.float64)
    out = half_turn(angles)
    assert bool((out >= -HALF).all() and (out < HALF).all())
    assert float(out[2]) == pytest.approx(-HALF)


def test_horizontal_boxes_there_and_back() -> None:
    boxes = torch.tensor([[1.0, 2.0, 9.0, 5.0], [1.0, 2.0, 3.0, 12.0], [4.0, 4.0, 4.0, 4.0]], dtype=torch.float64)
    rotated = from_horizontal(boxes)
    assert rotated[0].tolist() == [5, 3.5, 8, 3, 0]
    assert rotated[1].tolist() == pytest.approx([2, 7, 10, 2, -HALF])
    torch.testing.assert_close(enclosing_horizontal(rotated), boxes)


def test_enclosing_boxes_touch_the_corners() -> None:
    boxes = random_boxes(500, 1000, (0, 80), 1)
    points = corners(boxes)
    expected = torch.cat([points.amin(dim=1), points.amax(dim=1)], dim=1)
    torch.testing.assert_close(enclosing_horizontal(boxes), expected)


def test_area_of_no_side_is_zero() -> None:
    assert area(torch.tensor([[0.0, 0, 2, 3, 1], [0, 0, -2, 3, 1], [0, 0, -2, -3, 1]])).tolist() == [6, 0, 0]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_corners_of_a_rectangle_give_it_back_in_any_order(order: tuple[int, ...]) -> None:
    boxes = torch.cat([random_boxes(200, 1e4, (1, 500), 2), from_horizontal(torch.tensor([[3.0, 4, 9, 12]]).double())])
    same_rectangle(smallest_rectangles(corners(boxes)[:, order]), boxes)


def test_smallest_rectangles_are_those_of_shapely() -> None:
    import shapely

    quads = torch.rand(2000, 4, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 100
    ours = smallest_rectangles(quads)
    theirs = shapely.area(shapely.oriented_envelope(shapely.multipoints(quads.numpy())))
    torch.testing.assert_close(area(ours), torch.from_numpy(theirs))
    # all four points are inside
    cos, sin = ours[:, None, 4].cos(), ours[:, None, 4].sin()
    x, y = (quads - ours[:, None, :2]).unbind(-1)
    assert float(((x * cos + y * sin).abs() - ours[:, None, 2] / 2).max()) < 1e-9
    assert float(((y * cos - x * sin).abs() - ours[:, None, 3] / 2).max()) < 1e-9


def test_smallest_rectangles_of_a_line_and_of_a_point() -> None:
    line = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [6.0, 8.0]])
    point = torch.tensor([[7.0, 7.0]]).repeat(4, 1)
    out = smallest_rectangles(torch.stack([line, point])[None])
    assert out.shape == (1, 2, 5)
    assert out[0, 0].tolist() == pytest.approx([3, 4, 10, 0, math.atan2(4, 3)], abs=1e-5)
    assert out[0, 1, :4].tolist() == [7, 7, 0, 0]
    assert smallest_rectangles(torch.zeros(0, 4, 2)).shape == (0, 5)


@given(st.lists(st.integers(-20, 20), min_size=8, max_size=8))
def test_no_direction_gives_a_smaller_rectangle(numbers: list[int]) -> None:
    quad = torch.tensor(numbers, dtype=torch.float64).view(4, 2)
    angles = torch.linspace(0, HALF, 400, dtype=torch.float64)
    turned = (
        torch.stack([angles.cos(), angles.sin()], 1) @ quad.T,
        torch.stack([-angles.sin(), angles.cos()], 1) @ quad.T,
    )
    areas = (turned[0].amax(1) - turned[0].amin(1)) * (turned[1].amax(1) - turned[1].amin(1))
    assert float(area(smallest_rectangles(quad))) <= float(areas.min()) + 1e-9
