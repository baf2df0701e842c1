"""COCO: a JSON file of images, categories and annotations beside the folder of images.

Boxes are ``[x, y, width, height]``; polygons (``segmentation``) become oriented boxes or masks when asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skysense.data.labelled.boxes import hanging_over
from skysense.data.labelled.classes import Classes, class_names
from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.example import UNLABELLED, Task
from skysense.data.labelled.imagery import understand
from skysense.data.labelled.objects import ObjectReader, Objects
from skysense.data.labelled.pictures import SPLIT_FOLDERS, Picture, lay_out
from skysense.data.labelled.polygons import repaired, shapely
from skysense.data.places_layout import Split
from skysense.errors import InputError
from skysense.files import read_json
from skysense.geo import check_position
from skysense.sensors import Sensor

_KEYS = ("images", "annotations", "categories")


def coco_files(root: Path) -> list[Path]:
    """JSON files below a folder that look like COCO by their keys (in it, in ``annotations``, in split folders)."""
    folders = [root, root / "annotations", *(root / name for name in SPLIT_FOLDERS)]
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.json"))]
    return [file for file in files if _looks_like_coco(file)]


def _looks_like_coco(file: Path) -> bool:
    try:
        content = read_json(file)
    except InputError:
        return False
    return isinstance(content, dict) and set(_KEYS) <= set(content)


def read_coco(
    files: Sequence[Path],
    root: Path,
    *,
    task: Task = "detection",
    classes: Classes | None = None,
    background: str | None = "background",
    sensor: Sensor | str | None = None,
    stretch: tuple[float, float] | None = None,
    tile: int | None = None,
) -> LabelledData:
    """COCO annotations; options as `skysense.data.labelled.open.open_labelled`.

    The split of an image is its ``split`` entry, or said by the folder or the name of the JSON file
    (``instances_train2017.json``). Images may carry ``lon`` and ``lat``.

    Args:
        files: the JSON files.
        root: the folder of the data set.
        task: detection, oriented-detection or segmentation.
        classes: see there.
        background: see there.
        sensor: see there.
        stretch: see there.
        tile: see there.

    Raises:
        InputError: a missing key, an annotation of an unknown image or category or without the shape that the task
            needs, or an image that is not there.
    """
    contents = [(file, _content(file)) for file in files]
    found = {str(one["name"]) for _, content in contents for one in content["categories"]}
    ordered = [str(one["name"]) for one in sorted(contents[0][1]["categories"], key=lambda one: one["id"])]
    names = class_names(classes or (ordered if set(ordered) == found else None), found, file=files[0])
    around = UNLABELLED
    if task == "segmentation" and background is not None:
        names, around = (background, *names), 0
    pictures: dict[str, Picture] = {}
    objects: dict[str, Objects] = {}
    mended = over = 0
    for file, content in contents:
        by_image = _annotations(content, file)
        index_of = {one["id"]: names.index(str(one["name"])) for one in content["categories"]}
        for entry in content["images"]:
            picture = _picture(entry, file, root)
            if picture.name in pictures:
                raise InputError(f"names {picture.name} a second time", file=file)
            pictures[picture.name] = picture
            made, count = _objects(by_image[entry["id"]], index_of, entry, task, file)
            objects[picture.name] = made
            mended += count
            if made.size is not None and not made.drawn:
                over += hanging_over(np.asarray(made.shapes).reshape(-1, 4), made.size)
    imagery, notes = understand((one.file for one in pictures.values()), sensor=sensor, stretch=stretch)
    items, parts, dark = lay_out(pictures.values(), imagery, tile)
    notes = (*notes, *dark, *object_notes(mended, over))
    reader = ObjectReader(imagery, parts, objects, task, around)
    return LabelledData(root.name, task, names, items, reader, notes=notes)


def object_notes(mended: int, over: int) -> tuple[str, ...]:
    """Notes on polygons that were repaired and on boxes that were cut at the edge of their image."""
    notes = []
    if mended:
        notes.append(f"{mended} polygons cross themselves and were repaired")
    if over:
        notes.append(f"{over} boxes reach over the edge of their image and are cut there")
    return tuple(notes)


def _content(file: Path) -> Mapping[str, Any]:
    content = read_json(file)
    missing = [key for key in _KEYS if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise InputError(f"is not COCO: it has no list of {', '.join(missing)}", file=file)
    for key, needed in (("images", ("id", "file_name")), ("categories", ("id", "name"))):
        for entry in content[key]:
            if not isinstance(entry, dict) or any(name not in entry for name in needed):
                raise InputError(f"every entry of {key!r} needs {' and '.join(needed)}; got {entry}", file=file)
    if not content["images"] or not content["categories"]:
        raise InputError("names no images or no categories", file=file)
    return content


def _annotations(content: Mapping[str, Any], file: Path) -> dict[Any, list[Mapping[str, Any]]]:
    """Annotations by image."""
    by_image: dict[Any, list[Mapping[str, Any]]] = {entry["id"]: [] for entry in content["images"]}
    known = {entry["id"] for entry in content["categories"]}
    for one in content["annotations"]:
        if not isinstance(one, dict) or one.get("image_id") not in by_image:
            raise InputError(f"annotation {_name(one)} belongs to no image of the file", file=file)
        if one.get("category_id") not in known:
            raise InputError(f"annotation {_name(one)} has the unknown category {one.get('category_id')}", file=file)
        by_image[one["image_id"]].append(one)
    return by_image


def _name(annotation: Any) -> str:
    return str(annotation.get("id", "without id")) if isinstance(annotation, dict) else repr(annotation)


def _picture(entry: Mapping[str, Any], file: Path, root: Path) -> Picture:
    name = str(entry["file_name"])
    folders = (file.parent, root, root / "images", root / file.stem, root / "images" / file.stem, *_split_folders(root))
    image = next((folder / name for folder in folders if (folder / name).is_file()), file.parent / name)
    split = entry.get("split") or _split_of(file)
    if split is not None and split not in SPLIT_FOLDERS:
        raise InputError(f"image {name}: split {split!r} is none of train, val, test", file=file)
    lon, lat = entry.get("lon"), entry.get("lat")
    check_position(lon, lat, file=f"{file}: {name}")
    chosen: Split | None = None if split is None else SPLIT_FOLDERS[split]
    unique = image.relative_to(root).as_posix() if image.is_relative_to(root) else name
    return Picture(unique, image, chosen, None, lon, lat)


def _split_folders(root: Path) -> Iterable[Path]:
    return (base / name for name in SPLIT_FOLDERS for base in (root, root / "images"))


def _split_of(file: Path) -> str | None:
    """What the folder or the name of a file says: ``train/x.json``, ``instances_train2017.json``."""
    if file.parent.name in SPLIT_FOLDERS:
        return file.parent.name
    words = "".join(letter if letter.isalpha() else " " for letter in file.stem.lower()).split()
    return next((word for word in words if word in SPLIT_FOLDERS), None)


def _objects(
    annotations: Sequence[Mapping[str, Any]],
    index_of: Mapping[Any, int],
    entry: Mapping[str, Any],
    task: Task,
    file: Path,
) -> tuple[Objects, int]:
    """The objects of an image, and how many polygons had to be repaired."""
    names = [f"annotation {_name(one)} of {entry['file_name']}" for one in annotations]
    label_N = np.array([index_of[one["category_id"]] for one in annotations], np.int64)
    ignore_N = np.array([bool(one.get("iscrowd", 0)) for one in annotations], np.bool_)
    size = (int(entry["height"]), int(entry["width"])) if entry.get("height") and entry.get("width") else None
    if task == "detection":
        shapes: Any = np.array(
            [_corners(one, name, file) for one, name in zip(annotations, names, strict=True)], np.float64
        ).reshape(-1, 4)
        return Objects(file, names, label_N, ignore_N, shapes, size), 0
    pairs = [_polygon(one, name, file) for one, name in zip(annotations, names, strict=True)]
    return Objects(file, names, label_N, ignore_N, [one for one, _ in pairs], size), sum(mended for _, mended in pairs)


def _corners(annotation: Mapping[str, Any], name: str, file: Path) -> list[float]:
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, int | float) for side in box):
        raise InputError(f"{name} needs a bbox [x, y, width, height]; got {box!r}", file=file)
    x, y, width, height = box
    return [x, y, x + width, y + height]


def _polygon(annotation: Mapping[str, Any], name: str, file: Path) -> tuple[Any, bool]:
    """The area of an annotation: its polygons together, each repaired if it crosses itself."""
    rings = annotation.get("segmentation")
    if isinstance(rings, dict):
        raise InputError(f"{name} is run-length encoded; only polygons are read here", file=file, fix="Convert it")
    if not isinstance(rings, list) or not rings or any(len(ring) < 6 or len(ring) % 2 for ring in rings):
        raise InputError(
            f"{name} has no polygon (segmentation of at least three points x, y)", file=file, fix="Or ask for detection"
        )
    geo = shapely()
    parts, mended = [], False
    for ring in rings:
        try:
            polygon = geo.Polygon(np.asarray(ring, float).reshape(-1, 2))
        except ValueError as error:
            raise InputError(f"{name} has a polygon of something else than numbers", file=file) from error
        area, changed = repaired(polygon)
        parts.append(polygon if area is None else area)
        mended |= changed
    return (parts[0] if len(parts) == 1 else geo.union_all(parts)), mended
