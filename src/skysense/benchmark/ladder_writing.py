"""The ladder as Markdown for the documentation, JSON for programs and one HTML page for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from skysense.files import write_json, write_text
from skysense.probes.table import Table, markdown, percent
from skysense.report import Report

TITLE = "What each component of pre-training adds"
LOGGED_TITLE = "What the runs say about themselves"

READOUTS = (
    "Read are, cell by cell and as their mean over a place: the fused feature; on the last rung also with its "
    "geo-context beside it; the features of all sensors side by side, the mean of each series in each quarter of the "
    "year, brought down to as many numbers as the fused feature with context has; and those of one sensor by itself. "
    "Without its terms the fusion stays as it was drawn, so that the first rung is read in both ways."
)
PROTOCOL = (
    "Every rung is pre-trained anew, on the same places with the same seeds and steps; its weights are then frozen. A "
    "logistic regression is fitted on labelled places and tested on others; its strength is chosen on training places "
    "alone. Values are the main metric of each task in percent, averaged over seeds, with 95 % bootstrap intervals "
    "that resample test places. A difference is computed on the same resampled places for both; it is beyond chance, "
    "and bold, if its interval excludes zero. The intervals do not contain what another set of seeds would change. The "
    "last two tasks name crops in regions of which the probe saw no label."
)

LOGGED = (
    "pixel/hr",
    "pixel/s2",
    "pixel/s1",
    "pixel/fused",
    "image/hr",
    "image/s2",
    "image/s1",
    "image/fused",
    "align/hr-s2",
    "align/hr-s1",
    "align/s2-s1",
    "feature_rank",
    "geo_entropy",
)
"""What of the journals is shown."""

LAST = 0.2
"""Share of a run, at its end, that these are averaged over."""

LOGGED_WORDS = (
    "Means over the last fifth of each run, and over the seeds. Terms are not weighted; where nothing is told from "
    "anything a pixel or image term is the logarithm of the number of head prototypes, an alignment that of the number "
    "of places in a step. feature_rank is the effective rank of the teacher's fused cells, geo_entropy how evenly "
    "prototypes are used."
)


@dataclass(frozen=True)
class Rungs:
    """Everything the pages show.

    Attributes:
        tables: by title, the rungs read in one way, with differences.
        logged: by rung, values of its journals, from `at_the_end`.
        command: that makes them again.
        facts: of the run.
    """

    tables: Mapping[str, Table]
    logged: Mapping[str, Mapping[str, float]]
    command: str
    facts: Mapping[str, Any]


def write_ladder(out: Path, found: Rungs) -> Path:
    """Write ``ladder.json``, ``ladder.md`` and ``report.html``; returns the HTML page.

    Raises:
        OutputError: no space, no permission.
    """
    tables = {title: table.to_json() for title, table in found.tables.items()}
    write_json(out / "ladder.json", {"tables": tables, "logged": found.logged, "facts": dict(found.facts)})
    write_text(out / "ladder.md", as_markdown(found))
    report = Report(TITLE, simulated=True)
    report.facts(found.facts)
    report.paragraph(PROTOCOL)
    report.paragraph(READOUTS)
    report.commands(found.command)
    for title, table in found.tables.items():
        report.heading(title)
        report.table(*table.main_metrics().grid(), caption="Values; the best of a task is bold")
        report.table(*_difference_grid(table), caption="Differences; those beyond chance are bold")
    report.heading(LOGGED_TITLE)
    report.paragraph(LOGGED_WORDS)
    report.table(*_logged_grid(found.logged))
    report.write(out / "report.html")
    return out / "report.html"


def as_markdown(found: Rungs) -> str:
    """The page for the documentation."""
    lines = [
        f"# {TITLE}",
        "",
        "**Simulated data**: made-up imagery of a made-up Earth.",
        "",
        "```",
        found.command,
        "```",
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in found.facts.items()]
    lines += ["", PROTOCOL, "", READOUTS]
    for title, table in found.tables.items():
        lines += ["", f"## {title}", "", markdown(*table.main_metrics().grid()).rstrip()]
        lines += ["", markdown(*_difference_grid(table)).rstrip()]
    lines += ["", f"## {LOGGED_TITLE}", "", LOGGED_WORDS, "", markdown(*_logged_grid(found.logged)).rstrip()]
    return "\n".join(lines) + "\n"


def at_the_end(journals: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """Means of what is `LOGGED` over the last steps of runs, each run counting the same; what none has is left out."""
    means: dict[str, list[float]] = {}
    for rows in journals:
        steps = rows[-1]["step"] + 1
        for name in LOGGED:
            values = [row[name] for row in rows if row["step"] >= int((1 - LAST) * steps) and name in row]
            if values:
                means.setdefault(name, []).append(fmean(values))
    return {name: fmean(values) for name, values in means.items()}


def _difference_grid(table: Table) -> tuple[list[str], list[list[str]]]:
    """Differences by the main metrics: pairs down, tasks across; between ``**`` what is beyond chance."""
    found = {(one.a, one.b, one.task): one for one in table.main_metrics().differences}
    pairs = list(dict.fromkeys((a, b) for a, b, _ in found))
    body = []
    for a, b in pairs:
        line = [f"{a}, minus {b}"]
        for task in table.tasks:
            one = found.get((a, b, task))
            text = "" if one is None else percent(one.value, one.lo, one.hi, sign=True)
            line.append(f"**{text}**" if one is not None and one.excludes_zero else text)
        body.append(line)
    return ["difference, points", *table.tasks], body


def _logged_grid(logged: Mapping[str, Mapping[str, float]]) -> tuple[list[str], list[list[str]]]:
    names = [name for name in LOGGED if any(name in values for values in logged.values())]
    body = [[name, *(f"{of[name]:.2f}" if name in of else "" for of in logged.values())] for name in names]
    return ["value", *logged], body
