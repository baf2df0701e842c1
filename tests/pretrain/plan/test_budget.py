"""Parameters, memory by kind, bytes to read and hours: against the modules themselves, and against numbers by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from skysense.errors import ConfigError
from skysense.model.assembly import SkySense
from skysense.model.blocks import Block
from skysense.model.config import PRESETS, ModelConfig, preset
from skysense.model.swin import SwinBlock
from skysense.pretrain.config import ObjectiveConfig, ParallelConfig, PretrainConfig, ViewConfig
from skysense.pretrain.objective import Branch, Objective
from skysense.pretrain.plan import parameters
from skysense.pretrain.plan.budget import KINDS, RESERVE, Machine, most_places, plan
from skysense.pretrain.plan.gpus import GPUS, Gpu, gpu
from skysense.pretrain.plan.places import Places
from skysense.pretrain.plan.step import PARTS, Setting
from tests.pretrain.plan.test_step import ODD

ROUND = Gpu("a GPU of round numbers", memory=100, bfloat16=1000, tf32=500, float32=100, bandwidth=1000)
CONFIG = PretrainConfig(
    preset="tiny",
    steps=100,
    batch_size=8,
    precision="bfloat16",
    views=ViewConfig(global_cells=8, local_cells=4, local_crops=1, s2_frames=3, s1_frames=2, overlap=1.0),
    objective=ObjectiveConfig(memory_rows=7, masked=1.0),
)


def parallel(**settings: Any) -> PretrainConfig:
    return dataclasses.replace(CONFIG, parallel=ParallelConfig(**settings))


def built(model: ModelConfig, config: PretrainConfig) -> tuple[Branch, Objective]:
    with torch.device("meta"):
        branch = Branch(SkySense(model, regions=range(3)), config.objective)
        return branch, Objective(branch, config.objective)


def count(*modules: torch.nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.mark.parametrize("name", [*PRESETS, "odd"])
@pytest.mark.parametrize("masked", [0.0, 1.0])
def test_parameters_are_those_of_the_modules(name: str, masked: float) -> None:
    model = ODD if name == "odd" else preset(name)
    config = PretrainConfig(objective=ObjectiveConfig(masked=masked))
    branch, objective = built(model, config)
    heads = Setting(model, config, Places()).heads
    found = parameters.by_part(model, heads, masked=bool(masked))
    one = branch.model
    assert found == {
        "hr": count(one.hr),
        "s2": count(one.s2),
        "s1": count(one.s1),
        "align": count(one.align_s2, one.align_s1),
        "fusion": count(one.fusion, one.dates),
        "heads": count(branch.heads, objective),
    }
    blocks = [block for stage in one.hr.stages for block in stage.blocks]
    blocks += [*one.s2.blocks, *one.s1.blocks, *one.fusion.blocks]
    assert parameters.of_blocks(model) == count(*blocks)
    blocks += [one.align_s2, one.align_s1]
    assert parameters.units(model, heads) == count(*blocks, *branch.heads.values())
    assert parameters.largest_block(model) == max(count(block) for block in blocks)


def test_memory_by_kind() -> None:
    branch, objective = built(preset("tiny"), CONFIG)
    learned = count(branch, objective)
    places = Places(regions=3)
    alone = plan(CONFIG, Machine(ROUND), places)
    assert sum(alone.parameters.values()) == learned
    memory = alone.memory
    assert memory.keys() == KINDS.keys()
    assert (memory["parameters"], memory["gradients"], memory["teacher"]) == (4 * learned,) * 3
    assert memory["optimiser"] == 8 * learned
    # what products read, in bfloat16: not dates, mask token, prototypes of heads
    last = sum(head.last_layer.numel() for head in branch.heads.values())
    assert objective.mask_token is not None
    assert memory["working"] == 2 * (learned - last - count(branch.model.dates) - objective.mask_token.numel())
    buffers = dict(branch.model.geo.named_buffers())
    used = objective.prototype_use.share_RP.numel()
    assert memory["prototypes"] == 4 * (buffers["prototypes"].numel() + used)
    assert memory["memories"] == 4 * sum(one.vectors_ME.numel() for one in objective.memories.values())
    assert memory["reserve"] == RESERVE
    assert alone.bytes_used == sum(memory.values())
    again = plan(parallel(checkpointing="full"), Machine(ROUND), places)
    blocks = [one for one in branch.model.modules() if isinstance(one, Block | SwinBlock)]
    assert again.memory["working"] == memory["working"] - 2 * count(*blocks)
    assert plan(dataclasses.replace(CONFIG, precision="float32"), Machine(ROUND), places).memory["working"] == 0


def test_ranks_share_the_weights_or_do_not() -> None:
    places = Places(regions=3)
    alone = plan(CONFIG, Machine(ROUND), places)
    ddp = plan(CONFIG, Machine(ROUND, gpus=4), places)
    fsdp = plan(parallel(strategy="fsdp"), Machine(ROUND, gpus=4), places)
    assert plan(parallel(strategy="fsdp"), Machine(ROUND), places).memory == alone.memory
    for kind in ("parameters", "gradients", "optimiser", "teacher"):
        assert ddp.memory[kind] == alone.memory[kind]
        assert fsdp.memory[kind] == alone.memory[kind] / 4
    heads = Setting(preset("tiny"), CONFIG, places).heads
    rest = sum(alone.parameters.values()) - parameters.units(preset("tiny"), heads)
    copied = rest + sum(one.parameters - one.prototypes * one.bottleneck for one in heads.values())
    block = parameters.largest_block(preset("tiny"))
    head = max(one.parameters for one in heads.values())
    assert fsdp.memory["working"] == rest * 3 * 4 + 2 * copied + max(block * (3 * 2 + 4), head * 4 * 4)
    assert fsdp.memory["prototypes"] == alone.memory["prototypes"]
    assert fsdp.memory["activations"] == ddp.memory["activations"] < alone.memory["activations"] / 3
    # the projections of the alignment meet the places of a rank only; all else is the same work
    assert ddp.flops == pytest.approx(alone.flops, rel=1e-3)
    assert fsdp.passes == ddp.passes
    # gradients are free again when the backward pass begins, but where they are views of buckets
    whole = dataclasses.replace(parallel(checkpointing="full"), views=dataclasses.replace(CONFIG.views, local_crops=0))
    one, two = (plan(dataclasses.replace(whole, batch_size=4 * gpus), Machine(ROUND, gpus=gpus)) for gpus in (1, 2))
    assert two.memory["workspace"] > one.memory["workspace"]


def test_all_wait_for_the_rank_that_has_most_places() -> None:
    even, uneven = plan(CONFIG, Machine(ROUND, gpus=4)), plan(CONFIG, Machine(ROUND, gpus=5))  # 2 2 2 2; 2 2 2 1 1
    assert most_places(CONFIG, uneven.machine) == 2
    assert uneven.memory == even.memory
    assert uneven.seconds == even.seconds
    assert uneven.gpu_hours == pytest.approx(5 / 4 * even.gpu_hours)
    assert uneven.flops == pytest.approx(even.flops, rel=1e-3)


def test_time_is_work_over_rate() -> None:
    made = plan(CONFIG, Machine(ROUND, gpus=2, share_of_peak=0.25))
    assert made.passes.keys() == PARTS.keys()
    assert made.flops == sum(one.total for one in made.passes.values())
    assert made.seconds == pytest.approx(made.flops / 2 / (1000e12 * 0.25))
    assert made.hours == pytest.approx(made.seconds * 100 / 3600)
    assert made.gpu_hours == pytest.approx(2 * made.hours)
    slow = plan(dataclasses.replace(CONFIG, precision="float32"), Machine(ROUND, gpus=2, share_of_peak=0.25))
    assert slow.seconds == pytest.approx(10 * made.seconds)


def test_checkpointing_trades_work_for_memory() -> None:
    none, selective, full = (
        plan(parallel(checkpointing="none"), Machine(ROUND)),
        plan(parallel(checkpointing="selective"), Machine(ROUND)),
        plan(parallel(checkpointing="full"), Machine(ROUND)),
    )
    assert none.memory["activations"] > selective.memory["activations"] > full.memory["activations"]
    assert none.flops < selective.flops < 1.01 * none.flops < full.flops
    forward = sum(one.student + one.crops for part, one in none.passes.items() if part != "heads")
    assert 0.5 * forward < full.flops - none.flops < forward


def test_bytes_of_views_and_places() -> None:
    made = plan(CONFIG, Machine(ROUND), Places(cells=16, s2_series=50, s1_series=10, s1=0.5))
    # eight places; both views of each show the same 64 cells, the crop 16, in frames of its own
    assert made.shown["hr"] == 8 * 64 * 32 * 32 * 3
    assert made.shown["s2"] == 8 * 3 * (2 * 64 + 16) * (10 * 2 + 1)
    assert made.shown["s1"] == 8 * 0.5 * 2 * (2 * 64 + 16) * (2 * 4 + 1)
    assert made.whole == {
        "hr": 8 * 256 * 32 * 32 * 3,
        "s2": 8 * 50 * 256 * 21,
        "s1": 8 * 0.5 * 10 * 256 * 9,
    }
    least = plan(CONFIG, Machine(ROUND), Places(cells=8, s2_series=1, s1_series=1))
    assert least.shown == least.whole  # views cannot show more than there is


def test_whether_it_fits() -> None:
    small = dataclasses.replace(ROUND, memory=2.001)
    assert plan(CONFIG, Machine(ROUND)).fits
    assert not plan(CONFIG, Machine(small)).fits


def test_json_holds_the_same_numbers() -> None:
    made = plan(CONFIG, Machine(ROUND))
    told = made.to_json()
    assert told["flops_per_step_total"] == sum(part["total"] for part in told["flops_per_step"].values()) == made.flops
    assert told["bytes_per_gpu_total"] == sum(told["bytes_per_gpu"].values())
    assert (told["gpu_hours"], told["fits"], told["places"]["cells"]) == (made.gpu_hours, True, 64)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch_size = 8 places cannot be divided among 64 GPUs"):
        plan(CONFIG, Machine(ROUND, gpus=64))
    with pytest.raises(ConfigError, match=r"places\.cells = 4 is smaller than a view"):
        plan(CONFIG, Machine(ROUND), Places(cells=4))
    with pytest.raises(ConfigError, match="unknown GPU 'h300'; known: a100-40, a100,"):
        gpu("h300")
    with pytest.raises(ConfigError, match="at least one"):
        Machine(ROUND, gpus=0)
    with pytest.raises(ConfigError, match=r"share_of_peak = 1\.5"):
        Machine(ROUND, share_of_peak=1.5)
    with pytest.raises(ConfigError, match=r"places\.paired = 2"):
        Places(paired=2)
    with pytest.raises(ConfigError, match="without any sensor"):
        Places(hr=0, s2=0, s1=0)
    with pytest.raises(ConfigError, match="not negative"):
        Places(regions=-1)


def test_rates_fall_with_the_width_of_numbers() -> None:
    for name, one in GPUS.items():
        assert one.bfloat16 == pytest.approx(2 * one.tf32, rel=0.02), name
        assert one.tf32 >= one.float32 > 0, name
        assert one.memory > 0 and one.bandwidth > 0, name
