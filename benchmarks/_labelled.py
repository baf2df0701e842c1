"""Made-up labelled images: grey noise with bright rectangles, as large and as many as wanted."""

from __future__ import annotations

import numpy as np

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import Example, OrientedBoxes, Target, Task
from skysense.observation import Sample, Series
from skysense.sensors import CELL_HR_PX, OPTICAL_HR

OBJECTS = 8
"""Rectangles in an image of 256 px; larger ones have more."""


def image(task: Task, index: int, side: int, classes: int) -> Example:
    """One image with its labels, ``side`` pixels wide and high, a multiple of 128."""
    rng = np.random.default_rng(index)
    pixels_3HW = rng.integers(60, 100, (3, side, side), np.uint8)
    mask_HW, quads, labels = np.zeros((side, side), np.uint8), [], []
    for number in range(max(1, OBJECTS * side * side // 256**2)):
        height, width = rng.integers(16, 48, 2)
        row, col = rng.integers(0, side - 48, 2)
        label = number % classes
        place = np.s_[row : row + height, col : col + width]
        pixels_3HW[:, *place] = 110 + 140 * label // classes
        mask_HW[place] = label
        quads.append([[col, row], [col + width, row], [col + width, row + height], [col, row + height]])
        labels.append(label)
    dates, valid = np.array(["NaT"], "datetime64[D]"), np.ones((1, side, side), bool)
    sample = Sample(f"image{index}", {"hr": Series(OPTICAL_HR, pixels_3HW[None], dates, valid)})
    target = _target(task, index % classes, mask_HW, np.array(quads, np.float32), np.array(labels))
    return Example(sample.name, sample, target, CELL_HR_PX, (side, side))


def _target(task: Task, label: int, mask_HW: np.ndarray, quads_N42: np.ndarray, label_N: np.ndarray) -> Target:
    if task == "classification":
        return label
    if task == "segmentation":
        return mask_HW
    return OrientedBoxes(quads_N42, label_N, np.zeros(len(label_N), bool))


def data_set(task: Task, count: int, side: int, classes: int) -> LabelledData:
    """Images to learn from, held in memory."""
    held = {one.name: one for one in (image(task, index, side, classes) for index in range(count))}
    items = tuple(Item(name, name, "train") for name in held)
    names = tuple(f"class {number}" for number in range(classes))
    return LabelledData("made up", task, names, items, lambda item: held[item.name], simulated=True)
