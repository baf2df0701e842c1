"""Made-up labels with answers that are right more often than not, for every task."""

from __future__ import annotations

import numpy as np

from skysense.data.labelled.example import Boxes, Change, OrientedBoxes, Target
from skysense.tasks.metrics import accumulator
from skysense.tasks.metrics.accumulate import Accumulator
from skysense.tasks.predictions import ChangeMap, ClassMap, ClassScores, Detections, Prediction

SIZE = (20, 24)
GRID = (32, 32)


def some(values: np.ndarray, rng: np.random.Generator, share: float, by: np.ndarray) -> np.ndarray:
    return np.where(rng.random(values.shape) < share, by, values)


def classification(rng: np.random.Generator, classes: int) -> tuple[Target, Prediction]:
    truth = int(rng.integers(classes))
    scores = rng.random(classes) + (rng.random() < 0.6) * np.eye(classes)[truth]
    return truth, ClassScores((scores / scores.sum()).astype(np.float32))


def multilabel(rng: np.random.Generator, classes: int) -> tuple[Target, Prediction]:
    truth = rng.random(classes) < 0.3
    return truth, ClassScores(np.clip(0.3 * truth + 0.7 * rng.random(classes), 0, 1).round(1).astype(np.float32))


def segmentation(rng: np.random.Generator, classes: int) -> tuple[Target, Prediction]:
    truth = rng.integers(0, classes, GRID, dtype=np.uint8)
    answer = some(truth, rng, 0.4, rng.integers(0, classes, GRID, dtype=np.uint8))
    truth = some(truth, rng, 0.1, np.full(GRID, 255, np.uint8))
    truth[SIZE[0] :], truth[:, SIZE[1] :] = 255, 255
    return truth, ClassMap(answer, rng.random(GRID).astype(np.float32))


def change(rng: np.random.Generator, classes: int) -> tuple[Target, Prediction]:
    truth = (rng.random(GRID) < 0.2).astype(np.uint8)
    scores = np.clip(0.3 * truth + 0.7 * rng.random(GRID), 0, 1).astype(np.float32)
    return Change(some(truth, rng, 0.1, np.full(GRID, 255, np.uint8))), ChangeMap(scores)


def semantic_change(rng: np.random.Generator, classes: int) -> tuple[Target, Prediction]:
    before, answer = segmentation(rng, classes)
    assert isinstance(before, np.ndarray) and isinstance(answer, ClassMap)
    after = some(before, rng, 0.3, rng.integers(0, classes, GRID, dtype=np.uint8))
    after[before == 255] = 255
    changed = np.where(before == 255, 255, before != after).astype(np.uint8)
    found = some(np.where(after == 255, 0, after), rng, 0.4, rng.integers(0, classes, GRID, dtype=np.uint8))
    scores = np.clip(0.3 * (changed == 1) + 0.7 * rng.random(GRID), 0, 1).astype(np.float32)
    return Change(changed, before, after.astype(np.uint8)), ChangeMap(scores, answer.answer_HW, found.astype(np.uint8))


def detection(rng: np.random.Generator, classes: int, crowds: float = 0.15) -> tuple[Target, Prediction]:
    count = int(rng.integers(0, 7))
    low, side = rng.uniform(0, 60, (count, 2)), rng.uniform(5, 40, (count, 2))
    corners = np.concatenate([low, low + side], axis=1)
    label = rng.integers(0, classes, count)
    again = np.concatenate([np.flatnonzero(rng.random(count) < 0.8), np.flatnonzero(rng.random(count) < 0.4)])
    near = corners[again] + rng.normal(0, 2, (len(again), 4))
    stray = rng.uniform(0, 60, (int(rng.integers(0, 4)), 2))
    boxes = np.concatenate([near, np.concatenate([stray, stray + 20], axis=1)])
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    found = np.concatenate([label[again], rng.integers(0, classes, len(stray))])
    scores = rng.random(len(boxes)).round(1)
    order = np.argsort(-scores, kind="stable")
    return (
        Boxes(corners.astype(np.float32), label, rng.random(count) < crowds),
        Detections(boxes[order].astype(np.float32), scores[order].astype(np.float32), found[order]),
    )


def oriented(rng: np.random.Generator, classes: int) -> tuple[Target, Prediction]:
    truth, found = detection(rng, classes)
    assert isinstance(truth, Boxes) and isinstance(found, Detections)
    low, high = truth.corners_N4[:, :2], truth.corners_N4[:, 2:]
    angle = rng.uniform(-1.5, 1.5, len(truth)).astype(np.float32)
    local = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * (high - low)[:, None]
    turn = np.stack([np.stack([np.cos(angle), np.sin(angle)], -1), np.stack([-np.sin(angle), np.cos(angle)], -1)], 1)
    corners = (low + high)[:, None] / 2 + local @ turn
    count = int(rng.integers(0, 4))
    at = np.concatenate([np.arange(len(truth)), rng.integers(0, max(1, len(truth)), count if len(truth) else 0)])
    box = np.concatenate([(low + high) / 2, high - low, angle[:, None]], axis=1)[at]
    box = box + rng.normal(0, [2, 2, 1, 1, 0.15], (len(at), 5)) if len(at) else box
    box[:, 2:4] = np.maximum(box[:, 2:4], 1)
    scores = np.sort(rng.random(len(at)).round(1))[::-1]
    return (
        OrientedBoxes(corners.astype(np.float32), truth.label_N, truth.ignore_N),
        Detections(box.astype(np.float32), scores.astype(np.float32), truth.label_N[at]),
    )


MAKERS = {
    "classification": classification,
    "multilabel": multilabel,
    "segmentation": segmentation,
    "detection": detection,
    "oriented-detection": oriented,
    "change": change,
    "semantic-change": semantic_change,
}


def images(task: str, count: int, classes: int = 4, seed: int = 0) -> list[tuple[str, str, Target, Prediction]]:
    """Name, group, label and answer of images; two neighbours share a group."""
    rng = np.random.default_rng(seed)
    return [(f"i{at:03}", f"g{at // 2:03}", *MAKERS[task](rng, classes)) for at in range(count)]


def filled(task: str, of: list, classes: int = 4) -> Accumulator:
    names = ("unchanged", "changed") if task == "change" else tuple(f"class {k}" for k in range(classes))
    found = accumulator(task, names)
    for name, group, target, prediction in of:
        found.add(name, group, target, prediction, SIZE)
    return found
