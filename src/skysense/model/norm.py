"""Layer normalisation whose weights may have a narrower type than what is normalised."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LayerNorm(nn.LayerNorm):
    """`torch.nn.LayerNorm` that also takes what is wider than its weights.

    Where parameters are sharded, those of a block are gathered in bfloat16, while its input may be float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(..., D)`` to the same."""
        wide = torch.promote_types(x.dtype, self.weight.dtype)
        if wide == self.weight.dtype:
            return super().forward(x)
        return F.layer_norm(x, self.normalized_shape, self.weight.to(wide), self.bias.to(wide), self.eps)
