"""The table of tasks as Markdown for the documentation, JSON for programs and one HTML page for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skysense.files import write_json, write_text
from skysense.probes.intervals import Interval, corrected
from skysense.probes.table import markdown, percent
from skysense.report import Report
from skysense.tasks.metrics.results import Results

TITLE = "Adapted to every task"
PROTOCOL = (
    "A model is pre-trained without labels and adapted to each task; the same network is adapted from random weights, "
    "with the same settings and seeds. The weights with the best score on validation places are kept and judged on "
    "test places that neither training nor validation saw. Values are the metric that is published for the task, in "
    "percent, averaged over seeds, with 95 % bootstrap intervals that resample places. Differences are computed on the "
    "same resampled places for both; where their interval holds zero the places are too few, or the difference too "
    "small, to tell. The intervals do not contain what another set of seeds would change. The trivial answer is the "
    "majority of the training labels, where a task has one."
)
REAL = (
    "Each of these data sets holds a few images: the table shows that the path works on real pixels, from a model that "
    "was pre-trained on simulated ones. It ranks nothing."
)
HEADER = ["task", "way", "metric", "test images", "groups", "trivial answer", "random weights", "pre-trained"]
HEADER += ["difference, points", "told apart"]


@dataclass(frozen=True)
class Adapted:
    """What was found on one task.

    Attributes:
        title: of the task.
        way: of adapting.
        data: title of the data set.
        pretrained: results by seed.
        random: of random weights, in the same order of seeds.
    """

    title: str
    way: str
    data: str
    pretrained: list[Results]
    random: list[Results]


def pooled(a: Sequence[Results], b: Sequence[Results] = ()) -> Interval:
    """The headline averaged over seeds, or the difference of two such means, resampling the same groups.

    Args:
        a: results on the same images, by seed.
        b: what is subtracted, on these images too.
    """
    metric, count = a[0].headline, a[0].metrics[a[0].headline].n_places
    value = float(np.mean([one.metrics[metric].value for one in a]))
    drawn_R = np.mean([one.draws_R[metric] for one in a], axis=0)
    if not b:
        return corrected(value, drawn_R, count)
    value -= float(np.mean([one.metrics[metric].value for one in b]))
    return corrected(value, drawn_R - np.mean([one.draws_R[metric] for one in b], axis=0), count, least=-1.0)


def grid(found: Sequence[Adapted]) -> list[list[str]]:
    """Rows of the table; see `HEADER`."""
    rows = []
    for one in found:
        first, difference = one.pretrained[0], pooled(one.pretrained, one.random)
        trivial = [values[first.headline].value for values in first.baselines.values() if first.headline in values]
        told = "yes" if difference.excludes_zero else "no"
        rows.append(
            [
                one.title,
                one.way,
                first.headline,
                str(first.counts["images"]),
                str(first.counts["groups"]),
                f"{100 * max(trivial):.1f}" if trivial else "",
                _shown(pooled(one.random)),
                _shown(pooled(one.pretrained)),
                percent(difference.value, difference.lo, difference.hi, sign=True),
                told if difference.n_places >= FEW else "too few to tell",
            ]
        )
    return rows


FEW = 20
"""Groups below which an interval itself is not to be believed."""


def write_tasks(out: Path, simulated: Sequence[Adapted], real: Sequence[Adapted], facts: Mapping[str, Any]) -> Path:
    """Write ``tasks.json``, ``tasks.md`` and ``report.html``; returns the HTML page.

    Raises:
        OutputError: no space, no permission.
    """
    tables = {"simulated": grid(simulated), "real": grid(real)}
    write_json(out / "tasks.json", {"header": HEADER, **tables, "facts": dict(facts)})
    lines = [f"# {TITLE}", "", "**Simulated data**: made-up imagery of a made-up Earth.", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", PROTOCOL, "", markdown(HEADER, tables["simulated"]).rstrip()]
    report = Report(TITLE, simulated=True)
    report.facts(facts)
    report.paragraph(PROTOCOL)
    report.table(HEADER, tables["simulated"], caption="On the simulated Earth")
    if real:
        lines += ["", "## Real imagery", "", REAL, "", markdown(HEADER, tables["real"]).rstrip()]
        report.heading("Real imagery")
        report.note(REAL)
        report.table(HEADER, tables["real"], caption="On small real data sets")
    write_text(out / "tasks.md", "\n".join(lines) + "\n")
    report.write(out / "report.html")
    return out / "report.html"


def _shown(interval: Interval) -> str:
    return percent(interval.value, interval.lo, interval.hi)
