"""A map of features written as ours, GeoTIFF and Zarr, beside GDAL's COG driver: MB/s, bytes, fullest disk.

Run: ``OMP_NUM_THREADS=1 python benchmarks/product_writing.py``. The same array for all: 2048 x 2048 cells x 64 features
as float32 (1.07 GB), smooth over tens of cells with noise, a tenth without data. Ours is written in parts of 512 x 512
cells; GDAL writes a GeoTIFF of the same tiles, compression and predictor on all threads, from which its COG driver,
which can only copy, makes the final file; both take DEFLATE at level 1. Rates are bytes of the array by the clock.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.shutil import copy

from skysense.maps.grid import Grid
from skysense.maps.parts import Parting
from skysense.maps.product.layer import Layer
from skysense.maps.product.levels import tile_of
from skysense.maps.product.work import Work

SIDE, BANDS, PART = 2048, 64, 512
GRID = Grid("EPSG:32632", Affine(10, 0, 500_000, 0, -10, 5_000_000), SIDE, SIDE)
LAYER = Layer("features", "features", tuple(f"fused {at}" for at in range(BANDS)), "float32")


def made() -> NDArray[np.float32]:
    """Features of a made-up scene."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(BANDS, SIDE // 32, SIDE // 32)).astype(np.float32)
    values = np.repeat(np.repeat(coarse, 32, 1), 32, 2)
    for band in values:
        band += 0.1 * rng.standard_normal((SIDE, SIDE), np.float32)
    values[:, : SIDE // 10] = np.nan
    return values


def ours(folder: Path, values: NDArray[np.float32], suffix: str) -> Path:
    """Part by part, as the engine does."""
    work = Work.begin(folder / f"out{suffix}", GRID, [LAYER], Parting(SIDE, SIDE, PART, PART), {})
    for part in work.parting.parts:
        with work.open(part) as writer:
            for row in range(0, part.window.height, tile_of(LAYER)):
                rows = part.window.row + row
                writer.put("features", row, values[:, rows : rows + tile_of(LAYER), part.window.slices()[1]])
    return work.finish({})[0]


def gdal(folder: Path, values: NDArray[np.float32]) -> Path:
    """A GeoTIFF, then its copy by the COG driver."""
    first, out = folder / "first.tif", folder / "out.tif"
    shared = dict(compress="deflate", zlevel=1, predictor=3, BIGTIFF="YES", num_threads="all_cpus")
    with rasterio.open(
        first, "w", driver="GTiff", dtype="float32", count=BANDS, height=SIDE, width=SIDE, crs=GRID.crs,
        transform=GRID.transform, nodata=float("nan"), tiled=True, blockxsize=32, blockysize=32, interleave="pixel",
        **shared,
    ) as file:  # fmt: skip
        for row in range(0, SIDE, 32):
            file.write(values[:, row : row + 32], window=rasterio.windows.Window(0, row, SIDE, 32))
    copy(
        first, out, driver="COG", compress="deflate", level=1, predictor="floating_point", bigtiff="yes", blocksize=128,
        overview_resampling="average", num_threads="all_cpus", interleave="pixel",
    )  # fmt: skip
    first.unlink()
    return out


def size(path: Path) -> int:
    """Bytes on the disk; holes in files take none, what vanishes meanwhile neither."""
    files = [path] if path.is_file() else [Path(root, name) for root, _, names in os.walk(path) for name in names]
    total = 0
    for file in files:
        with suppress(FileNotFoundError):
            total += file.stat().st_blocks * 512
    return total


def measured(name: str, job: Callable[[Path], Path], array_bytes: int) -> None:
    """Run one way of writing and print a row."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, fullest, ended = Path(temporary), [0], threading.Event()

        def watch() -> None:
            while not ended.wait(0.05):
                fullest[0] = max(fullest[0], size(folder))

        watcher = threading.Thread(target=watch)
        watcher.start()
        wall, spent = time.perf_counter(), time.process_time()
        out = job(folder)
        wall, spent = time.perf_counter() - wall, time.process_time() - spent
        ended.set()
        watcher.join()
        final = size(out)
        print(
            f"{name:<22}{wall:7.1f} s {array_bytes / wall / 1e6:7.0f} MB/s {spent:7.1f} s of CPU"
            f" {final / 1e6:8.0f} MB  fullest {fullest[0] / final:5.2f} x"
        )


def main() -> None:
    """Measure in turns and print."""
    values = made()
    print(f"array: {values.nbytes / 1e6:.0f} MB")
    measured("ours, GeoTIFF", lambda folder: ours(folder, values, ".tif"), values.nbytes)
    measured("ours, Zarr", lambda folder: ours(folder, values, ".zarr"), values.nbytes)
    measured("GDAL, GeoTIFF and COG", lambda folder: gdal(folder, values), values.nbytes)


if __name__ == "__main__":
    main()
