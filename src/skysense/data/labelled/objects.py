"""Examples from objects drawn in images: boxes, rectangles of any direction, or polygons, as a task wants them.

All formats with objects (COCO, DOTA, vector files) become `Objects` of an image; reading an example makes boxes or a
mask of them. Letters: N objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.boxes import KEPT_SHARE, check_boxes, cut_boxes, cut_oriented, enclosing, sound_boxes
from skysense.data.labelled.dataset import Item
from skysense.data.labelled.example import UNLABELLED, Boxes, Example, OrientedBoxes, Target, Task
from skysense.data.labelled.imagery import Image, Imagery, Part
from skysense.data.labelled.padding import pad_mask
from skysense.data.labelled.polygons import burn, clipped, flat, least_rectangles, shapely
from skysense.errors import InputError
from skysense.geo import Window


@dataclass(frozen=True)
class Objects:
    """What is drawn in one image.

    Attributes:
        file: that holds it, for messages.
        names: of the objects, for messages.
        label_N: int64 class; -1 for none (such an object is neither to be found nor counted).
        ignore_N: bool, see `Boxes`.
        shapes: N horizontal boxes ``(4,)`` x1, y1, x2, y2, N quadrilaterals ``(4, 2)``, or N polygons of shapely, in
            pixels of the image.
        size: height and width that the labels say the image has, if they do.
    """

    file: Path
    names: Sequence[str]
    label_N: NDArray[np.int64]
    ignore_N: NDArray[np.bool_]
    shapes: Sequence[Any] | NDArray
    size: tuple[int, int] | None = None

    @property
    def drawn(self) -> bool:
        """Whether the objects are polygons, which can be cut exactly."""
        return len(self.names) > 0 and not isinstance(self.shapes, np.ndarray)


@dataclass(frozen=True)
class ObjectReader:
    """Reads one example.

    Attributes:
        imagery: how images are read.
        parts: what each item is read from.
        objects: by name of the picture.
        task: detection, oriented-detection or segmentation.
        around: class of pixels outside of all objects, for segmentation; 255 for no label.
        drop_faulty: leave out boxes without area or wholly outside their image instead of refusing them: published data
            sets have some, and who measures on them does not correct them.
    """

    imagery: Imagery
    parts: Mapping[str, Part]
    objects: Mapping[str, Objects]
    task: Task
    around: int = UNLABELLED
    drop_faulty: bool = False

    def __call__(self, item: Item) -> Example:
        """Read an example; see `LabelledData.read`."""
        part = self.parts[item.name]
        image = self.imagery.read(part, item)
        objects = self.objects[part.picture]
        if objects.size is not None and objects.size != image.whole:
            (rows, cols), (height, width) = objects.size, image.whole
            raise InputError(
                f"says that {part.file.name} is {rows} x {cols} px; it is {height} x {width} px", file=objects.file
            )
        size = (image.area.height, image.area.width)
        return Example(item.name, image.sample, self._target(objects, image), image.per_cell, size)

    def _target(self, objects: Objects, image: Image) -> Target:
        ignore_N = objects.ignore_N | (objects.label_N < 0)
        if objects.drawn:
            check_boxes(bounds_of(objects.shapes), image.whole, file=objects.file, names=objects.names)
            _check_areas(objects)
        if self.task == "segmentation":
            values = np.where(ignore_N, UNLABELLED, objects.label_N)
            return pad_mask(burn(objects.shapes, values.tolist(), image.area, self.around), image.grid)
        boxes = self._cut_polygons if objects.drawn else self._cut_corners
        return boxes(objects, objects.label_N.clip(0), ignore_N, image)

    def _cut_corners(
        self, objects: Objects, label_N: NDArray[np.int64], ignore_N: NDArray[np.bool_], image: Image
    ) -> Target:
        """Boxes that are given by their corners."""
        oriented = self.task == "oriented-detection"
        corners = np.asarray(objects.shapes, np.float32).reshape((-1, 4, 2) if oriented else (-1, 4))
        around_N4 = enclosing(corners) if oriented else corners
        if self.drop_faulty:
            sound_N = sound_boxes(around_N4, image.whole)
            if oriented:
                sound_N &= ~flat(corners)
            corners, label_N, ignore_N = corners[sound_N], label_N[sound_N], ignore_N[sound_N]
        else:
            check_boxes(around_N4, image.whole, file=objects.file, names=objects.names)
        if not oriented:
            return cut_boxes(Boxes(corners, label_N, ignore_N), image.area, image.whole)
        corners_N42 = least_rectangles(shapely().multipoints(corners), file=objects.file)
        return cut_oriented(OrientedBoxes(corners_N42, label_N, ignore_N), image.area, image.whole)

    def _cut_polygons(
        self, objects: Objects, label_N: NDArray[np.int64], ignore_N: NDArray[np.bool_], image: Image
    ) -> Target:
        """Boxes around what of the polygons lies in the part of the image that is read."""
        everything = Window(0, 0, *image.whole)
        kept, cut, shares = [], [], []
        for index, (polygon, bounds) in enumerate(zip(objects.shapes, bounds_of(objects.shapes), strict=True)):
            here = clipped(polygon, image.area) if _touches(bounds, image.area) else None
            if here is not None and here.area > 0:
                kept.append(index)
                cut.append(here)
                shares.append(here.area / max(clipped(polygon, everything).area, 1e-9))
        label_N, ignore_N = label_N[kept], ignore_N[kept] | (np.array(shares) < KEPT_SHARE)
        shift = np.array([image.area.col, image.area.row], np.float32)
        if self.task == "oriented-detection":
            return OrientedBoxes(least_rectangles(cut, file=objects.file) - shift, label_N, ignore_N)
        return Boxes(bounds_of(cut) - np.tile(shift, 2), label_N, ignore_N)


def bounds_of(polygons: Sequence[Any] | NDArray) -> NDArray[np.float32]:
    """Horizontal boxes ``(N, 4)`` around polygons."""
    return np.array([one.bounds for one in polygons], np.float32).reshape(-1, 4)


def _check_areas(objects: Objects) -> None:
    for name, polygon in zip(objects.names, objects.shapes, strict=True):
        if polygon.area <= 0:
            raise InputError(f"{name} has no area", file=objects.file, fix="Correct it or take it out")


def _touches(bounds: NDArray[np.floating], area: Window) -> bool:
    x1, y1, x2, y2 = bounds
    return bool(x2 > area.col and y2 > area.row and x1 < area.col + area.width and y1 < area.row + area.height)
