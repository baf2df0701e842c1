"""Detections of one image that were made several times: in windows that overlap, in mirror images.

Letters: N detections, P numbers of a box (4 or 5) or pairs, 4 is (x1, y1, x2, y2), 5 is (cx, cy, w, h, θ).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skysense.tasks.detection.boxes import Found
from skysense.tasks.detection.config import FasterRcnnConfig, OrientedRcnnConfig
from skysense.tasks.rotated.nms import batched_rotated_nms, stays
from skysense.tasks.rotated.pairs import banded


def without_doubles(found: Sequence[Found]) -> Found:
    """All detections, without those of a class that overlap a better one; best first.

    Args:
        found: at least one, all with the same kind of boxes.
    """
    return found[0] if len(found) == 1 else suppressed(joined(found))


def joined(found: Sequence[Found]) -> Found:
    """Detections one after the other."""
    return Found(*(torch.cat([getattr(one, name) for one in found]) for name in ("boxes_NP", "scores_N", "label_N")))


def suppressed(found: Found) -> Found:
    """Detections in any order, without those of a class that overlap a better one; best first.

    Only pairs that overlap are looked at, so that a map with millions of boxes takes minutes.
    """
    if found.boxes_NP.shape[1] == 4:
        keep = _horizontal_nms(found, FasterRcnnConfig().nms)
    else:
        keep = batched_rotated_nms(found.boxes_NP, found.scores_N, found.label_N, OrientedRcnnConfig().nms)
    return picked(found, keep)


def picked(found: Found, which: Tensor) -> Found:
    """Some of the detections, by place or by a mask."""
    return Found(found.boxes_NP[which], found.scores_N[which], found.label_N[which])


def _horizontal_nms(found: Found, threshold: float) -> Tensor:
    """Places of the boxes that stay, best first; of equal scores the earlier box comes first."""
    order_N = found.scores_N.argsort(descending=True, stable=True)
    boxes_N4, label_N = found.boxes_NP[order_N], found.label_N[order_N]
    pairs = [torch.empty(2, 0, dtype=torch.long, device=boxes_N4.device)]
    for i_P, j_P in banded(boxes_N4):
        same_P = label_N[i_P] == label_N[j_P]
        i_P, j_P = i_P[same_P], j_P[same_P]
        close_P = _paired_iou(boxes_N4[i_P], boxes_N4[j_P]) > threshold
        pairs.append(torch.stack([torch.minimum(i_P, j_P), torch.maximum(i_P, j_P)])[:, close_P])
    better, worse = torch.cat(pairs, dim=1)
    return order_N[stays(len(boxes_N4), better, worse)]


def _paired_iou(a_P4: Tensor, b_P4: Tensor) -> Tensor:
    sides_P2 = torch.minimum(a_P4[:, 2:], b_P4[:, 2:]) - torch.maximum(a_P4[:, :2], b_P4[:, :2])
    common_P = sides_P2.clamp(min=0).prod(dim=1)
    a_P, b_P = ((one[:, 2:] - one[:, :2]).prod(dim=1) for one in (a_P4, b_P4))
    return common_P / (a_P + b_P - common_P)
