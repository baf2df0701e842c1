"""Rows of results: as JSON, and as Markdown that a person reads.

The value of a row is a share between 0 and 1; Markdown shows percent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from skysense.errors import InputError
from skysense.probes.intervals import Interval

ALL_SEEDS = "all"


@dataclass(frozen=True)
class Row:
    """One value.

    Attributes:
        task: what was asked.
        method: who answered.
        seed: of the method, or "all" for the mean over seeds.
        metric: its name.
        value, lo, hi: with the 95 % interval over places.
        n_places: tested on.
    """

    task: str
    method: str
    seed: int | str
    metric: str
    value: float
    lo: float
    hi: float
    n_places: int


@dataclass(frozen=True)
class Difference:
    """Method ``a`` minus method ``b`` on the same test places, pooled over seeds."""

    task: str
    a: str
    b: str
    metric: str
    value: float
    lo: float
    hi: float
    n_places: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval does not contain zero."""
        return self.lo > 0 or self.hi < 0


@dataclass
class Table:
    """Rows and differences, in the order in which they were found."""

    rows: list[Row] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    def extend(self, other: Table) -> None:
        """Append another table."""
        self.rows += other.rows
        self.differences += other.differences

    def find(self, task: str, method: str, metric: str, seed: int | str = ALL_SEEDS) -> Row:
        """The row of these names.

        Raises:
            InputError: if there is none.
        """
        for row in self.rows:
            if (row.task, row.method, row.metric, row.seed) == (task, method, metric, seed):
                return row
        raise InputError(f"the table has no row {task} / {method} / {metric} / seed {seed}")

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them back."""
        return {"rows": [asdict(row) for row in self.rows], "differences": [asdict(one) for one in self.differences]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Table:
        """The inverse of `to_json`.

        Raises:
            InputError: something else.
        """
        try:
            rows = [Row(**row) for row in content["rows"]]
            return cls(rows, [Difference(**one) for one in content["differences"]])
        except (KeyError, TypeError) as error:
            raise InputError("is not a table of results") from error

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, in order."""
        return list(dict.fromkeys(row.task for row in self.rows))

    def of_task(self, task: str) -> Table:
        """The part of the table that is about one task."""
        return Table(
            [row for row in self.rows if row.task == task], [one for one in self.differences if one.task == task]
        )

    def main_metrics(self) -> Table:
        """The part of the table that is about the first metric of each task."""
        main: dict[str, str] = {}
        for row in self.rows:
            main.setdefault(row.task, row.metric)
        return Table(
            [row for row in self.rows if main[row.task] == row.metric],
            [one for one in self.differences if main[one.task] == one.metric],
        )

    def markdown(self) -> str:
        """One table of values (mean over seeds; methods down, task and metric across) and one of differences."""
        parts = [markdown(*self.grid())] if self.rows else []
        if self.differences:
            parts.append(markdown(*self.difference_grid()))
        return "\n".join(parts)

    def grid(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of text: methods down, task and metric across; the best of a column between ``**``.

        The task is left out of the header where there is only one.
        """
        pooled = {(row.method, row.task, row.metric): row for row in self.rows if row.seed == ALL_SEEDS}
        methods = list(dict.fromkeys(method for method, _, _ in pooled))
        columns = list(dict.fromkeys((task, metric) for _, task, metric in pooled))
        best = {column: max(row.value for key, row in pooled.items() if key[1:] == column) for column in columns}
        header = ["method"]
        for column in columns:
            count = next(row.n_places for key, row in pooled.items() if key[1:] == column)
            name = column[1] if len(self.tasks) == 1 else f"{column[0]}, {column[1]}"
            header.append(f"{name} (n = {count})")
        body = []
        for method in methods:
            line = [method]
            for column in columns:
                row = pooled.get((method, *column))
                text = "" if row is None else percent(row.value, row.lo, row.hi)
                line.append(f"**{text}**" if row is not None and row.value == best[column] else text)
            body.append(line)
        return header, body

    def difference_grid(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of text of the differences, in percentage points."""
        header = ["task", "metric", "difference", "points [95 % interval]", "places", "beyond chance"]
        body = [
            [
                one.task,
                one.metric,
                f"{one.a} minus {one.b}",
                percent(one.value, one.lo, one.hi, sign=True),
                str(one.n_places),
                "yes" if one.excludes_zero else "no",
            ]
            for one in self.differences
        ]
        return header, body


def row(task: str, method: str, seed: int | str, metric: str, result: Interval) -> Row:
    """A `Row` of an interval."""
    return Row(task, method, seed, metric, result.value, result.lo, result.hi, result.n_places)


def difference(task: str, a: str, b: str, metric: str, result: Interval) -> Difference:
    """A `Difference` of an interval."""
    return Difference(task, a, b, metric, result.value, result.lo, result.hi, result.n_places)


def percent(value: float, lo: float, hi: float, *, sign: bool = False) -> str:
    """``61.2 [55.0, 67.1]``, with signs if asked."""
    form = "+.1f" if sign else ".1f"
    return f"{100 * value:{form}} [{100 * lo:{form}}, {100 * hi:{form}}]"


def markdown(header: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    """A Markdown table; the first column is left aligned, the others right."""
    names = list(header)
    lines = [names, ["---"] + ["---:"] * (len(names) - 1), *body]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)
