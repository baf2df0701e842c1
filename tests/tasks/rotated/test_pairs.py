"""The sweep finds every pair of boxes that meet, once, and no other."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from skysense.tasks.rotated import pairs
from skysense.tasks.rotated.pairs import Sweep, banded

COORDINATES = st.integers(0, 12)
BOXES = st.lists(st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES), max_size=12)


def boxes_of(numbers: list[tuple[int, int, int, int]]) -> Tensor:
    corners = torch.tensor(numbers, dtype=torch.float32).view(-1, 2, 2)
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)


def meeting(a: Tensor, b: Tensor) -> Tensor:
    return ((a[:, None, :2] <= b[:, 2:]) & (b[:, :2] <= a[:, None, 2:])).all(dim=-1)


def found(sweep: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[int, int]]:
    return [(int(i), int(j)) for block in sweep for i, j in zip(*block, strict=True)]


@given(BOXES, BOXES)
def test_pairs_of_two_sets(first: list, second: list) -> None:
    a, b = boxes_of(first), boxes_of(second)
    sweep = Sweep(a, b)
    assert sorted(found(sweep)) == sorted(map(tuple, meeting(a, b).nonzero().tolist()))
    assert len(found(sweep)) <= sweep.count <= len(a) * len(b)


@given(BOXES)
def test_pairs_within_one_set(numbers: list) -> None:
    boxes = boxes_of(numbers)
    expected = sorted(map(tuple, meeting(boxes, boxes).triu(1).nonzero().tolist()))
    assert sorted((min(pair), max(pair)) for pair in found(Sweep(boxes))) == expected


def test_blocks_leave_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    corners = torch.rand(60, 2, 2, generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    whole = sorted(found(Sweep(boxes, boxes)))
    monkeypatch.setattr(pairs, "_BLOCK", 20)
    assert len(list(Sweep(boxes, boxes))) > 20
    assert sorted(found(Sweep(boxes, boxes))) == whole


@given(BOXES, BOXES)
def test_bands_leave_nothing_out_and_say_nothing_twice(first: list, second: list) -> None:
    a, b = boxes_of(first), boxes_of(second)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_BAND", 2)
        assert sorted(found(banded(a, b))) == sorted(found(Sweep(a, b)))
        within = [tuple(sorted(pair)) for pair in found(banded(a))]
    assert sorted(within) == sorted(tuple(sorted(pair)) for pair in found(Sweep(a)))
