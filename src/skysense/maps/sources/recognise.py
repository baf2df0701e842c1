"""Which sensor raster files are of, and what each of them holds of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from skysense.data.geotiff import choose_sensor, known_sensor
from skysense.errors import InputError
from skysense.maps.grid import Grid
from skysense.maps.sources.files import FileStack, frames_of
from skysense.maps.sources.named import Entry
from skysense.maps.sources.raster import Header, Raster, as_raster, read_header
from skysense.sensors import Modality, Sensor

SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt")
"""Endings of raster files that a folder is searched for, whatever their case."""


def rasters_in(folder: Path) -> list[Path]:
    """Raster files in a folder and those below it, in the order of their names.

    Raises:
        InputError: there is none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not _hidden(path, folder))
    if not found:
        raise InputError(f"holds no raster ({', '.join(SUFFIXES)})", file=folder, fix="Name a folder of GeoTIFFs")
    return found


def file_stack(paths: Sequence[Path], root: Path, said: Entry, reads: Mapping[Modality, Sensor]) -> FileStack:
    """Understand raster files of one sensor: one, or a series by date.

    Args:
        paths: in the order in which they show where they overlap.
        root: what was named: the folder, or the file.
        said: sensor, unit and date, where the files do not say them; see `skysense.data.geotiff.choose_sensor`.
        reads: sensors that the model reads; the band names may decide for one of them.

    Raises:
        InputError: a file that cannot be read or lies nowhere, bands of no sensor or of one the model does not read, a
            unit that is missing or another one, dates that are missing or none.
    """
    folder = root if root.is_dir() and all(path.is_relative_to(root) for path in paths) else None
    headers = [read_header(path, folder) for path in paths]
    chosen = _chosen(headers, reads, said.sensor)
    wanted = reads.get(chosen.modality)
    if wanted is None:
        raise InputError(f"is {chosen.name}; this model reads {', '.join(reads) or 'nothing'}", file=paths[0])
    rasters: list[Raster] = []
    notes: list[str] = []
    foreign: list[Path] = []
    grids: dict[Grid, Grid] = {}
    for header in headers:
        header = replace(header, grid=grids.setdefault(header.grid, header.grid))  # equal ones as one are pickled once
        bands = _held(header, wanted, alone=len(headers) == 1)
        if not bands:
            foreign.append(header.path)
            continue
        raster, told = as_raster(header, wanted, bands, unit=said.unit, date=said.date)
        rasters.append(raster)
        notes += told if len(headers) == 1 else told[1:]
    if not rasters:
        wanted.select(np.arange(len(headers[0].names)), headers[0].names, axis=0, file=paths[0])  # says what is missing
    frames, left_out = frames_of(rasters, wanted)
    if len(headers) > 1:
        notes.append(_summary(wanted, rasters, [frame.date for frame in frames]))
    if foreign:
        notes.append(f"{len(foreign)} files hold no band of {wanted.name}, e.g. {foreign[0].name}")
    return FileStack(str(root), wanted, tuple(frames), root, tuple(dict.fromkeys((*notes, *left_out))))


def _summary(sensor: Sensor, rasters: Sequence[Raster], dates: Sequence[np.datetime64]) -> str:
    known = [day for day in dates if not np.isnat(day)]
    when = f"{known[0]} .. {known[-1]}" if len(known) > 1 else str(known[0]) if known else "without a date"
    return f"{sensor.name}: {len(rasters)} files, {len(dates)} {'date' if len(dates) == 1 else 'dates'}, {when}"


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _chosen(headers: Sequence[Header], reads: Mapping[Modality, Sensor], sensor: Sensor | str | None) -> Sensor:
    """The sensor that was asked for, that a file declares, or that the names of all bands together suit."""
    first, among = headers[0], tuple(reads.values())
    wanted = sensor if sensor is not None else first.sensor
    if wanted is not None or len(headers) == 1:
        return choose_sensor(wanted, list(first.names), among, first.path)
    names = [name for header in headers for name in header.names]
    fitting = [one for one in among if set(one.bands) <= set(one.plain_names(names))]
    if len(fitting) == 1:
        return known_sensor(fitting[0], first.path)
    return choose_sensor(None, list(dict.fromkeys(names)), among, first.path)


def _held(header: Header, sensor: Sensor, *, alone: bool) -> tuple[str, ...]:
    """The bands of a sensor in a file; a file on its own has to have all of them."""
    plain = sensor.plain_names(header.names)
    if alone or any(plain.count(band) > 1 for band in sensor.bands):
        sensor.select(np.arange(len(plain)), header.names, axis=0, file=header.path)
    return tuple(band for band in sensor.bands if band in plain)
