"""The feature pyramid of Lin et al. (CVPR 2017): what the coarse levels know, at the resolution of the fine ones.

Letters: B images, D width of a map, H W its cells.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from skysense.errors import InputError


class Pyramid(nn.Module):
    """Maps of different widths become maps of one width, and one more at twice the stride of the coarsest.

    Args:
        widths: channels of the maps, from fine to coarse.
        channels: channels of all maps afterwards.
    """

    def __init__(self, widths: Sequence[int], channels: int = 256) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.network = FeaturePyramidNetwork(list(widths), channels, extra_blocks=LastLevelMaxPool())

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Merge the levels.

        Args:
            maps: ``(B, D_i, H_i, W_i)`` from fine to coarse.

        Returns:
            Maps ``(B, channels, H_i, W_i)``, and the last ``(B, channels, ceil(H / 2), ceil(W / 2))`` of the coarsest.

        Raises:
            InputError: another number of maps, or other widths.
        """
        found = tuple(one.shape[1] for one in maps)
        if found != self.widths:
            raise InputError(f"this pyramid reads maps of {self.widths} channels, from fine to coarse; got {found}")
        return list(self.network(OrderedDict((str(level), one) for level, one in enumerate(maps))).values())
