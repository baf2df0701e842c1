"""Windows a second out of a large PNG and out of its copy in blocks (``skysense datasets tile``).

Run from the root of the repository: ``python -m benchmarks.tiled``. The image is made up: smooth, with grain.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from skysense.datasets.tiled import make_tiled

SIDE, WINDOW, ROUNDS = 4000, 896, 5


def main() -> None:
    """Write, copy, read windows at the same random places of both, alternating, and print."""
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    rng = np.random.default_rng(0)
    slope_HW = np.add.outer(np.arange(SIDE), np.arange(SIDE)) / 40
    image_CHW = (slope_HW + rng.normal(0, 4, (3, SIDE, SIDE))).clip(0, 255).astype(np.uint8)
    corners = rng.integers(0, SIDE - WINDOW, (8, 2)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        source, copy = Path(folder) / "source", Path(folder) / "copy"
        source.mkdir()
        with rasterio.open(
            source / "a.png", "w", driver="PNG", width=SIDE, height=SIDE, count=3, dtype="uint8"
        ) as file:
            file.write(image_CHW)
        make_tiled(source, copy)
        files = {"PNG": source / "a.png", "copy in blocks": copy / "a.tif"}
        rates: dict[str, list[float]] = {name: [] for name in files}
        for _ in range(ROUNDS):
            for name, path in files.items():
                began = time.perf_counter()
                for row, col in corners:
                    with rasterio.open(path) as image:
                        image.read(window=Window(col, row, WINDOW, WINDOW))
                rates[name].append(len(corners) / (time.perf_counter() - began))
        for name, path in files.items():
            print(f"{name:<16}{statistics.median(rates[name]):8.1f} windows/s {path.stat().st_size / 1e6:8.1f} MB")


if __name__ == "__main__":
    main()
