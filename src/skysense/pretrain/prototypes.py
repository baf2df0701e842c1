"""Geo-context prototype learning: clusters of each region's fused features, without labels and without gradient.

Specification 1.6: M = cosine(F, P_r); Sinkhorn-Knopp on M gives S; P_r <- m P_r + (1 - m) S^T F, with S^T F divided by
the sums of S so that a prototype is a mean of features (specification Q12).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from skysense.model.geocontext import GeoContext
from skysense.pretrain.sinkhorn import sinkhorn


@torch.no_grad()
def update_prototypes(
    geo: GeoContext,
    fused_BDhw: Tensor,
    occupied_Bhw: Tensor,
    region_B: Tensor,
    *,
    momentum: float,
    eps: float,
    iterations: int,
) -> float:
    """Move the prototypes of the regions seen in a batch; the others stay as they are, bit for bit.

    A region seen for the first time takes evenly spaced cells of the batch as its prototypes.

    Args:
        geo: owner of the prototypes.
        fused_BDhw: the student's fused features.
        occupied_Bhw: bool, cells that have one.
        region_B: slot of each sample's region, -1 for none.
        momentum: m of the moving average.
        eps: of Sinkhorn-Knopp.
        iterations: of Sinkhorn-Knopp.

    Returns:
        Mean over the regions seen of the entropy of the prototypes' use, as a share of its maximum (1 = all equally);
        NaN if no region was seen.
    """
    entropies = []
    count = geo.prototypes.shape[1]
    for region in region_B[region_B >= 0].unique().tolist():
        member = region_B == region
        cells = fused_BDhw[member].permute(0, 2, 3, 1)[occupied_Bhw[member]].to(geo.prototypes.dtype)
        if not len(cells):
            continue
        if not bool(geo.initialised[region]):
            spread = torch.linspace(0, len(cells) - 1, count, device=cells.device).round().long()
            geo.prototypes[region] = cells[spread]
            geo.initialised[region] = True
        similarity = F.normalize(cells, dim=-1) @ F.normalize(geo.prototypes[region], dim=-1).T
        assignment = sinkhorn(similarity[None], eps=eps, iterations=iterations)[0]
        used = assignment.sum(0)
        means = assignment.T @ cells / used.clamp(min=torch.finfo(used.dtype).tiny)[:, None]
        geo.prototypes[region] = momentum * geo.prototypes[region] + (1 - momentum) * means
        nearest = similarity.argmax(1).bincount(minlength=count).float()
        entropies.append(share_of_entropy(nearest))
    return sum(entropies) / len(entropies) if entropies else float("nan")


def share_of_entropy(use_K: Tensor) -> float:
    """Entropy of non-negative counts or masses ``(K,)`` as a share of log K: 1 if used equally, 0 if only one is."""
    share = use_K / use_K.sum().clamp(min=torch.finfo(use_K.dtype).tiny)
    return float(-torch.xlogy(share, share).sum() / torch.log(torch.tensor(float(max(len(use_K), 2)))))
