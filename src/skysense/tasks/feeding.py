"""From a labelled data set to batches: random views to learn from, whole images to judge by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset, Sampler

from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.example import Boxes, Example, OrientedBoxes, masks_of
from skysense.errors import InputError
from skysense.tasks.augment import AugmentConfig, augmented, cropped
from skysense.tasks.batches import LabelledBatch, batch_of
from skysense.tasks.cache import FrozenPiece, Judged, judged
from skysense.tasks.pieces import grouped

Drawn = tuple[int, int]
"""Number of an example, and the epoch: together they say what is drawn for it."""


class Draws(Sampler[Drawn]):
    """Every example once per epoch, in an order that depends on the seed and the epoch alone.

    Args:
        count: number of examples.
        seed: of the run.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer, also when a run is taken up again."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Drawn]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        return ((int(index), self.epoch) for index in order)


class Views(Dataset[Example]):
    """Random views of examples.

    Args:
        data: of one split, ready for the encoder.
        augment: what is drawn.
        window_cells: larger images are cropped to this at most, cells.
        seed: of the run.
    """

    def __init__(self, data: LabelledData, augment: AugmentConfig, window_cells: int, seed: int) -> None:
        self.data, self.augment, self.window_cells, self.seed = data, augment, window_cells, seed

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, drawn: Drawn) -> Example:
        index, epoch = drawn
        rng = np.random.default_rng([self.seed, epoch, index])
        return augmented(self.data.read(index), self.augment, rng, most_cells=self.window_cells)


def views_batch(examples: Sequence[Example]) -> LabelledBatch:
    """Examples side by side; smaller ones are padded right and below to the cells of the largest.

    Raises:
        InputError: some have masks or boxes in pixels of the high-resolution image and some in cells.
    """
    first = examples[0]
    for one in examples:
        if one.per_cell != first.per_cell and (masks_of(one.target) or isinstance(one.target, Boxes | OrientedBoxes)):
            fine, coarse = (first, one) if first.per_cell > one.per_cell else (one, first)
            raise InputError(
                f"{fine.name} has labels in pixels of the high-resolution image and {coarse.name} one per cell of 10 m",
                fix="A model learns labels on one grid: adapt one model to each, or bring them to one",
            )
    rows, cols = (max(example.sample.grid[axis] for example in examples) for axis in (0, 1))
    return batch_of(
        [
            one if one.sample.grid == (rows, cols) else cropped(one, 0, 0, rows * one.per_cell, cols * one.per_cell)
            for one in examples
        ]
    )


class Pieces(Dataset[FrozenPiece]):
    """Windows whose features are frozen."""

    def __init__(self, pieces: Sequence[FrozenPiece]) -> None:
        self.pieces = pieces

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, drawn: Drawn) -> FrozenPiece:
        return self.pieces[drawn[0]]


class SameSize(Sampler[list[Drawn]]):
    """Batches of windows of one size, in the order in which they fill up.

    Args:
        draws: order of the windows.
        pieces: all of them.
        batch_size: windows per batch.
    """

    def __init__(self, draws: Draws, pieces: Sequence[FrozenPiece], batch_size: int) -> None:
        self.sampler, self.pieces, self.batch_size = draws, pieces, batch_size  # the trainer looks for a sampler

    def __len__(self) -> int:
        return sum(-(-count // self.batch_size) for count in Counter(one.shape for one in self.pieces).values())

    def __iter__(self) -> Iterator[list[Drawn]]:
        yield from grouped(self.sampler, self.batch_size, lambda drawn: self.pieces[drawn[0]].shape)


@dataclass(frozen=True)
class Chunk:
    """Some images that are judged together.

    Attributes:
        judged: what the answers are held against.
        examples: the images, or nothing where features are frozen.
        frozen: windows of these images; `Piece.image` counts on from the chunk before.
    """

    judged: list[Judged]
    examples: list[Example]
    frozen: list[FrozenPiece]


class Images(Dataset[Chunk]):
    """Whole images to judge by, some at a time.

    Args:
        data: of one split, ready for the encoder.
        size: images at a time.
    """

    def __init__(self, data: LabelledData, size: int) -> None:
        self.data, self.size = data, size

    def __len__(self) -> int:
        return -(-len(self.data) // self.size)

    def __getitem__(self, number: int) -> Chunk:
        indices = range(number * self.size, min((number + 1) * self.size, len(self.data)))
        examples = [self.data.read(index) for index in indices]
        groups = [self.data.items[index].group for index in indices]
        return Chunk([judged(one, group) for one, group in zip(examples, groups, strict=True)], examples, [])


class FrozenImages(Dataset[Chunk]):
    """The same without their pixels.

    Args:
        pieces: of all images.
        known: per image, what it is judged by.
        size: images at a time.
    """

    def __init__(self, pieces: Sequence[FrozenPiece], known: Sequence[Judged], size: int) -> None:
        self.known, self.size = known, size
        self.by_image: list[list[FrozenPiece]] = [[] for _ in known]
        for one in pieces:
            self.by_image[one.piece.image].append(one)

    def __len__(self) -> int:
        return -(-len(self.known) // self.size)

    def __getitem__(self, number: int) -> Chunk:
        part = slice(number * self.size, (number + 1) * self.size)
        return Chunk(list(self.known[part]), [], [one for pieces in self.by_image[part] for one in pieces])
