"""The DINO-type projection head of the contrastive terms, and the memory of what it said lately (specification Q4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skysense.model.linear import Linear


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
            Linear(dim, hidden),
            nn.GELU(),
            Linear(hidden, hidden),
            nn.GELU(),
            Linear(hidden, bottleneck),
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


class TeacherMemory(nn.Module):
    """The teacher's latest bottleneck vectors, oldest overwritten first; in checkpoints like everything that learns.

    Args:
        rows: M, how many to keep.
        bottleneck: width of a vector.
    """

    vectors_ME: Tensor
    seen: Tensor

    def __init__(self, rows: int, bottleneck: int) -> None:
        super().__init__()
        self.register_buffer("vectors_ME", torch.zeros(rows, bottleneck))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def known(self) -> Tensor:
        """``(m, bottleneck)``, m up to M, in no particular order."""
        return self.vectors_ME[: int(self.seen)].clone()

    @torch.no_grad()
    def add(self, vectors_RE: Tensor) -> None:
        """Take in vectors ``(R, bottleneck)``; of more than M the first M."""
        new = vectors_RE[: len(self.vectors_ME)].to(self.vectors_ME.dtype)
        if len(new):
            where = (self.seen + torch.arange(len(new), device=new.device)) % len(self.vectors_ME)
            self.vectors_ME[where] = new
            self.seen += len(new)
