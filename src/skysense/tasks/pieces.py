"""Images in windows, and answers put together again.

An image larger than a window is cut into overlapping ones on the lattice. Probabilities are blended over the overlap;
of detections each window keeps those whose centre lies nearer to its own middle than to that of a neighbour.

Letters: K classes, H W pixels of the label grid, N boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from skysense.data.labelled.example import Example, Task
from skysense.geo import Window, cover, raised_cosine
from skysense.tasks.augment import cropped
from skysense.tasks.detection.boxes import Found
from skysense.tasks.detection.merge import without_doubles
from skysense.tasks.predictions import ChangeMap, ClassMap, ClassScores, Detections, Prediction

_OVERLAP = 4
"""A window shares a quarter of its side with its neighbour."""


@dataclass(frozen=True)
class Piece:
    """A window of an image.

    Attributes:
        image: number of the image among those that are judged together.
        window: in pixels of the label grid.
        grid: height and width of the whole label grid.
        overlap: pixels shared with each neighbour.
    """

    image: int
    window: Window
    grid: tuple[int, int]
    overlap: int

    def of(self, example: Example) -> Example:
        """This window of the image."""
        window = self.window
        if (window.height, window.width) == example.grid:
            return example
        return cropped(example, window.row, window.col, window.height, window.width)


def pieces_of(image: int, example: Example, task: Task, window_cells: int) -> list[Piece]:
    """The windows of an image; images of one class are judged whole.

    Args:
        image: its number.
        example: the image.
        task: what it is judged for.
        window_cells: side of a window, cells.
    """
    rows, cols = example.sample.grid
    whole = Piece(image, Window(0, 0, *example.grid), example.grid, 0)
    if task in ("classification", "multilabel") or max(rows, cols) <= window_cells:
        return [whole]
    shared = window_cells // _OVERLAP
    windows = cover(rows, cols, window_cells, window_cells - shared)
    side = example.per_cell
    return [Piece(image, window.scaled(side), example.grid, shared * side) for window in windows]


@dataclass
class Canvas:
    """What is known about one image so far.

    Attributes:
        grid: height and width of the label grid.
        task: kind of answer.
    """

    grid: tuple[int, int]
    task: Task
    _sums: dict[str, Tensor] = field(default_factory=dict)
    _weights: dict[str, Tensor] = field(default_factory=dict)
    _found: list[Found] = field(default_factory=list)

    def put(self, piece: Piece, answer: Mapping[str, Tensor] | Found) -> None:
        """Add what was answered for a window."""
        if isinstance(answer, Found):
            self._found.append(_owned(answer, piece))
            return
        for name, scores in answer.items():
            if scores.ndim == 1:
                self._sums[name], self._weights[name] = scores, scores.new_ones(1)
            else:
                self._blend(name, piece, scores)

    def prediction(self) -> Prediction:
        """The answer for the whole image."""
        if self._found:
            return _detections(without_doubles(self._found))
        means = {name: total / self._weights[name] for name, total in self._sums.items()}
        if "classes" in means:
            return ClassScores(means["classes"].cpu().numpy().astype(np.float32))
        if "mask" in means:
            confidence, answer = means["mask"].max(dim=0)
            return ClassMap(_bytes(answer), confidence.cpu().numpy().astype(np.float32))
        dates = [_bytes(means[name].argmax(dim=0)) if name in means else None for name in ("before", "after")]
        return ChangeMap(means["changed"][1].cpu().numpy().astype(np.float32), *dates)

    def _blend(self, name: str, piece: Piece, scores_KHW: Tensor) -> None:
        window = piece.window
        if (window.height, window.width) == self.grid:
            self._sums[name], self._weights[name] = scores_KHW, scores_KHW.new_ones(1)
            return
        if name not in self._sums:
            self._sums[name] = scores_KHW.new_zeros(scores_KHW.shape[0], *self.grid)
            self._weights[name] = scores_KHW.new_zeros(1, *self.grid)
        ramps = [torch.from_numpy(raised_cosine(side, piece.overlap)) for side in (window.height, window.width)]
        weight_HW = (ramps[0][:, None] * ramps[1]).to(scores_KHW)
        height, width = min(window.height, self.grid[0] - window.row), min(window.width, self.grid[1] - window.col)
        rows, cols = slice(window.row, window.row + height), slice(window.col, window.col + width)
        self._sums[name][:, rows, cols] += (scores_KHW * weight_HW)[:, :height, :width]
        self._weights[name][:, rows, cols] += weight_HW[:height, :width]


Thing = TypeVar("Thing")


def grouped(things: Iterable[Thing], size: int, shape: Callable[[Thing], tuple[int, int]]) -> Iterator[list[Thing]]:
    """What can be run together: of one shape, at most so many, in the order in which groups are full.

    Args:
        things: pieces, or whatever stands for them.
        size: most of a group.
        shape: height and width of one.
    """
    waiting: dict[tuple[int, int], list[Thing]] = {}
    for thing in things:
        same = waiting.setdefault(shape(thing), [])
        same.append(thing)
        if len(same) == size:
            yield waiting.pop(shape(thing))
    yield from waiting.values()


def _owned(found: Found, piece: Piece) -> Found:
    """Detections in coordinates of the image; those in the half of an overlap that is a neighbour's are left out."""
    window, half = piece.window, piece.overlap / 2
    boxes = found.boxes_NP
    centres_N2 = (boxes[:, :2] + boxes[:, 2:4]) / 2 if boxes.shape[1] == 4 else boxes[:, :2]
    low = [half if start > 0 else 0.0 for start in (window.col, window.row)]
    ends = [(window.col, window.width, piece.grid[1]), (window.row, window.height, piece.grid[0])]
    high = [side - (half if start + side < whole else 0.0) for start, side, whole in ends]
    keep_N = ((centres_N2 >= centres_N2.new_tensor(low)) & (centres_N2 <= centres_N2.new_tensor(high))).all(dim=1)
    shift = boxes.new_tensor([window.col, window.row] * 2 if boxes.shape[1] == 4 else [window.col, window.row, 0, 0, 0])
    return Found(boxes[keep_N] + shift, found.scores_N[keep_N], found.label_N[keep_N])


def _detections(found: Found) -> Detections:
    return Detections(
        found.boxes_NP.float().cpu().numpy(), found.scores_N.float().cpu().numpy(), found.label_N.cpu().numpy()
    )


def _bytes(classes_HW: Tensor) -> np.ndarray:
    return classes_HW.to(torch.uint8).cpu().numpy()
