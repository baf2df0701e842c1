"""The plain vision transformer that reads one Sentinel frame (specification 1.2).

Letters: N frames, C bands, D width, H W pixels, L tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skysense.errors import InputError
from skysense.model.blocks import begin_residuals_small, initialise, stack
from skysense.model.config import ViTConfig


class ViT(nn.Module):
    """The spatial encoder of Sentinel-2 or Sentinel-1 frames; time is folded into the batch."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.side = config.image_size // config.patch
        self.out_indices = config.out_indices or (config.depth - 1,)
        self.patch_embed = nn.Conv2d(config.in_channels, config.dim, config.patch, config.patch)
        self.extra = int(config.cls_token)  # tokens in front of the patches
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim)) if config.cls_token else None
        self.position = nn.Parameter(torch.empty(1, self.extra + self.side**2, config.dim))
        self.blocks = stack(
            config.dim, config.depth, config.heads, config.mlp_ratio, config.drop_path, config.layer_norm_eps
        )
        nn.init.trunc_normal_(self.position, std=0.02)
        initialise(self)
        begin_residuals_small(self.blocks)
        begin_pixels_apart(self.patch_embed)

    def forward(self, frames_NCHW: Tensor) -> tuple[Tensor, ...]:
        """Encode frames.

        Args:
            frames_NCHW: normalised frames, any size; zero padded right and bottom to whole patches.

        Returns:
            One map ``(N, D, ceil(H / patch), ceil(W / patch))`` per block of ``out_indices`` (the last block by
            default), not normalised, channels last in memory.

        Raises:
            InputError: another number of bands.
        """
        config = self.config
        if frames_NCHW.shape[1] != config.in_channels:
            raise InputError(f"this Sentinel encoder reads {config.in_channels} bands; got {frames_NCHW.shape[1]}")
        right, down = -frames_NCHW.shape[3] % config.patch, -frames_NCHW.shape[2] % config.patch
        if right or down:
            frames_NCHW = F.pad(frames_NCHW, (0, right, 0, down))
        patches_NDhw = self.patch_embed(frames_NCHW)
        height, width = patches_NDhw.shape[2:]
        tokens_NLD = patches_NDhw.flatten(2).transpose(1, 2)
        if self.cls_token is not None:
            tokens_NLD = torch.cat([self.cls_token.expand(len(tokens_NLD), -1, -1), tokens_NLD], dim=1)
        tokens_NLD = tokens_NLD + self._positions(height, width)
        maps = []
        for index, block in enumerate(self.blocks):
            tokens_NLD = block(tokens_NLD)
            if index in self.out_indices:
                maps.append(tokens_NLD[:, self.extra :].unflatten(1, (height, width)).permute(0, 3, 1, 2))
        return tuple(maps)

    def _positions(self, height: int, width: int) -> Tensor:
        """The position table for a token grid.

        As published, only the number of tokens decides: a grid of another shape with as many tokens takes the table
        as it is, in raster order.
        """
        if height * width == self.side**2:
            return self.position
        cls, grid = self.position[:, : self.extra], self.position[:, self.extra :]
        grid = grid.unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)
        return torch.cat([cls, grid.flatten(2).transpose(1, 2)], dim=1)


@torch.no_grad()
def begin_pixels_apart(patch_embed: nn.Conv2d) -> None:
    """Let pixel i of a patch begin in slice i of the width, by one random orthogonal projection of its bands.

    Any random projection of all pixels together begins by mixing them, and what single cells show has to be found
    again. `UpSamplingHead` begins by reading the slices. A width of less than one per pixel stays as it is.
    """
    width, bands, height, across = patch_embed.weight.shape
    slot = width // (height * across)
    if slot == 0:
        return
    shared = nn.init.orthogonal_(torch.empty(slot, bands))
    patch_embed.weight[: slot * height * across] = 0
    for pixel in range(height * across):
        rows = slice(pixel * slot, (pixel + 1) * slot)
        patch_embed.weight[rows, :, pixel // across, pixel % across] = shared
