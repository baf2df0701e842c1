"""What the folder of co-located places is called, holds and means; see docs/places.md.

One folder is one data set: ``dataset.json`` and one folder per place. This module knows the two JSON files; the imagery
is read by `skysense.data.places_read` and written by `skysense.data.places_write`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from skysense.errors import InputError
from skysense.files import read_json
from skysense.geo import CELL_HR_PX, CELL_METRES, Footprint, Window, check_position
from skysense.sensors import MODALITIES, Modality

FORMAT = "skysense-places"
VERSION = 1
DATASET_FILE = "dataset.json"
PLACE_FILE = "place.json"
UNFINISHED, REPLACED = ".unfinished", ".replaced"
"""Endings of the hidden folders that a killed writer may leave behind."""
IMAGERY: dict[Modality, str] = {"hr": "hr.tif", "s2": "s2.nc", "s1": "s1.nc"}
AFTER_FILE = "hr_after.tif"
"""A second high-resolution image of a place, of a later date."""

Split = Literal["train", "val", "test"]
Kind = Literal["scene", "multilabel", "mask", "boxes"]
_ENDINGS: dict[Kind, str] = {"mask": ".tif", "boxes": ".json"}

_NAME = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


def check_name(name: str, what: str) -> None:
    """Refuse a place or label name that cannot be a file name everywhere.

    Raises:
        InputError: an empty name, a leading dot, or other characters than letters, digits, ``_``, ``-`` and ``.``.
    """
    if not name or name.startswith(".") or not set(name) <= _NAME:
        raise InputError(f"{what} {name!r} must be made of letters, digits, '_', '-' and '.', and not begin with a dot")


@dataclass(frozen=True)
class Legend:
    """The classes of one label.

    Attributes:
        kind: ``scene`` (one class per place), ``multilabel`` (any number of classes per place), ``mask`` (one class
            per pixel; the pixel value is the index into ``classes``) or ``boxes`` (oriented boxes, each with a class).
        classes: names; of a mask, in the order of its values.
        ignore: mask value that means "no label"; it may or may not be one of the classes.
        after: whether the label speaks of the later image, or of what changed until then: it cannot be read from the
            imagery of the first date.

    Raises:
        InputError: an unknown kind, no or doubled class names, or an ignore value that a mask cannot hold.
    """

    kind: Kind
    classes: tuple[str, ...]
    ignore: int | None = None
    after: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"legend kind {self.kind!r} is none of {', '.join(get_args(Kind))}")
        if not self.classes or len(set(self.classes)) != len(self.classes) or not all(self.classes):
            raise InputError(f"a legend needs class names, each once; got {list(self.classes)}")
        if self.kind == "mask" and len(self.classes) > 256:
            raise InputError(f"a mask is 8-bit and holds at most 256 classes; got {len(self.classes)}")
        if self.ignore is not None and (self.kind != "mask" or not 0 <= self.ignore <= 255):
            raise InputError(f"ignore={self.ignore} must be a value 0 .. 255 of a mask")

    def check(self, label: str, value: Any, *, file: Path | None = None) -> None:
        """Refuse a place's value of a scene or multilabel legend that is not one of its classes.

        Raises:
            InputError: another type than the kind asks for, or a class that the legend does not name.
        """
        if self.kind in _ENDINGS:
            article = "a mask" if self.kind == "mask" else "boxes"
            stored = f"{label}{_ENDINGS[self.kind]}"
            raise InputError(f"label {label!r} is {article}: store it as {stored}, not in the labels", file=file)
        names = [value] if self.kind == "scene" else value
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            wanted = "a class name" if self.kind == "scene" else "a list of class names"
            raise InputError(f"label {label!r} must be {wanted}; got {value!r}", file=file)
        unknown = [name for name in names if name not in self.classes]
        if unknown:
            raise InputError(
                f"label {label!r} names {', '.join(map(repr, unknown))}, which its legend does not know",
                file=file,
                fix=f"Known: {', '.join(self.classes)}",
            )


@dataclass(frozen=True)
class Dataset:
    """What ``dataset.json`` says.

    Attributes:
        title: a name for people.
        simulated: whether the pixels were made up.
        source: where they come from.
        licence: under which terms.
        legends: of every label that places may carry.
    """

    title: str
    simulated: bool
    source: str
    licence: str
    legends: Mapping[str, Legend]


@dataclass(frozen=True)
class Place:
    """What ``place.json`` and the names of the files beside it say; no pixel is read.

    Attributes:
        folder: of the place.
        name: of the folder.
        lon, lat: WGS 84 degrees of the centre, or None.
        cells: height and width in cells of the lattice (10 m).
        footprint: bounds and CRS, or None without a position.
        labels: scene and multilabel labels, ``{label: class name or list of class names}``.
        split: ``train``, ``val``, ``test`` or None.
        attributes: anything else that is known.
        modalities: whose file is there.
        masks: labels whose mask is there.
        boxes: labels whose boxes are there.
        after: whether there is a second high-resolution image, of a later date.
    """

    folder: Path
    name: str
    lon: float | None
    lat: float | None
    cells: tuple[int, int]
    footprint: Footprint | None
    labels: Mapping[str, Any]
    split: Split | None
    attributes: Mapping[str, Any]
    modalities: tuple[Modality, ...]
    masks: tuple[str, ...]
    boxes: tuple[str, ...] = ()
    after: bool = False

    def file(self, modality: Modality) -> Path:
        """The file of a sensor."""
        return self.folder / IMAGERY[modality]

    def mask_file(self, label: str) -> Path:
        """The file of a mask label."""
        return self.folder / f"{label}.tif"

    def boxes_file(self, label: str) -> Path:
        """The file of a boxes label."""
        return self.folder / f"{label}.json"

    @property
    def after_file(self) -> Path:
        """The file of the second high-resolution image."""
        return self.folder / AFTER_FILE

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of the files: the footprint's, or metres from the lower left corner without one."""
        height, width = self.cells
        return self.footprint.bounds if self.footprint else (0.0, 0.0, width * CELL_METRES, height * CELL_METRES)

    def ground(self, window: Window | None) -> Footprint | None:
        """The footprint of a window (in cells), or of all of the place."""
        if self.footprint is None or window is None:
            return self.footprint
        left, bottom, right, top = self.footprint.bounds
        step_x, step_y = (right - left) / self.cells[1], (top - bottom) / self.cells[0]
        west, north = left + window.col * step_x, top - window.row * step_y
        bounds = (west, north - window.height * step_y, west + window.width * step_x, north)
        return Footprint(bounds, self.footprint.crs)

    def check_window(self, window: Window) -> None:
        """Refuse a window (in cells) that does not lie on the place.

        Raises:
            InputError: an empty window or one that leaves the grid.
        """
        height, width = self.cells
        inside = window.row >= 0 and window.col >= 0 and window.height > 0 and window.width > 0
        if not inside or window.row + window.height > height or window.col + window.width > width:
            raise InputError(
                f"window of {window.height} x {window.width} cells at row {window.row}, column {window.col} "
                f"leaves the place of {height} x {width} cells",
                file=self.folder,
            )


def grid_factor(shape: tuple[int, ...], cells: tuple[int, int]) -> int | None:
    """Pixels per cell of a mask: 32 on the high-resolution grid, 1 on the Sentinel grid, None on neither."""
    for factor in (1, CELL_HR_PX):
        if shape == (cells[0] * factor, cells[1] * factor):
            return factor
    return None


def dataset_to_json(dataset: Dataset) -> dict[str, Any]:
    """The content of ``dataset.json``."""
    legends = {label: legend_to_json(legend) for label, legend in dataset.legends.items()}
    head = {"format": FORMAT, "version": VERSION, "title": dataset.title, "simulated": dataset.simulated}
    return {**head, "source": dataset.source, "licence": dataset.licence, "legends": legends}


def legend_to_json(legend: Legend) -> dict[str, Any]:
    """One legend as ``dataset.json`` holds it."""
    content = {"kind": legend.kind, "classes": list(legend.classes), "ignore": legend.ignore}
    return content | {"after": True} if legend.after else content


def read_dataset(root: Path) -> Dataset:
    """Read ``dataset.json``.

    Raises:
        InputError: missing, truncated, another format, a newer version, or a legend that contradicts itself.
    """
    file = root / DATASET_FILE
    if not file.is_file():
        raise InputError(f"is not a folder of places: it holds no {DATASET_FILE}", file=root, fix="See docs/places.md")
    content = _mapping(read_json(file), file)
    if content.get("format") != FORMAT:
        raise InputError(f"format is {content.get('format')!r}, not {FORMAT!r}", file=file)
    _check_version(content, file)
    if not isinstance(content.get("simulated"), bool):
        raise InputError("must say whether it is simulated (true or false)", file=file)
    try:
        legends = {
            label: parse_legend(label, legend) for label, legend in _mapping(content.get("legends", {}), file).items()
        }
    except InputError as error:
        raise InputError(error.what, file=file, fix=error.fix) from None
    text = {key: str(content.get(key) or "") for key in ("title", "source", "licence")}
    return Dataset(simulated=content["simulated"], legends=legends, **text)


def parse_legend(label: str, content: Any) -> Legend:
    """One legend out of its JSON.

    Raises:
        InputError: a name that cannot be a file name, missing keys, or a legend that contradicts itself.
    """
    check_name(label, "label")
    if label in MODALITIES:
        raise InputError(f"label {label!r} is taken: it is the name of a sensor's file")
    if not isinstance(content, Mapping) or not isinstance(content.get("classes"), list | tuple):
        raise InputError(f"legend {label!r} needs 'kind' and a list of 'classes'")
    after = content.get("after", False)
    if not isinstance(after, bool):
        raise InputError(f"legend {label!r}: after must be true or false; got {after!r}")
    legend = Legend(
        kind=content.get("kind", ""),
        classes=tuple(map(str, content["classes"])),
        ignore=content.get("ignore"),
        after=after,
    )
    if f"{label}{_ENDINGS.get(legend.kind, '')}" in (AFTER_FILE, PLACE_FILE):
        raise InputError(f"label {label!r} is taken: its file would be one that every place may have")
    return legend


def place_folders(root: Path) -> list[Path]:
    """Folders of the places, sorted by name; a name with a leading dot is not one (an interrupted write)."""
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def place_to_json(place: Place) -> dict[str, Any]:
    """The content of ``place.json``."""
    footprint = {"bounds": list(place.footprint.bounds), "crs": place.footprint.crs} if place.footprint else None
    return {
        "version": VERSION,
        "name": place.name,
        "lon": place.lon,
        "lat": place.lat,
        "cells": list(place.cells),
        "footprint": footprint,
        "labels": {label: value if isinstance(value, str) else list(value) for label, value in place.labels.items()},
        "split": place.split,
        "attributes": dict(place.attributes),
    }


def read_place(folder: Path, legends: Mapping[str, Legend] | None) -> Place:
    """Read ``place.json`` and see which files lie beside it; labels are not looked at without legends.

    Raises:
        InputError: missing, truncated or self-contradicting JSON, a position off the Earth, a label that the legends do
            not know, or no imagery.
    """
    file = folder / PLACE_FILE
    content = _mapping(read_json(file), file)
    _check_version(content, file)
    if content.get("name", folder.name) != folder.name:
        raise InputError(f"name {content['name']!r} differs from the folder's", file=file)
    lon, lat = _number(content, "lon", file), _number(content, "lat", file)
    check_position(lon, lat, file=str(file))
    split = content.get("split")
    if split is not None and split not in get_args(Split):
        raise InputError(f"split {split!r} is none of {', '.join(get_args(Split))} or null", file=file)
    labels = _mapping(content.get("labels") or {}, file)
    if legends is not None:
        _check_labels(labels, legends, file)
    names = {entry.name for entry in folder.iterdir()}
    there = {
        label: legend.kind
        for label, legend in (legends or {}).items()
        if legend.kind in _ENDINGS and f"{label}{_ENDINGS[legend.kind]}" in names
    }
    place = Place(
        folder=folder,
        name=folder.name,
        lon=lon,
        lat=lat,
        cells=_cells(content, file),
        footprint=_footprint(content.get("footprint"), file),
        labels=labels,
        split=split,
        attributes=_mapping(content.get("attributes") or {}, file),
        modalities=tuple(modality for modality in MODALITIES if IMAGERY[modality] in names),
        masks=tuple(label for label, kind in there.items() if kind == "mask"),
        boxes=tuple(label for label, kind in there.items() if kind == "boxes"),
        after=AFTER_FILE in names,
    )
    if not place.modalities:
        raise InputError(f"holds no imagery: none of {', '.join(IMAGERY.values())}", file=folder)
    return place


def _check_labels(labels: Mapping[str, Any], legends: Mapping[str, Legend], file: Path) -> None:
    for label, value in labels.items():
        if label not in legends:
            raise InputError(f"label {label!r} has no legend in {DATASET_FILE}", file=file)
        legends[label].check(label, value, file=file)


def _mapping(content: Any, file: Path) -> Mapping[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"must be a JSON object where it holds {str(content)[:40]!r}", file=file)
    return content


def _check_version(content: Mapping[str, Any], file: Path) -> None:
    if content.get("version") != VERSION:
        raise InputError(f"is version {content.get('version')!r}; this program reads version {VERSION}", file=file)


def _number(content: Mapping[str, Any], key: str, file: Path) -> float | None:
    value = content.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{key} must be a number or null; got {value!r}", file=file)
    return float(value)


def _cells(content: Mapping[str, Any], file: Path) -> tuple[int, int]:
    cells = content.get("cells")
    if not isinstance(cells, list) or len(cells) != 2 or not all(type(side) is int and side > 0 for side in cells):
        raise InputError(f"cells must be [height, width] in cells of 10 m; got {cells!r}", file=file)
    return cells[0], cells[1]


def _footprint(content: Any, file: Path) -> Footprint | None:
    if content is None:
        return None
    content = _mapping(content, file)
    bounds, crs = content.get("bounds"), content.get("crs")
    numbers = isinstance(bounds, list) and len(bounds) == 4 and all(type(side) in (int, float) for side in bounds)
    if not numbers or not isinstance(crs, str) or not (bounds[0] < bounds[2] and bounds[1] < bounds[3]):
        raise InputError("footprint must hold bounds [left, bottom, right, top] and a crs", file=file)
    return Footprint((float(bounds[0]), float(bounds[1]), float(bounds[2]), float(bounds[3])), crs)
