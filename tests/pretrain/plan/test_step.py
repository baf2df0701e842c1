"""The closed forms against torch's counter of FLOPs and a ledger of every tensor, on whole steps of several sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from skysense.errors import ConfigError
from skysense.model.config import FusionConfig, GeoContextConfig, ModelConfig, SwinConfig, ViTConfig, preset
from skysense.pretrain.config import ObjectiveConfig, ParallelConfig, PretrainConfig, ViewConfig
from skysense.pretrain.plan.costs import FLOAT, Cost
from skysense.pretrain.plan.places import Places
from skysense.pretrain.plan.step import Setting, common_cells, step
from skysense.pretrain.views import _draw_windows
from tests.pretrain.plan.without_numbers import Shapes, measure

VIEWS = ViewConfig(global_cells=8, local_cells=4, local_crops=2, s2_frames=5, s1_frames=3)
PLACES = Places(regions=2)
ODD = ModelConfig(  # heads of widths that kernels pad, padded windows, norms after blocks, no class token, drop-path
    hr=SwinConfig(
        embed_dim=24,
        depths=(2, 1, 3, 2),
        num_heads=(2, 4, 4, 8),
        window=6,
        extra_norm_every=2,
        pad_small_map=True,
        mlp_ratio=3.0,
        position_hidden=40,
    ),
    s2=ViTConfig(in_channels=10, image_size=16, dim=96, depth=3, heads=4, cls_token=False),
    s1=ViTConfig(in_channels=2, image_size=32, dim=64, depth=2, heads=2, mlp_ratio=2.0),
    fusion=FusionConfig(input_dim=192, dim=80, depth=3, heads=5),
    geo_context=GeoContextConfig(prototypes=12),
)
PUBLISHED = PretrainConfig(preset="huge", views=ViewConfig(local_cells=8))
CASES: dict[str, tuple[ModelConfig, PretrainConfig, int]] = {
    "tiny": (preset("tiny"), PretrainConfig(views=VIEWS), 4),
    "tiny, masked, no crops, a memory, logits in pieces": (
        preset("tiny"),
        PretrainConfig(
            views=replace(VIEWS, local_crops=0, global_cells=16),
            objective=ObjectiveConfig(masked=1.0, memory_rows=512, logit_rows=64),
        ),
        2,
    ),
    "odd, without pixel terms and prototypes": (
        ODD,
        PretrainConfig(
            preset="odd",
            views=replace(VIEWS, global_cells=12, local_crops=1),
            objective=ObjectiveConfig(pixel=0.0, geo_context=False, object_clusters=3, head_prototypes=50),
        ),
        3,
    ),
    "small": (preset("small"), PretrainConfig(preset="small", views=replace(VIEWS, s2_frames=8)), 2),
}
Way = tuple[Literal["float32", "bfloat16"], Literal["none", "selective", "full"]]
MASKED, PADDED = "tiny, masked, no crops, a memory, logits in pieces", "odd, without pixel terms and prototypes"
QUICK: list[tuple[str, Way]] = [
    ("tiny", ("float32", "none")),
    ("tiny", ("bfloat16", "full")),
    (MASKED, ("bfloat16", "none")),
    (MASKED, ("float32", "selective")),
    (PADDED, ("float32", "none")),
    (PADDED, ("bfloat16", "selective")),
    (PADDED, ("float32", "full")),
    ("small", ("bfloat16", "none")),
    ("small", ("float32", "full")),
]
WAYS: list[Way] = [
    (precision, checkpointing)
    for precision in ("float32", "bfloat16")
    for checkpointing in ("none", "selective", "full")
]


def agree(model: ModelConfig, config: PretrainConfig, places: int, way: Way) -> None:
    precision, checkpointing = way
    config = replace(config, precision=precision, parallel=ParallelConfig(checkpointing=checkpointing))
    assumed = PLACES if config.objective.geo_context else replace(PLACES, regions=0)
    measured = measure(model, config, places, common_cells(config.views, assumed), regions=assumed.regions)
    planned = step(Setting(model, config, assumed), places)
    beside = planned.pixels - planned.copies
    assert planned.flops == pytest.approx(measured.flops, rel=1e-3)
    assert planned.kept - beside == pytest.approx(measured.kept, rel=0.03)
    assert planned.forward - beside == pytest.approx(measured.forward, rel=0.06)
    free = 0 if config.views.local_crops else FLOAT * measured.parameters
    assert max(planned.forward, planned.backward - free) - beside == pytest.approx(measured.peak, rel=0.06)


@pytest.mark.parametrize(("name", "way"), QUICK)
def test_a_step_costs_what_counter_and_ledger_say(name: str, way: Way) -> None:
    agree(*CASES[name], way)


@pytest.mark.long
@pytest.mark.parametrize(("name", "way"), [(name, way) for name in CASES for way in WAYS if (name, way) not in QUICK])
def test_so_does_every_other(name: str, way: Way) -> None:
    agree(*CASES[name], way)


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_so_does_one_of_the_published_size(way: Way) -> None:
    agree(preset("huge"), PUBLISHED, 3, way)


@pytest.mark.long
def test_so_does_one_with_views_of_2048_px() -> None:
    views = ViewConfig(global_cells=64, local_cells=16)
    agree(preset("huge"), replace(PUBLISHED, views=views), 1, ("bfloat16", "full"))


def test_the_counter_of_torch_counts_the_same() -> None:
    model, config, places = CASES["tiny"]
    with FlopCounterMode(display=False) as counter:
        measured = measure(model, config, places, common_cells(config.views, PLACES))
    assert measured.flops == counter.get_total_flops() > 0


def test_the_ledger_adds_up_what_is_alive() -> None:
    with Shapes() as shapes:
        one = torch.empty(1000, device="meta")
        two = one + 1
        view = two[10:]
        assert (shapes.alive, shapes.peak) == (8000, 8000)
        del one
        assert (shapes.alive, shapes.peak) == (4000, 8000)
        shapes.reset()
        del two
        assert (shapes.alive, shapes.peak) == (4000, 4000)
        del view
        assert shapes.alive == 0
        layer = nn.Linear(10, 20, device="meta")
        layer(torch.empty(5, 10, device="meta")).sum().backward()
        assert shapes.flops == 2 * 2 * 5 * 10 * 20  # forward, and the gradient of the weights


def test_parts_are_put_together_in_the_order_of_time() -> None:
    first, second = Cost(1, 2, 3, kept=10, up=25, down=40), Cost(10, 20, 30, kept=4, up=16, down=20)
    together = first + second
    assert (together.forward, together.backward, together.again, together.kept) == (11, 22, 33, 14)
    assert (together.up, together.down) == (26, 40)


def test_common_cells_are_those_of_drawn_windows() -> None:
    for overlap, cells in ((0.5, 64), (0.8, 64), (1.0, 64), (0.5, 16)):
        config = ViewConfig(overlap=overlap)
        rng, shared = np.random.default_rng(0), []
        for _ in range(2000):
            first, second, *_ = _draw_windows(rng, cells, cells, config)
            found = first.intersect(second)
            assert found is not None
            shared.append(found.height * found.width)
        # near the edge of a place windows have less room to lie apart
        assert common_cells(config, Places(cells=cells)) == pytest.approx(np.mean(shared), rel=0.06)


def test_what_places_lack_costs_nothing() -> None:
    model, config, _ = CASES["tiny"]
    whole, without, half = (step(Setting(model, config, replace(PLACES, s1=share)), 4) for share in (1.0, 0.0, 0.5))
    assert without.passes["s1"].total == 0
    assert without.passes["hr"] == whole.passes["hr"]
    assert half.passes["s1"].total == whole.passes["s1"].total / 2
    assert without.passes["fusion"].total < half.passes["fusion"].total < whole.passes["fusion"].total
    assert without.kept < half.kept < whole.kept


def test_views_that_the_model_cannot_read_are_refused() -> None:
    config = PretrainConfig(preset="huge")
    with pytest.raises(ConfigError, match=r"views.local_cells = 4 \(128 px\).*'huge'.*--views.local_cells 8"):
        step(Setting(preset("huge"), config, PLACES), 1)
    without = replace(config, views=ViewConfig(local_crops=0))
    assert step(Setting(preset("huge"), without, PLACES), 1).flops > 1e13
