"""Every method on every task: same places, same folds, same examples, same classifiers; paired differences.

Letters: N places, M examples, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.probes.classify import Examples, Head, predict
from skysense.probes.features import FrozenFeatures
from skysense.probes.intervals import interval, paired
from skysense.probes.metrics import METRICS, Metric
from skysense.probes.outcomes import Outcome, join
from skysense.probes.table import ALL_SEEDS, Difference, Table, difference, row
from skysense.probes.targets import NO_LABEL, Fold, Targets

CELLS_PER_CLASS = 25
"""Cells of one class drawn from one place, to learn from and to test on."""


@dataclass(frozen=True)
class Method:
    """Features and the classifier on top.

    Attributes:
        name: as the table shall call it.
        head: see `skysense.probes.classify.predict`.
        features: by seed. Features that do not depend on a seed are given under one.
    """

    name: str
    head: Head
    features: Mapping[int, FrozenFeatures]


Outcomes = dict[tuple[str, str], Outcome]
"""What methods answered, by task and method, of one seed."""


@dataclass
class Results:
    """A table together with the answers that differences are computed from.

    Attributes:
        table: values with intervals.
        outcomes: by task label and method name, one per seed.
        metrics: of each task.
    """

    table: Table = field(default_factory=Table)
    outcomes: dict[tuple[str, str], list[Outcome]] = field(default_factory=dict)
    metrics: dict[str, dict[str, Metric]] = field(default_factory=dict)

    def compare(self, a: str, b: str) -> list[Difference]:
        """Paired differences a - b on every task and metric that both were run on; they are added to the table.

        Raises:
            InputError: no task that both were run on.
        """
        found = []
        for task, metrics in self.metrics.items():
            if (task, a) in self.outcomes and (task, b) in self.outcomes:
                for name, metric in metrics.items():
                    result = paired(self.outcomes[task, a], self.outcomes[task, b], metric)
                    found.append(difference(task, a, b, name, result))
        if not found:
            raise InputError(f"{a!r} and {b!r} have no task in common")
        self.table.differences += found
        return found

    def add(
        self, task: str, method: str, seeds: Sequence[int], outcomes: Sequence[Outcome], metrics: Mapping[str, Metric]
    ) -> None:
        """Add a method's outcomes (one per seed) and their rows."""
        self.outcomes[task, method] = list(outcomes)
        self.metrics[task] = dict(metrics)
        for name, metric in metrics.items():
            for seed, outcome in zip(seeds, outcomes, strict=True):
                self.table.rows.append(row(task, method, seed, name, interval([outcome], metric)))
            self.table.rows.append(row(task, method, ALL_SEEDS, name, interval(outcomes, metric)))


def run(
    tasks: Sequence[Targets],
    methods: Sequence[Method],
    folds: Sequence[Fold],
    *,
    progress: Callable[[str], None] | None = None,
) -> Results:
    """Probe every method on every task.

    Args:
        tasks: labels of the same places, from `read_targets`.
        methods: features of these places, in the same order.
        folds: indices of places, from `outer_folds`; each place is tested at most once.
        progress: told what is done next.

    Raises:
        InputError: features of other places than the labels, or a fold that tests what it learns from.
    """
    by_seed = probe_all(tasks, methods, folds, progress=progress)
    metrics = {targets.task.label: METRICS[targets.task.kind] for targets in tasks}
    return pool(list(by_seed.items()), [method.name for method in methods], metrics)


def probe_all(
    tasks: Sequence[Targets],
    methods: Sequence[Method],
    folds: Sequence[Fold],
    *,
    progress: Callable[[str], None] | None = None,
) -> dict[int, Outcomes]:
    """The answers of every method on every task, by seed; arguments and errors as in `run`."""
    found: dict[int, Outcomes] = {}
    for targets in tasks:
        for method in methods:
            if progress is not None:
                progress(f"{targets.task.label}: {method.name}")
            for seed, features in method.features.items():
                outcome = probe(targets, features, method.head, folds, seed=seed)
                found.setdefault(seed, {})[targets.task.label, method.name] = outcome
    return found


def pool(
    by_seed: Sequence[tuple[int, Outcomes]],
    methods: Sequence[str],
    metrics: Mapping[str, Mapping[str, Metric]],
    comparisons: Sequence[tuple[str, str]] = (),
) -> Results:
    """Values with intervals and paired differences, over all seeds that a method has.

    Args:
        by_seed: answers of each seed; a seed may occur several times with other methods.
        methods: in the order of the table; others are left out.
        metrics: by task and name; other tasks are left out.
        comparisons: pairs of methods.

    Raises:
        InputError: a comparison of methods without a task in common.
    """
    results = Results()
    for task, of_task in metrics.items():
        for method in methods:
            pairs = [(seed, outcomes[task, method]) for seed, outcomes in by_seed if (task, method) in outcomes]
            if pairs:
                results.add(task, method, [seed for seed, _ in pairs], [outcome for _, outcome in pairs], of_task)
    for a, b in comparisons:
        results.compare(a, b)
    return results


def probe(
    targets: Targets,
    features: FrozenFeatures,
    head: Head,
    folds: Sequence[Fold],
    *,
    seed: int = 0,
    cells_per_class: int = CELLS_PER_CLASS,
) -> Outcome:
    """Learn on each fold's training places, answer on its test places.

    Args:
        targets: labels of places.
        features: of these places, in the same order.
        head: the classifier.
        folds: indices of places to learn from and to test on.
        seed: of the head.
        cells_per_class: cells of one class drawn from one place.

    Raises:
        InputError: features of other places than the labels, a fold that tests what it learns from, or no label.
    """
    if features.names != targets.names:
        raise InputError("features and labels are of different places, or in another order")
    labelled = targets.labelled_N
    if not any(labelled[test].any() for _, test in folds):
        raise InputError(f"no place to test on has a label {targets.task.label!r}")
    parts = []
    for train, test in folds:
        if np.intersect1d(train, test).size:
            raise InputError("a place is both learned from and tested on")
        if not labelled[test].any():
            continue
        known = examples(targets, features, train[labelled[train]], cells_per_class)
        asked = examples(targets, features, test[labelled[test]], cells_per_class)
        scores = predict(head, known, asked.features_MD, seed=seed)
        used, place_M = np.unique(asked.place_M, return_inverse=True)
        names = tuple(targets.names[place] for place in used)
        parts.append(Outcome(names, place_M.astype(np.int64), asked.target, scores))
    return join(parts)


def examples(
    targets: Targets, features: FrozenFeatures, places: NDArray[np.int64], cells_per_class: int = CELLS_PER_CLASS
) -> Examples:
    """Labelled examples of some places: the places themselves, or cells drawn from them.

    The draw depends on the labels and the place alone, not on the method: every method sees the same cells. A cell that
    a method has no token for counts with zero features.
    """
    classes = len(targets.task.classes)
    if targets.cells_hw is None:
        target = targets.scene_N if targets.scene_N is not None else targets.several_NK
        if target is None:
            raise InputError(f"task {targets.task.label!r} has no labels")
        return Examples(features.pooled_ND[places], target[places], places, classes)
    if len(features.cells_Dhw) != len(features.names):
        raise InputError("a mask task needs the features of cells, which were not kept")
    rows, labels, owners = [], [], []
    for place in places:
        where = draw_cells(targets.cells_hw[place], cells_per_class, seed=int(place))
        rows.append(features.cells_Dhw[place][:, where[0], where[1]].T)
        labels.append(targets.cells_hw[place][where])
        owners.append(np.full(len(where[0]), place))
    if not rows:
        raise InputError(f"no place to learn from has a label {targets.task.label!r}")
    return Examples(np.concatenate(rows), np.concatenate(labels), np.concatenate(owners), classes)


def draw_cells(
    cells_hw: NDArray[np.int64], per_class: int = CELLS_PER_CLASS, *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of up to ``per_class`` labelled cells per class."""
    rng = np.random.default_rng(seed)
    flat = cells_hw.ravel()
    drawn = [rng.permutation(np.flatnonzero(flat == value))[:per_class] for value in np.unique(flat[flat != NO_LABEL])]
    row_M, col_M = np.divmod(np.concatenate(drawn) if drawn else np.empty(0, np.int64), max(cells_hw.shape[1], 1))
    return row_M, col_M
