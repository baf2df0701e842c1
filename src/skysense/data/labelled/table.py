"""A table of labels: a CSV file with the columns ``file`` and ``label``, beside the images or above them.

A label of several classes is written ``water;trees``. Optional columns: ``split``, ``group``, ``lon``, ``lat``.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.classes import Classes, class_names
from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.example import Task
from skysense.data.labelled.folders import SceneReader
from skysense.data.labelled.imagery import understand
from skysense.data.labelled.pictures import SPLIT_FOLDERS, Picture, lay_out
from skysense.data.places_layout import Split
from skysense.errors import InputError
from skysense.geo import check_position
from skysense.sensors import Sensor

_NEEDED = ("file", "label")
_SEVERAL = ";"


def columns_of(file: Path) -> list[str]:
    """Names of the columns of a table.

    Raises:
        InputError: it is not text.
    """
    rows = _rows(file)
    return rows[0] if rows else []


def is_label_table(file: Path) -> bool:
    """Whether a table has the columns that labels need."""
    try:
        return set(_NEEDED) <= set(columns_of(file))
    except InputError:
        return False


def read_table(
    file: Path,
    *,
    task: Task | None = None,
    classes: Classes | None = None,
    sensor: Sensor | str | None = None,
    stretch: tuple[float, float] | None = None,
) -> LabelledData:
    """A table of labels; options as `skysense.data.labelled.open.open_labelled`.

    Without a task, a ``;`` in any label makes it multi-label.

    Raises:
        InputError: a missing column, a row of another length, a file twice, an unknown split, a position off the Earth,
            an empty label of classification, or a class that was not given.
    """
    rows = _rows(file)
    header = rows[0] if rows else []
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        raise InputError(f"has no column {', '.join(missing)}; its columns are {', '.join(header)}", file=file)
    pictures: dict[str, Picture] = {}
    texts: dict[str, list[str]] = {}
    for number, cells in enumerate(rows[1:], 2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise InputError(f"line {number} has {len(cells)} cells; the header has {len(header)}", file=file)
        row = dict(zip(header, map(str.strip, cells), strict=True))
        picture = _picture(row, file, number)
        if picture.name in pictures:
            raise InputError(f"line {number} names {picture.name} a second time", file=file)
        pictures[picture.name] = picture
        texts[picture.name] = [text.strip() for text in row["label"].split(_SEVERAL) if text.strip()]
    chosen = task or ("multilabel" if any(len(each) > 1 for each in texts.values()) else "classification")
    names = class_names(classes, {name for each in texts.values() for name in each}, file=file)
    labels = {name: _label(each, names, chosen, name, file) for name, each in texts.items()}
    imagery, notes = understand((one.file for one in pictures.values()), sensor=sensor, stretch=stretch)
    items, parts, _ = lay_out(pictures.values(), imagery, None)
    return LabelledData(file.stem, chosen, names, items, SceneReader(imagery, parts, labels), notes=notes)


def _rows(file: Path) -> list[list[str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets begin a table with a mark
            return [[cell.strip() for cell in row] for row in csv.reader(stream)]
    except OSError as error:
        raise InputError("could not be read", file=file) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            "is not a table of UTF-8 text", file=file, fix="Save it as CSV, separated by commas"
        ) from error


def _picture(row: dict[str, str], file: Path, number: int) -> Picture:
    split = row.get("split") or None
    if split is not None and split not in SPLIT_FOLDERS:
        raise InputError(f"line {number}: split {split!r} is none of {', '.join(get_args(Split))}", file=file)
    try:
        lon, lat = (float(row[key]) if row.get(key) else None for key in ("lon", "lat"))
        check_position(lon, lat)
    except ValueError as error:
        raise InputError(f"line {number}: lon and lat must be numbers", file=file) from error
    except InputError as error:
        raise InputError(f"line {number}: {error.what}", file=file, fix=error.fix) from None
    chosen = None if split is None else SPLIT_FOLDERS[split]
    return Picture(row["file"], file.parent / row["file"], chosen, row.get("group") or None, lon, lat)


def _label(texts: list[str], names: tuple[str, ...], task: Task, picture: str, file: Path) -> int | NDArray[np.bool_]:
    if task == "classification":
        if len(texts) != 1:
            raise InputError(f"{picture} has {len(texts)} labels; classification needs one", file=file)
        return names.index(texts[0])
    return np.isin(names, texts)
