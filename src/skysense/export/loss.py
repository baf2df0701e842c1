"""What weights in 8 bits cost, measured against the package in float32.

Letters: N detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from skysense.export.graphs import Graph, Outlet
from skysense.tasks.rotated.boxes import from_horizontal
from skysense.tasks.rotated.iou import rotated_iou

_SAME = 0.5
"""IoU from which on two boxes are of one object; probability above which something is so."""


@dataclass(frozen=True)
class Loss:
    """How far answers are from those in float32.

    Attributes:
        size: of the file, as a share of that in float32.
        error: greatest of all outputs of the length of the difference over the length of the answer; of boxes the share
            that changes; None where no box was found.
        cosine: of features, the least mean over all outputs of the cosine of vectors; None for other answers.
        same: share of answers that stay: the likeliest class, yes or no, boxes with a partner of their class at an IoU
            of 0.5; None for features, and where no box was found.
    """

    size: float
    error: float | None
    cosine: float | None = None
    same: float | None = None

    def words(self) -> str:
        """For people."""
        parts = [f"{self.size:.2f} of the size"]
        if self.error is None:
            parts.append("no box was found to compare")
        elif self.cosine is not None:
            parts.append(f"features differ by {100 * self.error:.1f} % of their length, cosine {self.cosine:.4f}")
        if self.same is not None:
            parts.append(f"{100 * self.same:.1f} % of the answers stay")
        return ", ".join(parts)


def loss_of(graph: Graph, found: Sequence[Tensor], wanted: Sequence[Tensor], size: float) -> Loss:
    """Compare answers.

    Args:
        graph: whose answers they are.
        found: with weights in 8 bits, `Graph.finished`.
        wanted: in float32.
        size: of the file, as a share.
    """
    if graph.finds_boxes:
        if len(found[1]) == len(wanted[1]) == 0:
            return Loss(size, None)
        share = _boxes_kept(found, wanted)
        return Loss(size, 1 - share, same=share)
    numbers = [
        (outlet, one.float(), other.float())
        for outlet, one, other in zip(graph.outlets, found, wanted, strict=True)
        if other.is_floating_point()
    ]
    error = max(float((one - other).norm() / other.norm().clamp_min(1e-12)) for _, one, other in numbers)
    if "width" in graph.outlets[0].axes:
        return Loss(size, error, cosine=min(_cosine(one, other) for _, one, other in numbers))
    return Loss(size, error, same=min(_same(outlet, one, other) for outlet, one, other in numbers))


def _cosine(found_BDhw: Tensor, wanted_BDhw: Tensor) -> float:
    seen_Bhw = wanted_BDhw.abs().amax(dim=1) > 0
    return float(F.cosine_similarity(found_BDhw, wanted_BDhw, dim=1)[seen_Bhw].mean())


def _same(outlet: Outlet, found: Tensor, wanted: Tensor) -> float:
    """Share of pixels or samples whose answer stays."""
    if outlet.exclusive:
        return float((found.argmax(dim=1) == wanted.argmax(dim=1)).double().mean())
    return float(((found > _SAME) == (wanted > _SAME)).double().mean())


def _boxes_kept(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Share of the boxes of both that have a partner of their class in the other."""
    if len(found[1]) == 0 or len(wanted[1]) == 0:
        return 0.0
    one_N5, other_M5 = (from_horizontal(boxes) if boxes.shape[1] == 4 else boxes for boxes in (found[0], wanted[0]))
    match_NM = (rotated_iou(one_N5, other_M5) >= _SAME) & (found[2][:, None] == wanted[2])
    return float(torch.cat([match_NM.any(dim=0), match_NM.any(dim=1)]).double().mean())
