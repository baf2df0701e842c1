"""Labelled points and polygons, and the cells of a map that they label.

Letters: N labelled cells, M labelled shapes, C classes.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError, need
from skysense.maps.ground import Ground

COLUMNS = ("label", "class")
"""What the column of labels is called if nothing else is said."""
MOST_CLASSES = 254
"""As many as a map holds."""
MOST_CELLS = 2000
"""Cells of a class that are learned from; of more of them (large polygons), some evenly spread."""
_OF_POLYGON = 1 << 16  # about the most cells that are looked at in one
_LON, _LAT = ("lon", "longitude"), ("lat", "latitude")
_TABLES, _GEOJSON, _OTHERS = (".csv",), (".geojson", ".json"), (".gpkg", ".shp", ".fgb")
_FORMATS = "CSV (lon, lat, label), GeoJSON, GeoPackage, Shapefile or FlatGeobuf"


@dataclass(frozen=True)
class Labels:
    """Labelled shapes of a file.

    Attributes:
        path: the file.
        sha256: of the file.
        classes: names, in alphabetical order.
        label_M: class index of each shape.
        shapes: ``(lon, lat)`` of a point, or a polygon of shapely in degrees.
    """

    path: Path
    sha256: str
    classes: tuple[str, ...]
    label_M: NDArray[np.int64]
    shapes: tuple[Any, ...]


@dataclass(frozen=True)
class LabelledCells:
    """Cells of a map with their classes.

    Attributes:
        row_N, col_N: of each cell, each cell once.
        label_N: class index of each.
        notes: labels that do not count, for people.
    """

    row_N: NDArray[np.int64]
    col_N: NDArray[np.int64]
    label_N: NDArray[np.int64]
    notes: tuple[str, ...]


def read_labels(path: Path, column: str | None = None) -> Labels:
    """Read labelled points and polygons.

    Args:
        path: CSV with columns lon and lat (degrees, WGS 84), GeoJSON, or what GDAL reads as vectors, in any CRS.
        column: of the labels; by default the one called label or class.

    Raises:
        InputError: another format, no such column, a position or a geometry that is none, one class only, or more
            classes than a map holds.
        MissingExtra: what reads the format is not installed.
    """
    if not path.is_file():
        raise InputError("there is no such file", file=path)
    suffix = path.suffix.lower()
    readers = dict.fromkeys(_TABLES, _read_table) | dict.fromkeys(_GEOJSON, _read_geojson)
    readers |= dict.fromkeys(_OTHERS, _read_vectors)
    if suffix not in readers:
        raise InputError("is no file of labels that is known here", file=path, fix=f"Give {_FORMATS}")
    shapes, names = readers[suffix](path, column)
    classes = tuple(sorted(set(names)))
    if not classes:
        raise InputError("holds no labelled point or polygon", file=path)
    if len(classes) == 1:
        raise InputError(
            f"holds one class only, {classes[0]!r}: there is nothing to tell it from",
            file=path,
            fix="Label some places of a second class, e.g. other",
        )
    if len(classes) > MOST_CLASSES:
        fix = "Is the column of labels the right one? Name it with --column"
        raise InputError(f"holds {len(classes)} classes: a map holds at most {MOST_CLASSES}", file=path, fix=fix)
    index = {name: at for at, name in enumerate(classes)}
    label_M = np.array([index[name] for name in names], np.int64)
    return Labels(path, hashlib.sha256(path.read_bytes()).hexdigest(), classes, label_M, tuple(shapes))


def cells_of(labels: Labels, ground: Ground) -> LabelledCells:
    """The cells of a map that are labelled: those that hold a point, or whose middle lies in a polygon.

    Cells that are labelled as several classes do not count, nor does what lies outside the map, nor what a class has
    beyond `MOST_CELLS` cells.

    Raises:
        InputError: nothing lies on the map.
    """
    width, classes = ground.grid.width, len(labels.classes)
    each = [_cells(shape, ground) for shape in labels.shapes]
    outside = sum(not len(number_n) for number_n in each)
    if outside == len(each):
        raise InputError("none of its labels lies on the map", file=labels.path, fix="Give a map of the same ground")
    label_each = np.repeat(labels.label_M, [len(number_n) for number_n in each])
    said_N = np.unique(np.concatenate(each) * classes + label_each)  # a cell and a class, each pair once
    number_N, first_N, times_N = np.unique(said_N // classes, return_index=True, return_counts=True)
    kept_N, label_N = number_N[times_N == 1], (said_N % classes)[first_N][times_N == 1]
    notes = []
    if outside:
        notes.append(f"{outside} of {len(labels.shapes)} labels lie outside the map")
    if twice := len(number_N) - len(kept_N):
        notes.append(f"{twice} cells are labelled as several classes and do not count")
    some = []
    for at, name in enumerate(labels.classes):
        here = np.flatnonzero(label_N == at)
        if len(here) > MOST_CELLS:
            notes.append(f"{MOST_CELLS} cells of {name}, evenly spread, are learned from: it has more than enough")
            here = here[np.linspace(0, len(here) - 1, MOST_CELLS).round().astype(int)]
        some.append(here)
    chosen = np.sort(np.concatenate(some))
    row_N, col_N = np.divmod(kept_N[chosen], width)
    return LabelledCells(row_N, col_N, label_N[chosen], tuple(notes))


def _cells(shape: Any, ground: Ground) -> NDArray[np.int64]:
    """Numbers (row times width plus column) of the cells of a point or polygon."""
    if isinstance(shape, tuple):
        row_N, col_N, inside_N = ground.cells(np.array([shape]))
        row_N, col_N = row_N[inside_N], col_N[inside_N]
    else:
        row_N, col_N = ground.cells_in(shape, _OF_POLYGON)
    return row_N * ground.grid.width + col_N


def _read_table(path: Path, column: str | None) -> tuple[list[Any], list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"is no CSV ({error})", file=path) from error
    columns = list(reader.fieldnames or ())
    lon, lat = (next((name for name in columns if name.strip().lower() in known), None) for known in (_LON, _LAT))
    if lon is None or lat is None:
        raise InputError(f"has no columns lon and lat but {', '.join(columns) or 'none'}", file=path)
    named = _column(columns, column, path)
    shapes, names = [], []
    for number, row in enumerate(rows, 2):
        shapes.append(_position(row[lon], row[lat], number, path))
        names.append(_name(row[named], f"line {number}", path))
    return shapes, names


def _position(lon: str | None, lat: str | None, line: int, path: Path) -> tuple[float, float]:
    try:
        found = float(lon or ""), float(lat or "")
    except ValueError:
        raise InputError(f"line {line}: {lon!r}, {lat!r} is no lon, lat", file=path) from None
    return _on_earth(*found, f"line {line}", path)


def _on_earth(lon: float, lat: float, where: str, path: Path) -> tuple[float, float]:
    if not (math.isfinite(lon) and -360 <= lon <= 360 and -90 <= lat <= 90):
        raise InputError(
            f"{where}: lon {lon:g}, lat {lat:g} is no position in degrees",
            file=path,
            fix="Are lon and lat swapped, or in metres?",
        )
    return lon, lat


def _read_geojson(path: Path, column: str | None) -> tuple[list[Any], list[str]]:
    from skysense.curate.geojson import read_features

    features = read_features(path)
    found = [(feature.geometry, feature.properties, f"feature {feature.number}") for feature in features]
    return _shapes(found, column, path)


def _read_vectors(path: Path, column: str | None) -> tuple[list[Any], list[str]]:
    raw, shapely = need("pyogrio.raw", "search"), need("shapely", "search")
    from pyproj import Transformer

    try:
        meta, _, geometry, values = raw.read(path)
    except need("pyogrio.errors", "search").DataSourceError as error:
        raise InputError(f"cannot be read ({error})", file=path) from error
    if meta["crs"] is None:
        raise InputError("has no CRS, so nobody knows where its labels lie", file=path)
    to_degrees = Transformer.from_crs(meta["crs"], "EPSG:4326", always_xy=True)
    found = []
    for number, (one, *row) in enumerate(zip(geometry, *values, strict=True), 1):
        if one is not None:
            drawn = shapely.transform(shapely.from_wkb(one), to_degrees.transform, interleaved=False)
            found.append((drawn, dict(zip(meta["fields"], row, strict=True)), f"feature {number}"))
    return _shapes(found, column, path)


def _shapes(
    found: Sequence[tuple[Any, Mapping[str, Any], str]], column: str | None, path: Path
) -> tuple[list[Any], list[str]]:
    shapely = need("shapely", "search")
    columns = list(dict.fromkeys(name for _, properties, _ in found for name in properties))
    named = _column(columns, column, path)
    shapes: list[Any] = []
    names: list[str] = []
    for geometry, properties, where in found:
        label = _name(properties.get(named), where, path)
        for part in shapely.get_parts(geometry):
            if part.geom_type == "Point":
                shapes.append(_on_earth(part.x, part.y, where, path))
            elif part.geom_type == "Polygon" and part.is_valid:
                west, south, east, north = part.bounds
                _on_earth(west, south, where, path)
                _on_earth(east, north, where, path)
                shapes.append(part)
            else:
                raise InputError(f"{where} is a {part.geom_type}, not a point or a valid polygon", file=path)
            names.append(label)
    return shapes, names


def _column(columns: Sequence[str], column: str | None, path: Path) -> str:
    if column is not None and column in columns:
        return column
    known = [name for name in columns if name.strip().lower() in COLUMNS] if column is None else []
    if not known:
        wanted = column or " or ".join(COLUMNS)
        held = ", ".join(columns) or "none"
        raise InputError(f"has no column {wanted}; it has {held}", file=path, fix="Name the one of labels: --column")
    return known[0]


def _name(value: Any, where: str, path: Path) -> str:
    text = "" if value is None else str(value).strip()
    if not text or text.lower() == "nan":
        raise InputError(f"{where} has no label", file=path, fix="Label it or take it out")
    return text


def counts_of(labels: Labels, label_N: NDArray[np.int64]) -> str:
    """How many cells each class has, for people."""
    counts = Counter(label_N.tolist())
    return ", ".join(f"{counts[index]} {name}" for index, name in enumerate(labels.classes))
