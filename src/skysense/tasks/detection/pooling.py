"""What a head sees of every proposal: a few cells from the level of the pyramid that suits its size.

Letters: B images, N boxes, P numbers of a box, D width of the maps, H W their cells, S cells on the side of a region.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from skysense.tasks.detection.boxes import wide

Align = Callable[[Tensor, Tensor, float], Tensor]
"""Takes ``(N, D, S, S)`` out of a map ``(B, D, H, W)``: ``(N, 1 + P)`` image and box in pixels, cells per pixel."""


def levels_of(size_N: Tensor, finest: float, count: int) -> Tensor:
    """Level of boxes by the square root of their area (Lin et al. 2017, eq. 1): one coarser with every doubling.

    Args:
        size_N: square roots of areas, pixels.
        finest: size from whose double on boxes leave the finest level, pixels.
        count: levels there are.

    Returns:
        int64 ``(N,)``, 0 the finest.
    """
    return torch.log2(size_N / finest + 1e-6).floor().clamp(0, count - 1).long()


def pool(
    maps: Sequence[Tensor],
    boxes: Sequence[Tensor],
    sizes: Sequence[Tensor],
    strides: Sequence[float],
    finest: float,
    align: Align,
) -> Tensor:
    """Cells of every box from the map of its level.

    Args:
        maps: ``(B, D, H_i, W_i)`` from fine to coarse.
        boxes: per image ``(N, P)``.
        sizes: per image ``(N,)`` square roots of their areas, pixels.
        strides: pixels per cell of every map.
        finest: see `levels_of`.
        align: takes the cells out of one map.

    Returns:
        ``(sum of N, D, S, S)``, image by image.
    """
    rois = torch.cat([F.pad(one, (1, 0), value=float(image)) for image, one in enumerate(boxes)])
    level_N = levels_of(torch.cat(list(sizes)), finest, len(maps))
    rows, parts = [], []
    # Levels without a box are read too: in training every rank must use every parameter.
    for level, (map_BDHW, stride) in enumerate(zip(maps, strides, strict=True)):
        row = (level_N == level).nonzero()[:, 0]
        parts.append(align(wide(map_BDHW), rois[row], 1 / stride).to(map_BDHW.dtype))
        rows.append(row)
    return torch.cat(parts)[torch.argsort(torch.cat(rows))]
