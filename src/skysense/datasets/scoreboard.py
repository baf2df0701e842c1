"""What was published on the data sets of the paper, from one table of numbers, and what this package has reached."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from skysense.datasets.card import card

PAPER, SUCCESSOR, OURS = "SkySense", "SkySense V2", "this package"

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Scene classification": ("aid", "resisc45", "bigearthnet-s2", "fmow-s2"),
    "Semantic segmentation": ("isaid", "potsdam", "dynamicearthnet-planet", "dynamicearthnet-s2"),
    "Detection": ("dior", "dior-r", "fair1m"),
    "Change detection": ("levir-cd", "oscd", "dynamicearthnet-change"),
    "Several sensors": ("bigearthnet-mm", "dynamicearthnet-mm", "pastis-mm"),
}
"""Data sets as the paper groups them."""

SOURCES: Mapping[str, str] = {
    "capabilities-encoding": "the table of published results in github.com/pierreadorni/capabilities-encoding, read "
    "beside notes on the paper; a few cells of compared models come from other papers' tables",
    "notes": "notes on the paper of SkySense; its supplement was not at hand",
    "V2": "SkySense V2, arXiv 2507.13812",
}

COMPARABLE: Mapping[str, str] = {
    "aid": "OA",
    "resisc45": "OA",
    "bigearthnet-s2": "micro mAP; others report on the validation list of SeCo: `skysense evaluate ... --split val`",
    "bigearthnet-mm": "micro mAP",
    "fmow-s2": "OA and top-5; others report on validation: `skysense evaluate ... --split val`",
    "isaid": "mIoU on validation: labels of test are not public",
    "potsdam": "the mean F1 of the five classes without clutter, from the table by class",
    "dynamicearthnet-planet": "mIoU",
    "dynamicearthnet-s2": "mIoU",
    "dynamicearthnet-mm": "mIoU",
    "dynamicearthnet-change": "SCS; pixels of unknown class do not count here",
    "pastis-mm": "OA",
    "dior": "mAP50; whether by 11 points or by area is not published",
    "dior-r": "mAP50",
    "fair1m": "mAP50 on validation; the published numbers are of the server's test",
    "levir-cd": "F1",
    "oscd": "F1",
}
"""Which number of a report stands in the same column."""

CLAIMED: Mapping[str, float] = {"GFM": 2.76, "SatLas": 3.67, "Scale-MAE": 3.61}
"""Mean advantage over three models in points, from the abstract of the paper."""


INTRODUCTION = (
    "Written by `skysense datasets scoreboard`; do not edit. Published results on the data sets that SkySense was",
    "evaluated on, in percent. Each number has its source below. An empty cell was not found; one in the row of this",
    "package was not run: none of these data sets is shipped, and nothing is claimed that was not measured. Bold is",
    "the best of a column.",
)

ON_ROWS = (
    "Get the data (`skysense datasets show NAME` says how), see whether they are whole, adapt:",
    "",
    "```bash",
    "skysense datasets check NAME DIR",
    "skysense adapt --config configs/adapt/NAME.yaml DIR --model MODEL --out runs/NAME",
    "```",
    "",
    "The report shows more than one number; the one that stands in the same column as the published ones is:",
)

ON_MARGINS = (
    "The abstract of the paper gives a mean advantage over three models. The numbers above come near and do not give",
    "it exactly: which rows were averaged is not published, and cells are missing here.",
)


@dataclass(frozen=True)
class Score:
    """One published number.

    Attributes:
        dataset: name of its card.
        setting: share of the labels, split, or rank.
        metric: as published.
        model: that reached it.
        value: in percent.
        source: key of `SOURCES`, or for numbers of this package the command.
        note: what a reader has to know.
    """

    dataset: str
    setting: str
    metric: str
    model: str
    value: float
    source: str
    note: str

    @property
    def column(self) -> tuple[str, str]:
        """Scores of one column can be compared."""
        return self.dataset, self.setting


@cache
def scores() -> tuple[Score, ...]:
    """All numbers of ``scoreboard.csv``."""
    text = (files("skysense.datasets") / "scoreboard.csv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple(Score(value=float(row.pop("value")), **row) for row in rows)


@dataclass(frozen=True)
class Margin:
    """Mean advantage of SkySense over a model.

    Attributes:
        model: which.
        claimed: by the abstract.
        by_column: mean over the columns where both numbers are known.
        columns: how many these are.
        by_dataset: mean over data sets of the means of their columns.
        datasets: how many.
    """

    model: str
    claimed: float
    by_column: float
    columns: int
    by_dataset: float
    datasets: int


def margins() -> list[Margin]:
    """The claimed advantages, recomputed from the numbers that are known."""
    value = {(one.model, one.column): one.value for one in scores()}
    columns = list(dict.fromkeys(one.column for one in scores()))
    found = []
    for model, claimed in CLAIMED.items():
        both = [column for column in columns if (model, column) in value and (PAPER, column) in value]
        ahead: dict[str, list[float]] = defaultdict(list)
        for column in both:
            ahead[column[0]].append(value[PAPER, column] - value[model, column])
        every = [one for each in ahead.values() for one in each]
        means = [sum(each) / len(each) for each in ahead.values()]
        found.append(Margin(model, claimed, sum(every) / len(every), len(every), sum(means) / len(means), len(means)))
    return found


def page() -> str:
    """The scoreboard as Markdown."""
    lines = ["# Scoreboard", "", *INTRODUCTION, ""]
    for title, datasets in GROUPS.items():
        lines += [f"## {title}", "", *_table([one for one in scores() if one.dataset in datasets]), ""]
    lines += ["## Running a row", "", *ON_ROWS, "", "| data set | to compare |", "|---|---|"]
    lines += [f"| {name} | {COMPARABLE[name]} |" for datasets in GROUPS.values() for name in datasets]
    lines += ["", "A number from such a run is added to `scoreboard.csv` with that command as its source.", ""]
    lines += [*_margins(), "", "## Where the numbers come from", ""]
    lines += [f"* **{key}**: {text}" for key, text in SOURCES.items()]
    lines += ["", "| data set | setting | model | value | source | note |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {one.dataset} | {one.setting} | {one.model} | {one.value:g} | {one.source} | {one.note} |"
        for one in scores()
    ]
    return "\n".join(lines) + "\n"


def _table(found: Sequence[Score]) -> list[str]:
    """Models by columns, SkySense and what came after it below the models that it was compared with."""
    columns = list(dict.fromkeys((*one.column, one.metric) for one in found))
    last = [PAPER, SUCCESSOR, OURS]
    compared = [model for model in dict.fromkeys(one.model for one in scores()) if model not in last]
    value = {(one.model, one.column): one.value for one in found}
    best = {column[:2]: max(one.value for one in found if one.column == column[:2]) for column in columns}
    head = [f"{card(dataset).title}, {setting}, {metric}" for dataset, setting, metric in columns]
    lines = ["| model | " + " | ".join(head) + " |", "|---|" + "---|" * len(head)]
    for model in [*compared, *last]:
        cells = []
        for dataset, setting, _ in columns:
            one = value.get((model, (dataset, setting)))
            shown = "" if one is None else f"{one:g}"
            cells.append(f"**{shown}**" if one is not None and one == best[dataset, setting] else shown)
        if any(cells) or model == OURS:
            lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return lines


def _margins() -> list[str]:
    lines = ["## The claimed margins", "", *ON_MARGINS, ""]
    lines.append("| model | claimed | mean over columns | columns | mean over data sets | data sets |")
    lines.append("|---|---|---|---|---|---|")
    for one in margins():
        means = f"{one.by_column:.2f} | {one.columns} | {one.by_dataset:.2f} | {one.datasets}"
        lines.append(f"| {one.model} | {one.claimed:.2f} | {means} |")
    return lines
