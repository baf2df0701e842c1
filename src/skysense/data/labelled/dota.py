"""DOTA: ``root/images/a.png`` and ``root/labelTxt/a.txt``; ``x1 y1 x2 y2 x3 y3 x4 y4 class difficult`` for each object.

The corners go round the object. Difficult ones (1) are neither to be found nor counted as wrong when found.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skysense.data.labelled.boxes import enclosing, hanging_over
from skysense.data.labelled.classes import Classes, class_names, find_classes
from skysense.data.labelled.coco import object_notes
from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.dota_text import DotaObject, parse_dota
from skysense.data.labelled.example import Task
from skysense.data.labelled.head import read_head
from skysense.data.labelled.imagery import understand
from skysense.data.labelled.masks import without_label
from skysense.data.labelled.objects import ObjectReader, Objects
from skysense.data.labelled.pictures import Picture, by_stem, folder_pairs, lay_out
from skysense.errors import InputError
from skysense.sensors import Sensor

FOLDERS = ("images", "labelTxt")


def read_dota(
    root: Path,
    *,
    task: Task = "oriented-detection",
    classes: Classes | None = None,
    sensor: Sensor | str | None = None,
    stretch: tuple[float, float] | None = None,
    tile: int | None = None,
) -> LabelledData:
    """Images with DOTA labels; options as `skysense.data.labelled.open.open_labelled`.

    An oriented box is the rectangle of least area around the four corners; detection takes the horizontal box around
    them.

    Raises:
        InputError: no image with a label file, a line that is none, or a class that was not given.
    """
    pictures: list[Picture] = []
    found: dict[str, tuple[Path, list[DotaObject]]] = {}
    lonely: list[str] = []
    for (images, labels), split in folder_pairs(root, FOLDERS):
        texts = by_stem(labels, (".txt",))
        for stem, file in by_stem(images).items():
            name = file.relative_to(root).as_posix()
            if stem in texts:
                pictures.append(Picture(name, file, split))
                found[name] = (texts[stem], _read(texts[stem]))
            else:
                lonely.append(name)
    if not pictures:
        raise InputError("holds no image with a label file of the same stem", file=root)
    labels_found = {one.label for _, objects in found.values() for one in objects}
    names = class_names(classes or find_classes(root), labels_found, file=root)
    objects = {name: _objects(file, its, names, task) for name, (file, its) in found.items()}
    imagery, notes = understand((one.file for one in pictures), sensor=sensor, stretch=stretch)
    items, parts, dark = lay_out(pictures, imagery, tile)
    over = sum(_over(picture, objects[picture.name]) for picture in pictures) if task == "detection" else 0
    notes = (*notes, *dark, *without_label(lonely, "label file"), *object_notes(0, over))
    return LabelledData(root.name, task, names, items, ObjectReader(imagery, parts, objects, task), notes=notes)


def _read(file: Path) -> list[DotaObject]:
    try:
        return parse_dota(file.read_text("utf-8"), file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("could not be read as text", file=file) from error


def _objects(file: Path, found: list[DotaObject], names: tuple[str, ...], task: Task) -> Objects:
    quads_N42 = np.array([one.corners for one in found], np.float32).reshape(-1, 4, 2)
    return Objects(
        file,
        [f"object {number}" for number in range(1, len(found) + 1)],
        np.array([names.index(one.label) for one in found], np.int64),
        np.array([one.difficult > 0 for one in found], np.bool_),
        quads_N42 if task == "oriented-detection" else enclosing(quads_N42),
    )


def _over(picture: Picture, objects: Objects) -> int:
    try:
        head = read_head(picture.file)
    except InputError:
        return 0  # reading the image says why
    return hanging_over(np.asarray(objects.shapes), (head.height, head.width))
