"""Programs of `torch.export` that are open in batch and size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, export
from torch.fx.experimental import _config as fx_settings

from tests.tasks.decoders import by_hand


def traced(module: nn.Module, inputs: tuple[Any, ...], steps: Sequence[int]) -> nn.Module:
    """A program for pyramids whose level i has sides of ``steps[i]`` times a number that is open.

    Args:
        module: a decoder.
        inputs: its arguments, one map or a list of maps each.
        steps: per level.
    """
    batch, rows, columns = (Dim(name, min=1, max=64) for name in ("batch", "rows", "columns"))
    level = [{0: batch, 2: step * rows, 3: step * columns} for step in steps]
    shapes = tuple(level[0] if isinstance(one, Tensor) else level[: len(one)] for one in inputs)
    with torch.no_grad(), fx_settings.patch(backed_size_oblivious=True):
        return export(module.eval(), inputs, dynamic_shapes=shapes).module()


def plain(channels: Sequence[int], batch: int, finest: tuple[int, int]) -> list[Tensor]:
    """A random pyramid in float32, channels first in memory: channels last would tie programs to batches of 2 up."""
    return [one.float().contiguous() for one in by_hand.pyramid(channels, batch, finest)]
