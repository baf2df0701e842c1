"""Which truth a box shall find, if any, and which boxes count in a loss.

Letters: N boxes, G truths, I ignored truths.
"""

from __future__ import annotations

import torch
from torch import Tensor

NOTHING = -1
NOT_COUNTED = -2


def match(iou_GN: Tensor, positive: float, negative: float, rescue: float | None = None) -> Tensor:
    """The truth that every box shall find.

    Args:
        iou_GN: overlap of truths and boxes.
        positive: IoU from which on a box finds the truth that it overlaps most.
        negative: IoU below which it finds nothing.
        rescue: IoU from which on a truth is found by the boxes that overlap it most, few as it may be; None for never.

    Returns:
        int64 ``(N,)``: row of the truth, `NOTHING`, or `NOT_COUNTED` between the two.
    """
    truths, count = iou_GN.shape
    if truths == 0:
        return torch.full((count,), NOTHING, device=iou_GN.device)
    best_N, truth_N = iou_GN.max(dim=0)
    found_N = torch.where(best_N >= positive, truth_N, torch.where(best_N < negative, NOTHING, NOT_COUNTED))
    if rescue is None or count == 0:
        return found_N
    most_G1 = iou_GN.amax(dim=1, keepdim=True)
    closest_GN = (iou_GN == most_G1) & (most_G1 >= rescue)
    rescued_N, rescuer_N = torch.where(closest_GN, iou_GN, -1.0).max(dim=0)
    return torch.where(rescued_N >= 0, rescuer_N, found_N)


def leave_out(truth_N: Tensor, share_IN: Tensor, least: float) -> Tensor:
    """The same, but boxes that would find nothing do not count where they lie in what is ignored.

    Args:
        truth_N: of `match`.
        share_IN: share of the area of every box that lies in an ignored truth.
        least: from which share on.
    """
    if share_IN.shape[0] == 0:
        return truth_N
    inside_N = share_IN.amax(dim=0) >= least
    return torch.where((truth_N == NOTHING) & inside_N, NOT_COUNTED, truth_N)


def sample(truth_N: Tensor, count: int, positive: float) -> tuple[Tensor, Tensor]:
    """A random part of the boxes that count.

    Args:
        truth_N: of `match`.
        count: how many at most.
        positive: greatest share of those that find something; the others fill up.

    Returns:
        int64 rows of those that find something, and of those that find nothing.
    """
    finders = (truth_N >= 0).nonzero()[:, 0]
    others = (truth_N == NOTHING).nonzero()[:, 0]
    finders = _some(finders, int(count * positive))
    return finders, _some(others, count - len(finders))


def _some(rows: Tensor, count: int) -> Tensor:
    if len(rows) <= count:
        return rows
    return rows[torch.randperm(len(rows), device=rows.device)[:count]]


def shares(boxes_N4: Tensor, ignored_I4: Tensor) -> Tensor:
    """Share of the area of horizontal boxes that lies in others: ``(I, N)``, 0 .. 1."""
    upper_IN2 = torch.maximum(boxes_N4[None, :, :2], ignored_I4[:, None, :2])
    lower_IN2 = torch.minimum(boxes_N4[None, :, 2:], ignored_I4[:, None, 2:])
    area_N = (boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(dim=1)
    return (lower_IN2 - upper_IN2).clamp_min(0).prod(dim=2) / area_N.clamp_min(1e-9)
