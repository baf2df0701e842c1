"""Vector files: polygons with attributes from GeoJSON and GeoPackage.

A GeoPackage is an SQLite file whose geometries are a short header and well-known binary (OGC 12-128r19, 2.1.3).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skysense.data.labelled.polygons import is_area, shapely
from skysense.errors import InputError
from skysense.files import read_json

SUFFIXES = (".geojson", ".json", ".gpkg")
_ENVELOPE_BYTES = (0, 32, 48, 48, 64)  # by the indicator in bits 1 to 3 of the flags
_LONLAT = "OGC:CRS84"


@dataclass(frozen=True)
class Layer:
    """Polygons of one vector file.

    Attributes:
        file: it.
        crs: anything pyproj understands, axes in the order x, y.
        polygons: shapely polygons and multipolygons.
        attributes: of each polygon.
    """

    file: Path
    crs: str
    polygons: Sequence[Any]
    attributes: Sequence[Mapping[str, Any]]


def is_vector(file: Path) -> bool:
    """Whether a file is GeoJSON or a GeoPackage."""
    if file.suffix.lower() == ".json":
        try:
            content = read_json(file)
        except InputError:
            return False
        return isinstance(content, dict) and content.get("type") == "FeatureCollection"
    return file.suffix.lower() in SUFFIXES


def read_vector(file: Path) -> Layer:
    """Read a vector file.

    Raises:
        InputError: truncated or foreign, no CRS, several layers, or other geometries than polygons.
        MissingExtra: shapely is not installed.
    """
    layer = _read_geopackage(file) if file.suffix.lower() == ".gpkg" else _read_geojson(file)
    if not layer.polygons:
        raise InputError("holds no polygon", file=file)
    return layer


def _read_geojson(file: Path) -> Layer:
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("features"), list):
        raise InputError("is not GeoJSON with a list of features", file=file)
    polygons, attributes = [], []
    for number, feature in enumerate(content["features"], 1):
        if not isinstance(feature, dict) or feature.get("geometry") is None:
            continue  # GeoJSON allows features without a place
        try:
            polygon = shapely().geometry.shape(feature["geometry"])
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, shapely().errors.ShapelyError) as error:
            raise InputError(f"feature {number} has no readable geometry", file=file) from error
        polygons.append(_area(polygon, number, file))
        attributes.append(feature.get("properties") or {})
    return Layer(file, _geojson_crs(content, polygons, file), polygons, attributes)


def _geojson_crs(content: Mapping[str, Any], polygons: Sequence[Any], file: Path) -> str:
    """What the file names (as files did before RFC 7946), or longitude and latitude of WGS 84 (RFC 7946, section 4)."""
    named = content.get("crs")
    if named is not None:
        name = named.get("properties", {}).get("name") if isinstance(named, dict) else None
        if not isinstance(name, str):
            raise InputError("names a CRS that cannot be read", file=file, fix="Save it in WGS 84 (EPSG:4326)")
        return _LONLAT if name.upper().endswith(("CRS84", "EPSG::4326", "EPSG:4326")) else name
    for polygon in polygons:
        left, bottom, right, top = polygon.bounds
        if left < -180 or right > 180 or bottom < -90 or top > 90:
            raise InputError(
                f"has no CRS, and its coordinates ({left:g}, {bottom:g}) are no longitude and latitude",
                file=file,
                fix="Save it in WGS 84 (EPSG:4326), or name its CRS",
            )
    return _LONLAT


def _area(geometry: Any, number: int, file: Path) -> Any:
    if not is_area(geometry):
        raise InputError(f"feature {number} is a {geometry.geom_type}; labels are polygons", file=file)
    return geometry


@contextmanager
def _database(file: Path) -> Iterator[sqlite3.Connection]:
    if not file.is_file():
        raise InputError("does not exist", file=file)
    connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
    try:
        yield connection
    except sqlite3.DatabaseError as error:
        raise InputError("is truncated or no GeoPackage", file=file, fix="Get it again") from error
    finally:
        connection.close()


def _read_geopackage(file: Path) -> Layer:
    with _database(file) as connection:
        layers = connection.execute("SELECT table_name, column_name, srs_id FROM gpkg_geometry_columns").fetchall()
        if len(layers) != 1:
            names = ", ".join(str(name) for name, _, _ in layers) or "none"
            raise InputError(f"must hold one layer of polygons; it holds {names}", file=file, fix="Export one layer")
        ((table, column, system),) = layers
        crs = _geopackage_crs(connection, system, file)
        rows = connection.execute(f'SELECT * FROM "{table.replace(chr(34), chr(34) * 2)}"')
        keys = [name for name, *_ in rows.description]
        polygons, attributes = [], []
        for number, row in enumerate(rows, 1):
            values = dict(zip(keys, row, strict=True))
            blob = values.pop(column)
            if blob is not None:
                polygons.append(_area(_geometry(blob, number, file), number, file))
                attributes.append(values)
    return Layer(file, crs, polygons, attributes)


def _geopackage_crs(connection: sqlite3.Connection, system: int, file: Path) -> str:
    row = connection.execute(
        "SELECT organization, organization_coordsys_id, definition FROM gpkg_spatial_ref_sys WHERE srs_id = ?",
        (system,),
    ).fetchone()
    if row is None or system in (-1, 0):
        raise InputError("has no CRS", file=file, fix="Assign one before saving it")
    organisation, code, definition = row
    return f"EPSG:{code}" if str(organisation).upper() == "EPSG" else str(definition)


def _geometry(blob: bytes, number: int, file: Path) -> Any:
    """The geometry behind the header: ``GP``, version, flags, number of the CRS, bounds."""
    try:
        if blob[:2] != b"GP":
            raise ValueError("no GeoPackage header")
        skipped = 8 + _ENVELOPE_BYTES[blob[3] >> 1 & 7]
        return shapely().from_wkb(blob[skipped:])
    except (ValueError, IndexError, TypeError, shapely().errors.ShapelyError) as error:
        raise InputError(f"feature {number} has no readable geometry", file=file) from error
