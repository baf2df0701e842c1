"""Images of your own as a catalogue: a static STAC, a file of STAC items, or rasters whose names hold the date.

A raster says itself where it lies, so that a folder of orthophotos or of commercial images needs no catalogue. What is
found is put as STAC items, which from there on go the way of every archive.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rasterio.errors import CRSError
from rasterio.warp import transform_bounds

from skysense.curate.remote import TURN
from skysense.data.geotiff import opened
from skysense.errors import InputError, need

_WILD = re.compile(r"[*?\[]")


@lru_cache(maxsize=8)
def items_of_file(path: Path) -> list[Any]:
    """Items of a GeoJSON FeatureCollection, a single item, or a static STAC catalogue or collection and all below it.

    Args:
        path: on this computer. Assets may lie elsewhere; relative addresses are relative to the file.

    Returns:
        The features as they are; not all need be items.

    Raises:
        InputError: it cannot be read, or is neither.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read ({(error.strerror or '').lower()})", file=path) from error
    except ValueError as error:
        raise InputError("is not JSON", file=path) from error
    kind = tree.get("type") if isinstance(tree, dict) else None
    if kind in ("Catalog", "Collection"):
        return _walked(path)
    if kind == "Feature":
        tree = {"type": "FeatureCollection", "features": [tree]}
    elif kind != "FeatureCollection" or not isinstance(tree.get("features"), list):
        raise InputError("is neither a FeatureCollection of STAC items nor a STAC catalogue", file=path)
    for item in tree["features"]:
        assets = item.get("assets") if isinstance(item, dict) else None
        for asset in assets.values() if isinstance(assets, dict) else ():
            if isinstance(asset, dict):
                asset["href"] = _from(path.parent, str(asset.get("href", "")))
    return list(tree["features"])


@lru_cache(maxsize=8)
def items_of_rasters(pattern: Path, taken: str) -> list[dict[str, Any]]:
    """Rasters as items, with the one asset ``image``.

    Args:
        pattern: of their paths, e.g. ``images/**/*.tif``.
        taken: a regular expression whose group is the date in a file's name (year, month, day), or the date of all.

    Raises:
        InputError: no such raster, one that cannot be opened or does not say where it lies, or a name without a date.
    """
    return [_item(path, name, taken) for name, path in _rasters(pattern).items()]


def digest_of_items(path: Path) -> str:
    """Hash of the items of `items_of_file`.

    Raises:
        InputError: as there.
    """
    return _digest(items_of_file(path))


def digest_of_rasters(pattern: Path) -> str:
    """Hash of names and sizes of the rasters of `items_of_rasters`.

    Raises:
        InputError: no such raster.
    """
    return _digest([(name, path.stat().st_size) for name, path in _rasters(pattern).items()])


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _rasters(pattern: Path) -> dict[str, Path]:
    """Rasters by their names below the folder that the pattern begins with, in order."""
    first = next((place for place, part in enumerate(pattern.parts) if _WILD.search(part)), len(pattern.parts) - 1)
    root = Path(*pattern.parts[:first])
    paths = sorted(root.glob(str(Path(*pattern.parts[first:]))))
    if not paths:
        raise InputError("no raster is called like this", file=pattern)
    return {path.relative_to(root).as_posix(): path for path in paths}


def _walked(path: Path) -> list[dict[str, Any]]:
    pystac = need("pystac", "curate")
    try:
        items = list(pystac.read_file(str(path)).get_items(recursive=True))
    except (OSError, pystac.STACError, ValueError, KeyError) as error:
        raise InputError(f"cannot be walked: {error}", file=path) from error
    return [item.make_asset_hrefs_absolute().to_dict(transform_hrefs=False) for item in items]


def _from(folder: Path, href: str) -> str:
    return href if len(urlsplit(href).scheme) > 1 else str(folder / href)


def _item(path: Path, name: str, taken: str) -> dict[str, Any]:
    day = _day(path, taken)
    with TURN, opened(path) as dataset:
        if dataset.crs is None:
            raise InputError("has no reference system, so nobody knows where on Earth it is", file=path)
        try:
            west, south, east, north = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
            code = dataset.crs.to_string()
        except CRSError as error:
            raise InputError(f"has a reference system that leads nowhere ({error})", file=path) from error
        image = {
            "href": str(path),
            "proj:code": code,
            "proj:shape": list(dataset.shape),
            "proj:transform": list(dataset.transform)[:6],
        }
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "id": name,
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"datetime": f"{day.isoformat()}T00:00:00Z"},
        "assets": {"image": image},
    }


def _day(path: Path, taken: str) -> date:
    try:
        return date.fromisoformat(taken)
    except ValueError:
        pass
    match = re.search(taken, path.name)
    try:
        return date.fromisoformat(re.sub(r"\D", "", match[1]) if match else "")
    except ValueError as error:
        raise InputError(f"its name holds no date as {taken!r} says", file=path) from error
