"""Sinkhorn-Knopp: soft assignments that use every cluster equally.

Points may be spread over ranks: what the columns sum to is then the sum over the ranks, so that the assignment is that
of all points together.

Letters: G problems side by side, N points of this rank, K clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor

from skysense.train.ranks import ALONE


class Sums(Protocol):
    """What sums over the ranks that points are spread over: `skysense.train.ranks.Ranks`, or some of their problems."""

    @property
    def size(self) -> int:
        """Number of ranks; alone, nothing is summed."""

    def total(self, values: Tensor) -> Tensor:
        """Sum over the ranks."""

    def greatest(self, values: Tensor) -> Tensor:
        """Greatest over the ranks, element by element."""


def sinkhorn(
    scores_GNK: Tensor,
    *,
    eps: float,
    iterations: int,
    points_GN: Tensor | None = None,
    clusters_GK: Tensor | None = None,
    ranks: Sums = ALONE,
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
        clusters_GK: bool, clusters that exist, the same on all ranks; all if None.
        ranks: over which the points of each problem are spread.

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
    log = where_absent(log - _over_ranks(log.logsumexp(1), ranks)[:, None], lowest)
    plan = where_absent(log.softmax(2), 0.0)
    count_G = ranks.total(points.sum(1))
    share = (count_G.clamp(min=1) / clusters.sum(1).clamp(min=1)).to(plan.dtype)[:, None, None]
    least = 0.5 / shape[2]  # less than any sum of what exists
    for _ in range(iterations - 1):
        plan *= share / ranks.total(plan.sum(1, keepdim=True)).clamp(min=least)
        plan /= plan.sum(2, keepdim=True).clamp(min=least)
    return plan


def balance(pieces: Callable[[], Iterable[Tensor]], *, iterations: int, ranks: Sums = ALONE) -> Tensor:
    """What `sinkhorn` adds to the logits of each cluster: its assignment is ``(logits_NK + balance_K).softmax(1)``.

    For more points than can be held together. Without gradient.

    Args:
        pieces: called for every alternation; gives the logits ``(N_i, K)``, i.e. scores / eps, of this rank's points,
            in one piece at least; it may be empty.
        iterations: number of alternations, at least 1.
        ranks: over which the points are spread; all call this, even those without a point.

    Returns:
        ``(K,)``; of no meaning if there is no point at all.
    """
    log_K = torch.stack([logits_NK.logsumexp(0) for logits_NK in pieces()]).logsumexp(0)
    balance_K = -_over_ranks(log_K, ranks)
    for _ in range(iterations - 1):
        used_K = torch.stack([(logits_NK + balance_K).softmax(1).sum(0) for logits_NK in pieces()]).sum(0)
        least = 0.5 / len(used_K)  # as in `sinkhorn`; how many points there are adds the same to all clusters
        balance_K = balance_K - ranks.total(used_K).clamp(min=least).log()
    return balance_K


def _over_ranks(log: Tensor, ranks: Sums) -> Tensor:
    """Logarithm of the sum over ranks of what these are the logarithms of."""
    if ranks.size == 1:
        return log
    peak = ranks.greatest(log)
    return peak + ranks.total((log - peak).exp()).log()
