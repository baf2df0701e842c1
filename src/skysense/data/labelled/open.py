"""The one way in: a folder (or a file) with labels of any format this package reads; docs/labelled_data.md shows them.

data = open_labelled("my_data")
example = data.read(0)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from skysense.data.labelled import coco, dota, folders, from_places, masks, pairs, scenes, table
from skysense.data.labelled.classes import Classes
from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.example import TASKS, Task
from skysense.data.labelled.pictures import check_tile, folder_pairs
from skysense.data.places_layout import DATASET_FILE, FORMAT
from skysense.errors import InputError
from skysense.files import read_json
from skysense.sensors import Sensor

Format = Literal["places", "masks", "dota", "coco", "pairs", "vector", "table", "folders"]


@dataclass(frozen=True)
class _Known:
    """A format: what it looks like, whether a folder is of it, its tasks (the first by default), its options."""

    looks: str
    found: Callable[[Path], bool]
    tasks: tuple[Task, ...]
    options: tuple[str, ...]


_IMAGES = ("sensor", "stretch")
_FORMATS: Mapping[Format, _Known] = {
    "places": _Known(
        f"a folder of places ({DATASET_FILE})",
        lambda root: _is_places(root),
        TASKS,
        ("label", "classes", "sensor"),
    ),
    "masks": _Known(
        "images/ and masks/ with the same stems",
        lambda root: any(True for _ in folder_pairs(root, masks.FOLDERS)),
        ("segmentation",),
        ("classes", "ignore", "tile", *_IMAGES),
    ),
    "dota": _Known(
        "images/ and labelTxt/*.txt",
        lambda root: any(True for _ in folder_pairs(root, dota.FOLDERS)),
        ("oriented-detection", "detection"),
        ("classes", "tile", *_IMAGES),
    ),
    "coco": _Known(
        "a JSON file with images, annotations and categories",
        lambda root: bool(coco.coco_files(root)),
        ("detection", "oriented-detection", "segmentation"),
        ("classes", "background", "tile", *_IMAGES),
    ),
    "pairs": _Known(
        "before/, after/ and change/ (or A/, B/ and label/)",
        lambda root: bool(pairs.pair_folders(root)),
        ("change", "semantic-change"),
        ("classes", "ignore", "tile", *_IMAGES),
    ),
    "vector": _Known(
        "GeoTIFFs with .geojson or .gpkg",
        lambda root: bool(scenes.scene_files(root) and scenes.vector_files(root)),
        ("segmentation", "detection", "oriented-detection"),
        ("label", "classes", "background", "tile", *_IMAGES),
    ),
    "table": _Known(
        "one .csv with the columns file and label",
        lambda root: len(_tables(root)) == 1,
        ("classification", "multilabel"),
        ("classes", *_IMAGES),
    ),
    "folders": _Known(
        "a folder of images per class (class_name/a.png, or train/class_name/a.png)",
        lambda root: bool(folders.class_folders(root)) and not _foreign(root),
        ("classification",),
        ("classes", *_IMAGES),
    ),
}
_DEFAULTS: Mapping[str, Any] = {"background": "background"}


def open_labelled(
    source: str | Path,
    *,
    task: Task | None = None,
    format: Format | None = None,
    label: str | None = None,
    classes: Classes | None = None,
    ignore: int | None = None,
    background: str | None = "background",
    sensor: Sensor | str | None = None,
    stretch: tuple[float, float] | None = None,
    tile: int | None = None,
) -> LabelledData:
    """Open imagery with labels; no pixel is read but to find the classes of masks that nobody named.

    Args:
        source: a folder; of COCO and tables also the JSON or CSV file itself.
        task: what to learn; by default what the format is mostly used for.
        format: only needed where a folder looks like several.
        label: which label of places, or which attribute of the polygons of a vector file holds the class.
        classes: names in the order of their index; for masks also names by value, ``{1: "water", 2: "trees"}``. By
            default a file ``classes.json`` or ``classes.txt`` in the folder, or what occurs; of places, those of the
            legend, which may be given another order or others beside them.
        ignore: a value of masks that means "no label"; 255 does, unless it stands for a class.
        background: class of the pixels outside of all polygons when a mask is made of them; None: they have no label.
        sensor: what the images are, by name, which also declares their unit; by default what their bands say. Of
            places, the only sensor to read; by default all of them.
        stretch: ``(low, high)``: values that become 0 and 255, for high-resolution imagery of more than 8 bits.
        tile: side in pixels, a multiple of 32, of the tiles that larger images are cut into. By default images are
            taken whole; only GeoTIFFs with a vector file are cut (512 px, Sentinel 128 px).

    Raises:
        InputError: the folder looks like no format or like several, lacks something its format needs, or an option does
            not belong to its format.
    """
    source = Path(source)
    if not source.exists():
        raise InputError("does not exist", file=source)
    if task is not None and task not in TASKS:
        raise InputError(f"task {task!r} is none of {', '.join(TASKS)}")
    check_tile(tile)
    chosen = format or recognise(source, task)
    if chosen not in _FORMATS:
        raise InputError(f"format {chosen!r} is none of {', '.join(get_args(Format))}")
    known = _FORMATS[chosen]
    if task is not None and task not in known.tasks:
        raise InputError(f"is {known.looks}, which serves {', '.join(known.tasks)}; not {task}", file=source)
    options = dict(
        label=label, classes=classes, ignore=ignore, background=background, sensor=sensor, stretch=stretch, tile=tile
    )
    unused = [key for key, value in options.items() if value != _DEFAULTS.get(key) and key not in known.options]
    if unused:
        raise InputError(f"is {known.looks}; it does not take {', '.join(unused)}", file=source)
    data = _read(chosen, source, task, {key: options[key] for key in known.options})
    if task is not None and data.task != task:
        raise InputError(f"holds labels for {data.task}, not for {task}", file=source)
    return data


def _read(chosen: Format, source: Path, task: Task | None, options: Mapping[str, Any]) -> LabelledData:
    if chosen == "coco":
        files = [source] if source.is_file() else coco.coco_files(source)
        if not files:
            raise InputError(f"holds no {_FORMATS[chosen].looks}", file=source)
        root = source.parent if source.is_file() else source
        return coco.read_coco(files, root, task=task or _FORMATS[chosen].tasks[0], **options)
    if chosen == "table":
        tables = [source] if source.is_file() else _tables(source)
        if len(tables) != 1:
            raise InputError(f"needs {_FORMATS[chosen].looks}; it holds {len(tables)}", file=source)
        return table.read_table(tables[0], task=task, **options)
    if not source.is_dir():
        raise InputError("is not a folder", file=source)
    readers: Mapping[Format, Callable[..., LabelledData]] = {
        "places": partial(from_places.read_places, task=task),
        "masks": masks.read_masks,
        "dota": partial(dota.read_dota, task=task or _FORMATS["dota"].tasks[0]),
        "pairs": partial(pairs.read_pairs, task=task),
        "vector": partial(scenes.read_scenes, task=task or _FORMATS["vector"].tasks[0]),
        "folders": folders.read_folders,
    }
    return readers[chosen](source, **options)


def recognise(source: Path, task: Task | None = None) -> Format:
    """The only format that a folder or file looks like, among those that serve the task.

    Raises:
        InputError: it looks like none, or like several.
    """
    if source.is_file():
        by_suffix: Mapping[str, Format] = {".json": "coco", ".csv": "table"}
        if source.suffix.lower() not in by_suffix:
            raise InputError("is neither a folder nor a .json (COCO) or .csv file", file=source)
        return by_suffix[source.suffix.lower()]
    fitting = [name for name, known in _FORMATS.items() if known.found(source)]
    if len(fitting) > 1 and "folders" in fitting:
        fitting.remove("folders")  # the folders hold the images of another format
    serving = [name for name in fitting if task is None or task in _FORMATS[name].tasks]
    if len(serving) == 1:
        return serving[0]
    if serving:
        looks = "; ".join(f"{name}: {_FORMATS[name].looks}" for name in serving)
        fix = f"Name one: option format (--labels.format {serving[0]}), or the task"
        raise InputError(f"looks like several formats ({looks})", file=source, fix=fix)
    if fitting:
        looks = "; ".join(f"{_FORMATS[name].looks}: {', '.join(_FORMATS[name].tasks)}" for name in fitting)
        raise InputError(f"holds no labels for {task}; it holds {looks}", file=source)
    wanted = "; ".join(known.looks for known in _FORMATS.values())
    inside = ", ".join(sorted(entry.name for entry in source.iterdir())[:12]) or "nothing"
    raise InputError(f"holds no labels of a known format. Looked for: {wanted}. Found: {inside}", file=source)


def _is_places(root: Path) -> bool:
    try:
        content = read_json(root / DATASET_FILE)
    except InputError:
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def _tables(root: Path) -> list[Path]:
    return [file for file in sorted(root.glob("*.csv")) if table.is_label_table(file)]


def _foreign(root: Path) -> bool:
    """Whether folders have names that stand for something else than a class."""
    reserved = {*masks.FOLDERS, *dota.FOLDERS, *pairs.CLASS_MASKS, "annotations", "labels"}
    reserved |= {name for names in pairs.NAMES for name in names if len(name) > 1}
    return any(entry.name in reserved for entry, _ in folders.class_folders(root))
