"""Judge an adapted model on examples it has not learned from: metrics with intervals, and a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import Example
from skysense.data.labelled.renumber import renumbered
from skysense.errors import InputError
from skysense.files import make_folder, write_json
from skysense.tasks.adapted import Adapted
from skysense.tasks.heads import ClassHead
from skysense.tasks.metrics import accumulator
from skysense.tasks.metrics.results import Results
from skysense.tasks.page import write_page
from skysense.tasks.predictions import Prediction

RESULTS = "results.json"
PAGE = "report.html"

Progress = Callable[[int, int, str], None]


@dataclass
class Evaluation:
    """How a model did.

    Attributes:
        results: metrics and what goes with them.
        page: for people.
        skipped: per example that could not be read, why.
    """

    results: Results
    page: Path
    skipped: dict[str, str]


def evaluate(
    adapted: Adapted,
    data: LabelledData,
    out: str | Path,
    *,
    training_K: NDArray[np.int64] | None = None,
    history: Sequence[Mapping[str, float]] = (),
    flips: bool | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge a model and write ``results.json`` and ``report.html``.

    Args:
        adapted: the model.
        data: examples to judge by.
        out: folder for the two files.
        training_K: labels of every class that training saw: baselines answer the most frequent one.
        history: of the learning, for its curves.
        flips: average over mirror images; as the model was configured by default.
        progress: called with the number of examples judged, of all, and words.

    Raises:
        InputError: labels of another kind or with other classes, or no example that can be read.
        OutputError: the files cannot be written.
    """
    if data.task != adapted.task:
        raise InputError(f"{data.title} asks for {data.task}; the model answers {adapted.task}")
    out, predictor = make_folder(out), adapted.predictor(flips=flips)
    data = adapted.reading.prepared(renumbered(data, adapted.classes))
    seen, skipped = accumulator(adapted.task, adapted.classes), {}
    for start in range(0, len(data), adapted.config.batch_size):
        items = data.items[start : start + adapted.config.batch_size]
        examples: list[tuple[Item, Example]] = []
        for item in items:
            try:
                examples.append((item, _checked(data.read_item(item), adapted)))
            except InputError as error:
                skipped[item.name] = str(error)
        found = predictor([example for _, example in examples])
        for (item, example), prediction in zip(examples, found, strict=True):
            seen.add(item.name, item.group, example.target, prediction, example.size)
        if progress is not None:
            progress(start + len(items), len(data), "judging")
    if not len(seen):
        raise InputError(f"{data.title}: no example can be read; the first: {next(iter(skipped.values()))}")
    results = seen.results(training_K)
    write_json(out / RESULTS, results.to_json())
    by_name = {item.name: item for item in data.items}
    shown = {one.name: None for one in (*results.worst, *results.best)}
    pictures: dict[str, tuple[Example, Prediction]] = {}
    for name in shown:
        example = data.read_item(by_name[name])
        pictures[name] = example, predictor([example])[0]
    write_page(out / PAGE, adapted, data, results, pictures, history=history, skipped=skipped)
    return Evaluation(results, out / PAGE, skipped)


def _checked(example: Example, adapted: Adapted) -> Example:
    """An example whose labels are as fine as those that the model has learned from."""
    if example.per_cell != adapted.per_cell and not isinstance(adapted.head, ClassHead):
        raise InputError(
            f"{example.name}: its labels have {example.per_cell} pixels on the side of a cell of 10 m; the model has "
            f"learned from {adapted.per_cell}"
        )
    return example
