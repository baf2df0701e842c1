"""A folder per class: ``root/forest/a.png``, or ``root/train/forest/a.png`` with splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.classes import Classes, class_names
from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import Example
from skysense.data.labelled.imagery import Imagery, Part, understand
from skysense.data.labelled.pictures import SPLIT_FOLDERS, Picture, image_files, lay_out
from skysense.data.places_layout import Split
from skysense.sensors import Sensor


@dataclass(frozen=True)
class SceneReader:
    """Reads one example of a data set whose labels are of whole images.

    Attributes:
        imagery: how images are read.
        parts: what each item is read from.
        labels: class, or which of K classes apply, by name of the picture.
    """

    imagery: Imagery
    parts: Mapping[str, Part]
    labels: Mapping[str, int | NDArray[np.bool_]]

    def __call__(self, item: Item) -> Example:
        """Read an example; see `LabelledData.read`."""
        part = self.parts[item.name]
        image = self.imagery.read(part, item)
        size = (image.area.height, image.area.width)
        return Example(item.name, image.sample, self.labels[part.picture], image.per_cell, size)


def class_folders(root: Path) -> list[tuple[Path, Split | None]]:
    """Folders of images, each of one class, and the split they belong to."""
    folders = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    found: list[tuple[Path, Split | None]] = [
        (entry, None) for entry in folders if entry.name not in SPLIT_FOLDERS and image_files(entry)
    ]
    for folder in folders:
        if folder.name in SPLIT_FOLDERS:
            inside = sorted(entry for entry in folder.iterdir() if entry.is_dir() and image_files(entry))
            found += [(entry, SPLIT_FOLDERS[folder.name]) for entry in inside]
    return found


def read_folders(
    root: Path,
    *,
    classes: Classes | None = None,
    sensor: Sensor | str | None = None,
    stretch: tuple[float, float] | None = None,
) -> LabelledData:
    """Folders per class; options as `skysense.data.labelled.open.open_labelled`.

    Raises:
        InputError: no image, or a folder that is none of the classes.
    """
    folders = class_folders(root)
    names = class_names(classes, {folder.name for folder, _ in folders}, file=root)
    pictures, labels = [], {}
    for folder, split in folders:
        for file in image_files(folder):
            picture = Picture(file.relative_to(root).as_posix(), file, split)
            pictures.append(picture)
            labels[picture.name] = names.index(folder.name)
    imagery, notes = understand((one.file for one in pictures), sensor=sensor, stretch=stretch)
    items, parts, _ = lay_out(pictures, imagery, None)
    return LabelledData(root.name, "classification", names, items, SceneReader(imagery, parts, labels), notes=notes)
