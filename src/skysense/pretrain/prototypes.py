"""Geo-context prototype learning: clusters of each region's fused features, without labels and without gradient.

Specification 1.6: M = cosine(F, P_r); Sinkhorn-Knopp on M gives S; P_r <- m P_r + (1 - m) S^T F, with S^T F divided by
the sums of S so that a prototype is a mean of features (specification Q12).

Letters: B batch, h w cells, D width of the fused feature, R regions of the model, P prototypes of a region, G regions
seen in a batch by any rank, N cells on this rank of the one that has most, M cells of all of them, Q ranks.
"""

from __future__ import annotations

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
    lie side by side, padded: that takes (regions seen) x (cells of the one that has most) features.

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
    region_G = ranks.gather(region_M.unique()).unique()
    if not len(region_G):
        return {"geo_entropy": float("nan"), "geo_revived": 0.0}
    count_G = (region_M == region_G[:, None]).sum(1)
    points_GN = torch.arange(max(1, int(count_G.max())), device=count_G.device) < count_G[:, None]
    cells_GND = cells_MD.new_zeros(*points_GN.shape, cells_MD.shape[1])
    cells_GND[points_GN] = cells_MD[region_M.argsort(stable=True)]
    count_QG = ranks.gather(count_G[None])
    _begin(geo, region_G, count_QG, cells_GND, ranks)

    prototypes_GPD = geo.prototypes[region_G]
    similarity_GNP = F.normalize(cells_GND, dim=-1) @ F.normalize(prototypes_GPD, dim=-1).mT
    assignment_GNP = sinkhorn(similarity_GNP, eps=eps, iterations=iterations, points_GN=points_GN, ranks=ranks)
    used_GP = ranks.total(assignment_GNP.sum(1)).clamp(min=torch.finfo(assignment_GNP.dtype).tiny)
    means_GPD = ranks.total(assignment_GNP.mT @ cells_GND) / used_GP[:, :, None]
    prototypes_GPD = momentum * prototypes_GPD + (1 - momentum) * means_GPD

    best_GN, nearest_GN = similarity_GNP.max(2)
    share_GP = use.share_RP[region_G]
    hits_GP = torch.zeros_like(share_GP).scatter_add_(1, nearest_GN, points_GN.to(share_GP.dtype))
    hits_GP = ranks.total(hits_GP)
    share_GP = momentum * share_GP + (1 - momentum) * hits_GP / count_QG.sum(0)[:, None]
    dead_GP = share_GP < dead / share_GP.shape[1]
    best_GN = best_GN.masked_fill(~points_GN, torch.inf)
    revived = _revive(dead_GP, prototypes_GPD, share_GP, cells_GND, best_GN, ranks)

    geo.prototypes[region_G] = prototypes_GPD
    use.share_RP[region_G] = share_GP
    entropies = [share_of_entropy(hits_P) for hits_P in hits_GP.cpu()]
    return {"geo_entropy": sum(entropies) / len(entropies), "geo_revived": float(revived)}


def _begin(geo: GeoContext, region_G: Tensor, count_QG: Tensor, cells_GND: Tensor, ranks: Ranks) -> None:
    """Put the prototypes of regions that are seen for the first time on evenly spaced cells, in the order of ranks."""
    before_G, total_G = count_QG[: ranks.rank].sum(0), count_QG.sum(0)
    for row in (~geo.initialised[region_G]).nonzero()[:, 0].tolist():  # once in a region's life
        spread = torch.linspace(0, int(total_G[row]) - 1, geo.prototypes.shape[1], device=cells_GND.device)
        cell_P = spread.round().long() - before_G[row]
        here_P = (cell_P >= 0) & (cell_P < count_QG[ranks.rank, row])
        start_PD = cells_GND[row, cell_P.where(here_P, 0)] * here_P[:, None]
        geo.prototypes[region_G[row]] = ranks.total(start_PD)
    geo.initialised[region_G] = True


def _revive(
    dead_GP: Tensor, prototypes_GPD: Tensor, share_GP: Tensor, cells_GND: Tensor, best_GN: Tensor, ranks: Ranks
) -> int:
    """Put dead prototypes, in place, on the cells of their region that its prototypes describe worst.

    One after the other, since a cell next to a prototype that was just put there is no longer described badly: views
    overlap, so that the worst cell often comes twice.

    Args:
        dead_GP: bool, which; once every cell has a prototype on it, the rest waits.
        prototypes_GPD: changed where one is put elsewhere.
        share_GP: starts anew there.
        cells_GND: of the regions, on this rank.
        best_GN: similarity of a cell to its nearest prototype; infinite where there is no cell. Changed.
        ranks: that have cells of the regions; for all the rest is the same.

    Returns:
        How many were put elsewhere.
    """
    found = dead_GP.nonzero().tolist()
    revived = 0
    for row, which in found:  # rare
        worst_Q = ranks.gather(best_GN[row].min()[None])
        if float(worst_Q.min()) > _DESCRIBED:
            continue
        mine = int(worst_Q.argmin()) == ranks.rank
        cell_D = ranks.total(cells_GND[row, best_GN[row].argmin()] * mine)
        prototypes_GPD[row, which] = cell_D
        share_GP[row, which] = 1 / share_GP.shape[1]
        similarity_N = F.normalize(cells_GND[row], dim=-1) @ F.normalize(cell_D, dim=-1)
        best_GN[row] = torch.maximum(best_GN[row], similarity_N)
        revived += 1
    return revived


def share_of_entropy(use_K: Tensor) -> float:
    """Entropy of non-negative counts or masses ``(K,)`` as a share of log K: 1 if used equally, 0 if only one is."""
    share = use_K / use_K.sum().clamp(min=torch.finfo(use_K.dtype).tiny)
    return float(-torch.xlogy(share, share).sum() / torch.log(torch.tensor(float(max(len(use_K), 2)))))
