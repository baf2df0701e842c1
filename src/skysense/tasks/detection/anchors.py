"""Anchors: the boxes that a pyramid begins with, some around every cell.

Letters: A anchors of all levels, R ratios, h w cells of a map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def grid_anchors(
    grids: Sequence[tuple[int, int]],
    strides: Sequence[float],
    scale: float,
    ratios: Sequence[float],
    like: Tensor,
) -> list[Tensor]:
    """Boxes around the upper left corner of every cell, one per ratio, all of one area within a level.

    Strides are given and not read off the sizes of image and map: those of a padded image do not divide evenly.

    Args:
        grids: rows and columns of every level.
        strides: pixels per cell of every level.
        scale: square root of the area in cells.
        ratios: height over width.
        like: tells the device, and the type if it is wider than float32.

    Returns:
        Per level ``(h * w * R, 4)`` x1, y1, x2, y2 in pixels, row by row, the ratio last.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    ratio_R = torch.tensor(ratios, dtype=dtype, device=like.device)
    half_R2 = torch.stack([ratio_R.rsqrt(), ratio_R.sqrt()], dim=1) * scale / 2
    levels = []
    for (rows, cols), stride in zip(grids, strides, strict=True):
        y_h = torch.arange(rows, dtype=dtype, device=like.device)
        x_w = torch.arange(cols, dtype=dtype, device=like.device)
        y_hw, x_hw = torch.meshgrid(y_h, x_w, indexing="ij")
        corner_hw12 = torch.stack([x_hw, y_hw], dim=-1)[:, :, None]
        boxes_hwR4 = torch.cat([corner_hw12 - half_R2, corner_hw12 + half_R2], dim=-1)
        levels.append((boxes_hwR4 * stride).flatten(0, 2))
    return levels
