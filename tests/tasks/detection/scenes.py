"""Small scenes with rectangles, an encoder for them, and average precision in its plainest form.

Letters: N boxes, P numbers of a box.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.tasks.detection.boxes import Found, Truth

Overlap = Callable[[Tensor, Tensor], Tensor]
WIDTHS = (16, 32, 64, 128)


def tiny_swin() -> nn.Module:
    config = preset("tiny")
    config = replace(config, hr=replace(config.hr, out_indices=(0, 1, 2, 3)))
    return SkySense(config, pieces=("hr",)).hr


def rectangles(count: int, side: int, oriented: bool) -> tuple[Tensor, list[Truth]]:
    """Images of noise with bright rectangles, three each and apart; with ``oriented`` they lie in any direction.

    Wide ones are class 0, those near a square class 1.
    """
    chance = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    images, truths = [], []
    for _ in range(count):
        image = 0.3 * torch.randn(3, side, side, generator=chance)
        boxes, labels = [], []
        for place in range(3):
            label = int(torch.randint(2, (), generator=chance))
            cx, cy = side * (0.27 + 0.46 * (place % 2)), side * (0.27 + 0.46 * (place // 2))
            w = side * (0.2 + 0.1 * float(torch.rand((), generator=chance)))
            h = w * (0.4 if label == 0 else 0.85)
            angle = math.pi * (float(torch.rand((), generator=chance)) - 0.5) if oriented else 0.0
            along = (x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)
            across = (y - cy) * math.cos(angle) - (x - cx) * math.sin(angle)
            image[:, (along.abs() <= w / 2) & (across.abs() <= h / 2)] += 2
            boxes.append([cx, cy, w, h, angle] if oriented else [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
            labels.append(label)
        images.append(image)
        truths.append(Truth(torch.tensor(boxes), torch.tensor(labels), torch.zeros(3, dtype=torch.bool)))
    return torch.stack(images), truths


def average_precision(found: Sequence[Found], truths: Sequence[Truth], overlap: Overlap, classes: int) -> float:
    """Mean over classes of the area under precision over recall at an IoU of 0.5; what is ignored is not counted."""
    values = []
    for label in range(classes):
        hits, total = [], 0
        for one, truth in zip(found, truths, strict=True):
            mine = truth.label_N == label
            boxes, ignore = truth.boxes_NP[mine], truth.ignore_N[mine]
            total += int((~ignore).sum())
            taken = set()
            rows = (one.label_N == label).nonzero()[:, 0].tolist()
            iou_GN = overlap(boxes, one.boxes_NP[rows])
            for place, row in enumerate(rows):
                best = int(iou_GN[:, place].argmax()) if len(boxes) else -1
                good = best >= 0 and float(iou_GN[best, place]) >= 0.5
                if good and ignore[best]:
                    continue
                hits.append((float(one.scores_N[row]), good and best not in taken))
                if good:
                    taken.add(best)
        if total == 0:
            continue
        hits.sort(key=lambda hit: -hit[0])
        recalls, precisions, right = [0.0], [1.0], 0
        for rank, (_, hit) in enumerate(hits, 1):
            right += hit
            recalls.append(right / total)
            precisions.append(right / rank)
        area = 0.0
        for place in range(1, len(recalls)):
            area += (recalls[place] - recalls[place - 1]) * max(precisions[place:])
        values.append(area)
    return sum(values) / len(values)


def fit(
    encoder: nn.Module, detector: nn.Module, images: Tensor, truths: Sequence[Truth], steps: int, rate: float
) -> list[float]:
    """Train both on all images at once, one cycle of learning rates; the sum of losses of every step."""
    parameters = [*encoder.parameters(), *detector.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    sizes = [tuple(images.shape[2:])] * len(images)
    history = []
    for _ in range(steps):
        loss = sum(detector(encoder(images), sizes, truths).values())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 10.0)
        optimiser.step()
        schedule.step()
        history.append(loss.item())
    return history
