"""Decoders for small budgets: one linear layer over a pyramid, and learned up-sampling of a single coarse map.

Letters: B batch, D_i H_i W_i width and grid of level i, the finest first; h w cells, C width of the decoder, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skysense.errors import ConfigError
from skysense.geo import CELL_HR_PX
from skysense.tasks.decoders.layers import BatchNorm, ConvNormReLU, check_levels, classifier, resized

_NARROWEST = 16


class LightDecoder(nn.Module):
    """All levels through one linear layer, a norm and a ReLU: the all-MLP head of SegFormer (Xie et al. 2021).

    There each level goes through a linear layer, is up-sampled, and a second linear layer fuses all of them side by
    side. Nothing but bilinear up-sampling lies between the two, which commutes with both: they are one linear layer per
    level and a sum. So it is computed here, without maps four times as wide at the finest resolution.

    Args:
        channels: D_i, width of every level, the finest first.
        classes: K.
        width: C.
        dropout: share of the channels of the fused map that training leaves out.

    Raises:
        ConfigError: no class.
    """

    def __init__(self, channels: Sequence[int], classes: int, width: int = 128, dropout: float = 0.1) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.projections = nn.ModuleList(nn.Conv2d(dim, width, 1, bias=False) for dim in channels)
        self.norm = BatchNorm(width)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = classifier(width, classes)
        for weight in self.projections.parameters():
            nn.init.kaiming_normal_(weight, nonlinearity="relu")

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
        size = maps[0].shape[-2:]
        finest, *coarser = (layer(level) for layer, level in zip(self.projections, maps, strict=True))
        fused = finest
        for level in coarser:
            fused = fused + resized(level, size)
        return self.classifier(self.dropout(F.relu(self.norm(fused))))


class CellDecoder(nn.Module):
    """From one feature per cell up to the pixels of the image, by steps that double the resolution.

    What lies within a cell is in the channels of its feature: each step spreads them over four pixels, halves the
    width, and looks at the neighbours.

    Args:
        in_dim: width of the feature of a cell.
        classes: K.
        factor: pixels per cell along one side, a power of two; 32 for those of the high-resolution image.
        width: C, that the steps begin with; it is halved by each, down to 16.
        dropout: share of the channels of the last map that training leaves out.

    Raises:
        ConfigError: no class, or a factor that is no power of two.
    """

    def __init__(
        self, in_dim: int, classes: int, factor: int = CELL_HR_PX, width: int = 256, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if factor < 1 or factor & (factor - 1):
            raise ConfigError(f"cells are up-sampled by doubling: factor must be a power of two; got {factor}")
        self.in_dim = in_dim
        self.projection = ConvNormReLU(in_dim, width, 1)
        widths = [max(width >> step, min(width, _NARROWEST)) for step in range(factor.bit_length())]
        self.steps = nn.ModuleList(Doubling(wide, narrow) for wide, narrow in pairwise(widths))
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = classifier(widths[-1], classes)

    def forward(self, x_BDhw: Tensor) -> Tensor:
        """Logits ``(B, K, h * factor, w * factor)`` of features ``(B, in_dim, h, w)``.

        Raises:
            InputError: features of another width.
        """
        check_levels([x_BDhw], [self.in_dim])
        x = self.projection(x_BDhw)
        for step in self.steps:
            x = step(x)
        return self.classifier(self.dropout(x))


class Doubling(nn.Module):
    """A map of twice the resolution: convolution, pixel shuffle (Shi et al., CVPR 2016), norm, ReLU.

    The four pixels of a place begin with the same weights (Aitken et al. 2017, 1707.02937), or the first maps would be
    chequered.

    Args:
        in_dim: width of what comes in.
        out_dim: width of what goes out.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, 4 * out_dim, 3, padding=1, bias=False)
        self.norm = BatchNorm(out_dim)
        shared = torch.empty(out_dim, *self.conv.weight.shape[1:])
        nn.init.kaiming_normal_(shared, nonlinearity="relu")
        with torch.no_grad():
            self.conv.weight.copy_(shared.repeat_interleave(4, dim=0))

    def forward(self, x_BDHW: Tensor) -> Tensor:
        """``(B, in_dim, H, W)`` to ``(B, out_dim, 2H, 2W)``."""
        return F.relu(self.norm(F.pixel_shuffle(self.conv(x_BDHW), 2)))
