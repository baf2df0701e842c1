"""Checking a folder of places: every rule of docs/places.md, every place, no exception for one that is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skysense.data.places_boxes import read_boxes_file
from skysense.data.places_layout import (
    DATASET_FILE,
    PLACE_FILE,
    REPLACED,
    UNFINISHED,
    Legend,
    Place,
    place_folders,
    read_dataset,
    read_place,
)
from skysense.data.places_read import opened_geotiff, opened_netcdf, read_cube, read_hr, read_hr_date, read_mask_pixels
from skysense.data.places_rules import check_boxes, check_footprint, check_later, check_mask
from skysense.errors import InputError
from skysense.sensors import Modality


@dataclass(frozen=True)
class Problem:
    """One rule that one file breaks.

    Attributes:
        place: name of the place, empty for the folder itself.
        file: name of the file, relative to the place.
        rule: what is wrong, and what to do about it where that is known.
    """

    place: str
    file: str
    rule: str


@dataclass(frozen=True)
class Report:
    """What `check` found.

    Attributes:
        places: how many places were looked at.
        ok: how many of them have no problem.
        problems: in the order of the places.
    """

    places: int
    ok: int
    problems: list[Problem]


def check(root: str | Path, *, progress: Callable[[int, int], None] | None = None) -> Report:
    """Look at every place of a folder; a bad one is listed and never ends the search.

    Args:
        root: the folder.
        progress: called with (places done, places in all) after every place.

    Raises:
        InputError: only if ``root`` is no folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError("is not a folder", file=root)
    problems: list[Problem] = []
    legends: Mapping[str, Legend] | None = None
    try:
        legends = read_dataset(root).legends
    except InputError as error:
        problems.append(Problem("", DATASET_FILE, _rule(error)))
    for entry in sorted(root.iterdir()):
        if entry.name.startswith(".") and entry.suffix in (UNFINISHED, REPLACED):
            problems.append(Problem("", entry.name, "is left from an interrupted write. Remove it"))
    folders = place_folders(root)
    ok = 0
    for done, folder in enumerate(folders, 1):
        found = list(check_place(folder, legends))
        problems.extend(found)
        ok += not found
        if progress is not None:
            progress(done, len(folders))
    return Report(places=len(folders), ok=ok, problems=problems)


def check_place(folder: Path, legends: Mapping[str, Legend] | None) -> Iterator[Problem]:
    """Every problem of one place; its labels are not looked at if the legends (None) could not be read."""
    try:
        place = read_place(folder, legends)
    except InputError as error:
        yield Problem(folder.name, PLACE_FILE, _rule(error))
        return
    if place.footprint is not None:
        try:
            check_footprint(place.footprint, place.cells, place.lon, place.lat, file=folder / PLACE_FILE)
        except InputError as error:
            yield Problem(place.name, PLACE_FILE, _rule(error))
    for modality in place.modalities:
        file = place.file(modality)
        try:
            _check_imagery(place, modality)
        except InputError as error:
            yield Problem(place.name, file.name, _rule(error))
    if place.after:
        try:
            _check_after(place)
        except InputError as error:
            yield Problem(place.name, place.after_file.name, _rule(error))
    yield from _check_labels(place, legends or {})


def _check_labels(place: Place, legends: Mapping[str, Legend]) -> Iterator[Problem]:
    """Problems of the labels that are files."""
    for label in place.masks:
        file = place.mask_file(label)
        try:
            mask = read_mask_pixels(file, place.cells, None)
            check_mask(mask, label, legends[label], place.cells, file=file)
            with opened_geotiff(file) as tif:
                _check_ground(place, tif.bounds, tif.crs is not None, file)
        except InputError as error:
            yield Problem(place.name, file.name, _rule(error))
    for label in place.boxes:
        file = place.boxes_file(label)
        try:
            check_boxes(read_boxes_file(file, label, legends[label]), label, legends[label], place.cells, file=file)
        except InputError as error:
            yield Problem(place.name, file.name, _rule(error))


def _rule(error: InputError) -> str:
    return error.what if error.fix is None else f"{error.what}. {error.fix}"


def _check_imagery(place: Place, modality: Modality) -> None:
    file = place.file(modality)
    if modality == "hr":
        _check_image(place, file)
        return
    series = read_cube(file, modality, place.cells, None, None)
    with opened_netcdf(file) as nc:
        _check_ground(place, _cube_bounds(nc, place, file), "crs" in nc.variables, file)
    series.check(str(file))


def _check_image(place: Place, file: Path) -> None:
    series = read_hr(file, place.cells, None)
    with opened_geotiff(file) as tif:
        _check_ground(place, tif.bounds, tif.crs is not None, file)
    series.check(str(file))


def _check_after(place: Place) -> None:
    _check_image(place, place.after_file)
    first = read_hr_date(place.file("hr")) if "hr" in place.modalities else None
    check_later(first, read_hr_date(place.after_file), file=place.after_file)


def _cube_bounds(file: Any, place: Place, path: Path) -> tuple[float, float, float, float]:
    edges = {}
    for name, count in (("x", place.cells[1]), ("y", place.cells[0])):
        centres = file.variables.get(name)
        if centres is None or centres.shape != (count,):
            raise InputError(f"holds no coordinate {name!r} of {count} pixel centres", file=path)
        first, last = float(centres[0]), float(centres[-1])
        half = (last - first) / (count - 1) / 2 if count > 1 else np.nan
        edges[name] = (first - half, last + half)
    return edges["x"][0], edges["y"][1], edges["x"][1], edges["y"][0]


def _check_ground(place: Place, bounds: tuple[float, ...], has_crs: bool, file: Path) -> None:
    """A file must lie where its place says: within half a cell, with a CRS if and only if the place has a footprint."""
    if has_crs != (place.footprint is not None):
        one, other = ("has a", "has no") if has_crs else ("has no", "has a")
        raise InputError(f"{one} coordinate reference system, but {PLACE_FILE} {other} footprint", file=file)
    left, bottom, right, top = place.bounds
    half = np.array([(right - left) / place.cells[1], (top - bottom) / place.cells[0]] * 2) / 2
    away = np.abs(np.array(bounds) - np.array(place.bounds))
    if (away > half).any():
        raise InputError(f"covers {_plain(bounds)}, but {PLACE_FILE} says {_plain(place.bounds)}", file=file)


def _plain(bounds: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{side:.10g}" for side in bounds) + ")"
