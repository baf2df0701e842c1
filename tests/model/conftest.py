"""A batch of random observations in physical units, and a model small enough to run in milliseconds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from skysense.model.assembly import SkySense
from skysense.model.config import FusionConfig, GeoContextConfig, ModelConfig, SwinConfig, ViTConfig
from skysense.observation import Batch, Frames

SMALL = ModelConfig(
    hr=SwinConfig(
        embed_dim=8,
        depths=(1, 1, 2, 1),
        num_heads=(1, 1, 2, 4),
        drop_path=0.0,
        extra_norm_every=2,
        pad_small_map=True,
        position_hidden=16,
    ),
    s2=ViTConfig(in_channels=10, image_size=8, dim=16, depth=2, heads=2, drop_path=0.0),
    s1=ViTConfig(in_channels=2, image_size=8, dim=16, depth=1, heads=2, drop_path=0.0),
    fusion=FusionConfig(input_dim=64, dim=24, depth=2, heads=3, drop_path=0.0),
    geo_context=GeoContextConfig(prototypes=5),
)


def make_frames(values_BTCHW: Tensor, *, dated: bool = True) -> Frames:
    batch, time = values_BTCHW.shape[:2]
    return Frames(
        values_BTCHW,
        torch.randint(0, 365, (batch, time)) if dated else torch.full((batch, time), -1),
        torch.ones(batch, time, dtype=torch.bool),
        torch.ones(batch, time, *values_BTCHW.shape[-2:], dtype=torch.bool),
    )


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def batch_of() -> Callable[..., Batch]:
    """Make a batch: ``batch_of(size=2, grid=(4, 4), s2=3, s1=2, region=...)``; everything present and valid."""

    def make(size: int = 2, grid: tuple[int, int] = (4, 4), s2: int = 3, s1: int = 2, region: int = -1) -> Batch:
        height, width = grid
        frames = {"hr": make_frames(torch.randint(0, 256, (size, 1, 3, 32 * height, 32 * width), dtype=torch.uint8))}
        if s2:
            frames["s2"] = make_frames(torch.randint(0, 8000, (size, s2, 10, height, width), dtype=torch.int32))
        if s1:
            frames["s1"] = make_frames(torch.randn(size, s1, 2, height, width) * 5 - 15)
        return Batch(frames, torch.full((size,), region), [f"place {index}" for index in range(size)])

    return make


@pytest.fixture
def model() -> SkySense:
    """Two regions; weights large enough that every part of the model has a say in the output."""
    model = SkySense(SMALL, regions=[11, 42])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.normal_(std=0.3)
            elif "logit_scale" not in name:  # beyond ln 100 it would be clamped
                parameter.mul_(5)
        model.dates.table.normal_()
    return model.eval()


@pytest.fixture
def config() -> ModelConfig:
    return SMALL
