"""Geo-context: regional prototypes that the fused feature attends to (specification 1.6).

Letters: R regions, P prototypes of a region, D width of the fused feature, B batch, h w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skysense.errors import ConfigError, InputError
from skysense.model.config import GeoContextConfig


class GeoContext(nn.Module):
    """Prototypes of the regions a model knows. They are buffers: pre-training moves them without gradient.

    Attributes:
        region_cells: ``(R,)`` int64, ascending ids of the regions; a region's slot is its rank.
        prototypes: ``(R, P, D)``, random directions until they are learned.
        initialised: ``(R,)`` bool, regions whose prototypes have been learned; the others give no context.

    Args:
        config: prototypes per region.
        dim: width of the fused feature.
        regions: ids of the regions, ascending.

    Raises:
        ConfigError: ids that are not strictly ascending.
    """

    region_cells: Tensor
    prototypes: Tensor
    initialised: Tensor

    def __init__(self, config: GeoContextConfig, dim: int, regions: Sequence[int]) -> None:
        super().__init__()
        if any(a >= b for a, b in pairwise(regions)):
            raise ConfigError("region ids must be strictly ascending")
        self.register_buffer("region_cells", torch.tensor(list(regions), dtype=torch.int64))
        self.register_buffer("prototypes", torch.randn(len(regions), config.prototypes, dim))
        self.register_buffer("initialised", torch.zeros(len(regions), dtype=torch.bool))

    def forward(self, fused_BDhw: Tensor, occupied_Bhw: Tensor, region_B: Tensor) -> Tensor:
        """softmax(Q K^T / sqrt(D)) V with Q the fused feature and K = V the prototypes of the sample's region.

        Args:
            fused_BDhw: fused features.
            occupied_Bhw: bool, cells that have one.
            region_B: slot of each sample's region, -1 for none.

        Returns:
            ``(B, D, h, w)``; zero where a sample has no region, its region was never learned, or a cell is empty.

        Raises:
            InputError: a slot beyond the regions of this model.
        """
        if int(region_B.max()) >= len(self.prototypes):
            raise InputError(
                f"region slot {int(region_B.max())} is beyond the {len(self.prototypes)} regions of this model",
                fix="Look regions up in the model's own `region_table`",
            )
        _, _, height, width = fused_BDhw.shape
        known_B = (region_B >= 0) & self.initialised[region_B.clamp(min=0)]
        query_BLD = fused_BDhw.flatten(2).transpose(1, 2)
        prototypes_BPD = self.prototypes[region_B.clamp(min=0)].to(query_BLD.dtype)
        context_BLD = F.scaled_dot_product_attention(query_BLD, prototypes_BPD, prototypes_BPD)
        context_BDhw = context_BLD.unflatten(1, (height, width)).permute(0, 3, 1, 2)
        keep_Bhw = known_B[:, None, None] & occupied_Bhw
        return context_BDhw.masked_fill(~keep_Bhw[:, None], 0)
