"""Frozen features, computed once: one file per window of an image, with its labels, in the folder of the run.

A file is named after what is in it: the pixels and dates, the labels, the window. A run that was cut off finds those
that are finished, and an image or a label that was mended is encoded again. What another encoder made is removed.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.example import Example, Target, Task
from skysense.data.labelled.survey import fingerprint
from skysense.errors import InputError
from skysense.files import atomic_path, make_folder, read_json, write_json
from skysense.model.modes import evaluating
from skysense.tasks.batches import Labels, imagery_of, labels_of
from skysense.tasks.detection.boxes import Truth
from skysense.tasks.pieces import Piece, grouped, pieces_of
from skysense.tasks.pyramid import Maps, Pyramid

_ABOUT = "features.json"
_AT_ONCE = 16
"""Images that are cut and encoded together."""

Progress = Callable[[int, int, str], None]


@dataclass
class Frozen:
    """What a head learns from without an encoder: features and labels of pieces of one size.

    Attributes:
        maps: of the encoder.
        labels: of all.
        grid: height and width of the label grid.
        sizes: per piece, the part that is no padding.
    """

    maps: Maps
    labels: Labels
    grid: tuple[int, int]
    sizes: list[tuple[int, int]]

    def to(self, device: torch.device | str) -> Frozen:
        """The same on another device."""
        levels = [level.to(device, non_blocking=True) for level in self.maps.levels]
        return Frozen(Maps(levels, self.maps.occupied_Bhw.to(device)), self.labels.to(device), self.grid, self.sizes)


@dataclass(frozen=True)
class FrozenPiece:
    """A window of an image whose features are in a file.

    Attributes:
        piece: where it lies; `Piece.image` counts the images of its split.
        size: the part that is no padding.
        file: features and labels.
    """

    piece: Piece
    size: tuple[int, int]
    file: Path

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the window."""
        return self.piece.window.height, self.piece.window.width


@dataclass(frozen=True)
class Judged:
    """What a prediction is held against.

    Attributes:
        name: of the image.
        group: ground it shares with others.
        target: its labels.
        grid: height and width of the label grid.
        size: the part that is no padding.
    """

    name: str
    group: str
    target: Target
    grid: tuple[int, int]
    size: tuple[int, int]


def judged(example: Example, group: str) -> Judged:
    """What a prediction for an example is held against."""
    return Judged(example.name, group, example.target, example.grid, example.size)


class FeatureFolder:
    """A folder of frozen features.

    Args:
        folder: of one run.
        encoder: frozen, in evaluation mode.
        task: what the images are judged for; of classes only pooled features are kept.
        window_cells: side of the windows, cells.
        batch_size: windows at once.
        about: what the features depend on beside the images, plain values for JSON.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(
        self, folder: Path, encoder: Pyramid, task: Task, *, window_cells: int, batch_size: int, about: dict[str, Any]
    ) -> None:
        self.folder, self.encoder, self.task = folder, encoder, task
        self.window_cells, self.batch_size = window_cells, batch_size
        known = folder / _ABOUT
        if folder.exists() and (not known.exists() or read_json(known) != about):
            known.unlink(missing_ok=True)  # first: what is left of a folder without it is removed the next time
            shutil.rmtree(folder)
        make_folder(folder)
        write_json(known, about)

    def fill(
        self, split: str, data: LabelledData, progress: Progress | None = None
    ) -> tuple[list[FrozenPiece], list[Judged]]:
        """Compute what is not there yet.

        Args:
            split: for the words of progress.
            data: the images, ready for the encoder.
            progress: called with the number of images done, of all, and words.

        Returns:
            All windows, and what the images are judged by.
        """
        made: list[FrozenPiece] = []
        known: list[Judged] = []
        for start in range(0, len(data), _AT_ONCE):
            missing: list[tuple[Path, Example]] = []
            for image in range(start, min(start + _AT_ONCE, len(data))):
                example = data.read(image)
                known.append(judged(example, data.items[image].group))
                name = _digest(example)
                for piece in pieces_of(image, example, self.task, self.window_cells):
                    part = piece.of(example)
                    file = self.folder / f"{name}_{piece.window.row}_{piece.window.col}.safetensors"
                    made.append(FrozenPiece(piece, part.size, file))
                    if not file.exists():
                        missing.append((file, part))
            for group in grouped(missing, self.batch_size, lambda pair: pair[1].grid):
                self._encode(group)
            if progress is not None:
                progress(len(known), len(data), f"features of {split}")
        return made, known

    def _encode(self, group: Sequence[tuple[Path, Example]]) -> None:
        batch = imagery_of([example for _, example in group])
        with evaluating(self.encoder), torch.inference_mode():
            maps = self.encoder(batch.to(next(self.encoder.parameters()).device))
        if self.task in ("classification", "multilabel"):
            pooled_BD11 = maps.pooled()[..., None, None]
            maps = Maps([pooled_BD11], pooled_BD11.new_ones(len(pooled_BD11), 1, 1, dtype=torch.bool))
        for row, (file, example) in enumerate(group):
            dates = slice(row, None, len(group))  # of pairs all earlier dates come before all later ones
            tensors = {f"level.{index}": level[dates] for index, level in enumerate(maps.levels)}
            tensors |= {"occupied": maps.occupied_Bhw[dates]} | _label_tensors(labels_of([example]))
            stored = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
            with atomic_path(file) as temporary:
                try:
                    save_file(stored, temporary)
                except SafetensorError as error:  # it wraps what the system says, e.g. a full disk
                    raise OSError(str(error)) from error


def load_frozen(pieces: Sequence[FrozenPiece]) -> Frozen:
    """Features and labels of pieces of one size.

    Raises:
        InputError: a file is damaged or gone.
    """
    files = [_load(one.file) for one in pieces]
    count = sum(name.startswith("level.") for name in files[0])
    levels = [_by_date([file[f"level.{index}"] for file in files]) for index in range(count)]
    maps = Maps(levels, _by_date([file["occupied"] for file in files]))
    window = pieces[0].piece.window
    return Frozen(maps, _labels(files), (window.height, window.width), [one.size for one in pieces])


def _by_date(rows: Sequence[Tensor]) -> Tensor:
    """Maps of pieces, each of one date or of two: all of the earlier date first."""
    return torch.stack(list(rows), dim=1).flatten(0, 1)


def _load(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"could not be read: {error}", file=file, fix="Remove it: it is made again") from error


_BOXES = ("boxes_NP", "label_N", "ignore_N")


def _label_tensors(labels: Labels) -> dict[str, Tensor]:
    """The labels of one piece by name."""
    found = {f"label.{name}": value[0] for name, value in vars(labels).items() if isinstance(value, Tensor)}
    if labels.boxes is not None:
        found |= {f"box.{name}": getattr(labels.boxes[0], name) for name in _BOXES}
    return found


def _labels(files: Sequence[dict[str, Tensor]]) -> Labels:
    names = [name for name in files[0] if name.startswith("label.")]
    stacked: dict[str, Any] = {name[6:]: torch.stack([file[name] for file in files]) for name in names}
    if "box.label_N" in files[0]:
        stacked["boxes"] = [Truth(*(file[f"box.{name}"] for name in _BOXES)) for file in files]
    return Labels(**stacked)


def _digest(example: Example) -> str:
    """A name for the pixels, dates and labels of an example."""
    found = hashlib.blake2b(fingerprint(example), digest_size=16)
    for name, tensor in sorted(_label_tensors(labels_of([example])).items()):
        found.update(f"{name} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().numpy().tobytes())
    for key, series in sorted(example.sample.series.items()):
        found.update(key.encode() + series.dates.tobytes())
    found.update(repr((example.size, example.sample.region)).encode())
    return found.hexdigest()
