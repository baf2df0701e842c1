"""Small maps of features on disk, of ground whose classes are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from skysense.maps.fit import steps
from skysense.maps.grid import Grid
from skysense.maps.parts import Parting
from skysense.maps.product.layer import Layer
from skysense.maps.product.work import Work

UTM = CRS.from_epsg(32632)
COS, SIN = 10 * np.cos(np.radians(17)), 10 * np.sin(np.radians(17))
TURNED = Affine(COS, SIN, 600_000, SIN, -COS, 5_400_000)  # rotated by 17 degrees
PLAIN = Affine(10, 0, 600_000, 0, -10, 5_400_000)


def write_features(
    path: Path, values_KHW: NDArray, *, stored="float32", crs=UTM, transform=PLAIN, metadata=None, run="one"
) -> Path:
    """Write a map of features as `skysense embed` does, and return its path."""
    bands, height, width = values_KHW.shape
    scale = offset = None
    if stored == "int8":
        flat_KN = values_KHW.reshape(bands, -1)
        scale, offset = (tuple(each.tolist()) for each in steps(flat_KN[:, ~np.isnan(flat_KN[0])].T))
    names = tuple(f"fused {at}" for at in range(bands))
    layer = Layer("features", "features", names, stored, scale=scale, offset=offset)
    parting = Parting(height, width, height, width)
    work = Work.begin(path, Grid(crs, transform, height, width), [layer], parting, {"run": run}, overwrite=True)
    with work.open(parting.parts[0]) as writer:
        writer.put("features", 0, layer.encode(values_KHW.astype(np.float32)))
    work.finish(metadata or {})
    return path


def classes_of(height: int, width: int) -> NDArray[np.int64]:
    """Ground of three classes: a left half, a right half, and a square of the third in the middle of the right."""
    ground = np.zeros((height, width), np.int64)
    ground[:, width // 2 :] = 1
    ground[height // 3 : 2 * height // 3, 5 * width // 8 : 7 * width // 8] = 2
    return ground


def features_of_classes(ground_HW: NDArray[np.int64], bands: int = 8, noise: float = 0.3) -> NDArray[np.float32]:
    """Features around a centre per class."""
    rng = np.random.default_rng(0)
    centres_CK = rng.normal(size=(int(ground_HW.max()) + 1, bands))
    return (centres_CK[ground_HW] + noise * rng.normal(size=(*ground_HW.shape, bands))).transpose(2, 0, 1)
