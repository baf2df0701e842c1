"""Suppression equals the loop that defines it, per group, in ties, and in a graph."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from skysense.errors import InputError
from skysense.tasks.rotated.boxes import from_horizontal
from skysense.tasks.rotated.iou import rotated_iou
from skysense.tasks.rotated.nms import batched_rotated_nms, rotated_nms
from tests.tasks.rotated.random_boxes import random_boxes


def by_definition(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> list[int]:
    overlaps = rotated_iou(boxes, boxes)
    kept: list[int] = []
    for one in sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), i)):
        if all(groups[one] != groups[other] or overlaps[one, other] <= threshold for other in kept):
            kept.append(one)
    return kept


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 60), st.integers(0, 1000), st.sampled_from([0.0, 0.1, 0.5, 0.9]), st.sampled_from([1, 3]))
def test_it_is_the_greedy_loop(count: int, seed: int, threshold: float, classes: int) -> None:
    boxes = random_boxes(count, 60, (5, 60), seed)
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 10, (count,), generator=draw) / 10  # many ties
    groups = torch.randint(0, classes, (count,), generator=draw)
    expected = by_definition(boxes, scores, groups, threshold)
    assert batched_rotated_nms(boxes, scores, groups, threshold).tolist() == expected
    if classes == 1:
        assert rotated_nms(boxes, scores, threshold).tolist() == expected


def test_a_chain_keeps_every_second_or_third_box() -> None:
    x = torch.arange(500.0) * 4 / math.sqrt(2)
    boxes = torch.stack([x, x, torch.full_like(x, 12), torch.full_like(x, 3), torch.full_like(x, math.pi / 4)], dim=1)
    scores = torch.linspace(1, 0, 500)
    assert rotated_nms(boxes, scores, 0.1).tolist() == list(range(0, 500, 3))
    assert rotated_nms(boxes, scores, 0.3).tolist() == list(range(0, 500, 2))


def test_straight_boxes_as_torchvision_does() -> None:
    ops = pytest.importorskip("torchvision.ops")
    corners = torch.rand(400, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 100
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    scores = torch.rand(400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert rotated_nms(from_horizontal(boxes), scores, 0.4).tolist() == ops.nms(boxes, scores, 0.4).tolist()


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(InputError, match="scores"):
        rotated_nms(torch.ones(3, 5), torch.ones(2), 0.5)
    with pytest.raises(InputError, match=r"\(N, 5\)"):
        rotated_nms(torch.ones(3, 4), torch.ones(3), 0.5)
    with pytest.raises(InputError, match="groups"):
        batched_rotated_nms(torch.ones(3, 5), torch.ones(3), torch.ones(2), 0.5)


class Suppress(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor, groups: Tensor) -> Tensor:
        return batched_rotated_nms(boxes, scores, groups, 0.2)


def test_a_graph_is_open_to_any_number_of_boxes(tmp_path: Path) -> None:
    def arguments(count: int) -> tuple[Tensor, Tensor, Tensor]:
        draw = torch.Generator().manual_seed(count)
        groups = torch.randint(0, 2, (count,), generator=draw)
        return random_boxes(count, 80, (5, 60), count, torch.float32), torch.rand(count, generator=draw), groups

    n = torch.export.Dim("n")
    program = torch.export.export(Suppress(), arguments(20), dynamic_shapes=({0: n},) * 3)
    torch.export.save(program, tmp_path / "nms.pt2")
    loaded = torch.export.load(tmp_path / "nms.pt2").module()
    for count in (2, 20, 300):
        kept = Suppress()(*arguments(count)).tolist()
        assert loaded(*arguments(count)).tolist() == kept
    assert 10 < len(kept) < 250
