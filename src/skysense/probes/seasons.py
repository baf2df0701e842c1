"""Features of each sensor by itself, by quarter of the year: what a model says without its fusion.

Letters: B places, N frames, C width of aligned features, D width of what is returned, h w cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skysense.model.assembly import Features, FrameFeatures
from skysense.observation import DAYS
from skysense.sensors import Modality

QUARTERS = 4


def seasons(features: Features, modalities: Sequence[Modality]) -> Tensor:
    """Means of the aligned features of each sensor side by side: of the image, and of each quarter of a series.

    The raw baseline reads the year in the same way, see `skysense.probes.raw`. An empty quarter takes the mean of the
    year; a sensor that did not see a cell is zero.

    Args:
        features: of a batch.
        modalities: which sensors, in order; the width does not depend on which of them are there.

    Returns:
        ``(B, D, h, w)``, D = C for the image and 4 C for each series.
    """
    size, _, height, width = features.fused_BDhw.shape
    dim = next(iter(features.frames.values())).values_NDhw.shape[1]
    parts = []
    for key in modalities:
        slots = 1 if key == "hr" else QUARTERS
        frames = features.frames.get(key)
        if frames is None:
            parts.append(features.fused_BDhw.new_zeros(size, slots * dim, height, width))
        else:
            parts.append(_quarter_means(frames, size, slots))
    return torch.cat(parts, dim=1)


def _quarter_means(frames: FrameFeatures, size: int, slots: int) -> Tensor:
    """Means ``(B, slots C, h, w)`` over the frames of each part of the year; a frame without a date is in none."""
    weight_NChw = frames.valid_Nhw[:, None].to(frames.values_NDhw.dtype)
    quarter_N = torch.where(frames.day_N < 0, -1, (frames.day_N * QUARTERS // DAYS).clamp(max=QUARTERS - 1))

    def mean(chosen_N: Tensor) -> tuple[Tensor, Tensor]:
        weight = weight_NChw * chosen_N[:, None, None, None]
        total = weight.new_zeros(size, *frames.values_NDhw.shape[1:]).index_add(
            0, frames.sample_N, frames.values_NDhw * weight
        )
        count = weight.new_zeros(size, *weight.shape[1:]).index_add(0, frames.sample_N, weight)
        return total / count.clamp(min=1), count

    year, _ = mean(torch.ones_like(quarter_N, dtype=torch.bool))
    if slots == 1:
        return year
    found = [mean(quarter_N == quarter) for quarter in range(slots)]
    return torch.cat([torch.where(count > 0, season, year) for season, count in found], dim=1)
