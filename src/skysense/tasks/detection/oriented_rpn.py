"""The proposal network of Oriented R-CNN (Xie et al., ICCV 2021, section 3.1).

From every horizontal anchor it tells how likely an object is there, and six numbers: the horizontal box around it, and
where on the sides of that box the corners of the object lie.

Letters: B images, A anchors of all levels, R ratios, N proposals, S sampled anchors, D width of the pyramid, H W cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import batched_nms, box_iou

from skysense.tasks.detection.anchors import grid_anchors
from skysense.tasks.detection.assign import leave_out, match, sample, shares
from skysense.tasks.detection.boxes import Truth, wide
from skysense.tasks.detection.config import OrientedRcnnConfig
from skysense.tasks.rotated.boxes import enclosing_horizontal
from skysense.tasks.rotated.coding import decode_midpoint, encode_midpoint

_OFFSETS = 6
_BETA = 1 / 9


class OrientedRpn(nn.Module):
    """Oriented proposals from a pyramid.

    Args:
        config: the numbers of the detector.
        strides: pixels per cell of every level, the extra one included.
    """

    def __init__(self, config: OrientedRcnnConfig, strides: Sequence[float]) -> None:
        super().__init__()
        self.config, self.strides = config, tuple(strides)
        ratios = len(config.anchor_ratios)
        self.conv = nn.Conv2d(config.channels, config.channels, 3, padding=1)
        self.objectness = nn.Conv2d(config.channels, ratios, 1)
        self.offsets = nn.Conv2d(config.channels, _OFFSETS * ratios, 1)
        for layer in (self.conv, self.objectness, self.offsets):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Read every level.

        Args:
            maps: ``(B, D, H_i, W_i)`` from fine to coarse.

        Returns:
            Logits of objectness ``(B, A)`` and offsets ``(B, A, 6)`` in float32, and the anchors of every level, the
            same for all images.
        """
        logits, offsets = [], []
        for one in maps:
            hidden = F.relu(self.conv(one))
            logits.append(wide(self.objectness(hidden)).permute(0, 2, 3, 1).flatten(1))
            offsets.append(wide(self.offsets(hidden)).permute(0, 2, 3, 1).reshape(len(one), -1, _OFFSETS))
        grids = [(one.shape[2], one.shape[3]) for one in maps]
        anchors = grid_anchors(grids, self.strides, self.config.anchor_scale, self.config.anchor_ratios, maps[0])
        return torch.cat(logits, dim=1), torch.cat(offsets, dim=1), anchors

    @torch.no_grad()
    def propose(
        self, logits_BA: Tensor, offsets_BA6: Tensor, anchors: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Tensor]:
        """The best proposals of every image, best first: ``(N, 5)``.

        Two of a level may not overlap much; the horizontal boxes around them are compared. What lies outside an image
        (in its padding) is left out.
        """
        sizes = [len(one) for one in anchors]
        level_A = torch.repeat_interleave(torch.tensor(sizes, device=logits_BA.device))
        anchors_A4 = torch.cat(list(anchors))
        proposals = []
        for logit_A, offsets_A6, size in zip(logits_BA, offsets_BA6, image_sizes, strict=True):
            best_N = _best_of_levels(logit_A, sizes, self.config.proposals_per_level)
            boxes_N5 = decode_midpoint(anchors_A4[best_N], offsets_A6[best_N])
            around_N4 = enclosing_horizontal(boxes_N5)
            usable = ((boxes_N5[:, 2:4] > 0).all(dim=1) & inside(around_N4, size)).nonzero()[:, 0]
            chosen_N = best_N[usable]
            keep = batched_nms(around_N4[usable], logit_A[chosen_N], level_A[chosen_N], self.config.proposal_nms)
            proposals.append(boxes_N5[usable[keep[: self.config.proposals]]])
        return proposals

    def losses(
        self, logits_BA: Tensor, offsets_BA6: Tensor, anchors: Sequence[Tensor], targets: Sequence[Truth]
    ) -> dict[str, Tensor]:
        """How wrong sampled anchors are: binary cross entropy and smooth L1, means over them in the whole batch."""
        anchors_A4 = torch.cat(list(anchors))
        classes, sums, count = [], [], 0
        for logit_A, offsets_A6, truth in zip(logits_BA, offsets_BA6, targets, strict=True):
            truths_G5, _ = truth.wanted
            truth_A = self._assign(anchors_A4, truth)
            finders, others = sample(truth_A, self.config.anchors_sampled, self.config.anchors_positive)
            wanted_S6 = encode_midpoint(anchors_A4[finders], truths_G5[truth_A[finders]].to(anchors_A4))
            sums.append(F.smooth_l1_loss(offsets_A6[finders], wanted_S6, beta=_BETA, reduction="sum"))
            right, wrong = logit_A[finders], logit_A[others]
            classes.append(F.binary_cross_entropy_with_logits(right, torch.ones_like(right), reduction="sum"))
            classes.append(F.binary_cross_entropy_with_logits(wrong, torch.zeros_like(wrong), reduction="sum"))
            count += len(finders) + len(others)
        count = max(count, 1)
        return {"rpn_objectness": torch.stack(classes).sum() / count, "rpn_box": torch.stack(sums).sum() / count}

    def _assign(self, anchors_A4: Tensor, truth: Truth) -> Tensor:
        """The truth every anchor shall find, by the horizontal boxes around truths."""
        config = self.config
        around_G4 = enclosing_horizontal(truth.wanted[0]).to(anchors_A4)
        iou_GA = box_iou(around_G4, anchors_A4)
        truth_A = match(iou_GA, config.anchor_positive, config.anchor_negative, rescue=config.anchor_negative)
        ignored_I4 = enclosing_horizontal(truth.ignored_NP).to(anchors_A4)
        return leave_out(truth_A, shares(anchors_A4, ignored_I4), config.ignored_share)


def inside(around_N4: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Whether horizontal boxes share some area with an image of a height and width, ``(N,)``."""
    height, width = image_size
    before = (around_N4[:, 2:] > 0).all(dim=1)
    return before & (around_N4[:, 0] < width) & (around_N4[:, 1] < height)


def _best_of_levels(logit_A: Tensor, sizes: list[int], count: int) -> Tensor:
    """Rows of the highest logits of every level."""
    rows, start = [], 0
    for part in logit_A.split(sizes):
        rows.append(part.topk(min(count, len(part))).indices + start)
        start += len(part)
    return torch.cat(rows)
