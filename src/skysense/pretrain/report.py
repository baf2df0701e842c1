"""A run as a page for people, ``report.html``: made from the files of its folder, at any time while it goes on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from skysense.errors import MissingExtra, need
from skysense.files import flat, plain, read_json
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.journal import FILE as JOURNAL
from skysense.pretrain.journal import read
from skysense.pretrain.probing import PREFIX, SCORE, best
from skysense.report import Report, curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.html"
SETTINGS = "run.json"

Rows = Sequence[Mapping[str, float]]
Panels = dict[str, dict[str, str]]
"""By title of a panel: the names of values, by what its legend calls them."""

_TERMS = ("pixel", "object", "image", "masked", "align")
"""First parts of the names that terms of the objective have in the journal, in order of the panels."""

_SCHEDULE: Panels = {"learning rate": {"": "learning_rate"}, "gradient norm": {"": "gradient_norm"}}
_EXACT = ("learning_rate",)
_SPEED: Panels = {"seconds per step": {"reckoning": "seconds", "waiting for places": "waited"}}
_SHARE = 0.02
"""Most of a run's time that may go into its page."""

_RECENT = 50
"""Steps whose median says how a run does now."""


class RunPage:
    """Writes the page of a run, again and again while it goes on.

    A page of a long run takes seconds. It is left as it is until fifty times as long has passed as the last one took.

    Args:
        out: folder of the run, with ``log.jsonl`` and ``run.json``.
        simulated: whether any pixel learned from is made up.
        facts: what the files do not know: how many places there are, where the run was resumed.

    Attributes:
        note: why there is no page, empty if there is one.
    """

    def __init__(self, out: Path, *, simulated: bool, facts: Mapping[str, Any]) -> None:
        self.out, self.simulated, self.facts = out, simulated, facts
        self.note, self._rest_until = "", 0.0
        try:
            need("matplotlib.figure", "train")
        except MissingExtra as error:
            self.note = f"no {PAGE}: {error}"

    def write(self, *, last: bool = False) -> None:
        """Write what is known by now, atomically; nothing without matplotlib.

        Args:
            last: write even if the page is of a moment ago.

        Raises:
            InputError: the journal or the settings are missing or truncated.
            OutputError: no space, no permission.
        """
        began = time.monotonic()
        if self.note or (began < self._rest_until and not last):
            return
        rows, config = read(self.out / JOURNAL), read_json(self.out / SETTINGS)["config"]
        report = Report(f"Pre-training: {self.out.resolve().name}", simulated=self.simulated)
        report.facts(_progress(rows, config) | dict(self.facts))
        if rows:
            _add_curves(report, rows)
        report.heading("Settings that differ from the defaults")
        changed = [[name, *map(str, both)] for name, both in differing(config).items()]
        if changed:
            report.table(["setting", "this run", "default"], changed)
        else:
            report.paragraph("None.")
        report.write(self.out / PAGE)
        now = time.monotonic()
        self._rest_until = now + (now - began) / _SHARE


def objective_curves(rows: Rows) -> Figure:
    """The loss, and its terms with a panel per granularity and a line per source.

    Args:
        rows: of a journal.

    Raises:
        InputError: no loss was logged.
        MissingExtra: matplotlib is not installed.
    """
    return curves(rows, {"loss": {"": "loss"}} | _terms(_logged(rows)))


def collapse_curves(rows: Rows) -> Figure:
    """Rank, spread and entropies: what falls towards zero as features or prototypes become one.

    Args:
        rows: of a journal.

    Raises:
        InputError: no step was looked at.
        MissingExtra: matplotlib is not installed.
    """
    return curves(rows, _collapse(_logged(rows)), from_zero=True)


def differing(config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings of a run that are not the defaults: (value, default) by dotted name; "none" where there is no default.

    Args:
        config: as ``run.json`` holds it.
    """
    defaults = flat(plain(dataclasses.asdict(PretrainConfig())))
    both = {name: (value, defaults.get(name, "none")) for name, value in flat(config).items()}
    return {name: (value, default) for name, (value, default) in both.items() if value != default}


def _progress(rows: Rows, config: Mapping[str, Any]) -> dict[str, Any]:
    made, wanted = int(rows[-1]["step"]) + 1 if rows else 0, config["steps"]
    facts: dict[str, Any] = {"steps": f"{made:,} of {wanted:,}", "preset": config["preset"]}
    seconds = [row["seconds"] + row.get("waited", 0) for row in rows[-_RECENT:] if row.get("seconds")]
    if seconds:
        now = median(seconds)
        facts["speed"] = f"{now:.3g} s per step, {config['batch_size'] / now:.3g} places per second"
        if made < wanted:
            facts["left"] = f"about {_duration((wanted - made) * now)}"
    losses = [row["loss"] for row in rows if "loss" in row]
    if losses:
        facts["loss"] = f"{losses[0]:.4g} at the first step, {median(losses[-_RECENT:]):.4g} lately"
    if skipped := [row["skipped"] for row in rows if "skipped" in row]:
        facts["steps skipped"] = int(skipped[-1])
    if left_out := rows[-1].get("left_out") if rows else 0:
        facts["places left out"] = (
            f"{int(left_out):,} since the run began or went on: unreadable, or nothing to be seen"
        )
    top = best(rows)
    if top is not None:
        facts["best probes"] = f"{top[SCORE]:.3f} after {int(top['step']) + 1:,} steps"
    return facts


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def _add_curves(report: Report, rows: Rows) -> None:
    logged = _logged(rows)
    report.heading("The objective")
    report.figure(
        objective_curves(rows),
        alt="The loss and each of its terms over the steps",
        caption="The loss, and its terms by granularity with a line per source; pale as logged, dark smoothed",
    )
    top, probes = best(rows), _probes(logged)
    if top is not None:
        report.heading("What the features are worth")
        report.paragraph(
            "Probes on the teacher's frozen features, tested on held-out places. Shown is the main metric of a label: "
            "accuracy of a scene, mean average precision of several classes, recall per place of a mask. The score is "
            "the mean over the labels of the linear probe; the best checkpoint is the one with the highest."
        )
        report.figure(
            curves(rows, probes, exact=logged, mark=top["step"]),
            alt="The score and the metric of each label over the steps",
            caption=f"Dashed: the best score, {top[SCORE]:.3f} after {int(top['step']) + 1:,} steps",
        )
    collapse = _collapse(logged)
    words = "A rank or an entropy that falls towards zero is collapse"
    _section(report, rows, "Signs of collapse", collapse, words, from_zero=True)
    _section(report, rows, "Optimiser", _SCHEDULE, "Learning rate, and norm of the gradient before clipping")
    _section(report, rows, "Speed", _SPEED, "Time of a step, and how long it waited for its places", from_zero=True)
    drawn = ({"loss": {"": "loss"}}, _terms(logged), probes, collapse, _SCHEDULE, _SPEED)
    known = {"skipped", "left_out"} | {name for panels in drawn for lines in panels.values() for name in lines.values()}
    _section(report, rows, "Other values", {name: {"": name} for name in logged if name not in known}, "As logged")


def _section(report: Report, rows: Rows, heading: str, panels: Panels, words: str, *, from_zero: bool = False) -> None:
    if any(name in row for row in rows for lines in panels.values() for name in lines.values()):
        report.heading(heading)
        figure = curves(rows, panels, exact=_EXACT, from_zero=from_zero)
        report.figure(figure, alt=f"{', '.join(panels)} over the steps", caption=words)


def _logged(rows: Rows) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row if name != "step"))


def _terms(logged: Sequence[str]) -> Panels:
    parts = [(name, *name.split("/", 1)) for name in logged if "/" in name]
    found = {term: {source: name for name, first, source in parts if first == term} for term in _TERMS}
    return {term: lines for term, lines in found.items() if lines}


def _probes(logged: Sequence[str]) -> Panels:
    """The score, then a panel per label with a line per head."""
    panels: Panels = {"score": {"": SCORE}}
    for name in logged:
        if name.startswith(PREFIX) and name != SCORE:
            label, _, head = name.removeprefix(PREFIX).rpartition("_")
            panels.setdefault(label, {})[head] = name
    return panels


def _collapse(logged: Sequence[str]) -> Panels:
    panels: Panels = {
        "effective rank of the features": {"": "feature_rank"},
        "standard deviation of the features": {"": "feature_std"},
        "entropy of geo-context prototypes": {"": "geo_entropy"},
        "geo-context prototypes put elsewhere": {"": "geo_revived"},
    }
    for name in logged:
        first, _, rest = name.partition("/")
        if first == "cluster_entropy":
            panels.setdefault("entropy of clusters", {})[rest] = name
        elif first == "prototype_entropy":
            source, _, granularity = rest.rpartition("_")
            panels.setdefault(f"entropy of head prototypes, {granularity}", {})[source] = name
    return panels
