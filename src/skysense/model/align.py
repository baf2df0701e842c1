"""Spatial alignment: from the patch grid of a Sentinel encoder to the cell grid that all modalities share.

Letters: N frames, D width of the encoder, C width of the aligned features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skysense.model.blocks import reshaped
from skysense.model.linear import Linear


class UpSamplingHead(nn.Module):
    """A linear layer per patch (a 1 x 1 convolution) and a pixel shuffle (specification 1.3).

    Args:
        in_dim: width of the encoder.
        out_dim: width of the aligned features.
        scale: cells per patch along one side.
    """

    def __init__(self, in_dim: int, out_dim: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.projection = Linear(in_dim, out_dim * scale**2)
        begin_cells_apart(self.projection, scale**2)

    def forward(self, features_NDhw: Tensor) -> Tensor:
        """``(N, D, h, w)`` to ``(N, C, h * scale, w * scale)``, channels last in memory."""
        frames, dim, height, width = features_NDhw.shape
        scale = self.scale
        packed = self.projection(reshaped(features_NDhw.permute(0, 2, 3, 1), -1, dim))  # one product, not one per frame
        blocks = packed.view(frames, height, width, -1, scale, scale).permute(0, 1, 4, 2, 5, 3)
        cells = reshaped(blocks, frames, height * scale, width * scale, packed.shape[-1] // scale**2)
        return cells.permute(0, 3, 1, 2)


def begin_cells_apart(projection: nn.Linear, cells: int) -> None:
    """Let cell i of a patch begin as a projection of slice i of the encoder's width, the same for all cells.

    `ViT` begins with pixel i of a patch in slice i: features begin at the resolution of the pixels, and a teacher has
    something to say about single cells from the first step on. With independent weights per cell the features begin as
    a chequerboard of places within the patch; with shared ones (ICNR) all cells of a patch begin equal.

    Args:
        projection: to ``out_dim * cells``, in the order of the pixel shuffle. Narrower than ``cells``, it begins with
            weights that the cells share.
        cells: of a patch.
    """
    in_dim = projection.in_features
    slot = in_dim // cells
    nn.init.zeros_(projection.bias)
    weight_OcD = projection.weight.detach().unflatten(0, (-1, cells))
    if slot == 0:
        shared = torch.empty_like(weight_OcD[:, 0]).normal_(std=in_dim**-0.5)
        weight_OcD.copy_(shared[:, None])
        return
    shared = torch.empty_like(weight_OcD[:, 0, :slot]).normal_(std=slot**-0.5)
    weight_OcD.zero_()
    for cell in range(cells):
        weight_OcD[:, cell, cell * slot : (cell + 1) * slot] = shared
