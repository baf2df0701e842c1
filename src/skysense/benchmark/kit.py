"""Frozen features on small real data sets: that the whole path works on real pixels, with n and intervals.

The folders are made by ``examples/kit_to_places.py``. Every table is a cross-validation over places whatever split they
name, since there are few; neighbours stay together.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skysense.benchmark.probe import COMPARISONS, METHODS, Progress, counted, model_features, model_methods, raw_methods
from skysense.data.places import Place, Places
from skysense.data.places_layout import Kind
from skysense.errors import InputError
from skysense.geo import Window
from skysense.model.assembly import SkySense
from skysense.observation import Sample
from skysense.probes.metrics import METRICS
from skysense.probes.protocol import Outcomes, Results, pool, probe_all
from skysense.probes.raw import extract_raw
from skysense.probes.targets import Fold, Targets, answer, cross_folds, gather, tasks_of

FOLDS = 5


@dataclass(frozen=True)
class Question:
    """One table on real pixels.

    Attributes:
        title: as the table shall call it.
        folders: of places that share the label and its classes.
        label: what is asked.
        kind: of the label.
    """

    title: str
    folders: tuple[str, ...]
    label: str
    kind: Kind


QUESTIONS = (
    Question("FLAIR + Chesapeake land cover", ("flair", "chesapeake"), "land_cover_common", "mask"),
    Question("TerraMesh land cover", ("terramesh",), "land_cover", "mask"),
    Question("WorldCereal crop type", ("crop_patches",), "crop_type", "mask"),
    Question("BigEarthNet classes", ("bigearthnet",), "classes_19", "multilabel"),
    Question("TreeSatAI genus", ("treesat",), "genus", "multilabel"),
)


@dataclass(frozen=True)
class Piece:
    """A place, or a quarter of the only place there is."""

    source: Places
    place: Place
    name: str
    window: Window | None

    def sample(self) -> Sample:
        """Its imagery."""
        return replace(self.source.read_sample(self.place, window=self.window), name=self.name)


@dataclass(frozen=True)
class Material:
    """What a question needs.

    Attributes:
        samples: all imagery; the data sets are small.
        targets: labels in the order of the samples.
        folds: for cross-validation; quarters of one place are tested in turn, which is not independent.
    """

    samples: list[Sample]
    targets: Targets
    folds: list[Fold]


def available(root: Path) -> list[Question]:
    """The questions whose folders are all there.

    Raises:
        InputError: none is.
    """
    found = [question for question in QUESTIONS if all((root / folder).is_dir() for folder in question.folders)]
    if not found:
        names = sorted({folder for question in QUESTIONS for folder in question.folders})
        raise InputError(
            f"holds none of {', '.join(names)}", file=root, fix="Convert the data first: examples/kit_to_places.py"
        )
    return found


def answers(
    root: Path, question: Question, models: Mapping[int, SkySense], progress: Progress | None = None
) -> dict[int, Outcomes]:
    """What frozen models, their random twins and raw pixels answer to a question, by seed.

    Args:
        root: folder of the converted data sets.
        question: what is asked.
        models: by the seed of their pre-training, on the device to run on.
        progress: called with what is being done.

    Raises:
        InputError: as `load`.
    """

    def tell(done: int, total: int, words: str) -> None:
        if progress is not None:
            progress(done, total, f"{question.title}: {words}")

    material = load(root, question, lambda words: tell(0, 1, words))
    masks = material.targets.cells_hw is not None
    raw = extract_raw(material.samples, cells=masks, progress=lambda done, total: tell(done, total, "raw pixels"))
    methods = raw_methods(raw, tuple(models))
    for seed, model in models.items():
        methods += model_methods(model_features(model, material.samples, seed, cells=masks, progress=tell), seed)
    return probe_all([material.targets], methods, material.folds, progress=counted(progress, len(methods)))


def results(question: Question, by_seed: Sequence[tuple[int, Outcomes]]) -> Results:
    """The table of a question and its differences, from `answers`."""
    return pool(by_seed, METHODS, {question.title: METRICS[question.kind]}, COMPARISONS)


def load(root: Path, question: Question, tell: Callable[[str], None]) -> Material:
    """Read the imagery and labels of a question; places that cannot be read are left out with a warning.

    Raises:
        InputError: folders that do not share the classes, or one without a place that can be read.
    """
    sources = [Places(root / folder).readable() for folder in question.folders]
    for source in sources:
        if source.failures:
            listed = "; ".join(failure.message for failure in source.failures)
            warnings.warn(f"{question.title}: left out {len(source.failures)} places: {listed}", stacklevel=2)
    tasks = {next((task for task in tasks_of(source) if task.label == question.label), None) for source in sources}
    if len(tasks) != 1 or None in tasks:
        raise InputError(f"folders {', '.join(question.folders)} do not share the label {question.label!r}", file=root)
    (task,) = tasks
    assert task is not None
    places = [
        Piece(source, place, place.name, None)
        for source in sources
        for place in source
        if question.label in (*place.labels, *place.masks)
    ]
    alone = len(places) == 1
    pieces = quarters(places[0]) if alone else places
    samples = []
    for piece in pieces:
        tell(f"reading {piece.name}")
        samples.append(piece.sample())
    answers = [answer(piece.source, piece.place, task, piece.window) for piece in pieces]
    named = replace(task, label=question.title)
    folds = _each_once(len(pieces)) if alone else cross_folds([piece.place for piece in pieces], folds=FOLDS)
    return Material(samples, gather(named, [piece.name for piece in pieces], answers), folds)


def quarters(piece: Piece) -> list[Piece]:
    """The four quarters of a place, on whole patches of four cells."""
    height, width = (side // 8 * 4 for side in piece.place.cells)
    windows = [Window(row * height, col * width, height, width) for row in (0, 1) for col in (0, 1)]
    return [
        replace(piece, name=f"{piece.name} {corner}", window=window)
        for corner, window in zip(("NW", "NE", "SW", "SE"), windows, strict=True)
    ]


def _each_once(count: int) -> list[Fold]:
    return [(np.delete(np.arange(count), one), np.array([one])) for one in range(count)]
