"""The DINO-type projection head of the contrastive terms, and the memory of what it said lately (specification Q4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skysense.model.linear import Linear
from skysense.train.ranks import ALONE, Ranks


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

    def forward(self, features_ND: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, dim)`` features to unit vectors, and the prototypes whose products with these are the logits.

        Both come out of one call, since where parameters are sharded they are whole only in it.

        Returns:
            ``(N, bottleneck)`` and ``(prototypes, bottleneck)``, unit rows, in float32 at least.
        """
        vectors_NE = self.mlp(features_ND)
        wide = torch.promote_types(vectors_NE.dtype, torch.float32)
        return F.normalize(vectors_NE.to(wide), dim=-1), F.normalize(self.last_layer.to(wide), dim=-1)


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

    def known(self, ranks: Ranks = ALONE) -> Tensor:
        """``(m, bottleneck)``, m up to M, in no particular order; of several ranks each gets its share."""
        return self.vectors_ME[: int(self.seen)][ranks.rank :: ranks.size].clone()

    @torch.no_grad()
    def add(self, vectors_RE: Tensor, ranks: Ranks = ALONE, counts: Sequence[int] | None = None) -> None:
        """Take in vectors ``(R, bottleneck)`` of every rank, in the order of the ranks; of more than M the first M.

        Args:
            vectors_RE: of this rank.
            ranks: all of them call this.
            counts: how many vectors each rank has; the number of these if None.
        """
        counts = [len(vectors_RE)] if counts is None else counts
        size, start = min(sum(counts), len(self.vectors_ME)), sum(counts[: ranks.rank])
        if not size:
            return
        new = self.vectors_ME.new_zeros(size, self.vectors_ME.shape[1])
        new[start : start + len(vectors_RE)] = vectors_RE[: max(0, size - start)].to(new.dtype)
        where = (self.seen + torch.arange(size, device=new.device)) % len(self.vectors_ME)
        self.vectors_ME[where] = ranks.total(new)
        self.seen += size
