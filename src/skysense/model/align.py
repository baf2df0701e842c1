"""Spatial alignment: from the patch grid of a Sentinel encoder to the cell grid that all modalities share.

Letters: N frames, D width of the encoder, C width of the aligned features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        self.projection = nn.Linear(in_dim, out_dim * scale**2)
        # All cells of a patch begin with the same weights (ICNR, Aitken et al. 2017). With weights of their own
        # the features begin as a chequerboard of places within the patch.
        shared = nn.init.kaiming_normal_(torch.empty(out_dim, in_dim), nonlinearity="relu")
        with torch.no_grad():
            self.projection.weight.copy_(shared.repeat_interleave(scale**2, dim=0))
        nn.init.zeros_(self.projection.bias)

    def forward(self, features_NDhw: Tensor) -> Tensor:
        """``(N, D, h, w)`` to ``(N, C, h * scale, w * scale)``, channels last in memory."""
        frames, _, height, width = features_NDhw.shape
        scale = self.scale
        blocks = self.projection(features_NDhw.permute(0, 2, 3, 1)).view(frames, height, width, -1, scale, scale)
        cells = blocks.permute(0, 1, 4, 2, 5, 3).reshape(frames, height * scale, width * scale, -1)
        return cells.permute(0, 3, 1, 2)
