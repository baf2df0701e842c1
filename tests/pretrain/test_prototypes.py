"""Prototype learning against plain loops over regions, cells and prototypes; prototypes that nothing uses."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from skysense.errors import ConfigError
from skysense.model.config import GeoContextConfig
from skysense.model.geocontext import GeoContext
from skysense.pretrain.config import ObjectiveConfig
from skysense.pretrain.prototypes import PrototypeUse, update_prototypes
from tests.pretrain.test_terms import dot, slow_sinkhorn

DIM, COUNT = 6, 5
NUMBERS = {"momentum": 0.9, "eps": 0.05, "iterations": 3, "dead": 0.15}
REGION_B = torch.tensor([4, -1, 0, 4, 2, 3])
"""Region 1 is not in the batch, region 2 has no cell in it, region 3 is seen for the first time."""


def cosine(a: Tensor, b: Tensor) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def slow_update(geo: GeoContext, use: PrototypeUse, fused: Tensor, occupied: Tensor, regions: Tensor) -> list[float]:
    """The same in loops and in double precision; returns entropy and number of those revived."""
    momentum, entropies, revived = NUMBERS["momentum"], [], 0
    for region in range(len(geo.prototypes)):
        cells = [
            fused[b, :, row, col].double()
            for b in range(len(fused))
            for row in range(fused.shape[2])
            for col in range(fused.shape[3])
            if regions[b] == region and occupied[b, row, col]
        ]
        if not cells:
            continue
        if not geo.initialised[region]:
            for p in range(COUNT):
                geo.prototypes[region, p] = cells[round(p * (len(cells) - 1) / (COUNT - 1))]
            geo.initialised[region] = True
        old = [prototype.double() for prototype in geo.prototypes[region]]
        scores = [[cosine(cell, prototype) for prototype in old] for cell in cells]
        plan = slow_sinkhorn(torch.tensor(scores, dtype=torch.float64), NUMBERS["eps"], int(NUMBERS["iterations"]))
        nearest = [row.index(max(row)) for row in scores]
        worst = sorted(range(len(cells)), key=lambda n: max(scores[n]))
        for p in range(COUNT):
            mass = sum(row[p] for row in plan)
            mean = sum(row[p] * cell for row, cell in zip(plan, cells, strict=True)) / mass
            geo.prototypes[region, p] = momentum * old[p] + (1 - momentum) * mean
            share = momentum * float(use.share_RP[region, p]) + (1 - momentum) * nearest.count(p) / len(cells)
            if share < NUMBERS["dead"] / COUNT and worst:
                geo.prototypes[region, p] = cells[worst.pop(0)]
                share, revived = 1 / COUNT, revived + 1
            use.share_RP[region, p] = share
        parts = [nearest.count(p) / len(cells) for p in range(COUNT)]
        entropies.append(-sum(part * math.log(part) for part in parts if part) / math.log(COUNT))
    return [sum(entropies) / len(entropies), revived]


def problem(dtype: torch.dtype) -> tuple[GeoContext, PrototypeUse, Tensor, Tensor]:
    """Five regions of which three have 1, 7 and 19 cells in the batch; three prototypes are about to die, two of them
    in the region of one cell."""
    torch.manual_seed(3)
    geo = GeoContext(GeoContextConfig(prototypes=COUNT), DIM, [3, 5, 9, 11, 12])
    geo.initialised[[0, 1, 2, 4]] = True
    use = PrototypeUse(5, COUNT)
    use.share_RP[4, 3] = 0
    use.share_RP[0, 1:3] = 0
    fused = torch.randn(len(REGION_B), DIM, 3, 4)
    fused[0, :, 0, 1] = -10 * geo.prototypes[4].mean(0)  # far from all of its region
    occupied = torch.zeros(len(REGION_B), 3, 4, dtype=torch.bool)
    for sample, cells in enumerate((12, 12, 1, 7, 0, 7)):
        occupied[sample].view(-1)[torch.randperm(12)[:cells]] = True
    return geo.to(dtype), use.to(dtype), fused.to(dtype), occupied


@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_the_update_equals_plain_loops_and_leaves_other_regions(dtype: torch.dtype, near: float) -> None:
    geo, use, fused, occupied = problem(dtype)
    before, slow_geo, slow_use = copy.deepcopy(geo), copy.deepcopy(geo).double(), copy.deepcopy(use).double()
    for turn in range(3):  # the later ones have prototypes that moved
        values = update_prototypes(geo, use, fused + turn, occupied, REGION_B, **NUMBERS)
        entropy, revived = slow_update(slow_geo, slow_use, fused + turn, occupied, REGION_B)
        assert values == {"geo_entropy": pytest.approx(entropy, rel=1e-5), "geo_revived": revived}
        assert revived == (2, 0, 0)[turn]  # one in the region of one cell, where another waits; one elsewhere
        for ours, theirs in ((geo.prototypes, slow_geo.prototypes), (use.share_RP, slow_use.share_RP)):
            assert float((ours.double() - theirs).abs().max()) <= near * float(theirs.abs().max())
    assert geo.initialised.tolist() == [True] * 5
    assert torch.equal(geo.prototypes[[1, 2]], before.prototypes[[1, 2]])
    assert not any(torch.equal(geo.prototypes[n], before.prototypes[n]) for n in (0, 3, 4))


def test_a_batch_without_regions_moves_nothing() -> None:
    geo, use, fused, occupied = problem(torch.float32)
    before, kept = copy.deepcopy(geo.state_dict()), use.share_RP.clone()
    for regions, cells in ((torch.full_like(REGION_B, -1), occupied), (REGION_B, torch.zeros_like(occupied))):
        values = update_prototypes(geo, use, fused, cells, regions, **NUMBERS)
        assert math.isnan(values["geo_entropy"])
        assert values["geo_revived"] == 0
    assert all(torch.equal(geo.state_dict()[key], tensor) for key, tensor in before.items())
    assert torch.equal(use.share_RP, kept)


def unused(prototypes: int = 3) -> tuple[GeoContext, PrototypeUse, Tensor]:
    """One region whose cells all lie near its first prototype, in four directions; one of them, the third, less so."""
    geo = GeoContext(GeoContextConfig(prototypes=prototypes), 4, [7])
    geo.initialised[0] = True
    geo.prototypes[0] = -torch.eye(4)[0]
    geo.prototypes[0, 0] = torch.eye(4)[0]
    tilt = torch.tensor([0.1, 0.2, 0.5, 0.3])
    cells_ND = torch.stack([torch.eye(4)[0] + t * torch.eye(4)[1 + n % 3] for n, t in enumerate(tilt)])
    return geo, PrototypeUse(1, prototypes), cells_ND.T.reshape(1, 4, 2, 2)


def step(geo: GeoContext, use: PrototypeUse, fused: Tensor, momentum: float, dead: float) -> float:
    """Revived in one update. Sinkhorn would pull idle prototypes to the cells; here they are kept where they are."""
    prototypes = geo.prototypes.clone()
    occupied, region = torch.ones(1, 2, 2, dtype=torch.bool), torch.tensor([0])
    values = update_prototypes(geo, use, fused, occupied, region, momentum=momentum, eps=0.05, iterations=3, dead=dead)
    if not values["geo_revived"]:
        geo.prototypes.copy_(prototypes)
    return values["geo_revived"]


def test_a_prototype_dies_once_its_use_is_below_the_threshold_and_revives_on_the_worst_cell() -> None:
    geo, use, fused = unused()
    steps = 0
    while not (revived := step(geo, use, fused, momentum=0.8, dead=0.1)):
        steps += 1
        assert use.share_RP[0].tolist() == pytest.approx([1 - 2 / 3 * 0.8**steps, *[0.8**steps / 3] * 2])
    assert steps == 10  # 0.8 ** 10 > 0.1 > 0.8 ** 11
    assert revived == 2
    assert torch.equal(geo.prototypes[0, 1], fused[0, :, 1, 0])  # the third cell, then the fourth
    assert torch.equal(geo.prototypes[0, 2], fused[0, :, 1, 1])
    assert use.share_RP[0, 1:].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert use.share_RP[0, 0] > 0.9


def test_with_the_defaults_a_prototype_lives_through_458_updates_without_use() -> None:
    geo, use, fused = unused()
    defaults = ObjectiveConfig()
    revived = [step(geo, use, fused, defaults.geo_momentum, defaults.geo_dead) for _ in range(459)]
    assert revived == [0.0] * 458 + [2.0]


def test_zero_switches_it_off_even_for_what_was_never_used() -> None:
    geo, use, fused = unused()
    use.share_RP[0, 1:] = 0
    assert step(geo, use, fused, momentum=0.5, dead=0.0) == 0


def test_of_more_dead_prototypes_than_cells_the_rest_waits() -> None:
    geo, use, fused = unused(prototypes=7)
    use.share_RP[0, 1:] = 0
    assert step(geo, use, fused, momentum=0.9, dead=0.1) == 4
    assert sorted(geo.prototypes[0, 1:5].tolist()) == sorted(fused[0].flatten(1).T.tolist())
    assert use.share_RP[0, 5:].tolist() == [0, 0]


def test_the_same_cell_in_two_views_revives_one() -> None:
    geo, use, fused = unused()
    use.share_RP[0, 1:] = 0
    twice = torch.cat([fused, fused], dim=3)  # what two views have in common comes twice
    occupied = torch.ones(1, 2, 4, dtype=torch.bool)
    values = update_prototypes(
        geo, use, twice, occupied, torch.tensor([0]), momentum=0.9, eps=0.05, iterations=3, dead=0.1
    )
    assert values["geo_revived"] == 2
    assert torch.equal(geo.prototypes[0, 1], fused[0, :, 1, 0])
    assert torch.equal(geo.prototypes[0, 2], fused[0, :, 1, 1])


@pytest.mark.parametrize("wrong", [-0.1, 1.0])
def test_a_threshold_that_makes_no_sense_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigError, match=r"objective.geo_dead = .* must lie within 0"):
        ObjectiveConfig(geo_dead=wrong)
