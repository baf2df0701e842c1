"""Geometries in longitude and latitude out of GeoJSON (RFC 7946), cut at the antimeridian."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skysense.errors import InputError, need
from skysense.files import read_json

SUFFIXES = (".geojson", ".json")
_LONLAT = ("CRS84", "EPSG::4326", "EPSG:4326")


@dataclass(frozen=True)
class Feature:
    """One feature of a file.

    Attributes:
        number: from 1, in the order of the file.
        geometry: of shapely; its coordinates are those of the file.
        properties: as the file has them.
    """

    number: int
    geometry: Any
    properties: Mapping[str, Any]


def shapely() -> Any:
    """The geometry library.

    Raises:
        MissingExtra: it is not installed.
    """
    return need("shapely", "curate")


def read_features(file: Path) -> list[Feature]:
    """Every feature that has a geometry; a lone feature or geometry counts as one.

    Raises:
        InputError: no GeoJSON, another CRS than WGS 84, a geometry that cannot be read, or none.
    """
    content = read_json(file)
    if not isinstance(content, dict):
        raise InputError("is not GeoJSON", file=file)
    named = content.get("crs")
    if named is not None and not str((named.get("properties") or {}).get("name")).upper().endswith(_LONLAT):
        raise InputError("is in another CRS than WGS 84 longitude and latitude", file=file, fix="Save it in EPSG:4326")
    found = list(_features(content, file))
    if not found:
        raise InputError("holds no geometry", file=file)
    return found


def _features(content: Mapping[str, Any], file: Path) -> Iterator[Feature]:
    kind = content.get("type")
    entries = content.get("features") if kind == "FeatureCollection" else [content]
    if not isinstance(entries, list):
        raise InputError("is a collection without a list of features", file=file)
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise InputError(f"feature {number} is not a JSON object", file=file)
        is_feature = entry.get("type") == "Feature"
        described = entry.get("geometry") if is_feature else entry
        if described is None:
            continue  # GeoJSON allows features without a place
        try:
            geometry = shapely().geometry.shape(described)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, shapely().errors.ShapelyError) as error:
            raise InputError(f"feature {number} has no readable geometry", file=file) from error
        if not geometry.is_empty:
            yield Feature(number, geometry, (entry.get("properties") or {}) if is_feature else {})


def areas_on_earth(features: list[Feature], file: Path) -> Any:
    """The union of polygons, between the longitudes -180 and 180.

    A polygon may run over the antimeridian into longitudes beyond 180 (or below -180); what lies there is brought back.

    Raises:
        InputError: another geometry than polygons, an outline that crosses itself, coordinates off the Earth, or an
            edge of more than half the way round (which way round it was meant is not known).
    """
    geo = shapely()
    parts = []
    for feature in features:
        polygon, number = feature.geometry, feature.number
        if polygon.geom_type not in ("Polygon", "MultiPolygon"):
            raise InputError(f"feature {number} is a {polygon.geom_type}; an area is made of polygons", file=file)
        west, south, east, north = polygon.bounds
        if not (west >= -540 and east <= 540 and south >= -90 and north <= 90):
            raise InputError(
                f"feature {number} reaches from {west:g}, {south:g} to {east:g}, {north:g}: not lon and lat in degrees",
                file=file,
                fix="Are lon and lat swapped, or in metres? Save it in WGS 84 (EPSG:4326)",
            )
        _check_edges(polygon, number, file)
        if not polygon.is_valid:
            why = geo.is_valid_reason(polygon).lower()
            raise InputError(f"feature {number} is no valid polygon: {why}", file=file, fix="Repair its outline")
        for turn in (-360, 0, 360):
            part = geo.clip_by_rect(polygon, turn - 180, -90, turn + 180, 90)
            parts += [geo.affinity.translate(one, -turn) for one in geo.get_parts(part) if one.area > 0]
    return geo.union_all(parts)


def _check_edges(polygon: Any, number: int, file: Path) -> None:
    geo = shapely()
    for part in geo.get_parts(polygon):
        for ring in (part.exterior, *part.interiors):
            steps = [abs(b[0] - a[0]) for a, b in zip(ring.coords, ring.coords[1:], strict=False)]
            if any(180 < step < 360 for step in steps):  # 360 is the edge along a pole, or round the whole Earth
                raise InputError(
                    f"feature {number} has an edge over {max(steps):g} degrees of longitude",
                    file=file,
                    fix="If it crosses the antimeridian, cut it there or go on beyond 180 (RFC 7946, 3.1.9); "
                    "otherwise add corners along the edge",
                )
