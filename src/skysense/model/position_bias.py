"""The continuous relative-position bias of Swin V2: how far apart two tokens of a window are, as a bias per head.

Letters: L tokens of a window, h heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_BIAS_CEILING = 16.0


class RelativePositionBias(nn.Module):
    """Continuous relative-position bias: an MLP over log-spaced offsets, squashed to 0 .. 16.

    While training it is computed once per forward of its block; without autograd in eval mode it is kept until a weight
    changes.

    Args:
        window: side of the window.
        heads: attention heads.
        hidden: hidden width of the MLP.
    """

    offsets: Tensor
    index: Tensor

    def __init__(self, window: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(2, hidden)
        self.heads = nn.Linear(hidden, heads, bias=False)
        self.window = window
        self.register_buffer("offsets", relative_offsets(window), persistent=False)
        self.register_buffer("index", relative_index(window), persistent=False)
        self._kept: tuple[tuple[Tensor, ...], tuple[object, ...], Tensor] | None = None

    def place_constants(self, like: Tensor) -> None:
        """Make offsets and index anew where a tensor is; see `skysense.model.loading`."""
        self._kept = None
        self.offsets = relative_offsets(self.window).to(like.device)
        self.index = relative_index(self.window).to(like.device)

    def forward(self) -> Tensor:
        """The bias ``(h, L, L)`` with L = window^2, in 0 .. 16."""
        parameters = (self.hidden.weight, self.hidden.bias, self.heads.weight)
        may_keep = not (self.training or torch.is_grad_enabled() or torch.compiler.is_compiling())
        if not may_keep or any(parameter.is_inference() for parameter in parameters):
            self._kept = None
            return self._compute()
        # In-place changes (an optimiser, a moving average, loading) raise a weight's version; only a change through
        # ``.data`` escapes, so weights must not be changed that way.
        state = (*(parameter._version for parameter in parameters), torch.is_autocast_enabled(self.offsets.device.type))
        kept = self._kept
        if (
            kept is None
            or kept[1] != state
            or any(old is not new for old, new in zip(kept[0], parameters, strict=True))
        ):
            self._kept = kept = (parameters, state, self._compute())
        return kept[2]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RelativePositionBias:
        """Forget the bias when the module moves or changes type; offsets stay in float32."""
        super()._apply(fn, recurse)
        self.place_constants(self.offsets)
        return self

    def _compute(self) -> Tensor:
        table = self.heads(F.relu(self.hidden(self.offsets.to(self.hidden.weight.dtype))))
        length = self.window**2
        bias = F.embedding(self.index, _BIAS_CEILING * torch.sigmoid(table))
        return bias.view(length, length, -1).permute(2, 0, 1).contiguous()


def relative_offsets(window: int) -> Tensor:
    """Offsets between two tokens of a window, ``((2w-1)^2, 2)``: over w-1, times 8, on a signed log scale to base 8."""
    axis = torch.arange(-(window - 1), window, dtype=torch.float32) / (window - 1) * 8
    table = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).flatten(0, 1)
    return torch.sign(table) * torch.log2(table.abs() + 1) / math.log2(8)


def relative_index(window: int) -> Tensor:
    """Row of the offset table for every pair of tokens of a window, ``(L * L,)``."""
    axis = torch.arange(window)
    rows, cols = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    down = rows[:, None] - rows[None, :] + window - 1
    across = cols[:, None] - cols[None, :] + window - 1
    return (down * (2 * window - 1) + across).flatten()
