"""Large scenes on disk, made of one block of noise over smooth ground that is repeated: pixels cost what they cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window as RasterWindow

from skysense.sensors import OPTICAL_HR, SENTINEL2_L2A

_BLOCK = 512


def sentinel2_scene(path: Path, side: int) -> Path:
    """A square scene of ten bands, uint16, tiles of 512 px, DEFLATE."""
    values = _block(10) * 700 + 1500
    return _write(path, side, values.clip(1, 9999).astype(np.uint16), SENTINEL2_L2A.bands, 10.0)


def aerial_scene(path: Path, side: int) -> Path:
    """A square scene of three bands, uint8, tiles of 512 px, DEFLATE."""
    return _write(path, side, (_block(3) * 50 + 127).clip(1, 255).astype(np.uint8), OPTICAL_HR.bands, 0.3125)


def _block(bands: int) -> NDArray[np.float64]:
    rows, cols = np.mgrid[:_BLOCK, :_BLOCK] * (2 * np.pi / _BLOCK)
    smooth = [np.sin(rows * (1 + band % 3)) + np.cos(cols * (1 + band % 2) + band) for band in range(bands)]
    return np.stack(smooth) / 2 + np.random.default_rng(0).normal(0, 0.15, (bands, _BLOCK, _BLOCK))


def _write(path: Path, side: int, block: NDArray, bands: tuple[str, ...], metres: float) -> Path:
    tags = {"SKYSENSE_UNIT": "reflectance*1e4"} if len(bands) > 3 else {}
    options = dict(
        driver="GTiff", height=side, width=side, count=len(bands), dtype=block.dtype, crs="EPSG:32632",
        transform=Affine(metres, 0, 500_000, 0, -metres, 5_400_000), tiled=True, blockxsize=_BLOCK, blockysize=_BLOCK,
        compress="deflate", zlevel=1, predictor=2, BIGTIFF="IF_SAFER",
    )  # fmt: skip
    with rasterio.Env(GDAL_CACHEMAX=64 << 20), rasterio.open(path, "w", **options) as file:
        file.descriptions = bands
        file.update_tags(SKYSENSE_DATE="2023-07-01", **tags)
        for row in range(0, side, _BLOCK):
            for col in range(0, side, _BLOCK):
                height, width = min(_BLOCK, side - row), min(_BLOCK, side - col)
                file.write(block[:, :height, :width], window=RasterWindow(col, row, width, height))
    return path
