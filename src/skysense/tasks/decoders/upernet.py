"""UperNet: pyramid pooling over the coarsest map, a feature pyramid over all (Xiao et al., ECCV 2018, 1807.10221).

The form in which segmentation papers use it as their decoder (specification 5.2): one fused map at the resolution of
the finest level, and one classifier.

Letters: B batch, D_i H_i W_i width and grid of level i, the finest first; C width of the decoder, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skysense.tasks.decoders.layers import ConvNormReLU, check_levels, classifier, in_bins, resized

BINS = (1, 2, 3, 6)
"""Sides of the grids that the coarsest map is pooled to."""


class PyramidPooling(nn.Module):
    """A map beside its means over ever finer grids, mixed by one convolution (Zhao et al., CVPR 2017, 1612.01105).

    Args:
        in_dim: width of the map.
        width: C, of each pooled map and of what goes out.
    """

    def __init__(self, in_dim: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(ConvNormReLU(in_dim, width, 1) for _ in BINS)
        self.fusion = ConvNormReLU(in_dim + len(BINS) * width, width, 3)

    def forward(self, x_BDHW: Tensor) -> Tensor:
        """``(B, in_dim, H, W)`` to ``(B, C, H, W)``."""
        size = x_BDHW.shape[-2:]
        pooled = [
            resized(branch(in_bins(x_BDHW, (bins, bins))), size)
            for branch, bins in zip(self.branches, BINS, strict=True)
        ]
        return self.fusion(torch.cat([x_BDHW, *pooled], dim=1))


class UperNet(nn.Module):
    """The decoder of the published segmentation results.

    Any number of levels, of falling or of equal sizes: the stages of a Swin, blocks of a ViT, or one map alone.

    Args:
        channels: D_i, width of every level, the finest first.
        classes: K.
        width: C; 512 as published.
        dropout: share of the channels of the fused map that training leaves out.

    Raises:
        ConfigError: no class.
    """

    def __init__(self, channels: Sequence[int], classes: int, width: int = 512, dropout: float = 0.1) -> None:
        super().__init__()
        self.channels = tuple(channels)
        *finer, coarsest = channels
        self.pooling = PyramidPooling(coarsest, width)
        self.laterals = nn.ModuleList(ConvNormReLU(dim, width, 1) for dim in finer)
        self.smoothers = nn.ModuleList(ConvNormReLU(width, width, 3) for _ in finer)
        self.fusion = ConvNormReLU(len(channels) * width, width, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = classifier(width, classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Score every pixel of the finest level.

        Args:
            maps: ``(B, D_i, H_i, W_i)``, the finest first.

        Returns:
            Logits ``(B, K, H_0, W_0)``.

        Raises:
            InputError: levels of other widths, or of another number, than the decoder was made for.
        """
        check_levels(maps, self.channels)
        *finer, coarsest = maps
        size = maps[0].shape[-2:]
        above = self.pooling(coarsest)
        levels = [above]
        for level, lateral, smoother in reversed(list(zip(finer, self.laterals, self.smoothers, strict=True))):
            above = lateral(level) + resized(above, level.shape[-2:])
            levels.append(smoother(above))
        finest_first = levels[::-1]
        same_size = [finest_first[0], *(resized(level, size) for level in finest_first[1:])]
        return self.classifier(self.dropout(self.fusion(torch.cat(same_size, dim=1))))
