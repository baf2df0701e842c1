"""Overlaps equal those of polygons, their gradients are right, and a graph of them is open to any number of boxes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from skysense.errors import InputError
from skysense.tasks.rotated.iou import overlap_of_pairs, paired_rotated_iou, rotated_iou
from tests.tasks.rotated.random_boxes import polygons_iou, random_boxes

MANY = 100_000
SAME = 2
NEEDLE = 8
"""Kinds of `hard_pairs`; pair i is of kind i % 10."""


def hard_pairs(count: int) -> tuple[Tensor, Tensor]:
    """Pairs of every kind: generic, nested, the same, with sides on one line, touching, tiny, huge, far out."""
    a, b = random_boxes(count, 60, (1, 80), 0), random_boxes(count, 60, (1, 80), 1)
    kind = torch.arange(count) % 10
    draw = torch.rand(count, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def put(which: int, boxes: Tensor, box: Tensor) -> None:
        boxes[kind == which] = box[kind == which]

    cos, sin = a[:, 4].cos(), a[:, 4].sin()

    def moved(along: Tensor, across: Tensor) -> Tensor:
        return torch.stack([a[:, 0] + cos * along - sin * across, a[:, 1] + sin * along + cos * across], 1)

    smaller = torch.stack([a[:, 2] * draw[:, 0], a[:, 3] * draw[:, 1]], 1)
    put(1, b, torch.cat([a[:, :2], smaller * 0.7, b[:, 4:]], 1))  # often nested
    quarters = (4 * draw[:, 2]).floor() * math.pi / 2
    put(SAME, b, torch.stack([*a[:, :2].unbind(1), *a[:, 2:4].unbind(1), a[:, 4] + 2 * quarters], 1))
    on_a_line = moved(draw[:, 0] * a[:, 2], (a[:, 3] - b[:, 3]) / 2)
    put(3, b, torch.cat([on_a_line, b[:, 2:4], a[:, 4:]], 1))
    beside = moved((a[:, 2] + b[:, 2]) / 2, draw[:, 0] * a[:, 3])
    put(4, b, torch.cat([beside, b[:, 2:4], a[:, 4:]], 1))
    corner_to_corner = moved((a[:, 2] + b[:, 2]) / 2, (a[:, 3] + b[:, 3]) / 2)
    put(5, b, torch.cat([corner_to_corner, b[:, 2:4], a[:, 4:]], 1))
    tiny = torch.tensor([1, 1, 1e-3, 1e-3, 1], dtype=torch.float64)
    near = torch.cat([a[:, :2] + 1e-2 * (draw[:, :2] - 0.5), b[:, 2:]], 1)
    put(6, b, near * tiny)
    put(6, a, a * tiny)
    far = torch.tensor([1e4, -1e4, 0, 0, 0], dtype=torch.float64)
    a[kind == 7] += far
    b[kind == 7] += far
    put(NEEDLE, b, torch.cat([near[:, :2], 1e3 * draw[:, :1], 1e-2 * draw[:, 1:2], b[:, 4:]], 1))  # a needle across
    whole = torch.cat([a[:, :4].round(), (a[:, 4:] / (math.pi / 4)).round() * math.pi / 4], 1)
    put(9, a, whole)
    put(9, b, torch.cat([whole[:, :2] + (4 * draw[:, :2]).round(), b[:, 2:4].round(), quarters[:, None]], 1))
    return a, b


def test_pairs_equal_polygons() -> None:
    a, b = hard_pairs(MANY)
    kind = torch.arange(MANY) % 10
    expected = torch.from_numpy(polygons_iou(a, b))
    # the overlay of polygons finds nothing in a few pairs of one box described twice
    assert float((expected[kind == SAME] == 0).double().mean()) < 0.01
    expected[kind == SAME] = 1
    assert 0.6 < float((expected > 0).double().mean()) < 0.9
    ours = paired_rotated_iou(a, b)
    assert float((ours - expected).abs().max()) < 1e-9
    assert float((paired_rotated_iou(b, a) - expected).abs().max()) < 1e-9
    single = paired_rotated_iou(a.float(), b.float())
    rounded = paired_rotated_iou(a.float().double(), b.float().double())
    assert single.dtype == torch.float32
    # a needle of 1000 x 0.01 moves by a good part of itself with the last digit of its angle
    assert float((single.double() - rounded)[kind != NEEDLE].abs().max()) < 1e-5
    assert float((single.double() - rounded).abs().max()) < 1e-4


def test_boxes_by_hand() -> None:
    box = torch.tensor([[0.0, 0.0, 4.0, 2.0, 0.0]])
    others = torch.tensor(
        [
            [0.0, 0.0, 4.0, 2.0, 0.0],
            [0.0, 0.0, 2.0, 4.0, math.pi / 2],
            [2.0, 0.0, 4.0, 2.0, 0.0],
            [4.0, 0.0, 4.0, 2.0, 0.0],
            [0.0, 0.0, 2.0, 2.0, math.pi / 4],
            [9.0, 9.0, 1.0, 1.0, 0.3],
        ]
    )
    octagon = 4 - 2 * (math.sqrt(2) - 1) ** 2
    torch.testing.assert_close(
        rotated_iou(box, others)[0], torch.tensor([1, 1, 4 / 12, 0, octagon / (12 - octagon), 0])
    )


def test_boxes_of_no_area_overlap_nothing() -> None:
    good, none = torch.tensor([1.0, 1, 4, 2, 0.3]), torch.tensor([1.0, 1, 4, 0, 0.3])
    point, inside_out = torch.tensor([1.0, 1, 0, 0, 0.3]), torch.tensor([1.0, 1, -4, -2, 0.3])
    boxes = torch.stack([good, none, point, inside_out]).requires_grad_()
    overlaps = rotated_iou(boxes, boxes)
    expected = torch.zeros(4, 4)
    expected[0, 0] = 1
    torch.testing.assert_close(overlaps, expected)
    overlaps.sum().backward()
    assert boxes.grad is not None and bool(boxes.grad.isfinite().all())


@pytest.mark.parametrize("extent", [100, 4000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_pairs_are_the_pairs_one_by_one(extent: float, dtype: torch.dtype) -> None:
    a, b = random_boxes(300, extent, (1, 300), 3, dtype), random_boxes(200, extent, (0, 50), 4, dtype)
    a[::50, 3] = 0
    matrix = rotated_iou(a, b)
    i, j = (grid.flatten() for grid in torch.meshgrid(torch.arange(300), torch.arange(200), indexing="ij"))
    single = paired_rotated_iou(a[i], b[j]).view(300, 200)
    assert 10 < int((single > 0).sum()) < 55_000
    torch.testing.assert_close(matrix, single, rtol=1e-4, atol=1e-5 if dtype == torch.float32 else 1e-12)
    torch.testing.assert_close(overlap_of_pairs(a, b, i, j).view(300, 200), single)


def test_dtypes_are_joined_and_halves_are_widened() -> None:
    boxes = torch.tensor([[100.0, 200.0, 8.0, 4.0, 0.5]])
    assert rotated_iou(boxes, boxes.double()).dtype == torch.float64
    assert rotated_iou(boxes.bfloat16(), boxes.bfloat16()).dtype == torch.float32


def test_empty_sets() -> None:
    boxes, none = torch.ones(3, 5), torch.ones(0, 5)
    assert rotated_iou(boxes, none).shape == (3, 0)
    assert rotated_iou(none, boxes).shape == (0, 3)
    assert rotated_iou(none, none).shape == (0, 0)
    assert paired_rotated_iou(none, none).shape == (0,)


def test_what_is_not_boxes_is_refused() -> None:
    with pytest.raises(InputError, match=r"\(N, 5\)"):
        rotated_iou(torch.ones(3, 4), torch.ones(3, 5))
    with pytest.raises(InputError, match="3 boxes cannot be paired with 2"):
        paired_rotated_iou(torch.ones(3, 5), torch.ones(2, 5))


def test_gradients_are_right() -> None:
    a, b = random_boxes(12, 30, (10, 60), 5), random_boxes(12, 30, (10, 60), 6)
    assert float(paired_rotated_iou(a, b).min()) > 0.01
    assert torch.autograd.gradcheck(paired_rotated_iou, (a.requires_grad_(), b.requires_grad_()))
    assert torch.autograd.gradcheck(rotated_iou, (a[:3].detach().requires_grad_(), b))


def test_gradients_through_the_sparse_way_are_those_of_the_pairs() -> None:
    a, b = random_boxes(100, 3000, (20, 200), 7).requires_grad_(), random_boxes(100, 3000, (20, 200), 8)
    rotated_iou(a, b).square().sum().backward()
    sparse, a.grad = a.grad, None
    paired_rotated_iou(a.repeat_interleave(100, 0), b.repeat(100, 1)).square().sum().backward()
    assert float(a.grad.abs().max()) > 1e-3
    torch.testing.assert_close(sparse, a.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_everywhere(dtype: torch.dtype) -> None:
    a, b = (boxes.to(dtype) for boxes in hard_pairs(20_000))
    a[::97, 2] = 0
    b[::89] = a[::89]
    a.requires_grad_(), b.requires_grad_()
    paired_rotated_iou(a, b).sum().backward()
    for boxes in (a, b):
        assert boxes.grad is not None and bool(boxes.grad.isfinite().all())


def test_a_box_finds_another_by_descent() -> None:
    target = torch.tensor([[50.0, 40.0, 30.0, 12.0, 0.4]], dtype=torch.float64)
    box = torch.tensor([[44.0, 43.0, 20.0, 18.0, 0.0]], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.03], dtype=torch.float64)
    optimiser = torch.optim.Adam([box], lr=0.2)
    for step in range(200):
        optimiser.param_groups[0]["lr"] = 0.3 * (1 - step / 200)
        optimiser.zero_grad()
        (1 - paired_rotated_iou(box * scale, target)).sum().backward()
        optimiser.step()
    assert float(paired_rotated_iou((box * scale).detach(), target)) > 0.98


class Both(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return rotated_iou(a, b), paired_rotated_iou(a[:2], b[:2])


def test_a_graph_is_open_to_any_number_of_boxes() -> None:
    a, b = random_boxes(5, 50, (5, 60), 9, torch.float32), random_boxes(7, 50, (5, 60), 10, torch.float32)
    dims = ({0: torch.export.Dim("n")}, {0: torch.export.Dim("m")})
    program = torch.export.export(Both(), (a, b), dynamic_shapes=dims).module()
    for n, m in ((5, 7), (90, 3), (100, 200)):
        a, b = random_boxes(n, 900, (5, 60), 11, torch.float32), random_boxes(m, 900, (5, 60), 12, torch.float32)
        for ours, theirs in zip(program(a, b), Both()(a, b), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
