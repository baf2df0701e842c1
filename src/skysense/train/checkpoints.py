"""Checkpoints that a kill cannot spoil: written aside by all ranks, then renamed; the last few and the best stay."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from skysense.errors import InputError, OutputError, SkySenseError
from skysense.files import make_folder, output_error, read_json, write_json
from skysense.train import shards
from skysense.train.ranks import ALONE, Ranks
from skysense.train.staging import Piece, Staging
from skysense.train.together import Together

_NAME = re.compile(r"step-(\d+)(\.replaced)?")


class Checkpoints:
    """The checkpoints of one run: a folder for each, with a file per rank.

    A checkpoint is written by a thread while training goes on. Every method but `steps` and `path` has to be called by
    all ranks, in the same order.

    Args:
        folder: seen by all ranks; made at the first save.
        keep: how many of the newest to keep.
        ranks: the processes that train together.
    """

    def __init__(self, folder: str | Path, keep: int, ranks: Ranks = ALONE) -> None:
        self.folder = Path(folder)
        self.keep = keep
        self._together = Together(ranks)
        self._staging = Staging(self._together)
        self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._under_way: list[Future[None]] = []
        self._damaged: set[int] = set()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let what is under way be finished; if it fails, an error on the way out comes first."""
        try:
            self.wait()
        except SkySenseError:
            if error is None:
                raise

    def steps(self) -> list[int]:
        """Steps with a checkpoint, ascending."""
        names = (_NAME.fullmatch(path.name) for path in self.folder.glob("step-*"))
        return sorted({int(match[1]) for match in names if match})

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is."""
        path, replaced = self._place(step), _replaced(self._place(step))
        return replaced if replaced.exists() and not path.exists() else path

    def _place(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def save(self, step: int, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Save tensors and plain values; then drop all but the newest ``keep`` up to this step, and the best.

        Returns as soon as the tensors are copied to the host; the rest goes on in the background. Waits for the save
        before.

        Args:
            step: an existing checkpoint of the same step is replaced.
            tensors: the same names on all ranks: DTensors, or plain tensors that are equal on all ranks.
            about: what JSON can hold; that of the first rank is saved.

        Raises:
            OutputError: the save before failed (no space, no permission); this is not begun. Earlier checkpoints stay.
            SkySenseError: another process has ended.
            ValueError: a number in ``about`` is not finite.
        """
        self.wait()
        text = json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        pieces = self._staging.stage(tensors)
        self._under_way.append(self._background.submit(self._write, step, pieces, text))

    def wait(self) -> None:
        """Until what was begun is finished on all ranks.

        Raises:
            OutputError: it failed, on any of the ranks. Earlier checkpoints stay.
        """
        under_way, self._under_way = self._under_way, []
        wait(under_way)
        for one in under_way:
            one.result()

    def mark_best(self, step: int, score: float) -> None:
        """Keep the checkpoint of a step until another is marked; after the save that is under way.

        Args:
            step: has been saved, and is one of those that are kept.
            score: by which it is the best.
        """
        self._under_way.append(self._background.submit(self._mark, step, score))

    def best(self) -> tuple[int, float] | None:
        """Step and score of the marked checkpoint, if there is one.

        Raises:
            OutputError: as `wait`.
        """
        self.wait()
        return self._together.first(self._best)

    def open(self, step: int) -> Checkpoint:
        """The checkpoint of a step, every byte of it checked.

        Raises:
            InputError: there is none, or it is damaged; on all ranks.
            OutputError: as `wait`.
        """
        self.wait()
        path, ranks = self.path(step), self._together.ranks
        self._together.each(lambda: shards.check(path, share=slice(ranks.rank, None, ranks.size)))
        return Checkpoint(step, path, self._together)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest whole checkpoint, and what is wrong with newer ones.

        Returns:
            The checkpoint or None, and a message per damaged one that was passed over.

        Raises:
            OutputError: as `wait`.
        """
        self.wait()
        passed_over: list[str] = []
        for step in reversed(self._together.first(self.steps)):
            try:
                return self.open(step), passed_over
            except InputError as error:
                passed_over.append(str(error))
                self._damaged.add(step)
        return None, passed_over

    def _write(self, step: int, pieces: Sequence[Piece], about: str) -> None:
        """In the background, on every rank."""
        aside = self.folder / f".step-{step:08d}.partial"
        shard = aside / shards.shard_name(self._together.ranks.rank)
        try:
            self._together.first(lambda: self._begin(aside))
            accounts = self._together.each(lambda: shards.write_shard(shard, pieces))
            self._together.first(lambda: self._finish(step, aside, about, accounts))
        except SkySenseError as error:
            if self._together.ranks.first:
                shutil.rmtree(aside, ignore_errors=True)
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"could not be written: {error}", file=self._place(step)) from error

    def _begin(self, aside: Path) -> None:
        """Clear up what killed runs left, and make room."""
        make_folder(self.folder)
        for leftover in self.folder.glob(".step-*"):
            self._remove(leftover)
        for replaced in self.folder.glob("step-*.replaced"):
            if replaced.with_suffix("").exists():
                self._remove(replaced)
            else:
                _rename(replaced, replaced.with_suffix(""))
        make_folder(aside)

    def _finish(self, step: int, aside: Path, about: str, accounts: Sequence[shards.Account]) -> None:
        """Account for the shards of all ranks, put the checkpoint in its place, and drop what it makes superfluous."""
        account = shards.write_text(aside / shards.ABOUT, about)
        for one in accounts:
            account |= one
        shards.write_text(aside / shards.ACCOUNT, json.dumps(account, indent=1) + "\n")
        path = self._place(step)
        shards.sync_folder(aside)
        if path.exists():  # between the two renames the old one is found by its other name
            _rename(path, _replaced(path))
        _rename(aside, path)
        shards.sync_folder(self.folder)
        self._damaged.discard(step)
        self._prune(step)

    def _prune(self, step: int) -> None:
        """Drop all but the newest and the best; what lies beyond the step is left: the run has yet to get there."""
        steps = [one for one in self.steps() if one <= step]
        kept = set([one for one in steps if one not in self._damaged][-self.keep :])
        best = self._best()
        for one in steps:
            if one not in kept and (best is None or one != best[0]):
                self._remove(self.path(one))
        self._remove(_replaced(self._place(step)))

    def _remove(self, path: Path) -> None:
        """Remove a folder; one that is a checkpoint ceases to be one in an instant."""
        if not path.exists():
            return
        if not path.name.startswith("."):
            gone = path.with_name(f".{path.name}.removed")
            _rename(path, gone)
            path = gone
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise OutputError(f"could not be removed: {(error.strerror or '').lower()}", file=path) from error

    @property
    def _mark_path(self) -> Path:
        return self.folder / "best.json"

    def _mark(self, step: int, score: float) -> None:
        """In the background, on every rank."""

        def mark() -> None:
            if step not in self.steps():
                raise OutputError("cannot be marked as the best: there is no such checkpoint", file=self._place(step))
            write_json(self._mark_path, {"step": step, "score": score})

        self._together.first(mark)

    def _best(self) -> tuple[int, float] | None:
        try:
            mark = read_json(self._mark_path)
            step, score = int(mark["step"]), float(mark["score"])
        except (InputError, KeyError, TypeError, ValueError):
            return None  # no mark: then none is kept beside the newest
        return (step, score) if step in self.steps() else None


def _replaced(path: Path) -> Path:
    """What a checkpoint is called while another takes its place."""
    return path.with_suffix(".replaced")


def _rename(old: Path, new: Path) -> None:
    try:
        old.rename(new)
    except OSError as error:
        raise output_error(error, new) from error


class Checkpoint:
    """A whole checkpoint, ready to be read.

    Attributes:
        step: when it was saved.
        path: its folder.
        about: the plain values saved with it.
        tensors: names, shapes and types, as tensors without values.
    """

    def __init__(self, step: int, path: Path, together: Together) -> None:
        self.step, self.path = step, path
        self._together = together
        self.about: dict[str, Any] = read_json(path / shards.ABOUT)
        self.tensors = shards.describe(path)

    def read(self, into: Mapping[str, Tensor]) -> None:
        """Fill tensors in place; to be called by all ranks.

        Args:
            into: DTensors, of which each rank reads its part, or plain tensors, whichever of the two was saved and by
                however many ranks. Not all that was saved need be there.

        Raises:
            InputError: a tensor was not saved, or with another shape or type.
        """
        self._together.each(lambda: shards.read_shards(self.path, into))

    def read_all(self) -> dict[str, Tensor]:
        """Every tensor, whole, on the host."""
        tensors = {name: torch.empty_like(one, device="cpu") for name, one in self.tensors.items()}
        self.read(tensors)
        return tensors
