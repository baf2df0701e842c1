"""Detections of the windows of one image as those of the image.

Windows overlap, so most objects near a seam are seen twice, and some are cut.

* A detection counts in the window that owns its middle; the borders between windows run through the middle of what they
  share, so every point has one owner. An object no longer than what two windows share is whole in the window that owns
  its middle.
* A longer object across a seam is cut in both windows. A detection that ends at a seam gives way to that of another
  window which has the same extent where both look, and is not cut or, if it is, shows more of the object.
* An object that fills a window from side to side stays in pieces: no window knows where it ends.

Letters: N detections, W windows, C cut ones, P numbers of a box (4 or 5) or pairs, 4 is (x1, y1, x2, y2), 5 is (cx, cy,
w, h, θ).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skysense.tasks.detection.boxes import Found
from skysense.tasks.detection.merge import joined, picked, suppressed
from skysense.tasks.rotated.boxes import area, enclosing_horizontal, from_horizontal
from skysense.tasks.rotated.iou import paired_rotated_iou
from skysense.tasks.rotated.pairs import banded

_RIM = 2.0
"""Pixels from a seam within which a box ends at it: detectors are not exact."""
_SLACK = 0.1
"""Share of a box by which its middle may lie beyond a border: two windows put it in slightly different places, and each
would leave the object to the other. Of those that both keep, suppression leaves one."""
_SAME = 0.5
"""Two boxes are of one object if they share at least so much of what lies on ground that both windows see."""
_BELIEVED = 0.5
"""A cut box gives way to one with at least this share of its score: detectors say much that they hardly believe."""

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class View:
    """What a window sees of an image.

    Attributes:
        seen: x1, y1, x2, y2 in pixels of the image.
        own: the part whose objects are those of this window, without its right and lower border; infinite on sides
            where no window follows.
    """

    seen: Corners
    own: Corners


def of_image(found: Sequence[Found], views: Sequence[View]) -> Found:
    """The detections of an image, each object once; best first.

    Args:
        found: of each window, in pixels of the image; at least one.
        views: of the same windows.
    """
    if len(found) == 1:
        return found[0]
    every, window_N = joined(found), _window_of(found)
    seen_W4, own_W4 = (every.boxes_NP.new_tensor([getattr(view, name) for view in views]) for name in ("seen", "own"))
    mine_N = _owned(every.boxes_NP, own_W4[window_N])
    every, window_N = picked(every, mine_N), window_N[mine_N]
    return suppressed(picked(every, ~_gives_way(every, window_N, seen_W4[window_N], own_W4[window_N])))


def owned(boxes_NP: Tensor, view: View) -> Tensor:
    """Whether a window owns the middle of boxes, or all but does ``(N,)``."""
    return _owned(boxes_NP, boxes_NP.new_tensor(view.own))


def _owned(boxes_NP: Tensor, own_N4: Tensor) -> Tensor:
    around_N4 = _around(boxes_NP)
    low_N2, high_N2 = around_N4[:, :2], around_N4[:, 2:]
    middle_N2, slack_N2 = (low_N2 + high_N2) / 2, _SLACK * (high_N2 - low_N2)
    return ((middle_N2 >= own_N4[..., :2] - slack_N2) & (middle_N2 < own_N4[..., 2:] + slack_N2)).all(dim=1)


def _window_of(found: Sequence[Found]) -> Tensor:
    """The number of the window of each detection ``(N,)``."""
    device = found[0].boxes_NP.device
    counts = torch.tensor([len(one.scores_N) for one in found], device=device)
    return torch.arange(len(found), device=device).repeat_interleave(counts)


def _gives_way(every: Found, window_N: Tensor, seen_N4: Tensor, own_N4: Tensor) -> Tensor:
    """Whether a detection ends at a seam and another window shows more of its object ``(N,)``, over all windows."""
    boxes_NP, scores_N, label_N = every.boxes_NP, every.scores_N, every.label_N
    boxes_N5 = boxes_NP if boxes_NP.shape[1] == 5 else from_horizontal(boxes_NP)
    around_N4, area_N = _around(boxes_NP), area(boxes_N5)

    past_N4 = torch.cat([seen_N4[:, :2] - around_N4[:, :2], around_N4[:, 2:] - seen_N4[:, 2:]], dim=1)
    cut_N = ((past_N4 >= -_RIM) & own_N4.isfinite()).any(dim=1)
    fills_N = (past_N4[:, :2] + past_N4[:, 2:] >= -2 * _RIM).any(dim=1)

    gives_way_N = torch.zeros_like(cut_N)
    cut_C = cut_N.nonzero()[:, 0]
    for row_P, j_P in banded(around_N4[cut_C], around_N4):
        i_P = cut_C[row_P]
        rival_P = (window_N[i_P] != window_N[j_P]) & (label_N[i_P] == label_N[j_P])
        rival_P &= scores_N[j_P] >= _BELIEVED * scores_N[i_P]
        i_P, j_P = i_P[rival_P], j_P[rival_P]
        larger_P = (area_N[j_P] > area_N[i_P]) | ((area_N[j_P] == area_N[i_P]) & (j_P < i_P))
        fuller_P = ~cut_N[j_P] | (larger_P & ~fills_N[i_P] & ~fills_N[j_P])
        i_P, j_P = i_P[fuller_P], j_P[fuller_P]
        same_P = _same(boxes_N5[i_P], boxes_N5[j_P], _common(seen_N4[i_P], seen_N4[j_P]))
        gives_way_N[i_P[same_P]] = True
    return gives_way_N


def _same(one_P5: Tensor, other_P5: Tensor, ground_P4: Tensor) -> Tensor:
    """Whether boxes of two windows are of one object, from what of them is on ground that both see."""
    ground_P5 = from_horizontal(ground_P4)
    visible_P = torch.maximum(_shared(one_P5, ground_P5), _shared(other_P5, ground_P5))
    return (visible_P > 0) & (_shared(one_P5, other_P5) >= _SAME * visible_P)


def _common(one_P4: Tensor, other_P4: Tensor) -> Tensor:
    """What two horizontal boxes have in common, of no area if nothing."""
    low_P2 = torch.maximum(one_P4[:, :2], other_P4[:, :2])
    high_P2 = torch.minimum(one_P4[:, 2:], other_P4[:, 2:])
    return torch.cat([low_P2, torch.maximum(low_P2, high_P2)], dim=1)


def _around(boxes_NP: Tensor) -> Tensor:
    """Boxes as horizontal ones ``(N, 4)``."""
    return boxes_NP if boxes_NP.shape[1] == 4 else enclosing_horizontal(boxes_NP)


def _shared(one_P5: Tensor, other_P5: Tensor) -> Tensor:
    """The area that two boxes have in common, pair by pair."""
    iou_P = paired_rotated_iou(one_P5, other_P5)
    return iou_P / (1 + iou_P) * (area(one_P5) + area(other_P5))
