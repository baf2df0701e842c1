"""What the first of the ranks keeps beside checkpoints while a run goes on: journal, page, probes, the best model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from skysense.data.joined import Corpus
from skysense.files import write_json
from skysense.model.weights import save_model
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.journal import Journal
from skysense.pretrain.probing import SCORE, TrainingProbe, open_probe
from skysense.pretrain.report import RunPage
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
        best: the highest score of the probes so far, None if there is none.
        on_step: called after each step.
        together: the ranks that run together.

    Attributes:
        notes: what a person should know.

    Raises:
        SkySenseError: as `skysense.pretrain.probing.open_probe` raises, on all ranks.
        OutputError: the folder cannot be written to.
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

    def step(self, run: Run, values: dict[str, float]) -> float | None:
        """Record a step that was made, after a look at what the teacher is worth if it is time for one.

        Args:
            run: which has made the step.
            values: to log; those of the look are added.

        Returns:
            The score if it is the highest so far, else None; the same on all ranks.
        """
        score = None
        if self.every and (run.step % self.every == 0 or run.step == run.config.steps):
            values |= self._look(run)
            if self.best is None or values[SCORE] > self.best:
                self.best = score = values[SCORE]
        if self._first:
            self._journal.write(run.step - 1, values)
            if self._on_step is not None:
                self._on_step(run.step - 1, values)
        return score

    def page(self, *, last: bool = False) -> None:
        """Write the page, unless it took long a moment ago."""
        if self._first:
            self._page.write(last=last)

    def _look(self, run: Run) -> dict[str, float]:
        model = run.whole_teacher()

        def look() -> dict[str, float]:
            if self._probe is None or model is None:
                return {}
            values = self._probe.look(model)
            if self.best is None or values[SCORE] > self.best:
                save_model(self.out / BEST_FILE, model)
            return values

        return self._together.first(look)

    def __enter__(self) -> Record:
        if self._first:
            self._journal.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._first:
            self._journal.__exit__(kind, error, trace)
