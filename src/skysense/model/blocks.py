"""Parts that several transformers share: MLP, the pre-norm block of ViT and fusion.

Letters: S sequences, L tokens of a sequence, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skysense.model.drop_path import DropPath, scaled
from skysense.model.linear import Linear
from skysense.model.norm import LayerNorm


class Mlp(nn.Module):
    """Two linear layers around an exact (erf) GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.up = Linear(dim, hidden)
        self.down = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., D)`` to ``(..., D)``."""
        return self.down(F.gelu(self.up(x)))


_SHORT = 32  # tokens; at 31 the fused kernel of a CPU takes a sixth longer in training, at 64 a sixth less


def attend(q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> Tensor:
    """softmax(scale * q k^T) v over ``(..., heads, L, d)``.

    On a CPU two batched products beat the fused kernel for short sequences: in training by a half at 16 tokens.
    """
    # when exporting, sizes that are open must not choose the kernel
    if torch.compiler.is_exporting() or q.device.type != "cpu" or q.shape[-2] > _SHORT:
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    return ((q * scale) @ k.transpose(-2, -1)).softmax(dim=-1) @ v


class SelfAttention(nn.Module):
    """Multi-head attention with packed query, key, value weights."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = Linear(dim, 3 * dim)
        self.out = Linear(dim, dim)

    def forward(self, x_SLD: Tensor) -> Tensor:
        """Attend from all tokens to all tokens: ``(S, L, D)`` to the same."""
        packed = self.qkv(x_SLD).unflatten(-1, (3, self.heads, -1))
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
        return self.out(attend(q, k, v, scale=self.scale).transpose(1, 2).flatten(2))

    def from_first(self, x_SLD: Tensor, queries: int) -> Tensor:
        """What `forward` returns for the first ``queries`` tokens, ``(S, queries, D)``, without keys and values of all.

        ``q . (K x) = (K^T q) . x`` and ``sum_n a_n V x_n = V (sum_n a_n x_n)``: the weights of keys and values meet the
        few queries instead of the many tokens. The bias of the keys adds the same to all logits of a query, so that
        the softmax drops it; the shares sum to one, so that the bias of the values is added once.
        """
        dim = x_SLD.shape[-1]
        query_DD, key_DD, value_DD = self.qkv.weight.chunk(3)
        query_bias, _, value_bias = self.qkv.bias.chunk(3)
        key_hdD, value_hdD = (weight.view(self.heads, -1, dim) for weight in (key_DD, value_DD))
        q = F.linear(x_SLD[:, :queries], query_DD, query_bias).unflatten(-1, (self.heads, -1)) * self.scale
        asked = torch.einsum("sqhd,hdc->sqhc", q, key_hdD).flatten(1, 2)
        shares = (asked @ x_SLD.transpose(1, 2)).softmax(dim=-1)
        seen = (shares @ x_SLD).unflatten(1, (queries, self.heads))
        return self.out(torch.einsum("sqhc,hdc->sqhd", seen, value_hdD).flatten(2) + value_bias)


class Block(nn.Module):
    """The pre-norm transformer block of the ViTs and of the fusion transformer (specification 1.2, 1.5).

    Drop-path acts on the MLP branch only, as published.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float, drop_path: float, eps: float) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(dim, eps)
        self.attention = SelfAttention(dim, heads)
        self.mlp_norm = LayerNorm(dim, eps)
        self.mlp = Mlp(dim, round(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    @overload
    def forward(self, x_SLD: Tensor, queries: int | None = None, words: None = None) -> Tensor: ...

    @overload
    def forward(
        self, x_SLD: Sequence[Tensor], queries: int | None = None, words: Sequence[Tensor] | None = None
    ) -> list[Tensor]: ...

    def forward(
        self,
        x_SLD: Tensor | Sequence[Tensor],
        queries: int | None = None,
        words: Sequence[Tensor] | None = None,
    ) -> Tensor | list[Tensor]:
        """``(S, L, D)`` to ``(S, L, D)``, or to the first ``queries`` tokens of it at the cost of those; or several.

        ``words`` of several decide which samples drop-path leaves out.
        """
        if isinstance(x_SLD, Tensor):
            return self.one(x_SLD, queries, self.drop_path.factor(x_SLD))
        some = [None] * len(x_SLD) if words is None else words
        return [
            self.one(part, queries, self.drop_path.factor(part, word_S))
            for part, word_S in zip(x_SLD, some, strict=True)
        ]

    def one(self, x_SLD: Tensor, queries: int | None, factor_S11: Tensor | None) -> Tensor:
        """`forward` of one tensor, with what drop-path multiplies."""
        normed_SLD = self.attention_norm(x_SLD)
        if queries is None:
            x_SLD = x_SLD + self.attention(normed_SLD)
        else:
            x_SLD = x_SLD[:, :queries] + self.attention.from_first(normed_SLD, queries)
        return x_SLD + scaled(self.mlp(self.mlp_norm(x_SLD)), factor_S11)


def stack(dim: int, depth: int, heads: int, mlp_ratio: float, drop_path: float, eps: float) -> nn.ModuleList:
    """``depth`` blocks whose drop-path rate grows linearly from 0 to ``drop_path``."""
    return nn.ModuleList(Block(dim, heads, mlp_ratio, rate, eps) for rate in rates(drop_path, depth))


_CPU_NUMBERS = 2**21


def pieces(x: Tensor, numbers: int) -> Sequence[Tensor]:
    """Split a batch into what is best run together; see `joined`.

    An accelerator runs all at once. A CPU is faster with tensors of 8 MiB, which stay in its cache; for those above
    32 MiB the allocator of glibc also maps fresh pages every time.

    Args:
        x: the first axis is the samples.
        numbers: that a sample takes where it is widest.
    """
    whole = x.device.type != "cpu" or torch.compiler.is_exporting()
    return (x,) if whole else x.split(max(1, _CPU_NUMBERS // numbers))


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Pieces side by side again."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def reshaped(x: Tensor, *shape: int) -> Tensor:
    """`torch.reshape`, which copies nothing if it need not; an exported program cannot know and always copies."""
    if torch.compiler.is_exporting():
        return x.clone(memory_format=torch.contiguous_format).view(shape)
    return x.reshape(shape)


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
