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

    Alternates scaling of columns to ``n / k`` and of rows to 1 on ``exp(scores / eps)``; the last step is on the rows,
    so these are exact. Without gradient. No ``eps`` under- or overflows: the first round is made in the logarithm, and
    after it no row or column sums to less than ``1 / k``.

    Args:
        scores_GNK: similarities; larger is nearer.
        eps: entropy; smaller is harder.
        iterations: number of alternations, at least 1.
        points_GN: bool, points that exist; all if None.
        clusters_GK: bool, clusters that exist; all if None.

    Returns:
        ``(G, N, K)`` assignment; rows of existing points sum to 1, everything else is 0.
    """
    log = scores_GNK.detach() / eps
    shape, device = log.shape, log.device
    points = torch.ones(shape[:2], dtype=torch.bool, device=device) if points_GN is None else points_GN
    clusters = torch.ones(shape[0], shape[2], dtype=torch.bool, device=device) if clusters_GK is None else clusters_GK
    absent = None if points_GN is None and clusters_GK is None else ~(points[:, :, None] & clusters[:, None, :])

    def where_absent(values: Tensor, value: float) -> Tensor:
        return values if absent is None else values.masked_fill_(absent, value)

    lowest = torch.finfo(log.dtype).min / 4  # finite: a row or column without members must not become NaN
    log = where_absent(log, lowest)
    log = where_absent(log - log.logsumexp(1, keepdim=True), lowest)
    plan = where_absent(log.softmax(2), 0.0)
    share = (points.sum(1).clamp(min=1) / clusters.sum(1).clamp(min=1)).to(plan.dtype)[:, None, None]
    least = 0.5 / shape[2]  # less than any sum of what exists
    for _ in range(iterations - 1):
        plan *= share / plan.sum(1, keepdim=True).clamp(min=least)
        plan /= plan.sum(2, keepdim=True).clamp(min=least)
    return plan
