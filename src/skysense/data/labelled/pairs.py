"""Before and after: ``root/before/a.png``, ``root/after/a.png``, ``root/change/a.png`` (also ``A``, ``B``, ``label``).

With ``before_masks`` and ``after_masks`` the classes of either date are known too; then the change may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.classes import (
    Classes,
    MaskCode,
    MaskValues,
    find_classes,
    mask_classes,
    present_values,
)
from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import UNLABELLED, Change, Example, Task
from skysense.data.labelled.imagery import Image, Imagery, Part, understand
from skysense.data.labelled.masks import without_label
from skysense.data.labelled.padding import pad_mask
from skysense.data.labelled.pictures import Picture, by_stem, folder_pairs, lay_out
from skysense.data.places_layout import Split
from skysense.errors import InputError
from skysense.sensors import Sensor

NAMES = (("before", "after", "change"), ("A", "B", "label"))
CLASS_MASKS = ("before_masks", "after_masks")
CHANGE_CLASSES: tuple[str, ...] = ("unchanged", "changed")


@dataclass(frozen=True)
class Pair:
    """Files of one place at two dates; ``change`` or both class masks are there."""

    after: Path
    change: Path | None
    class_masks: tuple[Path, Path] | None


@dataclass(frozen=True)
class PairReader:
    """Reads one example.

    Attributes:
        imagery: how images are read.
        parts: what each item is read from: its earlier image.
        pairs: the other files by name of the picture.
        change: what change masks hold: 0 where unchanged, 1 where changed.
        values: what class masks hold, None without any.
    """

    imagery: Imagery
    parts: Mapping[str, Part]
    pairs: Mapping[str, Pair]
    change: MaskCode
    values: MaskCode | None

    def __call__(self, item: Item) -> Example:
        """Read an example; see `LabelledData.read`."""
        part = self.parts[item.name]
        pair = self.pairs[part.picture]
        before = self.imagery.read(part, item)
        after = self.imagery.read(Part(part.picture, pair.after, part.window), item)
        if after.whole != before.whole:
            (rows, cols), (height, width) = after.whole, before.whole
            raise InputError(f"is {rows} x {cols} px; the earlier image is {height} x {width} px", file=pair.after)
        dates: list[NDArray[np.uint8] | None] = [None, None]
        if self.values is not None and pair.class_masks is not None:
            dates = [self._mask(file, before, self.values) for file in pair.class_masks]
        if pair.change is not None:
            changed_HW = self._mask(pair.change, before, self.change)
        else:
            changed_HW = differs(dates[0], dates[1])
        size = (before.area.height, before.area.width)
        target = Change(changed_HW, *dates)
        return Example(item.name, before.sample, target, before.per_cell, size, after=after.sample)

    def _mask(self, file: Path, image: Image, values: MaskCode) -> NDArray[np.uint8]:
        return pad_mask(values.read(file, image.area, image.whole), image.grid)


def differs(before_HW: NDArray[np.uint8] | None, after_HW: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Where the class of two masks ``(H, W)`` is another: 1, where not: 0; 255 where that of either is unknown."""
    assert before_HW is not None and after_HW is not None
    unknown_HW = (before_HW == UNLABELLED) | (after_HW == UNLABELLED)
    return np.where(unknown_HW, UNLABELLED, before_HW != after_HW).astype(np.uint8)


def pair_folders(root: Path) -> list[tuple[list[Path], Split | None]]:
    """Folders of earlier images, later images, change, and classes of either date, by split; the last may be absent."""
    found: list[tuple[list[Path], Split | None]] = []
    for before, after, change in NAMES:
        for (first, second), split in folder_pairs(root, (before, after)):
            below = first.parent.name == before  # root/before/train rather than root/train/before
            base, end = (first.parent.parent, first.name) if below else (first.parent, "")
            found.append(([first, second, *(base / name / end for name in (change, *CLASS_MASKS))], split))
    return found


def read_pairs(
    root: Path,
    *,
    task: Task | None = None,
    classes: Classes | None = None,
    ignore: int | None = None,
    sensor: Sensor | str | None = None,
    stretch: tuple[float, float] | None = None,
    tile: int | None = None,
) -> LabelledData:
    """Images of two dates; options as `skysense.data.labelled.open.open_labelled`.

    Raises:
        InputError: no pair at all, or classes that contradict the masks.
    """
    pictures: list[Picture] = []
    pairs: dict[str, Pair] = {}
    for folders, split in pair_folders(root):
        before, after, change, first, second = (by_stem(folder) for folder in folders)
        for stem, file in before.items():
            name = file.relative_to(root).as_posix()
            pictures.append(Picture(name, file, split))
            if stem in after:
                both = (first[stem], second[stem]) if stem in first and stem in second else None
                pairs[name] = Pair(after[stem], change.get(stem), both)
    semantic = task != "change" and bool(pairs) and all(one.class_masks for one in pairs.values())
    pairs = {name: one for name, one in pairs.items() if semantic or one.change}
    lonely = [one.name for one in pictures if one.name not in pairs]
    pictures = [one for one in pictures if one.name in pairs]
    if not pictures:
        raise InputError("holds no earlier image with a later one and a mask of the same stem", file=root)
    imagery, notes = understand((one.file for one in pictures), sensor=sensor, stretch=stretch)
    change_values, more = _change_values([one.change for one in pairs.values() if one.change], ignore)
    names, values = CHANGE_CLASSES, None
    if semantic:
        files = [file for one in pairs.values() for file in one.class_masks or ()]
        names, values, about = mask_classes(classes or find_classes(root), ignore, files, root=root)
        more = (*more, *about)
    items, parts, dark = lay_out(pictures, imagery, tile)
    notes = (*notes, *more, *dark, *without_label(lonely, "later image or mask"))
    reader = PairReader(imagery, parts, pairs, change_values, values)
    return LabelledData(root.name, "semantic-change" if semantic else "change", names, items, reader, notes=notes)


def _change_values(files: list[Path], ignore: int | None) -> tuple[MaskValues, tuple[str, ...]]:
    """0 is unchanged; changed is 1, or 255 where no mask holds a 1."""
    present = present_values(files)
    if UNLABELLED in present and 1 not in present and ignore != UNLABELLED:
        return MaskValues((0, UNLABELLED), () if ignore is None else (ignore,)), ("255 in change masks means changed",)
    no_label = {UNLABELLED} if ignore is None else {UNLABELLED, ignore}
    notes = ("255 in change masks is taken for unknown",) if UNLABELLED in present else ()
    return MaskValues((0, 1), tuple(sorted(no_label))), notes
