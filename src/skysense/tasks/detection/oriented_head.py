"""The head of Oriented R-CNN (Xie et al., ICCV 2021, section 3.2): what a proposal is, and where exactly.

Letters: B images, N proposals, G truths, S sampled proposals, K classes, D width of the pyramid, H W cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skysense.tasks.detection.assign import leave_out, match, sample
from skysense.tasks.detection.boxes import Found, Truth, wide
from skysense.tasks.detection.config import OrientedRcnnConfig
from skysense.tasks.detection.oriented_rpn import inside
from skysense.tasks.detection.pooling import pool
from skysense.tasks.rotated.align import rotated_roi_align
from skysense.tasks.rotated.boxes import area, enclosing_horizontal
from skysense.tasks.rotated.coding import decode_rotated, encode_rotated
from skysense.tasks.rotated.iou import rotated_iou
from skysense.tasks.rotated.nms import batched_rotated_nms

_DELTAS = 5


class OrientedHead(nn.Module):
    """Classes and boxes of oriented proposals.

    Args:
        config: the numbers of the detector.
        strides: pixels per cell of the levels it reads.
        classes: K.
    """

    def __init__(self, config: OrientedRcnnConfig, strides: Sequence[float], classes: int) -> None:
        super().__init__()
        self.config, self.strides = config, tuple(strides)
        self.first = nn.Linear(config.channels * config.roi_size**2, config.hidden)
        self.second = nn.Linear(config.hidden, config.hidden)
        self.classes = nn.Linear(config.hidden, classes + 1)
        self.deltas = nn.Linear(config.hidden, _DELTAS)
        for layer in (self.first, self.second):
            nn.init.xavier_uniform_(layer.weight)
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)
        for layer in (self.first, self.second, self.classes, self.deltas):
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Sequence[Tensor], proposals: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Look at proposals.

        Args:
            maps: ``(B, D, H_i, W_i)`` from fine to coarse.
            proposals: per image ``(N, 5)``.

        Returns:
            Logits ``(sum of N, K + 1)``, "nothing" last, and deltas ``(sum of N, 5)``, in float32.
        """
        sizes = [area(one).sqrt() for one in proposals]
        cells = pool(maps, proposals, sizes, self.strides, self.config.roi_scale * self.strides[0], self._align)
        hidden = F.relu(self.second(F.relu(self.first(cells.flatten(1)))))
        return wide(self.classes(hidden)), wide(self.deltas(hidden))

    def losses(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Sequence[Truth]
    ) -> dict[str, Tensor]:
        """How wrong sampled proposals are: cross entropy and smooth L1, means over them in the whole batch."""
        nothing = self.classes.out_features - 1
        boxes, labels, wanted = [], [], []
        for proposals_N5, truth in zip(proposals, targets, strict=True):
            truths_G5, label_G = truth.wanted
            truths_G5 = truths_G5.to(proposals_N5)
            known_N5 = torch.cat([truths_G5, proposals_N5])  # the head learns though proposals are poor at first
            finders, others, truth_N = self._sampled(known_N5, truth)
            boxes.append(known_N5[torch.cat([finders, others])])
            labels.append(torch.cat([label_G[truth_N[finders]], torch.full_like(others, nothing)]))
            wanted.append(encode_rotated(known_N5[finders], truths_G5[truth_N[finders]]))
        logits_SK, deltas_S5 = self(maps, boxes)
        label_S = torch.cat(labels)
        count = max(len(label_S), 1)
        loss_class = F.cross_entropy(logits_SK, label_S, reduction="sum") / count
        loss_box = F.smooth_l1_loss(deltas_S5[label_S < nothing], torch.cat(wanted), reduction="sum") / count
        return {"head_class": loss_class, "head_box": loss_box}

    @torch.no_grad()
    def found(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Found]:
        """The detections of every image."""
        logits, deltas = self(maps, proposals)
        counts = [len(one) for one in proposals]
        rows = zip(logits.softmax(dim=1).split(counts), deltas.split(counts), proposals, image_sizes, strict=True)
        return [self._found_in(*row) for row in rows]

    def _found_in(self, scores_NK: Tensor, deltas_N5: Tensor, proposals_N5: Tensor, size: tuple[int, int]) -> Found:
        boxes_N5 = decode_rotated(proposals_N5, deltas_N5)
        usable_N = (boxes_N5[:, 2:4] > 0).all(dim=1) & inside(enclosing_horizontal(boxes_N5), size)
        likely = (scores_NK[:, :-1] > self.config.score) & usable_N[:, None]
        row, label = likely.nonzero().unbind(dim=1)
        boxes, scores = boxes_N5[row], scores_NK[row, label]
        keep = batched_rotated_nms(boxes, scores, label, self.config.nms)[: self.config.detections]
        return Found(boxes[keep], scores[keep], label[keep])

    def _sampled(self, boxes_N5: Tensor, truth: Truth) -> tuple[Tensor, Tensor, Tensor]:
        """Rows that find something, rows that find nothing, and the truth of every box."""
        config = self.config
        truth_N = match(rotated_iou(truth.wanted[0].to(boxes_N5), boxes_N5), config.head_iou, config.head_iou)
        truth_N = leave_out(truth_N, _shares(boxes_N5, truth.ignored_NP.to(boxes_N5)), config.ignored_share)
        return *sample(truth_N, config.head_sampled, config.head_positive), truth_N

    def _align(self, map_BDHW: Tensor, rois_N6: Tensor, scale: float) -> Tensor:
        return rotated_roi_align(map_BDHW, rois_N6, self.config.roi_size, scale, self.config.roi_samples)


def _shares(boxes_N5: Tensor, ignored_I5: Tensor) -> Tensor:
    """Share of the area of boxes that lies in others, ``(I, N)``, from their IoU."""
    iou_IN = rotated_iou(ignored_I5, boxes_N5)
    both_IN = area(ignored_I5)[:, None] + area(boxes_N5)
    return iou_IN / (1 + iou_IN) * both_IN / area(boxes_N5)
