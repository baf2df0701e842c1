"""Sinkhorn-Knopp: soft assignments that use every cluster equally.

Letters: G problems side by side, N points, K clusters.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sinkhorn(
    scores_GNK: Tensor,
    *,
    eps: float,
    iterations: int,
    points_GN: Tensor | None = None,
    clusters_GK: Tensor | None = None,
) -> Tensor:
    """Assign points to clusters, balanced: clusters share the points equally, each point is spent once.

    Alternates scaling of columns to ``n / k`` and of rows to 1 on ``exp(scores / eps)``, in the logarithm so that no
    ``eps`` under- or overflows; the last step is on the rows, so these are exact.

    Args:
        scores_GNK: similarities; larger is nearer.
        eps: entropy; smaller is harder.
        iterations: number of alternations.
        points_GN: bool, points that exist; all if None.
        clusters_GK: bool, clusters that exist; all if None.

    Returns:
        ``(G, N, K)`` assignment; rows of existing points sum to 1, everything else is 0.
    """
    log = scores_GNK / eps
    shape = log.shape
    points = torch.ones(shape[:2], dtype=torch.bool, device=log.device) if points_GN is None else points_GN
    clusters = (
        torch.ones(shape[0], shape[2], dtype=torch.bool, device=log.device) if clusters_GK is None else clusters_GK
    )
    exists = points[:, :, None] & clusters[:, None, :]
    lowest = torch.finfo(log.dtype).min / 4  # finite: a row or column without members must not become NaN
    log = log.masked_fill(~exists, lowest)
    share = (points.sum(1).clamp(min=1) / clusters.sum(1).clamp(min=1)).to(log.dtype).log()[:, None, None]
    for _ in range(iterations):
        log = (log - log.logsumexp(1, keepdim=True) + share).masked_fill(~exists, lowest)
        log = (log - log.logsumexp(2, keepdim=True)).masked_fill(~exists, lowest)
    return log.exp().masked_fill(~exists, 0.0)
