"""The arithmetic of decoders once more, plainly: weights are read from a state dict by name.

Nothing here is shared with what it is compared to but `torch.nn.functional.conv2d`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

State = Mapping[str, Tensor]
EPS = 1e-5


def randomised(module: nn.Module) -> nn.Module:
    """In float64, with every weight and running statistic random: a wrong one would show."""
    module.double()
    with torch.no_grad():
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif value.is_floating_point():
                value.normal_(std=0.5 if value.ndim == 1 else value[0].numel() ** -0.5)
    return module


def pyramid(channels: Sequence[int], batch: int = 2, finest: tuple[int, int] = (16, 24)) -> list[Tensor]:
    """Random levels in float64, each half the size of the one before; channels last in memory, like those of a Swin."""
    sizes = [[math.ceil(side / 2**level) for side in finest] for level in range(len(channels))]
    return [
        torch.randn(batch, *size, dim, dtype=torch.float64).permute(0, 3, 1, 2)
        for dim, size in zip(channels, sizes, strict=True)
    ]


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Linear between pixel centres along each axis, constant beyond the outermost."""

    def weights(before: int, after: int) -> Tensor:
        matrix = torch.zeros(after, before, dtype=x.dtype)
        for row in range(after):
            place = min(max((row + 0.5) * before / after - 0.5, 0.0), before - 1.0)
            low = min(int(place), before - 2) if before > 1 else 0
            matrix[row, low] += 1 - (place - low)
            if before > 1:
                matrix[row, low + 1] += place - low
        return matrix

    rows, columns = (weights(before, after) for before, after in zip(x.shape[-2:], size, strict=True))
    return rows @ x @ columns.T


def pool(x: Tensor, bins: int) -> Tensor:
    """Means over a grid of bins, which overlap where the side is no multiple."""
    height, width = x.shape[-2:]

    def spans(length: int) -> list[slice]:
        return [slice(i * length // bins, math.ceil((i + 1) * length / bins)) for i in range(bins)]

    rows = [torch.stack([x[..., r, c].mean((-2, -1)) for c in spans(width)], -1) for r in spans(height)]
    return torch.stack(rows, -2)


def norm(state: State, name: str, x: Tensor, training: bool) -> Tensor:
    """Batch normalisation with the statistics of the batch, or with the running ones."""
    if training:
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    else:
        mean, variance = (state[f"{name}.running_{what}"][:, None, None] for what in ("mean", "var"))
    weight, bias = (state[f"{name}.{what}"][:, None, None] for what in ("weight", "bias"))
    return (x - mean) / (variance + EPS).sqrt() * weight + bias


def conv(state: State, name: str, x: Tensor) -> Tensor:
    """A convolution that keeps the size."""
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def conv_norm_relu(state: State, name: str, x: Tensor, training: bool) -> Tensor:
    return norm(state, f"{name}.norm", conv(state, f"{name}.conv", x), training).clamp(min=0)


def upernet(state: State, maps: Sequence[Tensor], training: bool) -> Tensor:
    *finer, top = maps
    pooled = [
        resize(conv_norm_relu(state, f"pooling.branches.{i}", pool(top, bins), training), top.shape[-2:])
        for i, bins in enumerate((1, 2, 3, 6))
    ]
    summed = [conv_norm_relu(state, "pooling.fusion", torch.cat([top, *pooled], 1), training)]
    for i in reversed(range(len(finer))):
        lateral = conv_norm_relu(state, f"laterals.{i}", finer[i], training)
        summed.insert(0, lateral + resize(summed[0], finer[i].shape[-2:]))
    smooth = [conv_norm_relu(state, f"smoothers.{i}", summed[i], training) for i in range(len(finer))] + summed[-1:]
    side_by_side = torch.cat([resize(level, maps[0].shape[-2:]) for level in smooth], 1)
    return conv(state, "classifier", conv_norm_relu(state, "fusion", side_by_side, training))


def sub(state: State, prefix: str) -> State:
    """The part of a state dict below a submodule."""
    return {name.removeprefix(f"{prefix}."): value for name, value in state.items() if name.startswith(f"{prefix}.")}


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def without_gradient(module: nn.Module) -> list[str]:
    """Parameters that the gradient did not reach, or whose gradient is nothing but zeros."""
    return [name for name, one in module.named_parameters() if one.grad is None or not one.grad.any()]
