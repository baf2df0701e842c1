"""Fusion of all tokens of a cell, over time and sensors, and the date table (specification 1.4, 1.5).

Letters: S sequences (one per cell), N tokens of a sequence, C width of aligned features, D width of the fused feature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skysense.model.blocks import initialise, joined, pieces, stack
from skysense.model.config import FusionConfig
from skysense.model.linear import Linear
from skysense.model.recompute import Blocks
from skysense.observation import DAYS

_MOST_PERIODS = 3
_WAVE_HEIGHT = 0.3  # a fifth of the size of what it is added to: dates must not drown what the frames show


class DateTable(nn.Module):
    """One learned embedding per day of the year.

    It begins as smooth waves of one to three periods a year with random phases, so that the days of a crop's growth can
    be told apart from the first step on: a teacher passes on only what its features hold, and dates that begin at zero,
    as in the released code, are found too late by short runs.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        periods = torch.randint(1, 1 + _MOST_PERIODS, (dim,))
        turn = torch.arange(DAYS)[:, None] * periods / DAYS + torch.rand(dim)
        self.table = nn.Parameter(_WAVE_HEIGHT * torch.cos(2 * math.pi * turn)[None])

    def forward(self, day_N: Tensor) -> Tensor:
        """Embeddings ``(..., C)`` of days 0 .. 364, of any shape; zero for -1 (no date)."""
        return self.table[0][day_N.clamp(min=0)] * (day_N >= 0).unsqueeze(-1)


class Fusion(Blocks):
    """Transformer over the tokens of a cell; a learned token in front becomes the fused feature.

    Nothing tells the tokens apart but their content: the fused feature does not depend on their order.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        self.projection = Linear(config.input_dim, config.dim)
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.dim))
        self.blocks = stack(
            config.dim, config.depth, config.heads, config.mlp_ratio, config.drop_path, config.layer_norm_eps
        )
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        initialise(self)

    def forward(self, tokens_SNC: Tensor, keep: int = 1, words_S: Tensor | None = None) -> Tensor:
        """Fuse sequences of one length.

        Args:
            tokens_SNC: aligned features, dates added; any N.
            keep: how many tokens to return, the learned one first. The last block works for these only.
            words_S: random words of the sequences, for drop-path; see `skysense.model.drop_path`.

        Returns:
            ``(S, keep, D)``.
        """
        parts = self._pieces(tokens_SNC)
        words = None if words_S is None else list(words_S.split([part.shape[0] for part in parts]))
        return joined(self._fused(parts, keep, words))

    def _pieces(self, tokens_SNC: Tensor) -> Sequence[Tensor]:
        return pieces(tokens_SNC, (1 + tokens_SNC.shape[1]) * round(self.config.dim * self.config.mlp_ratio))

    def _fused(self, parts: Sequence[Tensor], keep: int, words: list[Tensor] | None) -> list[Tensor]:
        """As `forward` of each part; block by block, so that each block is called once."""
        fronts = [self.cls_token.expand(tokens.shape[0], -1, -1) for tokens in parts]
        found = [torch.cat([front, self.projection(part)], dim=1) for front, part in zip(fronts, parts, strict=True)]
        run = self._runner(words)
        *first, last = self.blocks
        for block in first:
            found = run(block, found)
        return run(last, found, queries=keep)

    def fuse(self, tokens_NC: Tensor, row_SN: Tensor, valid_SN: Tensor, words_S: Tensor | None = None) -> Tensor:
        """Fuse sequences of different lengths without a step spent on what is absent.

        Sequences of the same length run together; nothing is padded or masked.

        Args:
            tokens_NC: all tokens, in any order.
            row_SN: for every sequence and position, the row of ``tokens_NC``; whatever where not valid.
            valid_SN: bool, positions that hold a token.
            words_S: as in `forward`.

        Returns:
            ``(S, D)``; zeros for a sequence without a token.
        """
        length_S, order_S = valid_SN.sum(dim=1).sort(stable=True)
        lengths, counts = (one.tolist() for one in length_S.unique_consecutive(return_counts=True))
        # one gather for all: every gather has a gradient as large as all tokens
        tokens_TC = tokens_NC.index_select(0, row_SN[order_S][valid_SN[order_S]])
        groups = tokens_TC.split([count * length for length, count in zip(lengths, counts, strict=True)])
        parts = [
            part
            for group, length, count in zip(groups, lengths, counts, strict=True)
            if length
            for part in self._pieces(group.view(count, length, -1))
        ]
        empty_rows = counts[0] if lengths[0] == 0 else 0
        if parts:
            sizes = [part.shape[0] for part in parts]
            words = None if words_S is None else list(words_S[order_S][empty_rows:].split(sizes))
            fused = [part[:, 0] for part in self._fused(parts, 1, words)]
        else:  # blocks are called whatever there is, see `Blocks`: one token, for nothing
            fused = [self._fused([tokens_NC[None, :1]], 1, None)[0][:0, 0]]
        empty = fused[0].new_zeros(empty_rows, self.config.dim)
        fused_SD = torch.cat([empty, *fused])
        return fused_SD[order_S.argsort()]
