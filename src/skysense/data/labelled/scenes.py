"""GeoTIFFs and vector files: polygons with a class, brought onto the pixels of the images they lie on.

root/a.tif root/a.geojson       a vector file per image, by its stem, or
root/*.tif root/fields.gpkg     one for all; images and labels may also lie in root/images and root/labels
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
from numpy.typing import NDArray

from skysense.data.labelled.classes import Classes, class_names
from skysense.data.labelled.coco import object_notes
from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.example import UNLABELLED, Task
from skysense.data.labelled.head import Head, read_head
from skysense.data.labelled.imagery import understand
from skysense.data.labelled.objects import ObjectReader, Objects
from skysense.data.labelled.pictures import Picture, image_files, lay_out
from skysense.data.labelled.polygons import repaired, shapely
from skysense.data.labelled.vector import SUFFIXES, Layer, is_vector, read_vector
from skysense.errors import InputError
from skysense.sensors import Sensor

TILE = {"hr": 512, "s2": 128, "s1": 128}
"""Side of a tile in pixels where nobody says."""


def vector_files(root: Path) -> list[Path]:
    """Vector files of a folder."""
    folders = [root / "labels", root]
    found = [sorted(folder.iterdir()) for folder in folders if folder.is_dir()]
    return [file for files in found for file in files if file.suffix.lower() in SUFFIXES and is_vector(file)]


def scene_files(root: Path) -> list[Path]:
    """GeoTIFFs of a folder."""
    found = image_files(root / "images") or image_files(root)
    return [file for file in found if file.suffix.lower() in (".tif", ".tiff")]


def read_scenes(
    root: Path,
    *,
    task: Task = "segmentation",
    label: str | None = None,
    classes: Classes | None = None,
    background: str | None = "background",
    sensor: Sensor | str | None = None,
    stretch: tuple[float, float] | None = None,
    tile: int | None = None,
) -> LabelledData:
    """GeoTIFFs with polygons; options as `skysense.data.labelled.open.open_labelled`.

    Raises:
        InputError: an image without CRS or without vector file, a CRS that is unknown, an attribute that is not there,
            or no polygon that lies on any image.
    """
    scenes, vectors = scene_files(root), vector_files(root)
    if not scenes or not vectors:
        raise InputError("needs GeoTIFFs (.tif) and a vector file (.geojson, .gpkg)", file=root)
    layers = {file: read_vector(file) for file in vectors}
    alone = class_names(classes, (), file=root)[0] if classes and len(classes) == 1 else None
    labels = {file: _labels(layer, label, alone) for file, layer in layers.items()}
    found = {name for names in labels.values() for name in names if name is not None}
    names = class_names(classes, found, file=root)
    imagery, notes = understand(scenes, sensor=sensor, stretch=stretch)
    unnamed = sum(name is None for each in labels.values() for name in each)
    if unnamed:
        notes = (*notes, f"{unnamed} polygons have no {label!r}: what they cover has no label")
    if label is None:
        notes = (*notes, _hint(next(iter(layers.values())), names))
    shift = int(task == "segmentation" and background is not None)
    objects: dict[str, Objects] = {}
    mended = 0
    for scene in scenes:
        file = vectors[0] if len(vectors) == 1 else _vector_of(scene, vectors)
        numbers = [-1 if name is None else names.index(name) + shift for name in labels[file]]
        made, count = _objects(layers[file], np.array(numbers, np.int64), _placed(scene), scene)
        objects[scene.name] = made
        mended += count
    if not any(len(one.names) for one in objects.values()):
        raise InputError("no polygon lies on any image", file=root, fix="Do images and polygons show the same ground?")
    pictures = [Picture(scene.name, scene) for scene in scenes]
    items, parts, dark = lay_out(pictures, imagery, tile or TILE[imagery.sensor.modality])
    reader = ObjectReader(imagery, parts, objects, task, 0 if shift else UNLABELLED)
    if shift:
        names = class_names((str(background), *names), (), file=root)
    notes = (*notes, *dark, *object_notes(mended, 0))
    return LabelledData(root.name, task, names, items, reader, notes=notes)


def _labels(layer: Layer, label: str | None, alone: str | None) -> list[str | None]:
    """The class of every polygon; without an attribute all are of the only class, by default named after the file."""
    if label is None:
        return [alone or layer.file.stem] * len(layer.polygons)
    if not any(label in attributes for attributes in layer.attributes):
        known = ", ".join(_attributes(layer)) or "none"
        raise InputError(f"has no attribute {label!r}; it has {known}", file=layer.file)
    values = [attributes.get(label) for attributes in layer.attributes]
    return [None if value is None or value == "" else str(value) for value in values]


def _attributes(layer: Layer) -> list[str]:
    return sorted({key for attributes in layer.attributes for key in attributes})


def _hint(layer: Layer, names: Sequence[str]) -> str:
    known = ", ".join(_attributes(layer))
    more = f"; to tell classes apart name one of its attributes: {known}" if known else ""
    return f"all polygons are of the class {', '.join(names)}{more}"


def _vector_of(scene: Path, vectors: Sequence[Path]) -> Path:
    for file in vectors:
        if file.stem == scene.stem:
            return file
    names = ", ".join(file.name for file in vectors)
    raise InputError(f"has no vector file of its stem among {names}", file=scene)


def _placed(scene: Path) -> Head | None:
    """Where an image lies; None of one that cannot be opened, which reading it will say."""
    try:
        head = read_head(scene)
    except InputError:
        return None
    if head.crs is None:
        raise InputError(
            "has no CRS or no geotransform, so nobody knows which polygons lie on it",
            file=scene,
            fix="Assign them: gdal_edit.py -a_srs EPSG:... -a_ullr ...",
        )
    return head


def _objects(layer: Layer, label_N: NDArray[np.int64], head: Head | None, scene: Path) -> tuple[Objects, int]:
    """The polygons that lie on an image, in its pixels, and how many of them had to be repaired."""
    kept: list[int] = []
    polygons: list[Any] = []
    mended = 0
    if head is None:
        return Objects(layer.file, (), label_N[:0], np.zeros(0, np.bool_), polygons), 0
    to_pixels = _to_pixels(layer, head, scene)
    for index, polygon in enumerate(layer.polygons):
        moved = shapely().transform(polygon, to_pixels)
        left, top, right, bottom = moved.bounds
        if not (right > 0 and bottom > 0 and left < head.width and top < head.height):
            continue
        area, changed = repaired(moved)
        kept.append(index)
        polygons.append(moved if area is None else area)
        mended += changed
    names = [f"polygon {index + 1}" for index in kept]
    ignore_N = np.zeros(len(kept), np.bool_)
    return Objects(layer.file, names, label_N[kept], ignore_N, polygons, (head.height, head.width)), mended


def _to_pixels(layer: Layer, head: Head, scene: Path) -> Any:
    """From coordinates ``(N, 2)`` of the vector file to pixels of the image."""
    try:
        system = pyproj.CRS.from_user_input(layer.crs)
    except pyproj.exceptions.CRSError as error:
        raise InputError(f"has the CRS {layer.crs[:60]!r}, which is not known", file=layer.file) from error
    try:
        move = pyproj.Transformer.from_crs(system, head.crs.to_wkt(), always_xy=True)
    except pyproj.exceptions.ProjError as error:
        raise InputError("has a CRS that polygons cannot be brought to", file=scene) from error
    a, b, c, d, e, f = (~head.transform)[:6]

    def to_pixels(points_N2: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = move.transform(points_N2[:, 0], points_N2[:, 1])
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

    return to_pixels
