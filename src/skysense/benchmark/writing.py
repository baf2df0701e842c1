"""Findings as Markdown for the documentation, JSON for programs and one HTML page for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skysense.benchmark.pictures import neighbour_sheet, prototype_use
from skysense.data.places import Places
from skysense.files import write_json, write_text
from skysense.model.loading import MODEL_FILE, load
from skysense.pretrain.journal import FILE as JOURNAL
from skysense.pretrain.journal import read as read_journal
from skysense.pretrain.report import collapse_curves, objective_curves
from skysense.probes.features import extract
from skysense.probes.prepare import FRAMES
from skysense.probes.table import Table, markdown
from skysense.report import Report, prototypes_in_use

TITLE = "What pre-training is worth"

PROTOCOL = (
    "The weights are frozen. A logistic regression (or the ten nearest neighbours, or a random forest) is fitted on "
    "labelled places and tested on other places; its strength is chosen on training places alone. Values are in "
    "percent, averaged over seeds. Intervals are 95 % bootstrap intervals that resample test places, never cells. A "
    "difference is computed on the same resampled places for both methods; it is beyond chance if its interval "
    "excludes zero. The intervals do not contain what another set of seeds would change."
)
METRICS = (
    "Accuracy counts places. mAP is the mean over classes of the average precision. Place recall is the recall of each "
    "class that a place has, averaged over its classes and then over places. Macro F1 averages the F1 of every class. "
    "Cell tasks draw up to 25 cells of a class from a place; n is the number of test places."
)
CONTEXT = (
    "The probe names crops in one region of each type after learning them in the other regions of these types; every "
    "region has its turn. Wheat, maize and soybean are ambiguous: what is wheat by its curve in one type is maize in "
    "another. "
    "Imagery and prototypes of the tested regions were seen in pre-training, their labels never. The control with "
    "wrong prototypes gives each place those of a random region of another type, in learning and in testing."
)
REAL = (
    "The same frozen models, pre-trained on simulated places only, on small real data sets: evidence that the path "
    "works on real pixels, not a ranking. Places are cross-validated; neighbours within 10 km stay together. The "
    "interval of a few places is too narrow rather than too wide."
)
QUARTERED = "WorldCereal has one place only: its four quarters are tested in turn, and their interval means little."


@dataclass(frozen=True)
class Findings:
    """Everything the pages show.

    Attributes:
        simulated: methods on the simulated Earth.
        context: the geo-context protocol.
        real: by title, methods on real pixels.
        facts: of the run.
    """

    simulated: Table
    context: Table
    real: Mapping[str, Table]
    facts: Mapping[str, Any]


def write_findings(out: Path, findings: Findings, places: Places, run: Path) -> Path:
    """Write ``evidence.json``, ``evidence.md`` and ``report.html``.

    Args:
        out: folder.
        findings: what was found.
        places: of the simulated Earth, for the pictures.
        run: folder of the pre-training run whose curves and features are shown.

    Returns:
        The HTML page.

    Raises:
        OutputError: no space, no permission.
    """
    content = {
        "simulated": findings.simulated.to_json(),
        "context": findings.context.to_json(),
        "real": {title: table.to_json() for title, table in findings.real.items()},
        "facts": dict(findings.facts),
    }
    write_json(out / "evidence.json", content)
    write_text(out / "evidence.md", as_markdown(findings))
    report = Report(TITLE, simulated=True)
    _write_tables(report, findings)
    _show(report, places, run)
    report.write(out / "report.html")
    return out / "report.html"


def as_markdown(findings: Findings) -> str:
    """The page for the documentation."""
    lines = [
        f"# {TITLE}",
        "",
        "**Simulated data** unless a table says otherwise: made-up imagery of a made-up Earth.",
        "",
    ]
    lines += ["```", *commands(bool(findings.real)), "```", ""]
    lines += [f"- {name}: {value}" for name, value in findings.facts.items()]
    lines += ["", PROTOCOL]
    for title, words, tables in _sections(findings):
        lines += ["", f"## {title}", "", words]
        for name, table in tables:
            lines += ["", f"### {name}", "", markdown(*table.grid()).rstrip()]
        lines += ["", "### Differences", ""]
        lines += [f"- {sentence}" for sentence in verdicts([table for _, table in tables])]
        lines += ["", markdown(*_differences([table for _, table in tables])).rstrip()]
    return "\n".join(lines) + "\n"


def commands(real: bool) -> list[str]:
    """What to type to make the tables again."""
    plain = "skysense evidence --out runs/evidence"
    convert = "python examples/kit_to_places.py runs/kit --data KIT"
    return [convert, f"{plain} --kit_places runs/kit"] if real else [plain]


def verdicts(tables: Sequence[Table]) -> list[str]:
    """One sentence per compared pair: on which tasks the first is ahead, behind, or neither, by the main metric."""
    by_pair: dict[tuple[str, str], dict[str, list[str]]] = {}
    for table in tables:
        for one in table.main_metrics().differences:
            side = "neither" if not one.excludes_zero else "ahead" if one.value > 0 else "behind"
            by_pair.setdefault((one.a, one.b), {}).setdefault(side, []).append(one.task)
    sentences = []
    for (a, b), sides in by_pair.items():
        parts = [
            f"{words} on {', '.join(sides[side])}"
            for side, words in (("ahead", "ahead"), ("behind", "behind"), ("neither", "no difference beyond chance"))
            if side in sides
        ]
        sentences.append(f"{a}, compared with {b}: {'; '.join(parts)}.")
    return sentences


def _sections(findings: Findings) -> Iterator[tuple[str, str, list[tuple[str, Table]]]]:
    """Title, explanation and one table per task."""
    simulated, context = findings.simulated, findings.context
    yield (
        "Frozen features on the simulated Earth",
        METRICS,
        [(task, simulated.of_task(task)) for task in simulated.tasks],
    )
    tables = [(task, context.of_task(task)) for task in context.tasks]
    yield "Geo-context: crops in regions without labels (simulated)", CONTEXT, tables
    if findings.real:
        words = f"{REAL} {QUARTERED}" if any(title.startswith("WorldCereal") for title in findings.real) else REAL
        yield "Frozen features on real pixels", words, list(findings.real.items())


def _differences(tables: Sequence[Table]) -> tuple[list[str], list[list[str]]]:
    joined = Table()
    for table in tables:
        joined.extend(table.main_metrics())
    return joined.difference_grid()


def _write_tables(report: Report, findings: Findings) -> None:
    report.facts(findings.facts)
    report.paragraph(PROTOCOL)
    report.commands("\n".join(commands(bool(findings.real))))
    for title, words, tables in _sections(findings):
        report.heading(title)
        if words:
            report.paragraph(words)
        add_tables(report, tables)


def add_tables(report: Report, tables: Sequence[tuple[str, Table]]) -> None:
    """Put tables on a page, each under its name, then their differences in words and in numbers."""
    for name, table in tables:
        report.table(*table.grid(), caption=name)
    for sentence in verdicts([table for _, table in tables]):
        report.paragraph(sentence)
    report.table(*_differences([table for _, table in tables]), caption="Differences, by the main metric of a task")


def _show(report: Report, places: Places, run: Path) -> None:
    """Curves, prototypes and pictures of one seed."""
    report.heading("One of the pre-training runs")
    rows = read_journal(run / JOURNAL)
    report.figure(objective_curves(rows), alt="Terms of the objective over the steps", caption="The objective")
    report.figure(collapse_curves(rows), alt="Signs of collapse over the steps", caption="Signs of collapse")
    model = load(run / MODEL_FILE)
    chosen = places.select(split="test")
    features = extract(model, chosen, frames=FRAMES)
    if model.geo is not None:
        report.figure(
            prototypes_in_use(prototype_use(model, chosen, features)),
            alt="How often each prototype of a region is the nearest to a cell",
            caption="Prototypes: how often each is the nearest to a cell of its region, all regions side by side",
        )
    report.figure(
        neighbour_sheet(chosen, features),
        alt="Images with the principal components of their features and the places with the most similar features",
        caption="Places that were not pre-trained on: image, features (three principal components), nearest places",
    )
