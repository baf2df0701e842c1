"""Projection heads: DINO-type for the contrastive terms, linear for cross-modal alignment (specification Q4, Q10)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DinoHead(nn.Module):
    """Three-layer perceptron, L2-normalised bottleneck, weight-normed prototypes.

    Args:
        dim: input width.
        hidden: width of the hidden layers.
        bottleneck: width before the prototypes.
        prototypes: number of prototypes.
    """

    def __init__(self, dim: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        # the encoders and fusion end without a norm, so that the scale of what comes in is anything
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last_layer = nn.Parameter(torch.empty(prototypes, bottleneck))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5)
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.last_layer)

    def forward(self, features_ND: Tensor) -> Tensor:
        """``(N, dim)`` features to ``(N, bottleneck)`` unit vectors; `weight` turns these into logits."""
        return F.normalize(self.mlp(features_ND), dim=-1)

    @property
    def weight(self) -> Tensor:
        """``(prototypes, bottleneck)`` unit rows."""
        return F.normalize(self.last_layer, dim=-1)
