"""Faster R-CNN with a feature pyramid (Ren et al. 2015; Lin et al. 2017), from the parts that torchvision has.

Ours are what those parts leave open: anchors and levels by strides that are told instead of inferred, boxes that do not
count, batches in which nothing counts, coordinates in float32 whatever the maps are in. What to do follows from whether
truths are given, not from the mode of the module: there is no dropout, and a validation loss needs no training mode.

Letters: B images, N boxes, A anchors, D width of a map, H W its cells, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead, concat_box_prediction_layers
from torchvision.ops import box_iou, roi_align

from skysense.tasks.detection.anchors import grid_anchors
from skysense.tasks.detection.assign import NOTHING, leave_out, match, shares
from skysense.tasks.detection.boxes import Found, Truth, wide
from skysense.tasks.detection.config import FasterRcnnConfig, check_strides
from skysense.tasks.detection.fpn import Pyramid
from skysense.tasks.detection.pooling import pool

Sizes = Sequence[tuple[int, int]]
_Target = dict[str, Tensor]


class FasterRcnn(nn.Module):
    """The horizontal detector.

    Args:
        widths: channels of the maps it reads, from fine to coarse.
        classes: K.
        strides: label pixels per cell of the maps, doubling from level to level.
        config: its other numbers.

    Raises:
        ConfigError: strides that do not double.
    """

    def __init__(
        self,
        widths: Sequence[int],
        classes: int,
        strides: Sequence[float] = (4, 8, 16, 32),
        config: FasterRcnnConfig | None = None,
    ) -> None:
        super().__init__()
        config = config or FasterRcnnConfig()
        strides = check_strides(strides)
        self.pyramid = Pyramid(widths, config.channels)
        self.rpn = _ProposalNetwork(config, (*strides, 2 * strides[-1]))
        self.heads = _Heads(config, strides, classes)

    def forward(
        self, maps: Sequence[Tensor], image_sizes: Sizes, targets: Sequence[Truth] | None = None
    ) -> dict[str, Tensor] | list[Found]:
        """Find boxes, or say how far off they are.

        Args:
            maps: ``(B, D_i, H_i, W_i)`` from fine to coarse.
            image_sizes: height and width of every image without padding, label pixels.
            targets: the truths of every image, in training.

        Returns:
            With truths the losses ``rpn_objectness``, ``rpn_box``, ``head_class`` and ``head_box``, to be added up;
            without, what is found in every image.

        Raises:
            InputError: maps that are not of `widths`.
        """
        levels = self.pyramid(maps)
        sizes = list(image_sizes)
        if targets is None:
            proposals, _ = self.rpn(levels, sizes)
            return self.heads.found(levels[:-1], proposals, sizes)
        # torchvision counts nothing as class 0.
        rows = [_target(*truth.wanted, truth.ignored_NP) for truth in targets]
        proposals, losses = self.rpn(levels, sizes, rows)
        return losses | self.heads.losses(levels[:-1], proposals, sizes, rows)


def _target(boxes_N4: Tensor, label_N: Tensor, ignored_I4: Tensor) -> _Target:
    return {"boxes": boxes_N4, "labels": label_N + 1, "ignored": ignored_I4}


class _Head(RPNHead):
    """Objectness and deltas of every anchor, in float32."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        objectness, deltas = super().forward(x)
        return [wide(one) for one in objectness], [wide(one) for one in deltas]


class _ProposalNetwork(RegionProposalNetwork):
    """Where objects may be."""

    def __init__(self, config: FasterRcnnConfig, strides: Sequence[float]) -> None:
        per_level = {"training": config.proposals_per_level, "testing": config.proposals_per_level}
        most = {"training": config.proposals, "testing": config.proposals}
        super().__init__(
            anchor_generator=None,
            head=_Head(config.channels, len(config.anchor_ratios)),
            fg_iou_thresh=config.anchor_positive,
            bg_iou_thresh=config.anchor_negative,
            batch_size_per_image=config.anchors_sampled,
            positive_fraction=config.anchors_positive,
            pre_nms_top_n=per_level,
            post_nms_top_n=most,
            nms_thresh=config.proposal_nms,
        )
        self.config, self.strides = config, tuple(strides)

    def forward(
        self, maps: list[Tensor], image_sizes: list[tuple[int, int]], targets: list[_Target] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals of every image, and with truths the losses."""
        objectness, deltas = self.head(maps)
        grids = [(one.shape[2], one.shape[3]) for one in maps]
        levels = grid_anchors(grids, self.strides, self.config.anchor_scale, self.config.anchor_ratios, maps[0])
        anchors_A4 = torch.cat(levels)
        anchors = [anchors_A4] * len(image_sizes)
        objectness, deltas = concat_box_prediction_layers(objectness, deltas)
        boxes_BA4 = self.box_coder.decode(deltas.detach(), anchors).view(len(anchors), -1, 4)
        proposals, _ = self.filter_proposals(boxes_BA4, objectness, image_sizes, [len(one) for one in levels])
        if targets is None:
            return proposals, {}
        labels, truths = self.assign_targets_to_anchors(anchors, targets)
        wanted = self.box_coder.encode(truths, anchors)
        loss_objectness, loss_box = self.compute_loss(objectness, deltas, labels, wanted)
        return proposals, {"rpn_objectness": loss_objectness, "rpn_box": loss_box}

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[_Target]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """As torchvision, but what lies in ignored boxes is no negative: -1 instead of 0."""
        labels, truths = super().assign_targets_to_anchors(anchors, targets)
        for label_A, anchors_A4, target in zip(labels, anchors, targets, strict=True):
            if len(target["ignored"]):
                inside_A = shares(anchors_A4, target["ignored"]).amax(dim=0) >= self.config.ignored_share
                label_A[(label_A == 0) & inside_A] = -1
        return labels, truths

    def compute_loss(
        self, objectness: Tensor, pred_bbox_deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """As torchvision, but zero where no anchor counts, not the mean of nothing."""
        if all(bool((label_A < 0).all()) for label_A in labels):
            return objectness.sum() * 0, pred_bbox_deltas.sum() * 0
        return super().compute_loss(objectness, pred_bbox_deltas, labels, regression_targets)


class _RoiPool(nn.Module):
    """Cells of horizontal proposals, in the signature that `RoIHeads` calls."""

    def __init__(self, config: FasterRcnnConfig, strides: Sequence[float]) -> None:
        super().__init__()
        self.config, self.strides = config, tuple(strides)

    def forward(self, maps: Sequence[Tensor], boxes: Sequence[Tensor], image_sizes: Sizes) -> Tensor:
        """``(sum of N, D, S, S)``, image by image."""
        sizes = [(one[:, 2:] - one[:, :2]).prod(dim=1).sqrt() for one in boxes]
        return pool(maps, boxes, sizes, self.strides, self.config.roi_scale * self.strides[0], self._align)

    def _align(self, map_BDHW: Tensor, rois_N5: Tensor, scale: float) -> Tensor:
        # Half a cell matters to small objects: torchvision's own multi-level pooling is not aligned.
        size, samples = self.config.roi_size, self.config.roi_samples
        return roi_align(map_BDHW, rois_N5, size, scale, samples, aligned=True)


class _Heads(RoIHeads):
    """What proposals are, and where exactly."""

    def __init__(self, config: FasterRcnnConfig, strides: Sequence[float], classes: int) -> None:
        super().__init__(
            box_roi_pool=_RoiPool(config, strides),
            box_head=TwoMLPHead(config.channels * config.roi_size**2, config.hidden),
            box_predictor=FastRCNNPredictor(config.hidden, classes + 1),
            fg_iou_thresh=config.head_iou,
            bg_iou_thresh=config.head_iou,
            batch_size_per_image=config.head_sampled,
            positive_fraction=config.head_positive,
            bbox_reg_weights=None,
            score_thresh=config.score,
            nms_thresh=config.nms,
            detections_per_img=config.detections,
        )
        self.config = config

    def losses(
        self, maps: Sequence[Tensor], proposals: list[Tensor], image_sizes: Sizes, targets: list[_Target]
    ) -> dict[str, Tensor]:
        """How wrong classes and boxes of sampled proposals are."""
        counted = [self._counted(one, target) for one, target in zip(proposals, targets, strict=True)]
        proposals, _, labels, wanted = self.select_training_samples(counted, targets)
        logits, deltas = self._predict(maps, proposals, image_sizes)
        if len(logits) == 0:
            return {"head_class": logits.sum(), "head_box": deltas.sum()}
        loss_class, loss_box = fastrcnn_loss(logits, deltas, labels, wanted)
        return {"head_class": loss_class, "head_box": loss_box}

    @torch.no_grad()
    def found(self, maps: Sequence[Tensor], proposals: list[Tensor], image_sizes: Sizes) -> list[Found]:
        """The detections of every image."""
        logits, deltas = self._predict(maps, proposals, image_sizes)
        parts = self.postprocess_detections(logits, deltas, proposals, list(image_sizes))
        return [Found(boxes, scores, labels - 1) for boxes, scores, labels in zip(*parts, strict=True)]

    def _predict(self, maps: Sequence[Tensor], proposals: list[Tensor], image_sizes: Sizes) -> tuple[Tensor, Tensor]:
        logits, deltas = self.box_predictor(self.box_head(self.box_roi_pool(maps, proposals, image_sizes)))
        return wide(logits), wide(deltas)

    def _counted(self, proposals_N4: Tensor, target: _Target) -> Tensor:
        """Proposals without those that find nothing and lie in ignored boxes."""
        iou = self.config.head_iou
        truth_N = match(box_iou(target["boxes"], proposals_N4), iou, iou)
        truth_N = leave_out(truth_N, shares(proposals_N4, target["ignored"]), self.config.ignored_share)
        return proposals_N4[truth_N >= NOTHING]
