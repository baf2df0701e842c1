"""The terms of the objective as plain functions of features (specification section 4).

Every term runs over what is there, on all ranks together, and is normalised by it; with nothing there it is zero. A
term returns what this rank adds to it: the sum over the ranks is the term.

Letters: N frames, D features, P pairs of frames, S cells, K prototypes or clusters, R rows, B samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from skysense.pretrain.sinkhorn import balance, sinkhorn
from skysense.train.ranks import ALONE, Ranks


def gather_cells(maps_NDhw: Tensor, rows_P: Tensor, cells_PS: Tensor) -> Tensor:
    """Features ``(P, S, D)`` of chosen cells of chosen frames.

    Args:
        maps_NDhw: feature maps.
        rows_P: which map.
        cells_PS: row-major cell index within the map.
    """
    _, dim, height, width = maps_NDhw.shape
    tokens = maps_NDhw.flatten(2).transpose(1, 2).reshape(-1, dim)
    index = rows_P[:, None] * (height * width) + cells_PS
    return tokens.index_select(0, index.flatten()).view(*cells_PS.shape, dim)


def pool(maps_NDhw: Tensor, valid_Nhw: Tensor) -> Tensor:
    """Mean over the valid cells, ``(N, D)``; zero where none is valid."""
    weight_NS = valid_Nhw.flatten(1).to(maps_NDhw.dtype)
    # maps are channels last in memory: a row of weights times (S, D) reads them in order, an einsum does not
    total_ND = (weight_NS[:, None] @ maps_NDhw.flatten(2).transpose(1, 2))[:, 0]
    return total_ND / weight_NS.sum(1).clamp(min=1)[:, None]


def object_assignment(
    teacher_PSD: Tensor, mask_PS: Tensor, clusters: int, *, eps: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """Cluster the teacher's cells of each image into ``clusters`` objects, once, by Sinkhorn-Knopp.

    The first ``clusters`` masked-in cells of an image are the seeds (the cells come in random order); similarity is
    the cosine. The same assignment pools the student's features, so that centre k is the same ground in both.

    Args:
        teacher_PSD: the teacher's features of the cells that both views contain.
        mask_PS: bool, cells that exist and are valid in both views.
        clusters: N_C.
        eps: of Sinkhorn-Knopp.
        iterations: of Sinkhorn-Knopp.

    Returns:
        Assignment ``(P, S, K)`` and bool ``(P, K)``: clusters that exist (an image with fewer cells has fewer).
    """
    clusters = min(clusters, mask_PS.shape[1])
    seeds = (~mask_PS).to(torch.uint8).argsort(dim=1, stable=True)[:, :clusters]
    exists = mask_PS.gather(1, seeds)
    unit = F.normalize(teacher_PSD, dim=-1)
    centres = unit.gather(1, seeds[..., None].expand(-1, -1, unit.shape[-1]))
    scores = unit @ centres.transpose(1, 2)
    return sinkhorn(scores, eps=eps, iterations=iterations, points_GN=mask_PS, clusters_GK=exists), exists


def object_centres(features_PSD: Tensor, assignment_PSK: Tensor) -> Tensor:
    """Weighted means ``(P, K, D)`` of the cells assigned to each object."""
    weight = assignment_PSK.sum(1).clamp(min=torch.finfo(assignment_PSK.dtype).tiny)
    return assignment_PSK.transpose(1, 2) @ features_PSD / weight[..., None]


def distillation(
    student_RE: Tensor,
    teacher_RE: Tensor,
    student_weight_KE: Tensor,
    teacher_weight_KE: Tensor,
    *,
    student_temperature: float,
    teacher_temperature: float,
    iterations: int,
    rows: int,
    memory_ME: Tensor | None = None,
    ranks: Ranks = ALONE,
) -> Tensor:
    """L_CL: cross entropy of the student's distribution over prototypes under the teacher's, mean over rows.

    ``-sum_k q_k log softmax(s W_s^T / T_s)_k``, with q the teacher's Sinkhorn-Knopp assignment of ``t W_t^T / T_t``:
    it spreads the rows evenly over the prototypes, so there is no centre to keep. The rows of all ranks are assigned
    together. Logits of more than ``rows`` rows are not kept but made again, so that memory does not grow with rows x K;
    the result is the same.

    Args:
        student_RE: unit bottleneck vectors.
        teacher_RE: those of the corresponding rows.
        student_weight_KE: unit prototypes.
        teacher_weight_KE: the teacher's.
        student_temperature: of the student's softmax.
        teacher_temperature: of the teacher's assignment.
        iterations: of Sinkhorn-Knopp.
        rows: largest number of rows at once.
        memory_ME: the teacher's vectors of earlier steps, assigned along with the rows and not compared: a small batch
            need then not use every prototype (the queue of SwAV, Caron et al. 2020). Every rank has its own.
        ranks: each has its own rows.

    Returns:
        This rank's part: the sum over its rows divided by the number of rows of all ranks.
    """
    together = teacher_RE if memory_ME is None else torch.cat([teacher_RE, memory_ME])
    count = ranks.total(torch.tensor(len(student_RE), device=student_RE.device)).clamp(min=1)
    whole = len(together) <= rows

    def logits(teacher: Tensor) -> Tensor:
        return teacher @ (teacher_weight_KE / teacher_temperature).T

    with torch.no_grad():
        kept = logits(together) if whole else None
        balance_K = balance(
            lambda: [kept] if kept is not None else (logits(part) for part in together.split(rows)),
            iterations=iterations,
            ranks=ranks,
        )

    def cross_entropy(student: Tensor, teacher_logits: Tensor) -> Tensor:
        target = (teacher_logits + balance_K).softmax(-1)
        return -(target * (student @ student_weight_KE.T / student_temperature).log_softmax(-1)).sum()

    if kept is not None:
        return cross_entropy(student_RE, kept[: len(teacher_RE)]) / count

    def part(student: Tensor, teacher: Tensor) -> Tensor:
        return cross_entropy(student, logits(teacher))

    pieces = zip(student_RE.split(rows), teacher_RE.split(rows), strict=True)
    return torch.stack([checkpoint(part, *piece, use_reentrant=False) for piece in pieces]).sum() / count


def alignment(
    first_BE: Tensor,
    second_BE: Tensor,
    both_B: Tensor,
    scale: Tensor,
    *,
    ranks: Ranks = ALONE,
    counts: Sequence[int] | None = None,
) -> Tensor:
    """L_MMCL: symmetric InfoNCE between two modalities of the same places (specification Q10).

    Args:
        first_BE: image-level features of one modality, any length.
        second_BE: of the other.
        both_B: bool, places that have both; fewer than two, on all ranks together, give zero, since there is nothing to
            tell apart.
        scale: inverse temperature.
        ranks: each has its own places, which are told apart from those of all.
        counts: how many places of each rank have both; the number of these if None.

    Returns:
        This rank's part: the sum over its places divided by the number of places of all ranks.
    """
    first, second = F.normalize(first_BE[both_B], dim=-1), F.normalize(second_BE[both_B], dim=-1)
    counts = [len(first)] if counts is None else counts
    all_first, all_second = ranks.rows_of_all(torch.stack([first, second], dim=1), counts).unbind(1)
    if sum(counts) < 2:
        return (all_first.sum() + all_second.sum() + scale) * 0
    own = sum(counts[: ranks.rank]) + torch.arange(len(first), device=first.device)
    value = F.cross_entropy(scale * first @ all_second.T, own, reduction="sum")
    value = value + F.cross_entropy(scale * second @ all_first.T, own, reduction="sum")
    return value / (2 * sum(counts))
