"""Places that were found, as files: GeoJSON points or a CSV table, best first."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skysense.errors import OutputError
from skysense.files import write_text
from skysense.maps.search import Hit

SUFFIXES = (".geojson", ".csv")


def rows_of(hits: Sequence[Hit], names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Plain values of places: rank from 1, similarity, lon, lat and metres from the query (None of a place
    without a position), and the name of a place.

    Args:
        hits: best first.
        names: of all places of a collection, by number; none for cells of a map.
    """
    return [
        {"rank": rank, "similarity": round(hit.similarity, 4), "lon": _degrees(hit.lon), "lat": _degrees(hit.lat)}
        | {"metres": None if hit.metres is None else round(hit.metres)}
        | ({"name": names[hit.number]} if names else {})
        for rank, hit in enumerate(hits, 1)
    ]


def _degrees(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def check_out(path: Path, overwrite: bool) -> None:
    """Refuse an output before anything is looked for.

    Raises:
        OutputError: another suffix, or a file that is there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError("places are written as GeoJSON or CSV", file=path, fix="Call it .geojson or .csv")
    if path.exists() and not overwrite:
        raise OutputError("exists already", file=path, fix="Choose another name, or --overwrite true replaces it")


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write places, atomically.

    Raises:
        OutputError: no space, no permission.
    """
    if path.suffix.lower() == ".csv":
        table = io.StringIO()
        writer = csv.DictWriter(table, fieldnames=list(rows[0]) if rows else ["rank"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(path, table.getvalue())
        return
    write_text(path, json.dumps(geojson_of(rows), indent=1) + "\n")


def geojson_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Places as a feature collection of points (RFC 7946)."""
    features = [
        {
            "type": "Feature",
            "geometry": None if row["lon"] is None else {"type": "Point", "coordinates": [row["lon"], row["lat"]]},
            "properties": {name: value for name, value in row.items() if name not in ("lon", "lat")},
        }
        for row in rows
    ]
    return {"type": "FeatureCollection", "features": features}
