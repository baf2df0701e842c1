"""Small images, masks and labels on disk for the tests of labelled data."""

from __future__ import annotations

import json
import sqlite3
import struct
import warnings
from pathlib import Path

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from skysense.sensors import SENTINEL2_L2A

UTM = "EPSG:32632"
GRID = Affine(0.3125, 0, 600_000, 0, -0.3125, 5_400_000)
_DRIVERS = {".png": "PNG", ".jpg": "JPEG", ".tif": "GTiff"}


def write(path: Path, values: NDArray, *, names=None, crs=None, transform=None, tags=None, **profile) -> Path:
    """Write ``(C, H, W)`` or ``(H, W)`` in the format that the ending says."""
    values = values if values.ndim == 3 else values[None]
    count, height, width = values.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver=_DRIVERS[path.suffix], count=count, height=height, width=width, dtype=values.dtype,
            crs=crs, transform=transform, **profile,
        ) as file:  # fmt: skip
            if names is not None:
                file.descriptions = tuple(names)
            file.update_tags(**(tags or {}))
            file.write(values)
    return path


def rgb(height: int = 64, width: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """Noise, three bands."""
    return np.random.default_rng(seed).integers(1, 256, (3, height, width)).astype(np.uint8)


def sentinel2(height: int = 8, width: int = 8, seed: int = 0) -> NDArray[np.uint16]:
    """Reflectance x 10^4, ten bands."""
    return np.random.default_rng(seed).integers(200, 4000, (10, height, width)).astype(np.uint16)


S2_NAMES = SENTINEL2_L2A.bands


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")
    return path


def coco(path: Path, images: list[dict], annotations: list[dict], names: tuple[str, ...] = ("car", "ship")) -> Path:
    """A COCO file; ids of images and annotations are made, categories are numbered 10, 11, ..."""
    categories = [{"id": 10 + index, "name": name} for index, name in enumerate(names)]
    numbered = [{"id": index, **one} for index, one in enumerate(images)]
    marked = [{"id": 100 + index, "image_id": 0, "category_id": 10, **one} for index, one in enumerate(annotations)]
    return write_json(path, {"images": numbered, "annotations": marked, "categories": categories})


def _at(transform: Affine, x: float, y: float) -> tuple[float, float]:
    return transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f


def square(x: float, y: float, side: float, *, transform: Affine = GRID) -> shapely.Polygon:
    """A square of ``side`` pixels with its upper left corner at a pixel, on the ground."""
    corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
    return shapely.Polygon([_at(transform, *corner) for corner in corners])


def geojson(path: Path, polygons: list, attributes: list[dict], crs: str | None = "EPSG:32632") -> Path:
    features = [
        {"type": "Feature", "properties": one, "geometry": json.loads(shapely.to_geojson(polygon))}
        for polygon, one in zip(polygons, attributes, strict=True)
    ]
    content: dict = {"type": "FeatureCollection", "features": features}
    if crs is not None:
        content["crs"] = {"type": "name", "properties": {"name": crs}}
    return write_json(path, content)


def geopackage(path: Path, polygons: list, attributes: list[str], *, srs: int = 32632, envelope: bool = True) -> Path:
    """A GeoPackage of one layer with the attribute ``kind``, by the letter of the standard as far as readers look."""
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE gpkg_geometry_columns (table_name, column_name, geometry_type_name, srs_id, z, m)")
        columns = "srs_name, srs_id, organization, organization_coordsys_id, definition"
        db.execute(f"CREATE TABLE gpkg_spatial_ref_sys ({columns})")
        db.execute("INSERT INTO gpkg_spatial_ref_sys VALUES ('x', ?, 'EPSG', ?, 'none')", (srs, srs))
        db.execute("INSERT INTO gpkg_geometry_columns VALUES ('my fields', 'geom', 'POLYGON', ?, 0, 0)", (srs,))
        db.execute('CREATE TABLE "my fields" (fid INTEGER PRIMARY KEY, geom BLOB, kind TEXT)')
        for polygon, kind in zip(polygons, attributes, strict=True):
            left, bottom, right, top = polygon.bounds
            head = b"GP" + bytes([0, 0b11 if envelope else 0b01]) + struct.pack("<i", srs)
            bounds = struct.pack("<4d", left, right, bottom, top) if envelope else b""
            db.execute('INSERT INTO "my fields" (geom, kind) VALUES (?, ?)', (head + bounds + polygon.wkb, kind))
    db.close()
    return path
