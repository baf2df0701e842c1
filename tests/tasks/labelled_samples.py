"""Small labelled data made up for tests: what there is to see is easy to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import UNLABELLED, Boxes, Change, Example, OrientedBoxes, Task
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR, SENTINEL2_L2A

PX = 128


def tiny(seed: int = 0) -> SkySense:
    import torch

    torch.manual_seed(seed)
    return SkySense(preset("tiny")).eval()


def optical(pixels_HW3: np.ndarray) -> Series:
    """One 8-bit image."""
    values = np.ascontiguousarray(np.moveaxis(pixels_HW3, -1, 0)[None].astype(np.uint8))
    return Series(OPTICAL_HR, values, np.array(["NaT"], "datetime64[D]"), np.ones((1, *pixels_HW3.shape[:2]), bool))


def blocks(rng: np.random.Generator, count: int = 3, side: int = PX) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey noise with bright rectangles: pixels ``(H, W, 3)``, their mask and corners ``(N, 4)``."""
    pixels = rng.integers(60, 100, (side, side, 3))
    mask, corners = np.zeros((side, side), np.uint8), []
    for _ in range(count):
        row, col = rng.integers(0, side - 44, 2)
        height, width = rng.integers(20, 44, 2)
        pixels[row : row + height, col : col + width] = rng.integers(180, 220)
        mask[row : row + height, col : col + width] = 1
        corners.append([col, row, col + width, row + height])
    return pixels, mask, np.array(corners, np.float32)


def sentinel2(rng: np.random.Generator, bright_hw: np.ndarray, frames: int = 4) -> Series:
    """A series whose marked pixels are bright in three bands."""
    height, width = bright_hw.shape
    values = rng.integers(500, 900, (frames, 10, height, width)).astype(np.uint16)
    values[:, 3:6] += 2000 * bright_hw.astype(np.uint16)
    dates = np.sort(rng.integers(0, 360, frames)).astype("datetime64[D]")
    return Series(SENTINEL2_L2A, values, dates, np.ones((frames, height, width), bool))


def example(task: Task, index: int, *, side: int = PX) -> Example:
    """One example of a task on the high-resolution image alone."""
    rng = np.random.default_rng(index)
    pixels, mask, corners = blocks(rng, side=side)
    name, after, nothing = f"image{index}", None, np.zeros(len(corners), bool)
    target: object
    if task == "classification":
        target = index % 2
        pixels[..., 0] += 60 * target * (pixels[..., 0] < 120)
    elif task == "multilabel":
        target = np.array([index % 2 == 0, index % 3 == 0])
        pixels[..., :2] += 50 * target * (pixels[..., :2] < 120)
    elif task == "segmentation":
        target = mask
    elif task == "detection":
        target = Boxes(corners, np.zeros(len(corners), np.int64), nothing)
    elif task == "oriented-detection":
        x1, y1, x2, y2 = corners.T
        quads = np.stack([x1, y1, x2, y1, x2, y2, x1, y2], 1).reshape(-1, 4, 2)
        target = OrientedBoxes(quads, np.zeros(len(corners), np.int64), nothing)
    else:
        later, later_mask, _ = blocks(np.random.default_rng(1000 + index), side=side)
        after = Sample(name, {"hr": optical(later)})
        masks = (mask, later_mask) if task == "semantic-change" else (None, None)
        target = Change((mask != later_mask).astype(np.uint8), *masks)
    return Example(name, Sample(name, {"hr": optical(pixels)}), target, 32, (side, side), after)  # type: ignore[arg-type]


def trimmed(whole: Example, height: int, width: int) -> Example:
    """An example of the image alone of which only so much is no padding."""
    inside = np.zeros(whole.grid, bool)
    inside[:height, :width] = True

    def samples(sample: Sample) -> Sample:
        series = sample.series["hr"]
        return replace(
            sample, series={"hr": replace(series, values=series.values * inside, valid=series.valid & inside)}
        )

    target = whole.target
    if isinstance(target, np.ndarray) and target.ndim == 2:
        target = np.where(inside, target, UNLABELLED).astype(np.uint8)
    elif isinstance(target, Boxes):
        corners = target.corners_N4.clip(0, np.array([width, height], np.float32)[[0, 1, 0, 1]])
        keep = (corners[:, 2:] > corners[:, :2]).all(axis=1)
        target = Boxes(corners[keep], target.label_N[keep], target.ignore_N[keep])
    after = None if whole.after is None else samples(whole.after)
    return replace(whole, sample=samples(whole.sample), after=after, target=target, size=(height, width))


def series_example(index: int, *, cells: int = 8) -> Example:
    """A Sentinel-2 series with a class per cell."""
    rng = np.random.default_rng(index)
    mask = (rng.random((cells, cells)) > 0.5).astype(np.uint8)
    name = f"series{index}"
    return Example(name, Sample(name, {"s2": sentinel2(rng, mask)}), mask, 1, (cells, cells))


def both_example(index: int) -> Example:
    """An image and a series of the same ground; the class shows in the series alone."""
    rng = np.random.default_rng(index)
    pixels, _, _ = blocks(rng)
    name, label = f"place{index}", index % 2
    bright = np.full((PX // 32, PX // 32), label, np.uint8)
    sample = Sample(name, {"hr": optical(pixels), "s2": sentinel2(rng, bright)})
    return Example(name, sample, label, 32, (PX, PX))


def labelled(
    task: Task, examples: Sequence[Example], splits: Sequence[str] = ("train", "val"), title: str = "made up"
) -> LabelledData:
    """The same examples for every split, under names of their own."""
    named = {
        f"{split}-{one.name}": (split, one.name, replace(one, name=f"{split}-{one.name}"))
        for split in splits
        for one in examples
    }
    items = tuple(Item(name, group, split) for name, (split, group, _) in named.items())  # type: ignore[arg-type]
    classes = ("thing",) if task in ("detection", "oriented-detection") else ("ground", "thing")
    return LabelledData(title, task, classes, items, lambda item: named[item.name][2], simulated=True)
