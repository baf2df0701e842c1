"""What a model answers for images of any size: windows, mirror images, one answer each.

Letters: B pieces of one size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skysense.data.labelled.example import Example, Task
from skysense.tasks.augment import turned
from skysense.tasks.batches import batch_of
from skysense.tasks.cache import load_frozen
from skysense.tasks.detection.boxes import Found
from skysense.tasks.detection.merge import without_doubles
from skysense.tasks.feeding import Chunk
from skysense.tasks.heads import Answers, Head
from skysense.tasks.pieces import Canvas, grouped, pieces_of
from skysense.tasks.predictions import Prediction
from skysense.tasks.pyramid import Pyramid

MIRRORS = (0, 2, 4, 6)
"""The image, turned upside down, left to right, and both; each undoes itself."""


class Predictor:
    """An encoder and a head that judge images.

    Args:
        encoder: in evaluation mode.
        head: in evaluation mode.
        task: kind of answer.
        window_cells: larger images are judged in windows of this side, cells.
        batch_size: windows at once.
        flips: average over the mirror images.
    """

    def __init__(
        self, encoder: Pyramid, head: Head, task: Task, *, window_cells: int, batch_size: int, flips: bool = False
    ) -> None:
        self.encoder, self.head, self.task = encoder, head, task
        self.window_cells, self.batch_size, self.symmetries = window_cells, batch_size, MIRRORS if flips else (0,)

    @torch.inference_mode()
    def __call__(self, examples: Sequence[Example]) -> list[Prediction]:
        """One answer per example, on its whole label grid.

        Args:
            examples: as the encoder reads them, see `Reading.ready`.
        """
        canvases = [Canvas(example.grid, self.task) for example in examples]
        pieces = [
            (piece, piece.of(example))
            for image, example in enumerate(examples)
            for piece in pieces_of(image, example, self.task, self.window_cells)
        ]
        for group in grouped(pieces, self.batch_size, lambda pair: pair[1].grid):
            answers = self._answers([example for _, example in group])
            for row, (piece, _) in enumerate(group):
                canvases[piece.image].put(piece, _row(answers, row))
        return [canvas.prediction() for canvas in canvases]

    @torch.inference_mode()
    def of_frozen(self, chunk: Chunk) -> list[Prediction]:
        """The same of images whose features are frozen; without mirror images, which have no features."""
        device = next(self.head.parameters()).device
        first = min(one.piece.image for one in chunk.frozen)
        canvases = [Canvas(judged.grid, self.task) for judged in chunk.judged]
        for group in grouped(chunk.frozen, self.batch_size, lambda one: one.shape):
            batch = load_frozen(group).to(device)
            answers = self.head.answers(batch.maps, batch.grid, batch.sizes)
            for row, one in enumerate(group):
                canvases[one.piece.image - first].put(one.piece, _row(answers, row))
        return [canvas.prediction() for canvas in canvases]

    def _answers(self, examples: Sequence[Example]) -> Answers:
        """Those of examples of one size, averaged over the mirror images."""
        if self.symmetries == (0,):
            return self._once(examples)
        found = [
            _mirrored(self._once([turned(example, symmetry) for example in examples]), symmetry, examples[0].grid)
            for symmetry in self.symmetries
        ]
        first = found[0]
        if isinstance(first, dict):
            return {name: torch.stack([one[name] for one in found if isinstance(one, dict)]).mean(0) for name in first}
        boxes = [one for one in found if isinstance(one, list)]
        return [without_doubles(same) for same in zip(*boxes, strict=True)]

    def _once(self, examples: Sequence[Example]) -> Answers:
        batch = batch_of(examples).to(next(self.encoder.parameters()).device)
        return self.head.answers(self.encoder(batch.batch), batch.grid, batch.sizes)


def _row(answers: Answers, row: int) -> dict[str, Tensor] | Found:
    if isinstance(answers, dict):
        return {name: scores[row] for name, scores in answers.items()}
    return answers[row]


def _mirrored(answers: Answers, symmetry: int, grid: tuple[int, int]) -> Answers:
    """Answers for mirror images as those for the images."""
    if isinstance(answers, dict):
        axes = [axis for bit, axis in ((2, -2), (4, -1)) if symmetry & bit]
        return {name: scores.flip(axes) if scores.ndim == 4 and axes else scores for name, scores in answers.items()}
    return [Found(_mirrored_boxes(one.boxes_NP, symmetry, grid), one.scores_N, one.label_N) for one in answers]


def _mirrored_boxes(boxes_NP: Tensor, symmetry: int, grid: tuple[int, int]) -> Tensor:
    boxes_NP = boxes_NP.clone()
    for bit, axis, length in ((4, 0, grid[1]), (2, 1, grid[0])):
        if not symmetry & bit:
            continue
        if boxes_NP.shape[1] == 4:
            boxes_NP[:, [axis, axis + 2]] = length - boxes_NP[:, [axis + 2, axis]]
        else:
            boxes_NP[:, axis] = length - boxes_NP[:, axis]
            boxes_NP[:, 4] = -boxes_NP[:, 4]
    return boxes_NP
