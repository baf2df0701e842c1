"""What the features of a model are worth while it learns: small probes on held-out places, every so many steps.

Labels, pixels and folds are read once; a look then costs the features of a few places and a few small fits. Nothing is
drawn from a global generator, so that a run with looks learns what it would learn without them.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.corpus import Corpus
from skysense.data.joined import JoinedPlaces
from skysense.data.places import Place, Places
from skysense.data.shards.read import Shards
from skysense.errors import ConfigError, InputError, need
from skysense.geo import Window
from skysense.model.assembly import SkySense
from skysense.observation import Sample
from skysense.pretrain.config import ProbeConfig
from skysense.probes.classify import Head
from skysense.probes.features import extract
from skysense.probes.metrics import METRICS
from skysense.probes.prepare import FRAMES, prepare
from skysense.probes.protocol import probe
from skysense.probes.targets import NO_LABEL, Fold, Targets, Task, answer, cross_folds, gather, tasks_of

PREFIX = "probe/"
SCORE = f"{PREFIX}score"
"""The number that the best checkpoint has the most of; see `TrainingProbe`."""

HEADS: tuple[Head, ...] = ("linear", "knn")
SIDE = 16
"""Most cells on a side of what is looked at of a place: a published view. Larger places are looked at in the middle."""

CELLS_PER_CLASS = 5
"""Cells of one class drawn from one place: fewer than in a table, since cells of a place are much alike."""


class TrainingProbe:
    """Probes a model in training on the same places at every look.

    Tested are the places marked "val", or where there are none those marked "test"; the probes are fitted on places
    marked "train" or not marked. A folder that the run does not learn from may mark nothing: its places are then tested
    in two halves, fitted on the other half, neighbours together. Values lie within 0 .. 1: the main metric of a label
    (accuracy of a scene, mAP of several classes, place recall of a mask). The score is the mean over the labels of the
    main metric of the linear probe.

    Args:
        config: how many places and which labels.
        places: all of a folder, with labels.
        learned: names of the places of this folder that the run learns from, which are never tested; None for a folder
            of its own.

    Attributes:
        notes: what a person should know: labels and places that are left out, the use of test places.
        facts: what is asked, for a report.

    Raises:
        InputError: no labelled place, none that is held out, no label that can be asked, or no place that can be read.
        ConfigError: a label that the folder does not have.
        MissingExtra: scikit-learn is not installed.
    """

    def __init__(self, config: ProbeConfig, places: Places, *, learned: Collection[str] | None = None) -> None:
        need("sklearn.linear_model", "train")
        self.config = config
        self.notes: list[str] = []
        tasks = _asked(places, config.labels)
        fitted, tested = _choose(places, tasks, config, learned)
        read = self._read(places, sorted([*fitted, *tested], key=lambda place: place.name), tasks)
        if not read:
            raise InputError(f"holds no labelled place that can be read; {self.notes[0]}", file=places.root)
        self._samples = [sample for _, sample, _ in read]
        self._folds = _folds([place for place, _, _ in read], tested, config.seed)
        names = [sample.name for sample in self._samples]
        found = [gather(task, names, [answers[task.label] for _, _, answers in read]) for task in tasks]
        self._tasks = [targets for targets in found if _can_be_asked(targets, self._folds)]
        if not self._tasks:
            raise InputError(
                f"none of the labels {', '.join(task.label for task in tasks)} has two answers among the places tested "
                "and places to fit on",
                file=places.root,
                fix="Label more places, or use more probe.places",
            )
        asked = [targets.task.label for targets in self._tasks]
        if silent := [task.label for task in tasks if task.label not in asked]:
            self.notes.append(f"probes leave out labels with too few answers: {', '.join(silent)}")
        if any(place.split == "test" for place in tested):
            self.notes.append(
                'no place is marked "val": the best checkpoint is chosen by places marked "test", whose scores then '
                "flatter it"
            )
        way = f"fitted on {len(self._folds[0][0])}, tested on {len(self._folds[0][1])}" if tested else "in two halves"
        self.facts: Mapping[str, str] = {"probes": f"{', '.join(asked)}; {len(names)} places of {places.title}, {way}"}

    def look(self, model: SkySense) -> dict[str, float]:
        """Probe a model; its weights, the modes of its parts and all random generators stay as they are.

        Args:
            model: on the device to run on, in any mode.

        Returns:
            Main metric by ``probe/LABEL_HEAD`` and the score by `SCORE`; a function of weights, places and seed.

        Raises:
            InputError: the model cannot read the places, or its features are not finite.
        """
        masks = any(targets.task.kind == "mask" for targets in self._tasks)
        features = extract(model, self._samples, frames=FRAMES, cells=masks)
        values: dict[str, float] = {}
        for targets in self._tasks:
            metric = next(iter(METRICS[targets.task.kind].values()))
            for head in HEADS:
                outcome = probe(
                    targets, features, head, self._folds, seed=self.config.seed, cells_per_class=CELLS_PER_CLASS
                )
                every_place = np.ones((1, len(outcome.places)))
                values[f"{PREFIX}{targets.task.label}_{head}"] = float(metric(outcome)(every_place)[0])
        linear = [values[f"{PREFIX}{targets.task.label}_linear"] for targets in self._tasks]
        return {SCORE: sum(linear) / len(linear)} | values

    def _read(
        self, places: Places, chosen: Sequence[Place], tasks: Sequence[Task]
    ) -> list[tuple[Place, Sample, dict[str, NDArray[np.int64]]]]:
        """Pixels and answers of the places that can be read; the others are noted."""
        found = []
        for place in chosen:
            window = _middle(place)
            try:
                sample = prepare(places.read_sample(place, window=window), FRAMES)
                answers = {task.label: answer(places, place, task, window) for task in tasks}
            except InputError as error:
                self.notes.append(f"probes leave out {place.name}: {error}")
            else:
                found.append((place, sample, answers))
        return found


def open_probe(config: ProbeConfig, corpus: Corpus) -> TrainingProbe:
    """The probe of a run: on the folder of the configuration, or on the held-out places of the one learned from.

    Args:
        config: of the probe.
        corpus: the places that the run learns from.

    Raises:
        InputError, ConfigError, MissingExtra: as `TrainingProbe`.
        ConfigError: no folder is named, and several are learned from or one without labels.
    """
    sources = corpus.sources if isinstance(corpus, JoinedPlaces) else (corpus,)
    if config.data is None and len(sources) > 1:
        raise ConfigError("several folders are learned from: name the folder of labelled places, probe.data")
    if config.data is None and isinstance(sources[0], Shards):
        raise ConfigError("shards carry no labels to probe: name a folder of labelled places, probe.data")
    root = Path(sources[0].root if config.data is None else config.data)
    own = [one for one in sources if isinstance(one, Places) and one.root.resolve() == root.resolve()]
    with warnings.catch_warnings():
        if own:
            warnings.simplefilter("ignore")  # what is wrong in this folder was said when it was opened to learn from
        places = Places(root)
    return TrainingProbe(config, places, learned={place.name for source in own for place in source} if own else None)


def best(rows: Iterable[Mapping[str, float]]) -> Mapping[str, float] | None:
    """The row of a journal with the highest score, the earliest of equals; None if no step was looked at."""
    looked = [row for row in rows if SCORE in row]
    return max(looked, key=lambda row: row[SCORE], default=None)


def _asked(places: Places, labels: Sequence[str]) -> list[Task]:
    tasks = tasks_of(places)
    known = [task.label for task in tasks]
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise ConfigError(
            f"probe.labels names {', '.join(unknown)}, which {places.root} does not have to probe. "
            f"There are: {', '.join(known) or 'none'}"
        )
    if not tasks:
        raise InputError("has no labels to probe", file=places.root, fix="Name a folder with labels, probe.data")
    return [task for task in tasks if not labels or task.label in labels]


def _choose(
    places: Places, tasks: Sequence[Task], config: ProbeConfig, learned: Collection[str] | None
) -> tuple[list[Place], list[Place]]:
    """Places to fit on and to test on; none of the second if those of the first are to be tested in two halves."""
    labels = {task.label for task in tasks}
    labelled = [place for place in places if labels & {*place.labels, *place.masks}]
    if not labelled:
        raise InputError("holds no labelled place to probe", file=places.root)
    marked = "val" if any(place.split == "val" for place in labelled) else "test"
    held = [place for place in labelled if place.split == marked and place.name not in (learned or ())]
    rest = [place for place in labelled if place.split in ("train", None)]
    rng = np.random.default_rng(config.seed)
    if not held:
        if learned is not None:
            raise InputError(
                "holds no labelled place that is held out from training, so that probes have nothing to test on",
                file=places.root,
                fix='Mark some places "val" in their place.json, or name another folder, probe.data',
            )
        return _some(labelled, config.places, rng), []
    if not rest:
        raise InputError(
            'marks every labelled place "val" or "test", so that probes have none to be fitted on',
            file=places.root,
            fix='Mark some places "train" in their place.json',
        )
    tested = _some(held, config.places // 2, rng)
    return _some(rest, config.places - len(tested), rng), tested


def _some(places: Sequence[Place], most: int, rng: np.random.Generator) -> list[Place]:
    return [places[index] for index in np.sort(rng.permutation(len(places))[:most])]


def _folds(read: Sequence[Place], tested: Sequence[Place], seed: int) -> list[Fold]:
    if not tested:
        return cross_folds(read, folds=2, seed=seed)
    names = {place.name for place in tested}
    test_N = np.array([place.name in names for place in read], bool)
    return [(np.flatnonzero(~test_N), np.flatnonzero(test_N))]


def _can_be_asked(targets: Targets, folds: Sequence[Fold]) -> bool:
    """Whether every fold with something to test has something to fit on, and there are two answers to tell apart."""
    labelled_N = targets.labelled_N
    asked = [(train, test[labelled_N[test]]) for train, test in folds if labelled_N[test].any()]
    if not asked or not all(labelled_N[train].any() for train, _ in asked):
        return False
    tested = np.concatenate([test for _, test in asked])
    if targets.cells_hw is not None:
        flat = np.concatenate([targets.cells_hw[place].ravel() for place in tested])
        return len(np.unique(flat[flat != NO_LABEL])) > 1
    rows = targets.scene_N if targets.scene_N is not None else targets.several_NK
    assert rows is not None
    return len(np.unique(rows[tested], axis=0)) > 1


def _middle(place: Place) -> Window | None:
    """The middle of a place that is larger than `SIDE`; None for all of it."""
    height, width = place.cells
    if max(height, width) <= SIDE:
        return None
    rows, cols = min(height, SIDE), min(width, SIDE)
    return Window((height - rows) // 2, (width - cols) // 2, rows, cols)
