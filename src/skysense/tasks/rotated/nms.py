"""Non-maximum suppression of rotated boxes: of boxes that overlap, the one with the best score stays.

Letters: 5 is (cx, cy, w, h, θ), N boxes, K kept ones, P pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skysense.errors import InputError
from skysense.tasks.rotated.iou import checked, overlap_of_pairs, reach, rotated_iou
from skysense.tasks.rotated.pairs import banded


def rotated_nms(boxes_N5: Tensor, scores_N: Tensor, threshold: float) -> Tensor:
    """Greedy suppression: from the best score down, a box stays unless a better one that stays overlaps it too much.

    Args:
        boxes_N5: boxes, finite.
        scores_N: the higher the better; of equal scores the earlier box comes first.
        threshold: the greatest intersection over union two boxes that stay may have.

    Returns:
        Places of the boxes that stay, ``(K,)``, best first.

    Raises:
        InputError: not as many scores as boxes, or not ``(N, 5)``.
    """
    return batched_rotated_nms(boxes_N5, scores_N, None, threshold)


def batched_rotated_nms(boxes_N5: Tensor, scores_N: Tensor, groups_N: Tensor | None, threshold: float) -> Tensor:
    """`rotated_nms` inside every group alone, as if the groups lay far apart.

    Args:
        boxes_N5: boxes, finite.
        scores_N: the higher the better.
        groups_N: integers: classes, images, levels; None for one group.
        threshold: the greatest intersection over union two boxes of one group that stay may have.

    Returns:
        Places of the boxes that stay, ``(K,)``, best first, over all groups.

    Raises:
        InputError: not as many scores or groups as boxes, or not ``(N, 5)``.
    """
    boxes_N5 = checked(boxes_N5.detach())
    for what, values in (("scores", scores_N), ("groups", groups_N)):
        if values is not None and values.shape != boxes_N5.shape[:1]:
            raise InputError(f"{tuple(values.shape)} {what} do not go with {tuple(boxes_N5.shape)} boxes")
    order_N = scores_N.detach().argsort(descending=True, stable=True)
    boxes_N5 = boxes_N5[order_N]
    groups_N = None if groups_N is None else groups_N[order_N]
    pick = _kept_of_matrix if torch.compiler.is_exporting() else _kept_of_pairs
    return order_N[pick(boxes_N5, groups_N, threshold).nonzero()[:, 0]]


def _kept_of_pairs(boxes_N5: Tensor, groups_N: Tensor | None, threshold: float) -> Tensor:
    """Which of boxes in falling order of their scores stay, from those pairs alone that can meet."""
    return stays(len(boxes_N5), *_rivals(boxes_N5, groups_N, threshold))


def stays(count: int, better: Tensor, worse: Tensor) -> Tensor:
    """Greedy suppression when it is known which boxes overlap too much.

    Args:
        count: how many boxes there are, N; they are in falling order of their scores.
        better: of pairs that overlap too much the place of the better box, ``(P,)``.
        worse: and that of the other.

    Returns:
        Which boxes stay, ``(N,)`` bool.
    """
    stays_N = torch.ones(count, dtype=torch.bool, device=better.device)
    # a box without an undecided better rival stays, and its worse rivals go; the best undecided box is always such one
    while len(better):
        contested_N = torch.zeros_like(stays_N)
        contested_N[worse] = True
        stays_N[worse[~contested_N[better]]] = False
        open_P = stays_N[better] & stays_N[worse]
        better, worse = better[open_P], worse[open_P]
    return stays_N


def _rivals(boxes_N5: Tensor, groups_N: Tensor | None, threshold: float) -> tuple[Tensor, Tensor]:
    """Pairs of one group that overlap too much: the better and the worse box, ``(P,)`` each."""
    pairs = [torch.empty(2, 0, dtype=torch.long, device=boxes_N5.device)]
    for i_P, j_P in banded(reach(boxes_N5)):
        if groups_N is not None:
            same_P = groups_N[i_P] == groups_N[j_P]
            i_P, j_P = i_P[same_P], j_P[same_P]
        close_P = overlap_of_pairs(boxes_N5, boxes_N5, i_P, j_P) > threshold
        pairs.append(torch.stack([torch.minimum(i_P, j_P), torch.maximum(i_P, j_P)])[:, close_P])
    better, worse = torch.cat(pairs, dim=1)
    return better, worse


def _kept_of_matrix(boxes_N5: Tensor, groups_N: Tensor | None, threshold: float) -> Tensor:
    """As `_kept_of_pairs`, in a form that a graph can hold: by the matrix of all pairs and a loop in the graph."""
    beats_NN = (rotated_iou(boxes_N5, boxes_N5) > threshold).triu(1)
    if groups_N is not None:
        beats_NN = beats_NN & (groups_N[:, None] == groups_N)
    stays_N = torch.ones_like(beats_NN[0])

    def changed(go: Tensor, stays_N: Tensor) -> Tensor:
        return go.clone()  # the loop may not hand out what it was given

    def suppress(go: Tensor, stays_N: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes beaten by none that stays; after n rounds the best n are right, and what is right stays so."""
        after_N = ~(beats_NN & stays_N[:, None]).any(dim=0)
        return (after_N != stays_N).any(), after_N

    go = torch.ones((), dtype=torch.bool, device=stays_N.device)
    return torch.while_loop(changed, suppress, (go, stays_N))[1]
