"""The same labels with the classes of somebody else: by name, whatever order or part of them a data set has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import UNLABELLED, Boxes, Change, Example, OrientedBoxes, Target
from skysense.errors import InputError


def renumbered(data: LabelledData, classes: Sequence[str]) -> LabelledData:
    """A data set whose labels are indices into other classes.

    Args:
        data: its classes are among the others, in any order.
        classes: names by index.

    Raises:
        InputError: it has a class that is none of them.
    """
    if data.classes == tuple(classes):
        return data
    unknown = [name for name in data.classes if name not in classes]
    if unknown:
        raise InputError(
            f"{data.title} has {', '.join(unknown)}, which {'are' if len(unknown) > 1 else 'is'} none of "
            f"{', '.join(classes)}",
            fix="Name its classes as the model does",
        )
    index_K = np.array([list(classes).index(name) for name in data.classes])
    return replace(data, classes=tuple(classes), read_item=_Renumbered(data.read_item, index_K, len(classes)))


@dataclass(frozen=True)
class _Renumbered:
    """Reads an item with other indices; it may be copied into other processes."""

    read_item: Callable[[Item], Example]
    index_K: NDArray[np.int64]
    classes: int

    def __call__(self, item: Item) -> Example:
        example = self.read_item(item)
        return replace(example, target=self._target(example.target))

    def _target(self, target: Target) -> Target:
        if isinstance(target, Boxes | OrientedBoxes):
            return replace(target, label_N=self.index_K[target.label_N])
        if isinstance(target, Change):
            before, after = (None if one is None else self._mask(one) for one in (target.before_HW, target.after_HW))
            return replace(target, before_HW=before, after_HW=after)
        if not isinstance(target, np.ndarray):
            return int(self.index_K[target])
        if target.ndim == 2:
            return self._mask(target)
        applies_K = np.zeros(self.classes, bool)
        applies_K[self.index_K] = target
        return applies_K

    def _mask(self, mask_HW: NDArray) -> NDArray[np.uint8]:
        table = np.full(256, UNLABELLED, np.uint8)
        table[: len(self.index_K)] = self.index_K
        return table[mask_HW]
