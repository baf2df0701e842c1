"""What a map of a task consists of: from blended probabilities to the layers that are stored.

Letters: K classes, H W pixels of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.draw import CHANGE, palette
from skysense.data.labelled.example import Task
from skysense.data.labelled.pairs import CHANGE_CLASSES
from skysense.maps.product.layer import Kind, Layer

MOST_CLASSES = 255
"""Class indices 0 .. 254 fit a byte; 255 is no-data."""
_STEP = 1 / 254
"""Of a stored probability: 254 of them are one, 255 is no-data."""
_CHANGED = 0.5
"""A pixel with a larger probability is of the class "changed", as metrics count it."""


@dataclass(frozen=True)
class TaskLayers:
    """The layers of a map by an adapted model; those of boxes have none, see `skysense.maps.vectors`.

    What is uncertain is told by the share of answers that would be wrong if the probabilities were true: one less that
    of the answer that was given. Unlike an entropy it means the same for two classes as for twenty, and a person can
    check it against labels. Probabilities of a model that was not calibrated are often too sure of themselves: the
    report of an adapted model says by how much.

    Attributes:
        task: kind of answer.
        classes: names by class index.
        per_cell: pixels on the side of a cell; 1 for tasks with one answer per window.
        probabilities: whether those of all classes are stored.
        uncertainty: whether it is stored how uncertain answers are.
    """

    task: Task
    classes: tuple[str, ...]
    per_cell: int
    probabilities: bool = False
    uncertainty: bool = False

    @property
    def scores(self) -> dict[str, tuple[int, int]]:
        """What is blended: by name the channels, and the pixels on the side of a cell."""
        count = len(self.classes)
        channels: dict[Task, dict[str, int]] = {
            "classification": {"classes": count},
            "multilabel": {"classes": count},
            "segmentation": {"mask": count},
            "change": {"changed": 1},
            "semantic-change": {"changed": 1, "before": count, "after": count},
        }
        return {name: (some, self.per_cell) for name, some in channels.get(self.task, {}).items()}

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What is stored, the answer first."""
        if self.task in ("classification", "segmentation"):
            made = [self._classes("classes")]
            if self.probabilities:
                made.append(self._shares("probability", "probability", self.classes))
        elif self.task == "multilabel":
            made = [self._shares("probability", "probability", self.classes)]
        elif self.task in ("change", "semantic-change"):
            colours = _hexadecimal(CHANGE)
            made = [
                Layer(
                    "classes", "classes", ("change",), "uint8", self.per_cell, classes=CHANGE_CLASSES, colours=colours
                ),
                self._shares("changed", "probability", (CHANGE_CLASSES[1],)),
            ]
            if self.task == "semantic-change":
                made += [self._classes("before"), self._classes("after")]
                if self.probabilities:
                    names = ("before_probability", "after_probability")
                    made += [self._shares(name, "probability", self.classes) for name in names]
        else:
            return ()
        if self.uncertainty:
            made.append(self._shares("uncertainty", "uncertainty", self._doubted()))
        return tuple(made)

    def encode(self, blended: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray]:
        """Rows of blended probabilities as they are stored.

        Args:
            blended: ``(K, H, W)`` by name of a score, NaN where nothing was seen.

        Returns:
            ``(bands, H, W)`` by name of a layer.
        """
        if self.task in ("classification", "segmentation"):
            (shares_KHW,) = blended.values()
            values = {"classes": _likeliest(shares_KHW), "probability": shares_KHW}
            doubt = 1 - shares_KHW.max(axis=0, keepdims=True)
        elif self.task == "multilabel":
            (shares_KHW,) = blended.values()
            values, doubt = {"probability": shares_KHW}, np.minimum(shares_KHW, 1 - shares_KHW)
        else:
            values, doubt = _changes(blended)
        values["uncertainty"] = doubt
        return {layer.name: layer.encode(values[layer.name]) for layer in self.layers}

    def _doubted(self) -> tuple[str, ...]:
        """The questions that are answered, each of them more or less surely."""
        names: dict[Task, tuple[str, ...]] = {
            "multilabel": self.classes,
            "change": ("change",),
            "semantic-change": ("change", "before", "after"),
        }
        return names.get(self.task, ("classes",))

    def _classes(self, name: str) -> Layer:
        colours = _hexadecimal(palette(len(self.classes)))
        return Layer(name, "classes", (name,), "uint8", self.per_cell, classes=self.classes, colours=colours)

    def _shares(self, name: str, kind: Kind, bands: Sequence[str]) -> Layer:
        """Numbers within 0 .. 1."""
        return Layer(name, kind, tuple(bands), "uint8", self.per_cell, (_STEP,) * len(bands))


def _changes(blended: Mapping[str, NDArray[np.float32]]) -> tuple[dict[str, NDArray], NDArray]:
    """Values of the layers of change, and how uncertain they are."""
    changed_1HW = blended["changed"]
    answer_1HW = np.where(np.isnan(changed_1HW), np.nan, changed_1HW > _CHANGED).astype(np.float32)
    values, doubts = {"classes": answer_1HW, "changed": changed_1HW}, [np.minimum(changed_1HW, 1 - changed_1HW)]
    for name in ("before", "after"):
        if name in blended:
            values |= {name: _likeliest(blended[name]), f"{name}_probability": blended[name]}
            doubts.append(1 - blended[name].max(axis=0, keepdims=True))
    return values, np.concatenate(doubts)


def _likeliest(shares_KHW: NDArray[np.float32]) -> NDArray[np.float32]:
    """The class of the largest probability ``(1, H, W)``, of several the first; NaN where nothing was seen."""
    unseen_HW = np.isnan(shares_KHW[0])
    return np.where(unseen_HW, np.nan, shares_KHW.argmax(axis=0)).astype(np.float32)[None]


def _hexadecimal(colours_K3: NDArray[np.uint8]) -> tuple[str, ...]:
    return tuple("#{:02x}{:02x}{:02x}".format(*colour) for colour in colours_K3.tolist())
