"""What benchmarks of pre-training share: simulated places, views that are ready, the state of a run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from skysense.data.earth import place_index, simulate_place
from skysense.data.loader import sample_rng
from skysense.geo import RegionTable
from skysense.model.drop_path import DropPath
from skysense.observation import Sample
from skysense.pretrain.batch import ViewBatch, make_batch
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.run import Run

REGIONS = 4


def simulate(count: int, cells: int) -> tuple[list[Sample], RegionTable]:
    """Places of a few regions, ``cells`` wide, that know the slot of their region."""
    samples = [
        simulate_place(0, place_index(number % REGIONS, number // REGIONS), footprint_cells=cells).sample
        for number in range(count)
    ]
    table = RegionTable.of((sample.lon, sample.lat) for sample in samples)
    return [replace(sample, region=table.slot(sample.lon, sample.lat)) for sample in samples], table


def prepared(samples: Sequence[Sample], config: PretrainConfig, epoch: int, device: str = "cpu") -> ViewBatch:
    """Views of some places as they are drawn in an epoch, on the device; colours are not changed yet."""
    rngs = [sample_rng(config.seed, epoch, index) for index in range(len(samples))]
    return on_device(make_batch(samples, rngs, config.views), device)


def on_device(views: ViewBatch, device: str) -> ViewBatch:
    """Views on the device, colours not changed yet: both sides do that themselves."""

    def move(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: move(one) for key, one in value.items()}
        return value.to(device) if hasattr(value, "to") else value

    return ViewBatch(**{name: move(value) for name, value in vars(views).items()})


def without_drop_path(module: nn.Module) -> None:
    """Leave nothing out."""
    for layer in module.modules():
        if isinstance(layer, DropPath):
            layer.rate = 0.0


State = tuple[dict[str, Tensor], dict[str, Any]]


def state_of(run: Run) -> State:
    """Copies of all that a step changes."""
    return {name: tensor.detach().clone() for name, tensor in run.tensors().items()}, run.numbers()


def go_to(run: Run, state: State) -> None:
    """Bring a run to a state."""
    tensors, numbers = state
    run.optimiser.state.clear()
    for name, parameter in run.learner.named_parameters():
        prefix = f"optimiser.{name}."
        kept = {key.removeprefix(prefix): one for key, one in tensors.items() if key.startswith(prefix)}
        if kept:
            run.optimiser.state[parameter] = {key: torch.empty_like(one) for key, one in kept.items()}
    with torch.no_grad():
        for name, tensor in run.tensors().items():
            tensor.copy_(tensors[name])
    for name, number in numbers.items():
        setattr(run, name, number)


def told(ratios: Sequence[float]) -> str:
    """The median of ratios, and their spread."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} rounds)"
