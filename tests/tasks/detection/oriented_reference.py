"""Oriented R-CNN once more: one box after the other, from the equations of the paper, with polygons of shapely.

Boxes are tuples (cx, cy, w, h, angle); everything in float64. Nothing of `skysense.tasks` is called here.
"""

from __future__ import annotations

import math

import torch
from shapely.geometry import Polygon
from torch import Tensor
from torch.nn import functional as F

NOTHING, NOT_COUNTED = -1, -2


def pyramid(weights: dict[str, Tensor], maps: list[Tensor]) -> list[Tensor]:
    """Lateral 1x1, added to the upsampled coarser one, smoothed 3x3; every second cell of the coarsest is one more."""
    inner = [
        F.conv2d(
            one,
            weights[f"pyramid.network.inner_blocks.{i}.0.weight"],
            weights[f"pyramid.network.inner_blocks.{i}.0.bias"],
        )
        for i, one in enumerate(maps)
    ]
    for i in range(len(maps) - 2, -1, -1):
        inner[i] = inner[i] + inner[i + 1].repeat_interleave(2, 2).repeat_interleave(2, 3)
    levels = [
        F.conv2d(
            one,
            weights[f"pyramid.network.layer_blocks.{i}.0.weight"],
            weights[f"pyramid.network.layer_blocks.{i}.0.bias"],
            padding=1,
        )
        for i, one in enumerate(inner)
    ]
    return [*levels, levels[-1][:, :, ::2, ::2]]


def rpn(weights: dict[str, Tensor], levels: list[Tensor], image: int, strides, scale, ratios) -> list[list[tuple]]:
    """Per level and anchor: the anchor (x1, y1, x2, y2), its logit and its six offsets."""
    found = []
    for level, stride in zip(levels, strides, strict=True):
        one = F.relu(
            F.conv2d(level[image : image + 1], weights["rpn.conv.weight"], weights["rpn.conv.bias"], padding=1)
        )
        logit = F.conv2d(one, weights["rpn.objectness.weight"], weights["rpn.objectness.bias"])[0]
        offset = F.conv2d(one, weights["rpn.offsets.weight"], weights["rpn.offsets.bias"])[0]
        rows = []
        for y in range(level.shape[2]):
            for x in range(level.shape[3]):
                for r, ratio in enumerate(ratios):
                    w, h = scale * stride / math.sqrt(ratio), scale * stride * math.sqrt(ratio)
                    anchor = (x * stride - w / 2, y * stride - h / 2, x * stride + w / 2, y * stride + h / 2)
                    rows.append((anchor, logit[r, y, x], offset[6 * r : 6 * r + 6, y, x]))
        found.append(rows)
    return found


def decode_midpoint(anchor, offsets) -> tuple:
    ax, ay = (anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2
    aw, ah = anchor[2] - anchor[0], anchor[3] - anchor[1]
    dx, dy, dw, dh, da, db = offsets.tolist()
    x, y, w, h = ax + dx * aw, ay + dy * ah, aw * math.exp(dw), ah * math.exp(dh)
    da, db = (min(max(one / 2, -0.5), 0.5) for one in (da, db))  # scaled by a half
    half = [(da * w, -h / 2), (w / 2, db * h)]
    length = [math.hypot(*one) for one in half]
    top, right = (
        (one[0] * max(length) / own, one[1] * max(length) / own) for one, own in zip(half, length, strict=True)
    )
    along, across = (right[0] - top[0], right[1] - top[1]), (right[0] + top[0], right[1] + top[1])
    return le90((x, y, math.hypot(*along), math.hypot(*across), math.atan2(along[1], along[0])))


def encode_midpoint(anchor, box) -> list[float]:
    points = corners(box)
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    top, bottom = min(p[1] for p in points), max(p[1] for p in points)
    uppermost, rightmost = min(points, key=lambda p: p[1]), max(points, key=lambda p: p[0])
    ax, ay = (anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2
    aw, ah = anchor[2] - anchor[0], anchor[3] - anchor[1]
    x, y, w, h = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    ends = [2 * (uppermost[0] - x) / w, 2 * (rightmost[1] - y) / h]
    return [(x - ax) / aw, (y - ay) / ah, math.log(w / aw), math.log(h / ah), *ends]


def encode_deltas(proposal, box) -> list[float]:
    px, py, pw, ph, pa = proposal
    turn, swap = box[4] - pa, False
    while turn > math.pi / 4:
        turn, swap = turn - math.pi / 2, not swap
    while turn < -math.pi / 4:
        turn, swap = turn + math.pi / 2, not swap
    w, h = (box[3], box[2]) if swap else (box[2], box[3])
    dx, dy = box[0] - px, box[1] - py
    along, across = dx * math.cos(pa) + dy * math.sin(pa), dy * math.cos(pa) - dx * math.sin(pa)
    deltas = [along / pw, across / ph, math.log(w / pw), math.log(h / ph), turn]
    return [value / std for value, std in zip(deltas, (0.1, 0.1, 0.2, 0.2, 0.1), strict=True)]


def decode_deltas(proposal, deltas) -> tuple:
    px, py, pw, ph, pa = proposal
    dx, dy, dw, dh, da = (one * std for one, std in zip(deltas.tolist(), (0.1, 0.1, 0.2, 0.2, 0.1), strict=True))
    x = px + dx * pw * math.cos(pa) - dy * ph * math.sin(pa)
    y = py + dx * pw * math.sin(pa) + dy * ph * math.cos(pa)
    return le90((x, y, pw * math.exp(dw), ph * math.exp(dh), pa + da))


def le90(box) -> tuple:
    x, y, w, h, angle = box
    if w < h:
        w, h, angle = h, w, angle + math.pi / 2
    while angle >= math.pi / 2:
        angle -= math.pi
    while angle < -math.pi / 2:
        angle += math.pi
    return x, y, w, h, angle


def corners(box) -> list[tuple[float, float]]:
    x, y, w, h, angle = box
    cos, sin = math.cos(angle), math.sin(angle)
    return [
        (x + a * w / 2 * cos - b * h / 2 * sin, y + a * w / 2 * sin + b * h / 2 * cos)
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]


def around(box) -> tuple:
    points = corners(box)
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return min(xs), min(ys), max(xs), max(ys)


def shared(a, b) -> float:
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def area(a) -> float:
    return (a[2] - a[0]) * (a[3] - a[1])


def horizontal_iou(a, b) -> float:
    return shared(a, b) / (area(a) + area(b) - shared(a, b))


def rotated_iou(a, b) -> float:
    one, two = Polygon(corners(a)), Polygon(corners(b))
    both = one.intersection(two).area
    return both / (one.area + two.area - both)


def suppressed(rows: list[tuple], overlap, most: float) -> list[tuple]:
    """Rows of (box, score, group), best first, without those that overlap a better one of their group by more."""
    kept: list[tuple] = []
    for row in sorted(rows, key=lambda row: -row[1]):
        if all(row[2] != other[2] or overlap(row[0], other[0]) <= most for other in kept):
            kept.append(row)
    return kept


def outside(box, size) -> bool:
    x1, y1, x2, y2 = around(box)
    return x2 <= 0 or y2 <= 0 or x1 >= size[1] or y1 >= size[0]


def proposals(found: list[list[tuple]], size, config) -> list[tuple]:
    rows = []
    for level, anchors in enumerate(found):
        best = sorted(anchors, key=lambda row: -row[1].item())[: config.proposals_per_level]
        boxes = [(decode_midpoint(anchor, offsets), logit.item(), level) for anchor, logit, offsets in best]
        rows += [row for row in boxes if not outside(row[0], size)]
    kept = suppressed(rows, lambda a, b: horizontal_iou(around(a), around(b)), config.proposal_nms)
    return [row[0] for row in kept[: config.proposals]]


def cells(levels: list[Tensor], image: int, box, strides, config) -> Tensor:
    """Cells (D * S * S,) under a box: means of points read bilinearly."""
    x, y, w, h, angle = box
    level = math.floor(math.log2(math.sqrt(w * h) / (config.roi_scale * strides[0]) + 1e-6))
    level = min(max(level, 0), len(strides) - 1)
    grid, stride = levels[level][image], strides[level]
    size, points = config.roi_size, config.roi_samples
    out = torch.zeros(grid.shape[0], size, size, dtype=grid.dtype)
    for row in range(size):
        for col in range(size):
            for i in range(points):
                for j in range(points):
                    u = w * ((col + (j + 0.5) / points) / size - 0.5)
                    v = h * ((row + (i + 0.5) / points) / size - 0.5)
                    px = (x + u * math.cos(angle) - v * math.sin(angle)) / stride - 0.5
                    py = (y + u * math.sin(angle) + v * math.cos(angle)) / stride - 0.5
                    out[:, row, col] += bilinear(grid, px, py) / points**2
    return out.flatten()


def bilinear(grid: Tensor, x: float, y: float) -> Tensor:
    _, height, width = grid.shape
    if not (-1 <= x <= width and -1 <= y <= height):
        return torch.zeros(grid.shape[0], dtype=grid.dtype)
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    x0, y0 = math.floor(x), math.floor(y)
    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
    fx, fy = x - x0, y - y0
    upper = grid[:, y0, x0] * (1 - fx) + grid[:, y0, x1] * fx
    lower = grid[:, y1, x0] * (1 - fx) + grid[:, y1, x1] * fx
    return upper * (1 - fy) + lower * fy


def head(weights: dict[str, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
    for name in ("first", "second"):
        rows = F.relu(rows @ weights[f"head.{name}.weight"].T + weights[f"head.{name}.bias"])
    logits = rows @ weights["head.classes.weight"].T + weights["head.classes.bias"]
    return logits, rows @ weights["head.deltas.weight"].T + weights["head.deltas.bias"]


def detections(boxes: list[tuple], logits: Tensor, deltas: Tensor, size, config) -> list[tuple]:
    """(box, score, class), best first."""
    rows = []
    for proposal, scores, delta in zip(boxes, logits.softmax(1), deltas, strict=True):
        box = decode_deltas(proposal, delta)
        if not outside(box, size):
            rows += [(box, float(s), k) for k, s in enumerate(scores[:-1]) if float(s) > config.score]
    return suppressed(rows, rotated_iou, config.nms)[: config.detections]


def assigned(boxes, truths, overlap, positive, negative, rescue, ignored, share, least) -> list[int]:
    """The truth that every box shall find, by loops."""
    table = [[overlap(box, truth) for truth in truths] for box in boxes]
    found = []
    for row in table:
        best = max(range(len(truths)), key=lambda t: row[t]) if truths else -1
        value = row[best] if truths else 0.0
        found.append(best if truths and value >= positive else NOTHING if value < negative else NOT_COUNTED)
    if rescue is not None:
        for t in range(len(truths)):
            most = max(row[t] for row in table)
            for b, row in enumerate(table):
                # as written this lets the last truth win a box that is closest to two; the cases here have none
                if most >= rescue and row[t] == most:
                    found[b] = t
    for b, box in enumerate(boxes):
        if found[b] == NOTHING and any(share(box, other) >= least for other in ignored):
            found[b] = NOT_COUNTED
    return found


def smooth_l1(values, wanted, beta: float) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for value, want in zip(values, wanted, strict=True):
        gap = (value - want).abs()
        total = total + (gap**2 / (2 * beta) if gap < beta else gap - beta / 2)
    return total


def rpn_losses(images: list[list[tuple]], truths, ignored, config) -> tuple[Tensor, Tensor]:
    """Of images of (anchor, logit, offsets), all anchors that count being sampled."""
    classes, boxes, count = [], [], 0
    for rows, mine, left_out in zip(images, truths, ignored, strict=True):
        anchors = [row[0] for row in rows]
        found = assigned(
            anchors,
            [around(box) for box in mine],
            horizontal_iou,
            config.anchor_positive,
            config.anchor_negative,
            config.anchor_negative,
            [around(box) for box in left_out],
            lambda box, other: shared(box, other) / area(box),
            config.ignored_share,
        )
        for (anchor, logit, offsets), truth in zip(rows, found, strict=True):
            if truth == NOT_COUNTED:
                continue
            count += 1
            probability = torch.sigmoid(logit)
            classes.append(-torch.log(probability if truth >= 0 else 1 - probability))
            if truth >= 0:
                boxes.append(smooth_l1(offsets, encode_midpoint(anchor, mine[truth]), 1 / 9))
    return sum(classes) / count, sum(boxes) / count


def head_samples(boxes: list[tuple], mine, left_out, config) -> tuple[list[tuple], list[int]]:
    """Truths and proposals that count, and the truth of each, all of them being sampled."""
    known = [*mine, *boxes]

    def share(box, other) -> float:
        return Polygon(corners(box)).intersection(Polygon(corners(other))).area / (box[2] * box[3])

    iou = config.head_iou
    found = assigned(known, mine, rotated_iou, iou, iou, None, left_out, share, config.ignored_share)
    counted = [row for row, truth in enumerate(found) if truth != NOT_COUNTED]
    return [known[row] for row in counted], [found[row] for row in counted]


def head_losses(rows: list[tuple]) -> tuple[Tensor, Tensor]:
    """Of (proposal, logits, deltas, class or None, truth or None) of all images."""
    classes, boxes = [], []
    for proposal, logits, deltas, label, truth in rows:
        classes.append(-torch.log_softmax(logits, 0)[len(logits) - 1 if label is None else label])
        if label is not None:
            boxes.append(smooth_l1(deltas, encode_deltas(proposal, truth), 1.0))
    return sum(classes) / len(rows), sum(boxes) / len(rows)
