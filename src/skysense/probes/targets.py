"""What a probe is asked: the labels of places, brought to one shape per kind; folds that never split a place.

Letters: N places, K classes, H W mask pixels, h w cells.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.data.places import Place, Places
from skysense.data.places_layout import Kind
from skysense.errors import InputError
from skysense.geo import Window

NO_LABEL = -1
NEIGHBOURS_KM = 10.0
KM_PER_DEGREE = 111.2

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Indices of places to learn from and to test on."""


@dataclass(frozen=True)
class Task:
    """One label of a data set as a question.

    Attributes:
        label: its name in the legends.
        kind: one class per place, several, or one per cell.
        classes: names.
        ignore: mask value without meaning.
    """

    label: str
    kind: Kind
    classes: tuple[str, ...]
    ignore: int | None = None


@dataclass(frozen=True)
class Targets:
    """The answers of a task for N places.

    Attributes:
        task: the question.
        names: of the places.
        scene_N: ``(N,)`` class index or -1, of a scene task.
        several_NK: ``(N, K)`` 0/1, or -1 in the whole row without a label, of a multi-label task.
        cells_hw: per place ``(h, w)`` class index or -1, of a mask task; ``(0, 0)`` for a place without the mask.
    """

    task: Task
    names: tuple[str, ...]
    scene_N: NDArray[np.int64] | None = None
    several_NK: NDArray[np.int64] | None = None
    cells_hw: tuple[NDArray[np.int64], ...] | None = None

    @property
    def labelled_N(self) -> NDArray[np.bool_]:
        """``(N,)``: places that have any label."""
        if self.scene_N is not None:
            return self.scene_N != NO_LABEL
        if self.several_NK is not None:
            return self.several_NK[:, 0] != NO_LABEL
        return np.array([bool((cells != NO_LABEL).any()) for cells in self.cells_hw or ()])


def tasks_of(places: Places) -> list[Task]:
    """Every label of a data set that one class, several, or a class per cell of the first date answer, as a task."""
    return [
        Task(label, legend.kind, legend.classes, legend.ignore)
        for label, legend in places.legends.items()
        if legend.kind != "boxes" and not legend.after
    ]


def read_targets(places: Places, task: Task) -> Targets:
    """Read the labels of all places.

    Raises:
        InputError: a mask that cannot be read.
    """
    return gather(task, [place.name for place in places], [answer(places, place, task) for place in places])


def answer(places: Places, place: Place, task: Task, window: Window | None = None) -> NDArray[np.int64]:
    """The label of one place: a class index ``()``, 0/1 per class ``(K,)`` or class indices of cells ``(h, w)``.

    Args:
        places: the folder of the place.
        place: of this folder.
        task: what is asked.
        window: in cells, of a mask.

    Returns:
        -1 where there is no label; ``(0, 0)`` for a place without the mask.

    Raises:
        InputError: a mask that cannot be read.
    """
    if task.kind == "mask":
        if task.label not in place.masks:
            return np.empty((0, 0), np.int64)
        cells = place.cells if window is None else (window.height, window.width)
        return majority(places.read_mask(place, task.label, window), cells, task.ignore)
    if task.label not in place.labels:
        return np.full((len(task.classes),) if task.kind == "multilabel" else (), NO_LABEL, np.int64)
    value = place.labels[task.label]
    if task.kind == "scene":
        return np.array(task.classes.index(value), np.int64)
    return np.array([int(name in value) for name in task.classes], np.int64)


def gather(task: Task, names: Sequence[str], answers: Sequence[NDArray[np.int64]]) -> Targets:
    """The answers of places side by side; see `answer`."""
    if task.kind == "mask":
        return Targets(task, tuple(names), cells_hw=tuple(answers))
    stacked = np.stack(answers)
    if task.kind == "scene":
        return Targets(task, tuple(names), scene_N=stacked)
    return Targets(task, tuple(names), several_NK=stacked)


def majority(mask_HW: NDArray[np.integer], grid: tuple[int, int], ignore: int | None) -> NDArray[np.int64]:
    """Bring a mask down to the cell grid.

    Args:
        mask_HW: class per pixel, at most 255.
        grid: cells; each is a block of equally many pixels.
        ignore: value that counts as no label.

    Returns:
        ``(h, w)``: the commonest class of a cell, the lower of a tie; -1 where at least half of the pixels have none.

    Raises:
        InputError: a mask that is not made of whole cells.
    """
    height, width = grid
    if mask_HW.shape[0] % height or mask_HW.shape[1] % width:
        raise InputError(f"a mask of {mask_HW.shape} pixels is not made of {height} x {width} whole cells")
    blocks = mask_HW.reshape(height, mask_HW.shape[0] // height, width, -1).swapaxes(1, 2).reshape(height, width, -1)
    classes = [value for value in np.unique(mask_HW) if value != ignore]
    if not classes:
        return np.full(grid, NO_LABEL, np.int64)
    counts = np.stack([(blocks == value).sum(axis=2) for value in classes])
    winner = np.array(classes, np.int64)[counts.argmax(axis=0)]
    enough = counts.sum(axis=0) * 2 > blocks.shape[2]
    return np.where(enough, winner, NO_LABEL)


def deal(
    groups: Sequence[Hashable], folds: int, seed: int, strata: Sequence[Hashable] | None = None
) -> NDArray[np.int64]:
    """Deal groups into folds, whole.

    Args:
        groups: one entry per item; items of one group get one fold.
        folds: how many; fewer if there are fewer groups.
        seed: of the shuffle.
        strata: one entry per item (a group has that of its first item); each stratum is dealt out evenly.

    Returns:
        Fold of each item.
    """
    first: dict[Hashable, int] = {}
    for item, group in enumerate(groups):
        first.setdefault(group, item)
    names = list(first)
    order = np.random.default_rng(seed).permutation(len(names))
    if strata is not None:
        known = list(dict.fromkeys(strata))
        order = np.array(sorted(order, key=lambda at: known.index(strata[first[names[at]]])), np.int64)
    count = max(1, min(folds, len(names)))
    fold = {names[at]: place % count for place, at in enumerate(order)}
    return np.array([fold[group] for group in groups], np.int64)


def outer_folds(places: Sequence[Place], *, folds: int = 5, seed: int = 0) -> list[Fold]:
    """Indices of places to learn from and to test on.

    Where places say "test", everything else that has a split is learned from. Otherwise every place is tested once, by
    cross-validation (`cross_folds`).

    Raises:
        InputError: fewer than two places or clusters, or only one side of the split.
    """
    splits = np.array([place.split or "" for place in places])
    if (splits == "test").any():
        train, test = np.flatnonzero(np.isin(splits, ("train", "val"))), np.flatnonzero(splits == "test")
        if not len(train):
            raise InputError("there are places to test on but none to learn from", fix="Give some the split 'train'")
        return [(train, test)]
    return cross_folds(places, folds=folds, seed=seed)


def cross_folds(places: Sequence[Place], *, folds: int = 5, seed: int = 0) -> list[Fold]:
    """Cross-validation over all places, whatever split they name; neighbours stay together.

    Raises:
        InputError: fewer than two places or clusters.
    """
    fold_N = deal(clusters(places), folds, seed)
    if len(fold_N) == 0 or fold_N.max() == 0:
        raise InputError("cross-validation needs at least two places or clusters")
    return [(np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)) for fold in range(fold_N.max() + 1)]


def clusters(places: Sequence[Place]) -> list[int]:
    """Which places belong together: the same attribute "cluster", or a chain of neighbours less than 10 km apart.

    Returns:
        Per place the index of the first place of its cluster.
    """
    first = list(range(len(places)))
    for one, place in enumerate(places):
        for other in range(one):
            if first[one] != first[other] and _together(place, places[other]):
                joined, kept = max(first[one], first[other]), min(first[one], first[other])
                first = [kept if cluster == joined else cluster for cluster in first]
    return first


def _together(one: Place, other: Place) -> bool:
    if "cluster" in one.attributes and one.attributes["cluster"] == other.attributes.get("cluster"):
        return True
    if one.lon is None or one.lat is None or other.lon is None or other.lat is None:
        return False
    north = (one.lat - other.lat) * KM_PER_DEGREE
    east = (one.lon - other.lon) * KM_PER_DEGREE * math.cos(math.radians((one.lat + other.lat) / 2))
    return math.hypot(north, east) < NEIGHBOURS_KM
