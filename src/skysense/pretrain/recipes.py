"""Recipes of pre-training from one dial, the preset: what scales with the size of the model, and how.

The rules go through two points: what `tiny` was tried with on the simulated Earth, and what is known of the published
run (specification 3 and Q11: 240 places a step, 875,000 steps, 2e-4 per 1024 places). ``configs/pretrain`` holds what
they give, one file per preset. Between the points nothing was tuned.
"""

from __future__ import annotations

from typing import Literal, get_args

from skysense.errors import ConfigError
from skysense.model.config import preset
from skysense.model.recompute import Checkpointing
from skysense.pretrain.config import (
    ObjectiveConfig,
    OptimiserConfig,
    ParallelConfig,
    PretrainConfig,
    ViewConfig,
)

Size = Literal["tiny", "small", "base", "huge"]
SIZES: tuple[Size, ...] = get_args(Size)

_BATCH: dict[Size, int] = {"tiny": 16, "small": 64, "base": 128, "huge": 240}
_STEPS: dict[Size, int] = {"tiny": 120, "small": 100_000, "base": 300_000, "huge": 875_000}
# The least that fits 80 GB by `skysense plan`: on one GPU, on 8, on 60 of them.
_CHECKPOINTING: dict[Size, Checkpointing] = {"tiny": "none", "small": "full", "base": "full", "huge": "selective"}
_TRIED_WIDTH, _TRIED_RATE = 128, 2e-3
_RATE_BY_WIDTH = 1.2  # so that the published width gets the published rate, to a few per cent


def recipe(size: Size) -> PretrainConfig:
    """The configuration of a pre-training run for a preset.

    Raises:
        ConfigError: no such size.
    """
    if size not in SIZES:
        raise ConfigError(f"there is no recipe for {size!r}; known: {', '.join(SIZES)}")
    steps, width, demo = _STEPS[size], preset(size).aligned_dim, size == "tiny"
    views = ViewConfig(local_cells=8) if size == "huge" else ViewConfig()  # its encoder reads 225 px and more
    objective = ObjectiveConfig()
    if demo:  # a short run on two CPU cores: small views, a sharp teacher that keeps up, a memory for a small batch
        views = ViewConfig(global_cells=8, local_crops=1, s2_frames=10, s1_frames=4)
        objective = ObjectiveConfig(
            pixel_cells=8,
            beta=3.0,
            head_prototypes=256,
            memory_rows=2048,
            teacher_temperature=0.02,
            teacher_temperature_start=0.02,
            geo_momentum=0.9,
            geo_dead=0.0,  # at this momentum a pause of 44 steps would count as death
        )
    return PretrainConfig(
        preset=size,
        steps=steps,
        batch_size=_BATCH[size],
        precision="float32" if demo else "bfloat16",
        views=views,
        objective=objective,
        optimiser=OptimiserConfig(
            learning_rate=float(f"{_TRIED_RATE * (_TRIED_WIDTH / width) ** _RATE_BY_WIDTH:.1e}"),
            warmup=float(f"{min(0.1, 10_000 / steps):.2g}"),
            teacher_momentum=0.95 if demo else 0.996,
        ),
        parallel=ParallelConfig(strategy="fsdp" if size == "huge" else "ddp", checkpointing=_CHECKPOINTING[size]),
        workers=1 if demo else 4,
        checkpoint_every=20 if demo else 500,
        keep=2 if demo else 3,
        watch_every=20 if demo else 100,
    )
