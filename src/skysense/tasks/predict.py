"""What a model answers for images of any size: windows, mirror images, one answer each.

Letters: B pieces of one size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from skysense.tasks.heads import Answer, Head
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
            answers = self.answers([example for _, example in group])
            for (piece, _), answer in zip(group, answers, strict=True):
                canvases[piece.image].put(piece, answer)
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
            for one, answer in zip(group, answers, strict=True):
                canvases[one.piece.image - first].put(one.piece, answer)
        return [canvas.prediction() for canvas in canvases]

    @torch.inference_mode()
    def answers(self, examples: Sequence[Example]) -> Iterator[Answer]:
        """What the head says of windows of one size, each for itself, averaged over the mirror images.

        Args:
            examples: as the encoder reads them; their labels are not looked at.
        """
        if self.symmetries == (0,):
            yield from self._once(examples)
            return
        sides = [self._once([turned(example, symmetry) for example in examples]) for symmetry in self.symmetries]
        for example, *same in zip(examples, *sides, strict=True):
            part = turned_part(example)
            yield _mean([_back(one, symmetry, part) for one, symmetry in zip(same, self.symmetries, strict=True)])

    def _once(self, examples: Sequence[Example]) -> Iterator[Answer]:
        batch = imagery_of(examples).to(next(self.encoder.parameters()).device)
        return self.head.answers(self.encoder(batch), examples[0].grid, [example.size for example in examples])


def _mean(answers: Sequence[Answer]) -> Answer:
    """Of several answers for one image: the mean of the probabilities, or what was found in any, once."""
    boxes = [one for one in answers if isinstance(one, Found)]
    if boxes:
        return without_doubles(boxes)
    scores = [one for one in answers if isinstance(one, dict)]
    return {name: torch.stack([one[name] for one in scores]).mean(0) for name in scores[0]}


def _back(answer: Answer, symmetry: int, part: tuple[int, int]) -> Answer:
    """An answer for a mirror image as one for the image."""
    if isinstance(answer, Found):
        return _boxes_back(answer, symmetry, part)
    return {name: _scores_back(scores, symmetry, part) for name, scores in answer.items()}


def _scores_back(scores: Tensor, symmetry: int, part: tuple[int, int]) -> Tensor:
    """Scores ``(K,)`` or ``(K, H, W)`` for a mirror image as those for the image; padding stays where it is."""
    axes = [axis for bit, axis in ((2, -2), (4, -1)) if symmetry & bit]
    if scores.ndim == 1 or not axes:
        return scores
    back_KHW, (height, width) = scores.clone(), part
    back_KHW[:, :height, :width] = scores[:, :height, :width].flip(axes)
    return back_KHW


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
