"""What counts as the same answer, and what 8 bits are said to cost."""

from __future__ import annotations

import math

import pytest
import torch

from skysense.export.check import box_difference, differences
from skysense.export.graphs import EncoderGraph, Outlet
from skysense.export.loss import Loss, loss_of
from skysense.tasks.rotated.boxes import canonical
from tests.export.models import model


class Answers(EncoderGraph):
    """A graph that only says what its outputs are."""

    def __init__(self, *outlets: Outlet) -> None:
        super().__init__(model(), "s2")
        self.outlets = outlets


FEATURES = Outlet("features", ("batch", "width", "rows", "columns"), "")
CLASSES = Outlet("probabilities", ("batch", "classes"), "", exclusive=True)
CHANGED = Outlet("changed", ("batch", "rows", "columns"), "")


def boxes(count: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    corner = 200 * torch.rand(count, 2, generator=generator)
    sides = 5 + 50 * torch.rand(count, 2, generator=generator)
    angle = 3 * torch.rand(count, 1, generator=generator) - 1.5
    held = torch.cat([corner, corner + sides], 1) if columns == 4 else canonical(torch.cat([corner, sides, angle], 1))
    return held, torch.rand(count, generator=generator), torch.arange(count) % 3


def test_a_difference_is_a_share_of_the_greatest_number() -> None:
    wanted = torch.tensor([[1.0, -200.0]])
    graph = Answers(FEATURES)
    assert differences(graph, [wanted + 0.5], [wanted], [wanted]) == [pytest.approx(0.5 / 200)]
    assert differences(graph, [wanted[:, :1]], [wanted], [wanted]) == [math.inf]
    assert differences(graph, [wanted * torch.nan], [wanted], [wanted]) == [math.inf]
    assert differences(graph, [wanted], [wanted * torch.nan], [wanted]) == [math.inf]


@pytest.mark.parametrize("columns", [4, 5])
def test_boxes_find_their_partners(columns: int) -> None:
    wanted = boxes(300, columns)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    found = tuple(one[order] for one in wanted)
    assert box_difference(found, wanted, 256) == 0
    shifted = (found[0] + torch.tensor([0.256] + [0.0] * (columns - 1)), *found[1:])
    assert box_difference(shifted, wanted, 256) == pytest.approx(1e-3, rel=0.01)
    assert box_difference((found[0], found[1] + 2e-3, found[2]), wanted, 256) == pytest.approx(2e-3, rel=0.01)
    assert box_difference(tuple(one[:298] for one in found), wanted, 256) == 0  # two of 600 without a partner
    assert box_difference(tuple(one[:280] for one in found), wanted, 256) == math.inf
    assert box_difference((found[0], found[1], found[2] + 1), wanted, 256) == math.inf
    assert box_difference(tuple(one.repeat(2, *[1] * (one.ndim - 1)) for one in found), wanted, 256) == math.inf
    assert box_difference(tuple(one[:0] for one in found), wanted, 256) == math.inf
    assert box_difference(tuple(one[:0] for one in found), tuple(one[:0] for one in wanted), 256) == 0


def test_an_oriented_box_has_several_descriptions() -> None:
    one = torch.tensor([[50.0, 60.0, 40.0, 39.999, 1.5]])
    same = torch.tensor([[50.0, 60.0, 39.999, 40.0, 1.5 - math.pi / 2]])
    turned = torch.tensor([[50.0, 60.0, 40.0, 39.999, 1.5 - math.pi]])
    score, label = torch.ones(1), torch.zeros(1, dtype=torch.int64)
    for other in (same, turned):
        assert box_difference((one, score, label), (other, score, label), 256) < 1e-6
    assert box_difference((one, score, label), (one + torch.tensor([0, 0, 0, 0, 0.1]), score, label), 256) > 5e-3


def test_what_8_bits_cost() -> None:
    wanted = torch.randn(2, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    found = loss_of(Answers(FEATURES), [1.1 * wanted], [wanted], 0.3)
    assert found.error == pytest.approx(0.1) and found.cosine == pytest.approx(1) and found.same is None
    assert found.words() == "0.30 of the size, features differ by 10.0 % of their length, cosine 1.0000"
    shares = torch.tensor([[0.6, 0.4], [0.2, 0.8], [0.51, 0.49], [0.3, 0.7]])
    other = torch.tensor([[0.7, 0.3], [0.3, 0.7], [0.49, 0.51], [0.3, 0.7]])
    found = loss_of(Answers(CLASSES), [other], [shares], 0.4)
    assert found.same == 0.75 and found.words() == "0.40 of the size, 75.0 % of the answers stay"
    assert loss_of(Answers(CHANGED), [other], [shares], 0.4).same == 0.75
    wanted_boxes = boxes(10, 4)
    fewer = tuple(one[:5] for one in wanted_boxes)
    kept = loss_of(Answers(Outlet("boxes", ("boxes", "numbers"), "")), fewer, wanted_boxes, 0.4)
    assert isinstance(kept, Loss) and kept.same == pytest.approx(10 / 15)
    none = tuple(one[:0] for one in wanted_boxes)
    nothing = loss_of(Answers(Outlet("boxes", ("boxes", "numbers"), "")), none, none, 0.4)
    assert nothing.same is None and nothing.words() == "0.40 of the size, no box was found to compare"
    assert loss_of(Answers(Outlet("boxes", ("boxes", "numbers"), "")), none, wanted_boxes, 0.4).same == 0
