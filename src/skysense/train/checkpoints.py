"""Checkpoints that a kill cannot spoil: written aside, then renamed; the last few are kept."""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from skysense.errors import InputError
from skysense.files import atomic_path

_NAME = re.compile(r"step-(\d+)\.pt")


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: made at the first save.
        keep: how many of the newest to keep.
    """

    def __init__(self, folder: str | Path, keep: int) -> None:
        self.folder = Path(folder)
        self.keep = keep

    def steps(self) -> list[int]:
        """Steps with a checkpoint, ascending."""
        names = (_NAME.fullmatch(path.name) for path in self.folder.glob("step-*.pt"))
        return sorted(int(match[1]) for match in names if match)

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is."""
        return self.folder / f"step-{step:08d}.pt"

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Save tensors, numbers, strings and containers of them; then drop all but the newest ``keep``.

        Raises:
            OutputError: no space, no permission; earlier checkpoints stay.
        """
        path = self.path(step)
        content = io.BytesIO()  # the zip writer hides a full disk behind an error of its own; a plain write does not
        torch.save(state, content)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content.getbuffer())
        for old in self.steps()[: -self.keep]:
            self.path(old).unlink(missing_ok=True)
        return path

    def latest(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest readable checkpoint, and what is wrong with newer ones.

        Returns:
            The state or None, and a message per unreadable checkpoint that was passed over.
        """
        passed_over: list[str] = []
        for step in reversed(self.steps()):
            try:
                return load(self.path(step)), passed_over
            except InputError as error:
                passed_over.append(str(error))
        return None, passed_over


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values, never code.

    Raises:
        InputError: missing, truncated, foreign, or holding something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError("does not exist", file=path) from error
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise InputError("is not a readable checkpoint (truncated or foreign)", file=path) from error
    if not isinstance(state, dict):
        raise InputError("is not a checkpoint of this package", file=path)
    return state
