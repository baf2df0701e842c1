"""Change between two dates by the absolute difference of their features, decoded by UperNet.

Letters: B batch, D_i H_i W_i width and grid of level i, the finest first; K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skysense.tasks.decoders.layers import check_dates
from skysense.tasks.decoders.upernet import UperNet


class DifferenceUperNet(nn.Module):
    """UperNet over ``|first - second|`` of every level; the order of the dates changes nothing.

    Args:
        channels: D_i, width of every level, the finest first.
        classes: K; two for changed or not.
        width: of the decoder.
        dropout: share of the channels of the fused map that training leaves out.

    Raises:
        ConfigError: no class.
    """

    def __init__(self, channels: Sequence[int], classes: int = 2, width: int = 512, dropout: float = 0.1) -> None:
        super().__init__()
        self.upernet = UperNet(channels, classes, width, dropout)

    def forward(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
        """Score every pixel of the finest level.

        Args:
            first: ``(B, D_i, H_i, W_i)`` of the first date, the finest first.
            second: the same of the second date.

        Returns:
            Logits ``(B, K, H_0, W_0)``.

        Raises:
            InputError: dates of different shapes, or levels that the decoder was not made for.
        """
        check_dates(first, second)
        return self.upernet([(after - before).abs() for before, after in zip(first, second, strict=True)])


class SemanticChange(NamedTuple):
    """What was where before, what is there after, and where it changed.

    Attributes:
        first_BKHW: logits of the classes at the first date.
        second_BKHW: the same at the second.
        change_BCHW: logits of the change.
    """

    first_BKHW: Tensor
    second_BKHW: Tensor
    change_BCHW: Tensor


class SemanticChangeUperNet(nn.Module):
    """One UperNet that segments each date, and a `DifferenceUperNet` that says where they differ.

    Args:
        channels: D_i, width of every level, the finest first.
        classes: K, of land cover at either date.
        change_classes: two for changed or not.
        width: of both decoders.
        dropout: share of the channels of the fused maps that training leaves out.

    Raises:
        ConfigError: no class.
    """

    def __init__(
        self, channels: Sequence[int], classes: int, change_classes: int = 2, width: int = 512, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.segmentation = UperNet(channels, classes, width, dropout)
        self.change = DifferenceUperNet(channels, change_classes, width, dropout)

    def forward(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> SemanticChange:
        """Segment both dates and find what changed; arguments and errors as for `DifferenceUperNet`.

        Returns:
            Three maps of logits of the finest level's size.
        """
        change = self.change(first, second)
        # one batch of both dates: the norms of the shared decoder see them alike
        both = self.segmentation([torch.cat(pair) for pair in zip(first, second, strict=True)])
        before, after = both.unflatten(0, (2, -1))
        return SemanticChange(before, after, change)
