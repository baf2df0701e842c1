"""The plain vision transformer that reads one Sentinel frame (specification 1.2).

Letters: N frames, C bands, D width, H W pixels, L tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skysense.errors import ConfigError, InputError
from skysense.model.blocks import begin_residuals_small, initialise, stack
from skysense.model.config import ViTConfig
from skysense.model.encoder import Encoder


class ViT(Encoder):
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
        self.feature_info = [
            {"num_chs": config.dim, "reduction": config.patch, "module": f"blocks.{index}"}
            for index in range(config.depth)
        ]

    def forward(self, frames_NCHW: Tensor, words_N: Tensor | None = None) -> tuple[Tensor, ...]:
        """Encode frames.

        Args:
            frames_NCHW: normalised frames, any size; zero padded right and bottom to whole patches.
            words_N: random words of the frames, for drop-path; see `skysense.model.drop_path`.

        Returns:
            One map ``(N, D, ceil(H / patch), ceil(W / patch))`` per block of ``out_indices`` (the last block by
            default), not normalised, channels last in memory.

        Raises:
            InputError: another number of bands.
        """
        maps = self.levels(frames_NCHW, self.out_indices, words_N)
        return tuple(maps[index].permute(0, 3, 1, 2) for index in self.out_indices)

    def levels(self, x: Tensor, wanted: Collection[int], words_N: Tensor | None = None) -> dict[int, Tensor]:
        """The maps of some blocks, see `Encoder`."""
        tokens_NLD, height, width = self._tokens(x)
        maps = {}
        run = self._runner(None if words_N is None else [words_N])
        for index, block in enumerate(self.blocks[: max(wanted) + 1]):
            (tokens_NLD,) = run(block, [tokens_NLD])
            if index in wanted:
                maps[index] = tokens_NLD[:, self.extra :].unflatten(1, (height, width))
        return maps

    def _tokens(self, frames_NCHW: Tensor) -> tuple[Tensor, int, int]:
        """Tokens of all patches with their positions, the class token in front; height and width of their grid."""
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
            tokens_NLD = torch.cat([self.cls_token.expand(tokens_NLD.shape[0], -1, -1), tokens_NLD], dim=1)
        return tokens_NLD + self._positions(height, width), height, width

    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Interpolate the position table once for frames of a size, instead of in every forward.

        What the encoder returns for this size stays the same; for others it is interpolated from the new table.

        Args:
            img_size: height and width in pixels, multiples of the patch.

        Raises:
            ConfigError: a size that is no multiple of the patch, or not square (the table has one side).
        """
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        if height != width or height < self.config.patch or height % self.config.patch:
            raise ConfigError(
                f"frames of {height} x {width} px: they must be square, of whole patches of {self.config.patch} px"
            )
        side = height // self.config.patch
        with torch.no_grad():
            table = self._positions(side, side).clone()
        self.position = nn.Parameter(table, requires_grad=self.position.requires_grad)
        self.side = side
        self.config = replace(self.config, image_size=height)

    def set_outputs(self, indices: Sequence[int]) -> None:
        """Choose the blocks whose output `forward` returns.

        Raises:
            ConfigError: blocks that do not exist or are not in order.
        """
        self.config = replace(self.config, out_indices=tuple(indices))
        self.out_indices = self.config.out_indices

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of parameter names for layer-wise learning rates: the stem, then every block."""
        return {"stem": r"^cls_token|position|patch_embed", "blocks": r"^blocks" if coarse else r"^blocks\.(\d+)"}

    def _positions(self, height: int, width: int) -> Tensor:
        """The position table for a token grid.

        As published, only the number of tokens decides: a grid of another shape with as many tokens takes the table
        as it is, in raster order.
        """
        varies = isinstance(height * width, torch.SymInt)  # in an exported program the number of tokens is open
        if not varies and height * width == self.side**2:
            return self.position
        cls, grid = self.position[:, : self.extra], self.position[:, self.extra :]
        grid = grid.unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)
        table = torch.cat([cls, grid.flatten(2).transpose(1, 2)], dim=1)
        if not varies:
            return table
        # both rules are reckoned, and the number of tokens chooses when the program runs
        rows = torch.arange(self.extra + height * width, device=table.device).clamp(max=self.position.shape[1] - 1)
        same = torch.scalar_tensor(height * width, device=table.device) == self.side**2
        return torch.where(same, self.position.index_select(1, rows), table)


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
