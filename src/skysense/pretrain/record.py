"""What the first of the ranks keeps beside checkpoints while a run goes on: journal, page, probes, the best model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from skysense.data.corpus import Corpus
from skysense.errors import SkySenseError
from skysense.files import write_json
from skysense.model.weights import save_model
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.journal import Journal
from skysense.pretrain.probing import SCORE, TrainingProbe, open_probe
from skysense.pretrain.report import PAGE, RunPage
from skysense.pretrain.run import Run
from skysense.train.together import Together

BEST_FILE = "best.safetensors"
"""The teacher when the probes had the highest score."""

OnStep = Callable[[int, dict[str, float]], None]


class Record:
    """Journal, page and probes of a run; all ranks have one, and that of the first does the work.

    Args:
        out: folder of the run.
        config: of the run.
        places: that it learns from.
        about: the run, for ``run.json``.
        start: first step about to be made.
        best: the highest score of the probes before it, None if there is none.
        on_step: called after each step.
        together: the ranks that run together.

    Attributes:
        best: the highest score so far.
        notes: what a person should know.

    Raises:
        SkySenseError: as `skysense.pretrain.probing.open_probe` raises, on all ranks.
        OutputError: the folder cannot be written to; on all ranks.
    """

    def __init__(
        self,
        out: Path,
        config: PretrainConfig,
        places: Corpus,
        about: Mapping[str, Any],
        start: int,
        best: float | None,
        on_step: OnStep | None,
        together: Together,
    ) -> None:
        self.out, self.every, self._together = out, config.probe.every, together
        self.best, self._on_step = best, on_step
        self.notes: list[str] = []
        self._first = together.ranks.first
        self._probe: TrainingProbe | None = None
        together.first(lambda: self._begin(config, places, about, start))

    def _begin(self, config: PretrainConfig, places: Corpus, about: Mapping[str, Any], start: int) -> None:
        facts: dict[str, Any] = {"places": len(places), "processes": self._together.ranks.size}
        if start:
            facts["went on from"] = f"step {start:,}"
        if self.every:
            self._probe = open_probe(config.probe, places)
            facts |= self._probe.facts
            self.notes += self._probe.notes
        write_json(self.out / "run.json", about)
        self._journal = Journal(self.out, start)
        self._page = RunPage(self.out, simulated=places.simulated, facts=facts)
        self.notes += [note for note in (self._journal.note, self._page.note) if note]

    def look(self, run: Run) -> tuple[dict[str, float], bool]:
        """What the teacher is worth, if it is time for a look, and whether that is the most so far; on all ranks."""
        if not self.every or (run.step % self.every and run.step != run.config.steps):
            return {}, False
        model = run.whole_teacher()

        def look() -> dict[str, float]:
            assert self._probe is not None and model is not None
            values = self._probe.look(model)
            if self._is_best(values[SCORE]):
                save_model(self.out / BEST_FILE, model)
            return values

        values = self._together.first(look)
        if not self._is_best(values[SCORE]):
            return values, False
        self.best = values[SCORE]
        return values, True

    def _is_best(self, score: float) -> bool:
        return math.isfinite(score) and (self.best is None or score > self.best)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Record a step that was made; on the first rank only.

        Raises:
            OutputError: no space, no permission.
        """
        if self._first:
            self._journal.write(step, values)
            if self._on_step is not None:
                self._on_step(step, values)

    def page(self, *, last: bool = False) -> None:
        """Write the page, unless it took long a moment ago. A run does not end for want of one."""
        if self._first:
            try:
                self._page.write(last=last)
            except SkySenseError as error:
                self.notes = [note for note in self.notes if not note.startswith(PAGE)] + [f"{PAGE}: {error}"]

    def __enter__(self) -> Record:
        if self._first:
            self._journal.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._first:
            self._journal.__exit__(kind, error, trace)
