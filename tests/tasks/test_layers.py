"""Layer-wise rates of the published recipe, and drop-path rates."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.tasks.layers import parameter_groups, set_drop_path
from skysense.tasks.pyramid import Pyramid
from tests.tasks.labelled_samples import tiny


def scales(encoder: Pyramid, layer_decay: float) -> dict[str, float]:
    groups = parameter_groups(encoder, [], rate=1.0, decay=0.01, layer_decay=layer_decay)
    rate_of = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    return {name: rate_of[id(parameter)] for name, parameter in encoder.model.named_parameters()}


def test_the_published_encoder_has_the_published_26_layers() -> None:
    with torch.device("meta"):
        encoder = Pyramid(SkySense(preset("huge"), pieces=("hr",)), ["hr"])
    found = scales(encoder, 0.9)
    layer = {name: round(25 - math.log(scale) / math.log(0.9)) for name, scale in found.items()}
    assert layer["hr.patch_embed.projection.weight"] == layer["hr.patch_embed.norm.bias"] == 0
    assert layer["hr.stages.0.blocks.0.attention.qkv.weight"] == 1
    assert layer["hr.stages.0.blocks.1.mlp.up.weight"] == 2
    assert layer["hr.stages.1.merge.reduction.weight"] == layer["hr.stages.1.blocks.0.attention.out.weight"] == 3
    assert layer["hr.stages.2.merge.reduction.weight"] == 5
    assert layer["hr.stages.3.merge.norm.weight"] == 23
    assert layer["hr.stages.3.blocks.1.mlp_norm.weight"] == 24
    assert layer["hr.output_norms.0.weight"] == layer["hr.output_norms.3.weight"] == 25
    assert set(layer.values()) == set(range(26))


def test_other_parts_are_counted_from_their_output() -> None:
    found = scales(Pyramid(tiny(), ["hr", "s2", "s1"]), 0.5)
    assert found["s2.blocks.1.mlp.up.weight"] == 0.5 and found["s2.blocks.0.mlp.up.weight"] == 0.25
    assert found["s2.patch_embed.weight"] == found["s2.position"] == 0.125
    assert found["fusion.blocks.1.attention.qkv.weight"] == 0.5 and found["fusion.projection.weight"] == 0.125
    assert found["dates.table"] == found["align_s1." + next(iter(tiny().align_s1.state_dict()))] == 1.0


def test_vectors_are_not_decayed_and_heads_learn_at_the_full_rate() -> None:
    encoder, head = Pyramid(tiny(), ["s2"]), nn.Linear(4, 2)
    groups = parameter_groups(encoder, [head], rate=0.1, decay=0.01, layer_decay=0.5)
    of = {id(parameter): group for group in groups for parameter in group["params"]}
    assert of[id(head.weight)]["lr"] == of[id(head.bias)]["lr"] == 0.1
    assert of[id(head.weight)]["weight_decay"] == 0.01 and of[id(head.bias)]["weight_decay"] == 0
    assert of[id(encoder.model.s2.position)]["weight_decay"] == 0
    assert of[id(encoder.model.s2.blocks[0].mlp.up.weight)]["weight_decay"] == 0.01
    everything = sum(len(group["params"]) for group in groups)
    assert everything == len(list(encoder.model.parameters())) + 2


def test_what_is_frozen_is_in_no_group() -> None:
    encoder = Pyramid(tiny(), ["s2"])
    encoder.requires_grad_(False)
    assert parameter_groups(encoder, [nn.Linear(2, 2)], rate=1, decay=0, layer_decay=1)[0]["lr"] == 1
    assert sum(len(group["params"]) for group in parameter_groups(encoder, [], rate=1, decay=0, layer_decay=1)) == 0


def test_drop_path_grows_over_the_blocks_of_each_part() -> None:
    model = tiny()
    set_drop_path(model, 0.4)
    assert [block.drop_path.rate for stage in model.hr.stages for block in stage.blocks] == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4]
    )
    assert [block.drop_path.rate for block in model.fusion.blocks] == pytest.approx([0, 0.4])
