"""Images in windows, and answers put together again.

An image larger than a window is cut into overlapping ones on the lattice. Neighbours share a quarter of their side; the
last of a row or column ends at the edge of the image and may share more. Probabilities are blended over what two
neighbours really share, with weights that add up to one at every pixel; for detections see `detection.seams`.

Letters: K classes, H W pixels of the label grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.data.labelled.example import Example, Task
from skysense.geo import Window, cover
from skysense.tasks.augment import cropped
from skysense.tasks.detection.boxes import Found
from skysense.tasks.detection.seams import View, of_image
from skysense.tasks.predictions import ChangeMap, ClassMap, ClassScores, Detections, Prediction

OVERLAP = 4
"""A window shares a quarter of its side with its neighbour."""


@dataclass(frozen=True)
class Piece:
    """A window of an image.

    Attributes:
        image: number of the image among those that are judged together.
        window: in pixels of the label grid.
        grid: height and width of the whole label grid.
        before: pixels shared with the window above and with the one to the left; 0 where there is none.
        after: pixels shared with the window below and with the one to the right.
    """

    image: int
    window: Window
    grid: tuple[int, int]
    before: tuple[int, int] = (0, 0)
    after: tuple[int, int] = (0, 0)

    @property
    def whole(self) -> bool:
        """Whether it is all of the image."""
        return (self.window.height, self.window.width) == self.grid

    @property
    def last(self) -> bool:
        """Whether it is the lower right window of the image."""
        return self.after == (0, 0)

    @property
    def view(self) -> View:
        """What it sees, and which part of it is its own."""
        top, left = self.window.row, self.window.col
        bottom, right = top + self.window.height, left + self.window.width
        (above, before), (below, after) = self.before, self.after
        own = (
            left + before / 2 if before else -math.inf,
            top + above / 2 if above else -math.inf,
            right - after / 2 if after else math.inf,
            bottom - below / 2 if below else math.inf,
        )
        return View((left, top, right, bottom), own)

    def of(self, example: Example) -> Example:
        """This window of the image."""
        if self.whole:
            return example
        window = self.window
        return cropped(example, window.row, window.col, window.height, window.width)

    def weights(self, device: torch.device) -> Tensor:
        """How much it counts at each of its pixels ``(H, W)``; those of all windows add up to one."""
        window, (above, left), (below, right) = self.window, self.before, self.after
        return _ramps(window.height, above, below, device)[:, None] * _ramps(window.width, left, right, device)


@lru_cache(maxsize=64)
def _ramps(side: int, before: int, after: int, device: torch.device) -> Tensor:
    """Weights along one side: a rise over what is shared before, less a rise over what is shared after.

    The fall of a window is thus one less the rise of the next wherever both ramps lie, also where three windows meet
    because the last one was moved back: the sum over a row of windows stays one.
    """
    place = torch.arange(side, dtype=torch.float64) + 0.5

    def rise(start: int, length: int) -> Tensor:
        share = ((place - start) / length).clamp(0, 1) if length else (place > start).double()
        return 0.5 - 0.5 * torch.cos(math.pi * share)

    return (rise(0, before) - rise(side - after, after)).float().to(device)


def pieces_of(image: int, example: Example, task: Task, window_cells: int) -> list[Piece]:
    """The windows of an image, row by row; images of one class are judged whole.

    Args:
        image: its number.
        example: the image.
        task: what it is judged for.
        window_cells: side of a window, cells.
    """
    rows, cols = example.sample.grid
    if task in ("classification", "multilabel") or max(rows, cols) <= window_cells:
        return [Piece(image, Window(0, 0, *example.grid), example.grid)]
    windows = cover(rows, cols, window_cells, window_cells - window_cells // OVERLAP)
    windows = [window.scaled(example.per_cell) for window in windows]
    side = window_cells * example.per_cell
    down = shared(sorted({window.row for window in windows}), side)
    right = shared(sorted({window.col for window in windows}), side)
    made = []
    for window in windows:
        (above, below), (left, right_of) = down[window.row], right[window.col]
        made.append(Piece(image, window, example.grid, (above, left), (below, right_of)))
    return made


def shared(starts: Sequence[int], side: int) -> dict[int, tuple[int, int]]:
    """By start of a window along one axis, the pixels it shares with the one before and the one after."""
    common = [one + side - other for one, other in pairwise(starts)]
    return dict(zip(starts, zip([0, *common], [*common, 0], strict=True), strict=True))


@dataclass
class Canvas:
    """What is known about one image so far.

    Windows must come row by row: what no later window reaches is judged and leaves the device, so that a canvas never
    holds the scores of more than one row of windows.

    Attributes:
        grid: height and width of the label grid.
        task: kind of answer.
    """

    grid: tuple[int, int]
    task: Task
    _open: dict[str, Tensor] = field(default_factory=dict)  # sums (K, height of a window, width) below row _top
    _top: int = 0
    _done: dict[str, list[NDArray]] = field(default_factory=dict)
    _found: list[Found] = field(default_factory=list)
    _views: list[View] = field(default_factory=list)

    def put(self, piece: Piece, answer: Mapping[str, Tensor] | Found) -> None:
        """Add what was answered for a window.

        Args:
            piece: the next of the windows of the image.
            answer: probabilities by name, ``(K,)`` or ``(K, H, W)``, or detections.
        """
        if isinstance(answer, Found):
            view = piece.view
            self._found.append(_moved(answer, view))
            self._views.append(view)
        elif piece.whole:
            self._judge(answer)
        else:
            self._blend(piece, answer)

    def prediction(self) -> Prediction:
        """The answer for the whole image, when all windows are there."""
        if self._found:
            return _detections(of_image(self._found, self._views))
        done = {name: parts[0] if len(parts) == 1 else np.concatenate(parts) for name, parts in self._done.items()}
        if "classes" in done:
            return ClassScores(done["classes"])
        if "mask" in done:
            return ClassMap(done["mask"], done["confidence"])
        return ChangeMap(done["changed"], done.get("before"), done.get("after"))

    def _blend(self, piece: Piece, answer: Mapping[str, Tensor]) -> None:
        window = piece.window
        self._close(window.row)
        cols = slice(window.col, min(window.col + window.width, self.grid[1]))
        for name, scores_KHW in answer.items():
            if name not in self._open:
                self._open[name] = scores_KHW.new_zeros(len(scores_KHW), window.height, self.grid[1])
            inside = slice(cols.stop - cols.start)
            weights_HW = piece.weights(scores_KHW.device).to(scores_KHW.dtype)
            self._open[name][:, :, cols].addcmul_(scores_KHW[:, :, inside], weights_HW[:, inside])
        if piece.last:
            self._close(self.grid[0])
            self._open.clear()

    def _close(self, row: int) -> None:
        """Judge what lies above a row, which no later window reaches."""
        count = row - self._top
        if count == 0:
            return
        self._judge({name: sums_KHW[:, :count] for name, sums_KHW in self._open.items()})
        for sums_KHW in self._open.values():
            below_KHW = sums_KHW[:, count:].clone()
            sums_KHW[:, : below_KHW.shape[1]] = below_KHW
            sums_KHW[:, below_KHW.shape[1] :] = 0
        self._top = row

    def _judge(self, answer: Mapping[str, Tensor]) -> None:
        for name, scores in answer.items():
            for key, part in _judged(name, scores).items():
                self._done.setdefault(key, []).append(part)


def _judged(name: str, scores: Tensor) -> dict[str, NDArray]:
    """What is kept of probabilities ``(K,)`` or ``(K, H, W)``."""
    if name == "classes":
        return {name: _floats(scores)}
    if name == "changed":
        return {name: _floats(scores[1].clamp(max=1))}
    confidence_HW, answer_HW = scores.max(dim=0)  # many times faster than argmax on a CPU
    if name == "mask":
        return {"mask": _bytes(answer_HW), "confidence": _floats(confidence_HW.clamp(max=1))}
    return {name: _bytes(answer_HW)}


Thing = TypeVar("Thing")


def grouped(things: Iterable[Thing], size: int, shape: Callable[[Thing], Hashable]) -> Iterator[list[Thing]]:
    """What can be run together: of one shape, at most so many, in the order in which groups are full.

    Args:
        things: pieces, or whatever stands for them; those of one shape keep their order.
        size: most of a group.
        shape: what must be equal within a group.
    """
    waiting: dict[Hashable, list[Thing]] = {}
    for thing in things:
        same = waiting.setdefault(shape(thing), [])
        same.append(thing)
        if len(same) == size:
            yield waiting.pop(shape(thing))
    yield from waiting.values()


def _moved(found: Found, view: View) -> Found:
    """Detections of a window in pixels of the image."""
    boxes_NP, (col, row, _, _) = found.boxes_NP, view.seen
    shift = (col, row, col, row) if boxes_NP.shape[1] == 4 else (col, row, 0, 0, 0)
    return Found(boxes_NP + boxes_NP.new_tensor(shift), found.scores_N, found.label_N)


def _detections(found: Found) -> Detections:
    return Detections(_floats(found.boxes_NP), _floats(found.scores_N), found.label_N.cpu().numpy())


def _floats(values: Tensor) -> NDArray[np.float32]:
    return values.float().cpu().numpy()


def _bytes(classes_HW: Tensor) -> NDArray[np.uint8]:
    return classes_HW.to(torch.uint8).cpu().numpy()
