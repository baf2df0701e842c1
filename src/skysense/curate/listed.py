"""Positions that a person lists: a CSV file with the columns lon, lat and perhaps name, or points in GeoJSON.

Letters: N positions.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.curate.geojson import SUFFIXES, read_features
from skysense.curate.grid import grid_at
from skysense.curate.position import Position, name_at
from skysense.curate.split import VALIDATION_SHARE, split_of
from skysense.data.places_layout import check_name
from skysense.errors import InputError
from skysense.geo import check_position, region_cells

_COLUMNS = {"lon": "lon", "longitude": "lon", "lat": "lat", "latitude": "lat", "name": "name"}


@dataclass(frozen=True)
class Listed:
    """One entry of a list.

    Attributes:
        where: words that find it in its file, e.g. ``line 3``.
        lon, lat: WGS 84 degrees.
        name: as given, or None.
    """

    where: str
    lon: float
    lat: float
    name: str | None


def read_listed(file: Path) -> list[Listed]:
    """The positions of a file, in its order.

    Raises:
        InputError: another format, no column lon or lat, something that is no number or no position on the Earth (the
            message names the line or feature), or no position at all.
    """
    suffix = file.suffix.lower()
    if suffix != ".csv" and suffix not in SUFFIXES:
        raise InputError("is no list of positions", file=file, fix="Give a CSV with lon and lat, or points in GeoJSON")
    entries = list(_of_table(file) if suffix == ".csv" else _of_points(file))
    if not entries:
        raise InputError("holds no position", file=file)
    for entry in entries:
        try:
            check_position(entry.lon, entry.lat)
        except InputError as error:
            raise InputError(f"{entry.where}: {error.what}", file=file, fix=error.fix) from None
    return entries


def listed_positions(file: Path, cells: int, *, validation: float = VALIDATION_SHARE) -> list[Position]:
    """The places of a list: sorted by region cell, in the order of the file within a cell, numbered from 0.

    A place without a name is called by its position.

    Args:
        file: see `read_listed`.
        cells: of one side of a place. Its region is that of the middle of its ground, a few metres off its position.
        validation: share of cells that are for validation.

    Raises:
        InputError: as `read_listed`, or a name that cannot be a file name or occurs twice; two places without a name
            are at one position when their names would be the same.
    """
    entries = read_listed(file)
    seen: dict[str, str] = {}
    names = []
    for entry in entries:
        name = entry.name or name_at(entry.lon, entry.lat)
        try:
            check_name(name, "name")
        except InputError as error:
            raise InputError(f"{entry.where}: {error.what}", file=file) from None
        if name in seen:
            what = f"the name {name!r}" if entry.name else f"the position {name}"
            raise InputError(f"{entry.where} has {what} of {seen[name]}", file=file, fix="Remove or rename one of them")
        seen[name] = entry.where
        names.append(name)
    lonlat_N2 = np.array([grid_at(entry.lon, entry.lat, cells).centre for entry in entries])
    cell_N = region_cells(lonlat_N2)
    return [
        Position(number, names[at], entries[at].lon, entries[at].lat, cell, split_of(cell, validation))
        for number, (at, cell) in enumerate(_by_cell(cell_N))
    ]


def _by_cell(cell_N: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    order_N = np.argsort(cell_N, kind="stable")
    return zip(order_N.tolist(), cell_N[order_N].tolist(), strict=True)


def _of_table(file: Path) -> Iterator[Listed]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets begin a table with a mark
            reader = csv.reader(stream)
            header = [_COLUMNS.get(cell.strip().lower(), "") for cell in next(reader, [])]
            if header.count("lon") != 1 or header.count("lat") != 1 or header.count("name") > 1:
                raise InputError(
                    "needs the columns lon and lat, and perhaps name, once each in its first line", file=file
                )
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield _of_row(cells, header, reader.line_num, file)
    except OSError as error:
        raise InputError("could not be read", file=file) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            "is not a table of UTF-8 text", file=file, fix="Save it as CSV, separated by commas"
        ) from error


def _of_row(cells: list[str], header: list[str], line: int, file: Path) -> Listed:
    if len(cells) != len(header):
        raise InputError(f"line {line} has {len(cells)} cells; the first line has {len(header)}", file=file)
    row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    try:
        lon, lat = float(row["lon"]), float(row["lat"])
    except ValueError:
        raise InputError(
            f"line {line}: lon {row['lon']!r} and lat {row['lat']!r} must be numbers",
            file=file,
            fix="Degrees with a decimal point, e.g. 11.5755,48.1372",
        ) from None
    return Listed(f"line {line}", lon, lat, row.get("name") or None)


def _of_points(file: Path) -> Iterator[Listed]:
    for feature in read_features(file):
        where = f"feature {feature.number}"
        if feature.geometry.geom_type != "Point":
            raise InputError(f"{where} is a {feature.geometry.geom_type}; a position is a Point", file=file)
        name = feature.properties.get("name")
        yield Listed(where, feature.geometry.x, feature.geometry.y, None if name is None else str(name))
