"""Detectors as graphs: one image in, boxes, scores and classes out.

The package picks boxes with lists of any length at every step. Here the number of proposals is fixed, and those that do
not count are marked, so that only the last step, which picks detections, has an open length.

* Horizontal boxes come out after non-maximum suppression, which ONNX has an operator for.
* Oriented boxes come out before it, since ONNX has none for them: every proposal and class with a likely score. What is
  still to be done is described, and given as a few lines of numpy in docs/export.md.

Letters: A anchors, P proposals, K classes, D width of a map, H W its cells, N boxes, S cells on the side of a region.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import clip_boxes_to_image, nms, roi_align

from skysense.export.graphs import Outlet
from skysense.export.tasks import TaskGraph
from skysense.tasks.adapted import Adapted
from skysense.tasks.detection.anchors import grid_anchors
from skysense.tasks.detection.boxes import Found
from skysense.tasks.detection.config import DetectorConfig
from skysense.tasks.detection.faster_rcnn import FasterRcnn
from skysense.tasks.detection.oriented_rcnn import OrientedRcnn
from skysense.tasks.detection.oriented_rpn import inside
from skysense.tasks.detection.pooling import levels_of
from skysense.tasks.heads import BoxHead, to_grid
from skysense.tasks.pyramid import Maps
from skysense.tasks.rotated.align import samples_of
from skysense.tasks.rotated.boxes import area, enclosing_horizontal
from skysense.tasks.rotated.coding import decode_midpoint, decode_rotated
from skysense.tasks.rotated.nms import batched_rotated_nms

_SMALL_PROPOSAL, _SMALL_BOX = 1e-3, 1e-2  # pixels; shorter sides are dropped, as in torchvision
_NEVER = -1e9  # less than any logit

Grid = tuple[int, int]
Read = Callable[[Tensor, Tensor, int, float, int], Tensor]
"""Cells of boxes from one map: the map, the boxes, cells on a side, cells of the map per pixel, samples on a side."""


class BoxGraph(TaskGraph):
    """An encoder and a detector.

    Args:
        adapted: a model of a task of boxes.
    """

    one = True

    def __init__(self, adapted: Adapted) -> None:
        super().__init__(adapted)
        assert isinstance(adapted.head, BoxHead)
        self.boxes, self.detector = adapted.head, adapted.head.detector
        oriented = isinstance(self.detector, OrientedRcnn)
        last = self.detector.head if isinstance(self.detector, OrientedRcnn) else self.detector.heads
        numbers: DetectorConfig = last.config
        self.thresholds = {"score": numbers.score, "nms_iou": numbers.nms, "detections": numbers.detections}
        what = "cx, cy, w, h, angle in radians" if oriented else "x1, y1, x2, y2"
        self.outlets = (
            Outlet("boxes", ("boxes", "numbers"), f"{what}, in pixels of the label grid"),
            Outlet("scores", ("boxes",), "0 to 1, best first"),
            Outlet("labels", ("boxes",), "index of the class"),
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Imagery of one place to ``(N, 4)`` or ``(N, 5)``, ``(N,)`` and int64 ``(N,)``."""
        maps, grid = self.maps(inputs), self.grid(inputs)
        levels = self.detector.pyramid(_levels(self.boxes, maps, grid))
        if isinstance(self.detector, FasterRcnn):
            return _horizontal(self.detector, levels, grid)
        return _oriented(self.detector, levels, grid)

    def finished(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Of oriented boxes those that suppression leaves."""
        if isinstance(self.detector, FasterRcnn):
            return outputs
        boxes_N5, scores_N, label_N = outputs
        config = self.detector.head.config
        keep = batched_rotated_nms(boxes_N5, scores_N, label_N, config.nms)[: config.detections]
        return boxes_N5[keep], scores_N[keep], label_N[keep]

    def expected(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """As the package finds boxes in a window."""
        (found,) = self.answers(inputs)
        assert isinstance(found, Found)
        return found.boxes_NP, found.scores_N, found.label_N


def _levels(head: BoxHead, maps: Maps, grid: Grid) -> list[Tensor]:
    """The maps that a detector reads, as `BoxHead` brings them to its strides; sides are whole multiples of these."""
    if not head.resize:
        return maps.levels
    sides = [round(stride) for stride in head.strides]
    return [to_grid(level, (grid[0] // side, grid[1] // side)) for level, side in zip(maps.levels, sides, strict=True)]


def _horizontal(detector: FasterRcnn, levels: list[Tensor], grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    proposals_P4, real_P = _horizontal_proposals(detector, levels, grid)
    heads = detector.heads
    size_P = (proposals_P4[:, 2:] - proposals_P4[:, :2]).prod(dim=1).sqrt()
    config = heads.config
    strides = heads.box_roi_pool.strides
    cells_PDSS = _cells(levels[:-1], strides, proposals_P4, size_P, config, _straight_cells)
    logits_PK, deltas = heads.box_predictor(heads.box_head(cells_PDSS))
    boxes_PK4 = heads.box_coder.decode_single(deltas, proposals_P4).unflatten(1, (-1, 4))[:, 1:]
    boxes_PK4 = clip_boxes_to_image(boxes_PK4, grid)
    scores_PK = logits_PK.softmax(dim=1)[:, 1:]
    large_PK = ((boxes_PK4[..., 2:] - boxes_PK4[..., :2]) >= _SMALL_BOX).all(dim=2)
    row_N, label_N = ((scores_PK > heads.score_thresh) & large_PK & real_P[:, None]).nonzero().unbind(dim=1)
    boxes_N4, scores_N = boxes_PK4[row_N, label_N], scores_PK[row_N, label_N]
    apart_N1 = label_N[:, None].to(boxes_N4.dtype) * (grid[0] + grid[1])  # boxes of two classes never meet
    keep = nms(boxes_N4 + apart_N1, scores_N, heads.nms_thresh)[: config.detections]
    return boxes_N4[keep], scores_N[keep], label_N[keep]


def _horizontal_proposals(detector: FasterRcnn, levels: list[Tensor], grid: Grid) -> tuple[Tensor, Tensor]:
    """Where objects may be ``(P, 4)``, best first, and which of them count."""
    rpn, config = detector.rpn, detector.rpn.config
    objectness, deltas = rpn.head(levels)
    grids = [(one.shape[2], one.shape[3]) for one in levels]
    anchors = grid_anchors(grids, rpn.strides, config.anchor_scale, config.anchor_ratios, levels[0])
    logit_A1, deltas_A4 = concat_box_prediction_layers(objectness, deltas)
    best_N, level_N = _best_of_levels(logit_A1[:, 0], anchors, config.proposals_per_level)
    boxes_N4 = rpn.box_coder.decode_single(deltas_A4[best_N], torch.cat(anchors)[best_N])
    boxes_N4 = clip_boxes_to_image(boxes_N4, grid)
    large_N = ((boxes_N4[:, 2:] - boxes_N4[:, :2]) >= _SMALL_PROPOSAL).all(dim=1)
    scores_N = torch.where(large_N, logit_A1[best_N, 0], _NEVER)
    apart_N1 = level_N[:, None].to(boxes_N4.dtype) * (grid[0] + grid[1])
    chosen_P, real_P = _first(nms(boxes_N4 + apart_N1, scores_N, config.proposal_nms), config.proposals)
    return boxes_N4[chosen_P], real_P & large_N[chosen_P]


def _oriented(detector: OrientedRcnn, levels: list[Tensor], grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    proposals_P5, real_P = _oriented_proposals(detector, levels, grid)
    head, config = detector.head, detector.head.config
    size_P = area(proposals_P5).sqrt()
    cells_PDSS = _cells(levels[:-1], head.strides, proposals_P5, size_P, config, _rotated_cells)
    hidden = F.relu(head.second(F.relu(head.first(cells_PDSS.flatten(1)))))
    scores_PK = head.classes(hidden).softmax(dim=1)[:, :-1]
    boxes_P5 = decode_rotated(proposals_P5, head.deltas(hidden))
    usable_P = (boxes_P5[:, 2:4] > 0).all(dim=1) & inside(enclosing_horizontal(boxes_P5), grid) & real_P
    row_N, label_N = ((scores_PK > config.score) & usable_P[:, None]).nonzero().unbind(dim=1)
    scores_N = scores_PK[row_N, label_N]
    order_N = scores_N.argsort(descending=True)
    return boxes_P5[row_N][order_N], scores_N[order_N], label_N[order_N]


def _oriented_proposals(detector: OrientedRcnn, levels: list[Tensor], grid: Grid) -> tuple[Tensor, Tensor]:
    """Where objects may be ``(P, 5)``, best first, and which of them count."""
    rpn, config = detector.rpn, detector.rpn.config
    logits_1A, offsets_1A6, anchors = rpn(levels)
    best_N, level_N = _best_of_levels(logits_1A[0], anchors, config.proposals_per_level)
    boxes_N5 = decode_midpoint(torch.cat(anchors)[best_N], offsets_1A6[0][best_N])
    around_N4 = enclosing_horizontal(boxes_N5)
    usable_N = (boxes_N5[:, 2:4] > 0).all(dim=1) & inside(around_N4, grid)
    scores_N = torch.where(usable_N, logits_1A[0][best_N], _NEVER)
    low, high = around_N4.min(), around_N4.max()
    apart_N1 = level_N[:, None].to(around_N4.dtype) * (high - low + 1)
    chosen_P, real_P = _first(nms(around_N4 + apart_N1, scores_N, config.proposal_nms), config.proposals)
    return boxes_N5[chosen_P], real_P & usable_N[chosen_P]


def _best_of_levels(logit_A: Tensor, anchors: Sequence[Tensor], most: int) -> tuple[Tensor, Tensor]:
    """Rows of the highest logits of every level, and their levels ``(N,)`` each."""
    rows, levels, start = [], [], 0
    for number, one in enumerate(anchors):
        count = one.shape[0]
        part = logit_A[start : start + count]
        best = part.topk(torch.sym_min(most, count)).indices + start
        rows.append(best)
        levels.append(torch.full_like(best, number))
        start = start + count
    return torch.cat(rows), torch.cat(levels)


def _first(keep_N: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first of places in a list of a fixed length ``(P,)``, and which of them are no padding."""
    real = torch.cat([torch.ones_like(keep_N), keep_N.new_zeros(count)])[:count]
    return torch.cat([keep_N, keep_N.new_zeros(count)])[:count], real > 0


def _cells(
    levels: Sequence[Tensor],
    strides: Sequence[float],
    boxes_PN: Tensor,
    size_P: Tensor,
    config: DetectorConfig,
    read: Read,
) -> Tensor:
    """What each proposal shows on the level that suits its size ``(P, D, S, S)``; see `pooling.pool`."""
    level_P = levels_of(size_P, config.roi_scale * strides[0], len(levels))
    count = level_P.shape[0]
    # one box more than there are, read on every level for nothing: no level is ever without a box
    boxes_PN = torch.cat([boxes_PN, boxes_PN[:1]])
    side = config.roi_size
    found = levels[0].new_zeros(count + 1, levels[0].shape[1], side, side)
    for level, (map_1DHW, stride) in enumerate(zip(levels, strides, strict=True)):
        row = torch.cat([(level_P == level).nonzero()[:, 0], level_P.new_full((1,), count)])
        found = found.index_put((row,), read(map_1DHW, boxes_PN[row], side, 1 / stride, config.roi_samples))
    return found[:count]


def _straight_cells(map_1DHW: Tensor, boxes_P4: Tensor, size: int, scale: float, samples: int) -> Tensor:
    return roi_align(map_1DHW, F.pad(boxes_P4, (1, 0)), size, scale, samples, aligned=True)


def _rotated_cells(map_1DHW: Tensor, boxes_P5: Tensor, size: int, scale: float, samples: int) -> Tensor:
    """`rotated_roi_align` of one image by the bilinear sampling that ONNX has ``(P, D, S, S)``."""
    height, width = map_1DHW.shape[2:]
    x_PSS, y_PSS = samples_of(boxes_P5, (size, size), scale, samples, aligned=True)
    on_PSS = (x_PSS >= -1) & (x_PSS <= width) & (y_PSS >= -1) & (y_PSS <= height)
    places = torch.stack([(2 * x_PSS + 1) / width - 1, (2 * y_PSS + 1) / height - 1], dim=-1)
    read = F.grid_sample(
        map_1DHW, places.flatten(0, 1)[None], mode="bilinear", padding_mode="border", align_corners=False
    )
    read_PDSS = read[0].unflatten(1, on_PSS.shape[:2]).transpose(0, 1) * on_PSS[:, None].to(read.dtype)
    return F.avg_pool2d(read_PDSS, samples)
