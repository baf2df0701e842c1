"""Detections of one image that were made several times: in windows that overlap, in mirror images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from skysense.tasks.detection.boxes import Found
from skysense.tasks.detection.config import FasterRcnnConfig, OrientedRcnnConfig


def without_doubles(found: Sequence[Found]) -> Found:
    """All detections, without those of a class that overlap a better one; best first.

    Args:
        found: at least one, all with the same kind of boxes.
    """
    if len(found) == 1:
        return found[0]
    boxes_NP = torch.cat([one.boxes_NP for one in found])
    scores_N = torch.cat([one.scores_N for one in found])
    label_N = torch.cat([one.label_N for one in found])
    if boxes_NP.shape[1] == 4:
        from torchvision.ops import batched_nms

        keep = batched_nms(boxes_NP, scores_N, label_N, FasterRcnnConfig().nms)
    else:
        from skysense.tasks.rotated.nms import batched_rotated_nms

        keep = batched_rotated_nms(boxes_NP, scores_N, label_N, OrientedRcnnConfig().nms)
    return Found(boxes_NP[keep], scores_N[keep], label_N[keep])
