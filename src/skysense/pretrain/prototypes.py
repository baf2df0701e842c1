"""Geo-context prototype learning: clusters of each region's fused features, without labels and without gradient.

Specification 1.6: M = cosine(F, P_r); Sinkhorn-Knopp on M gives S; P_r <- m P_r + (1 - m) S^T F, with S^T F divided by
the sums of S so that a prototype is a mean of features (specification Q12).

Letters: B batch, h w cells, D width of the fused feature, R regions of the model, P prototypes of a region, G regions
seen in a batch by this rank, A by any, N cells on this rank of the one that has most, M cells of all of them, Q ranks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skysense.model.geocontext import GeoContext
from skysense.pretrain.sinkhorn import sinkhorn
from skysense.train.ranks import ALONE, Ranks

_DESCRIBED = 1 - 1e-5  # cosine of a cell with the prototype that was put on it, to rounding


class PrototypeUse(nn.Module):
    """How much each prototype has been used of late. It belongs to a run, for a finished model has no need of it.

    Attributes:
        share_RP: moving average of the share of its region's cells that are nearest to a prototype; it begins as if
            all were used equally.
    """

    share_RP: Tensor

    def __init__(self, regions: int, prototypes: int) -> None:
        super().__init__()
        self.register_buffer("share_RP", torch.full((regions, prototypes), 1 / prototypes))


@torch.no_grad()
def update_prototypes(
    geo: GeoContext,
    use: PrototypeUse,
    fused_BDhw: Tensor,
    occupied_Bhw: Tensor,
    region_B: Tensor,
    *,
    momentum: float,
    eps: float,
    iterations: int,
    dead: float,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """Move the prototypes of the regions seen in a batch; the others stay as they are, bit for bit.

    A region seen for the first time takes evenly spaced cells of the batch as its prototypes. The cells of the regions
    that this rank sees lie side by side, padded: that takes (regions) x (cells of the one that has most) features.

    Args:
        geo: owner of the prototypes.
        use: of these prototypes; follows them.
        fused_BDhw: the student's fused features.
        occupied_Bhw: bool, cells that have one.
        region_B: slot of each sample's region, -1 for none.
        momentum: m of the moving averages, of prototypes and of their use.
        eps: of Sinkhorn-Knopp.
        iterations: of Sinkhorn-Knopp.
        dead: a prototype used less than this share of the equal share 1 / P is put elsewhere; 0 for never.
        ranks: each has its own samples; the prototypes are those of all, and the same on all.

    Returns:
        What to log: ``geo_entropy``, the mean over the regions seen of the entropy of the prototypes' use as a share of
        its maximum (1 = all equally; NaN if no region was seen), and ``geo_revived``, how many were dead and put
        elsewhere.
    """
    keep_Bhw = occupied_Bhw & (region_B >= 0)[:, None, None]
    cells_MD = fused_BDhw.permute(0, 2, 3, 1)[keep_Bhw].to(geo.prototypes.dtype)
    region_M = region_B[:, None, None].expand_as(keep_Bhw)[keep_Bhw]
    own_G, count_G = region_M.unique(return_counts=True)
    seen = Seen.by(own_G, count_G, ranks)
    if not len(seen.region_A):
        return {"geo_entropy": float("nan"), "geo_revived": 0.0}
    longest = int(count_G.max()) if len(count_G) else 1
    points_GN = torch.arange(longest, device=count_G.device) < count_G[:, None]
    cells_GND = cells_MD.new_zeros(*points_GN.shape, cells_MD.shape[1])
    cells_GND[points_GN] = cells_MD[region_M.argsort(stable=True)]
    _begin(geo, seen, cells_GND)

    similarity_GNP = F.normalize(cells_GND, dim=-1) @ F.normalize(geo.prototypes[own_G], dim=-1).mT
    assignment_GNP = sinkhorn(similarity_GNP, eps=eps, iterations=iterations, points_GN=points_GN, ranks=seen)
    used_AP = seen.all_total(assignment_GNP.sum(1)).clamp(min=torch.finfo(assignment_GNP.dtype).tiny)
    means_APD = seen.all_total(assignment_GNP.mT @ cells_GND) / used_AP[:, :, None]
    prototypes_APD = momentum * geo.prototypes[seen.region_A] + (1 - momentum) * means_APD

    best_GN, nearest_GN = similarity_GNP.max(2)
    hits_GP = similarity_GNP.new_zeros(len(own_G), similarity_GNP.shape[2])
    hits_AP = seen.all_total(hits_GP.scatter_add_(1, nearest_GN, points_GN.to(hits_GP.dtype)))
    share_AP = use.share_RP[seen.region_A]
    share_AP = momentum * share_AP + (1 - momentum) * hits_AP / seen.count_QA.sum(0)[:, None]
    dead_AP = share_AP < dead / share_AP.shape[1]
    best_GN = best_GN.masked_fill(~points_GN, torch.inf)
    revived = _revive(dead_AP, prototypes_APD, share_AP, cells_GND, best_GN, seen)

    geo.prototypes[seen.region_A] = prototypes_APD
    use.share_RP[seen.region_A] = share_AP
    entropies = [share_of_entropy(hits_P) for hits_P in hits_AP.cpu()]
    return {"geo_entropy": sum(entropies) / len(entropies), "geo_revived": float(revived)}


@dataclass(frozen=True)
class Seen:
    """Which regions a batch shows, to this rank and to all; sums over ranks of what concerns the regions of this one.

    Attributes:
        ranks: all of them.
        region_A: slots of the regions that any rank sees, ascending; the same on all.
        own_G: places in ``region_A`` of those that this rank sees.
        count_QA: cells of each rank in each region.
    """

    ranks: Ranks
    region_A: Tensor
    own_G: Tensor
    count_QA: Tensor

    @classmethod
    def by(cls, region_G: Tensor, count_G: Tensor, ranks: Ranks) -> Seen:
        """What this rank sees: slots, ascending, and cells of each."""
        region_A = ranks.rows_of_all(region_G).unique()
        own_G = torch.searchsorted(region_A, region_G)
        count_1A = torch.zeros_like(region_A).index_copy(0, own_G, count_G)[None]
        return cls(ranks, region_A, own_G, ranks.rows_of_all(count_1A, [1] * ranks.size))

    @property
    def size(self) -> int:
        """Number of ranks."""
        return self.ranks.size

    def all_total(self, values_G: Tensor) -> Tensor:
        """Sums over the ranks, for every region that any rank sees ``(A, ...)``."""
        if self.size == 1:
            return values_G
        nothing = values_G.new_zeros(len(self.region_A), *values_G.shape[1:])
        return self.ranks.total(nothing.index_copy(0, self.own_G, values_G))

    def total(self, values_G: Tensor) -> Tensor:
        """Sums over the ranks, for the regions of this one."""
        return self.all_total(values_G)[self.own_G] if self.size > 1 else values_G

    def greatest(self, values_G: Tensor) -> Tensor:
        """Greatest over the ranks, for the regions of this one."""
        if self.size == 1:
            return values_G
        lowest = values_G.new_full((len(self.region_A), *values_G.shape[1:]), -torch.inf)
        return self.ranks.greatest(lowest.index_copy(0, self.own_G, values_G))[self.own_G]


def _begin(geo: GeoContext, seen: Seen, cells_GND: Tensor) -> None:
    """Put the prototypes of regions that are seen for the first time on evenly spaced cells, in the order of ranks."""
    fresh_A = ~geo.initialised[seen.region_A]
    if not bool(fresh_A.any()):
        return
    rank, count = seen.ranks.rank, geo.prototypes.shape[1]
    before_G, own_count_G = seen.count_QA[:rank].sum(0)[seen.own_G], seen.count_QA[rank][seen.own_G]
    total_G = seen.count_QA.sum(0)[seen.own_G]
    spread_P = torch.linspace(0, 1, count, device=cells_GND.device)
    cell_GP = ((total_G[:, None] - 1) * spread_P).round().long() - before_G[:, None]
    here_GP = (cell_GP >= 0) & (cell_GP < own_count_G[:, None])
    index_GPD = cell_GP.where(here_GP, 0)[:, :, None].expand(-1, -1, cells_GND.shape[2])
    start_APD = seen.all_total(cells_GND.gather(1, index_GPD) * here_GP[:, :, None])
    geo.prototypes[seen.region_A[fresh_A]] = start_APD[fresh_A]
    geo.initialised[seen.region_A] = True


def _revive(
    dead_AP: Tensor, prototypes_APD: Tensor, share_AP: Tensor, cells_GND: Tensor, best_GN: Tensor, seen: Seen
) -> int:
    """Put dead prototypes, in place, on the cells of their region that its prototypes describe worst.

    One after the other in each region, since a cell next to a prototype that was just put there is no longer described
    badly: views overlap, so that the worst cell often comes twice.

    Args:
        dead_AP: bool, which; once every cell has a prototype on it, the rest waits.
        prototypes_APD: changed where one is put elsewhere.
        share_AP: starts anew there.
        cells_GND: of the regions of this rank.
        best_GN: similarity of a cell to its nearest prototype; infinite where there is no cell. Changed.
        seen: the regions; what concerns all of them is the same on all ranks.

    Returns:
        How many were put elsewhere.
    """
    ranks, revived = seen.ranks, 0
    number_AP = dead_AP.cumsum(1) * dead_AP  # the n-th dead of its region, from 1
    for number in range(1, int(number_AP.max()) + 1):  # rare
        region_X, which_X = (number_AP == number).nonzero(as_tuple=True)
        worst_1A = best_GN.new_full((1, len(dead_AP)), torch.inf).index_copy(1, seen.own_G, best_GN.amin(1)[None])
        worst_QA = ranks.rows_of_all(worst_1A, [1] * ranks.size)
        keep_X = worst_QA.amin(0)[region_X] <= _DESCRIBED
        region_X, which_X = region_X[keep_X], which_X[keep_X]
        mine_G = worst_QA.argmin(0)[seen.own_G] == ranks.rank
        cell_GD = cells_GND[torch.arange(len(cells_GND)), best_GN.argmin(1)] * mine_G[:, None]
        cell_AD = seen.all_total(cell_GD)
        prototypes_APD[region_X, which_X] = cell_AD[region_X]
        share_AP[region_X, which_X] = 1 / share_AP.shape[1]
        moved_G = torch.isin(seen.own_G, region_X)
        similarity_GN = (F.normalize(cells_GND, dim=-1) @ F.normalize(cell_AD[seen.own_G], dim=-1)[:, :, None])[..., 0]
        best_GN[moved_G] = torch.maximum(best_GN, similarity_GN)[moved_G]
        revived += len(region_X)
    return revived


def share_of_entropy(use_K: Tensor) -> float:
    """Entropy of non-negative counts or masses ``(K,)`` as a share of log K: 1 if used equally, 0 if only one is."""
    share = use_K / use_K.sum().clamp(min=torch.finfo(use_K.dtype).tiny)
    return float(-torch.xlogy(share, share).sum() / torch.log(torch.tensor(float(max(len(use_K), 2)))))
