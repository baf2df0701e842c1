"""What a model answers for images of any size: windows, mirror images, one answer each.

Letters: B pieces of one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from skysense.data.labelled.example import Example, Task
from skysense.tasks.augment import turned, turned_part
from skysense.tasks.batches import imagery_of
from skysense.tasks.cache import load_frozen
from skysense.tasks.detection.boxes import Found
from skysense.tasks.detection.merge import without_doubles
from skysense.tasks.feeding import Chunk
from skysense.tasks.heads import Answers, Head
from skysense.tasks.pieces import Canvas, grouped, pieces_of
from skysense.tasks.predictions import Prediction
from skysense.tasks.pyramid import Pyramid
from skysense.tasks.rotated.boxes import canonical

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
        pieces = (
            (piece, piece.of(replace(example, target=0)))  # labels need not be cut
            for image, example in enumerate(examples)
            for piece in pieces_of(image, example, self.task, self.window_cells)
        )
        for group in grouped(pieces, self.batch_size, lambda pair: (pair[1].grid, pair[1].per_cell)):
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
        parts = [turned_part(example) for example in examples]
        total: dict[str, Tensor] = {}
        boxes: list[list[Found]] = []
        for symmetry in self.symmetries:
            answers = self._once([turned(example, symmetry) for example in examples])
            if isinstance(answers, dict):
                for name, scores in answers.items():
                    back = _scores_back(scores, symmetry, parts)
                    if name in total:
                        total[name].add_(back, alpha=1 / len(self.symmetries))
                    else:
                        total[name] = back / len(self.symmetries)
            else:
                boxes.append([_boxes_back(one, symmetry, part) for one, part in zip(answers, parts, strict=True)])
        return total or [without_doubles(same) for same in zip(*boxes, strict=True)]

    def _once(self, examples: Sequence[Example]) -> Answers:
        batch = imagery_of(examples).to(next(self.encoder.parameters()).device)
        return self.head.answers(self.encoder(batch), examples[0].grid, [example.size for example in examples])


def _row(answers: Answers, row: int) -> dict[str, Tensor] | Found:
    if isinstance(answers, dict):
        return {name: scores[row] for name, scores in answers.items()}
    return answers[row]


def _scores_back(scores: Tensor, symmetry: int, parts: Sequence[tuple[int, int]]) -> Tensor:
    """Scores ``(B, K)`` or ``(B, K, H, W)`` for mirror images as those for the images; padding stays where it is."""
    axes = [axis for bit, axis in ((2, -2), (4, -1)) if symmetry & bit]
    if scores.ndim == 2 or not axes:
        return scores
    if all(part == scores.shape[2:] for part in parts):
        return scores.flip(axes)
    back = scores.clone()
    for to_KHW, from_KHW, (height, width) in zip(back, scores, parts, strict=True):
        to_KHW[:, :height, :width] = from_KHW[:, :height, :width].flip(axes)
    return back


def _boxes_back(found: Found, symmetry: int, part: tuple[int, int]) -> Found:
    """Detections in a mirror image as those in the image."""
    boxes_NP = found.boxes_NP.clone()
    for bit, axis, length in ((4, 0, part[1]), (2, 1, part[0])):
        if not symmetry & bit:
            continue
        if boxes_NP.shape[1] == 4:
            boxes_NP[:, [axis, axis + 2]] = length - boxes_NP[:, [axis + 2, axis]]
        else:
            boxes_NP[:, axis] = length - boxes_NP[:, axis]
            boxes_NP[:, 4] = -boxes_NP[:, 4]
    if boxes_NP.shape[1] == 5:
        boxes_NP = canonical(boxes_NP)
    return Found(boxes_NP, found.scores_N, found.label_N)
