"""Small scenes on disk for the tests of maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine
from numpy.typing import NDArray

from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A

_COS, _SIN = 0.3125 * np.cos(np.radians(17)), 0.3125 * np.sin(np.radians(17))
HR_GRID = Affine(_COS, _SIN, 600_000.5, _SIN, -_COS, 5_400_000.25)  # rotated by 17 degrees
S2_GRID = Affine(10, 0, 600_000, 0, -10, 5_400_000)


def write_scene(path: Path, values: NDArray, *, names=None, crs="EPSG:32632", transform=HR_GRID, tags=None, **profile):
    """Write ``(C, H, W)`` as a tiled GeoTIFF and return its path."""
    count, height, width = values.shape
    options = {"driver": "GTiff", "tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"} | profile
    with rasterio.open(
        path, "w", count=count, height=height, width=width, dtype=values.dtype, crs=crs, transform=transform, **options
    ) as file:
        if names is not None:
            file.descriptions = tuple(names)
        file.update_tags(**(tags or {}))
        file.write(values)  # last, so that the directory lies in front of the pixels
    return path


def hr_values(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Blobs and noise, three bands."""
    rows, cols = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).normal(0, 25, (3, height, width))
    smooth = np.stack([np.sin(rows / 40 + cols / 90), np.cos(cols / 55), np.sin((rows - cols) / 70)])
    return np.clip(127 + 80 * smooth + noise, 0, 255).astype(np.uint8)


def s2_values(height: int, width: int) -> NDArray[np.uint16]:
    """Vegetation-like reflectance x 10^4, ten bands."""
    return np.random.default_rng(1).integers(200, 4000, (10, height, width)).astype(np.uint16)


def hr_scene(path: Path, height: int, width: int, **options) -> Path:
    """A high-resolution scene with named bands."""
    return write_scene(path, hr_values(height, width), names=OPTICAL_HR.bands, **options)


def s2_scene(path: Path, height: int, width: int, **options) -> Path:
    """A Sentinel-2 scene that declares its unit, in the order of another provider and with a band too many."""
    values = s2_values(height, width)
    names = [f"B{int(name[1:]):02d}" if name[1:].isdigit() else name for name in SENTINEL2_L2A.bands]
    stack, order = np.concatenate([values[::-1], values[:1]]), [*names[::-1], "SCL"]
    tags = {"SKYSENSE_UNIT": "reflectance*1e4"}
    return write_scene(path, stack, names=order, transform=S2_GRID, tags=tags, **options)


def s1_values(height: int, width: int) -> NDArray[np.float32]:
    """Backscatter in dB, two bands."""
    level = np.array([-11.0, -18.0])[:, None, None]
    return (level + np.random.default_rng(2).normal(0, 2, (2, height, width))).astype(np.float32)


def s1_scene(path: Path, values: NDArray, **options) -> Path:
    """A Sentinel-1 scene that declares its unit."""
    tags = {"SKYSENSE_UNIT": "dB", "SKYSENSE_DATE": "2024-07-14"}
    return write_scene(path, values, names=SENTINEL1.bands, transform=S2_GRID, tags=tags, **options)


def tiny(regions: tuple[int, ...] = ()) -> SkySense:
    """The tiny preset with weights that let every part count; prototypes learned in all regions but the last."""
    torch.manual_seed(0)
    model = SkySense(preset("tiny"), regions)
    torch.nn.init.normal_(model.dates.table)
    if model.geo is not None:
        model.geo.initialised[:-1] = True
    return model
