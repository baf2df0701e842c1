"""What a run says about itself: one JSON line per step, and the same curves for TensorBoard."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any

from skysense.errors import InputError, MissingExtra, need
from skysense.files import output_error, write_text

FILE = "log.jsonl"


class Journal:
    """Writes ``log.jsonl``, and TensorBoard events if that is installed; a resumed run forgets what came later.

    Args:
        out: folder of the run.
        start: first step about to be made.

    Attributes:
        note: what a person should know; empty if there is nothing.

    Raises:
        OutputError: the folder cannot be written to.
    """

    def __init__(self, out: Path, start: int) -> None:
        self.path = out / FILE
        kept = [row for row in read(self.path) if row["step"] < start] if self.path.exists() else []
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self.note = ""
        self._board = None
        try:
            self._lines = self.path.open("a", encoding="utf-8")
            boards = need("torch.utils.tensorboard", "train")
            self._board = boards.SummaryWriter(str(out / "tensorboard"), purge_step=start)
        except MissingExtra as error:
            self.note = f"no events for TensorBoard: {error}"
        except OSError as error:
            raise output_error(error, self.path) from error

    def write(self, step: int, values: dict[str, float]) -> None:
        """Record the values of a step; what is not finite is left out of the file, since JSON has no word for it."""
        row: dict[str, Any] = {"step": step} | {key: value for key, value in values.items() if math.isfinite(value)}
        try:
            self._lines.write(json.dumps(row) + "\n")
            self._lines.flush()
            if self._board is not None:
                for key, value in values.items():
                    self._board.add_scalar(key, value, step)
        except OSError as error:
            raise output_error(error, self.path) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        if self._board is not None:
            self._board.close()


def read(path: str | Path) -> list[dict[str, float]]:
    """The rows of a ``log.jsonl``, in order; a last line cut off by a kill is left out.

    Raises:
        InputError: missing or foreign.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("could not be read as a log of a run", file=path) from error
    rows = []
    for number, line in enumerate(lines):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines) - 1:
                break
            raise InputError(f"line {number + 1} is not JSON", file=path) from error
    return rows
