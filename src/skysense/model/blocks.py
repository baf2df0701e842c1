"""Parts that several transformers share: drop-path, MLP, the pre-norm block of ViT and fusion.

Letters: S sequences, L tokens of a sequence, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DropPath(nn.Module):
    """Leave a branch out for some samples while training (stochastic depth).

    Args:
        rate: probability of leaving it out; what stays is scaled up by ``1 / (1 - rate)``.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; the first axis is the samples."""
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        mask = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep).div_(keep)
        return x * mask

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"rate={self.rate:g}"


class Mlp(nn.Module):
    """Two linear layers around an exact (erf) GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., D)`` to ``(..., D)``."""
        return self.down(F.gelu(self.up(x)))


class SelfAttention(nn.Module):
    """Multi-head attention with packed query, key, value weights."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x_SLD: Tensor, queries: int | None = None) -> Tensor:
        """Attend from the first ``queries`` tokens (all if None) to all tokens: ``(S, queries, D)``."""
        if queries is None:
            q, k, v = self._split(self.qkv(x_SLD), 3)
        else:
            dim = x_SLD.shape[-1]
            weight, bias = self.qkv.weight, self.qkv.bias
            (q,) = self._split(F.linear(x_SLD[:, :queries], weight[:dim], bias[:dim]), 1)
            k, v = self._split(F.linear(x_SLD, weight[dim:], bias[dim:]), 2)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _split(self, packed: Tensor, parts: int) -> tuple[Tensor, ...]:
        """``(S, L, parts * D)`` to ``parts`` views ``(S, heads, L, D / heads)``."""
        return packed.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


class Block(nn.Module):
    """The pre-norm transformer block of the ViTs and of the fusion transformer (specification 1.2, 1.5).

    Drop-path acts on the MLP branch only, as published.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float, drop_path: float, eps: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim, eps)
        self.attention = SelfAttention(dim, heads)
        self.mlp_norm = nn.LayerNorm(dim, eps)
        self.mlp = Mlp(dim, round(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x_SLD: Tensor, queries: int | None = None) -> Tensor:
        """``(S, L, D)`` to ``(S, L, D)``, or to the first ``queries`` tokens of it at the cost of those."""
        x_SLD = x_SLD[:, :queries] + self.attention(self.attention_norm(x_SLD), queries)
        return x_SLD + self.drop_path(self.mlp(self.mlp_norm(x_SLD)))


def stack(dim: int, depth: int, heads: int, mlp_ratio: float, drop_path: float, eps: float) -> nn.ModuleList:
    """``depth`` blocks whose drop-path rate grows linearly from 0 to ``drop_path``."""
    return nn.ModuleList(Block(dim, heads, mlp_ratio, rate, eps) for rate in rates(drop_path, depth))


def rates(greatest: float, count: int) -> list[float]:
    """Drop-path rates that grow linearly from 0 to ``greatest``."""
    return [greatest * index / max(count - 1, 1) for index in range(count)]


def initialise(module: nn.Module) -> None:
    """Truncated normal matrices and kernels of variance 1 / fan-in, zero biases.

    The variance of a layer's output is then that of its input at any width; a fixed 0.02 suits widths of about 2,500.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


RESIDUAL_START = 0.1


@torch.no_grad()
def begin_residuals_small(blocks: nn.ModuleList) -> None:
    """Let blocks begin near the identity: the last layer of each branch is scaled by a tenth.

    What LayerScale begins with at moderate depths (Touvron et al. 2021), without its parameters. Random branches of
    full size bury what the patches show.
    """
    for block in blocks:
        assert isinstance(block, Block)
        block.attention.out.weight.mul_(RESIDUAL_START)
        block.mlp.down.weight.mul_(RESIDUAL_START)
