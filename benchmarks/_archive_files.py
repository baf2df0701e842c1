"""Rasters with the size, tiles and compression of the archives' files, covered by real pixels, and a server for them.

Letters: C bands, H rows, W columns.
"""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from _blocks import rasters_s1, rasters_s2, series_s2
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window

from skysense.curate import optical, sentinel1, sentinel2

CANVAS = 4  # tiles on a side that hold pixels; the rest of a raster is empty
CRS, WEST, NORTH = "EPSG:32631", 300_000, 5_000_040
AERIAL = 0.6  # metres
FINE, COARSE = (0, 1, 2, 6), (3, 4, 5, 7, 8, 9)  # of the ten bands, those of 10 and of 20 m

Array = NDArray[Any]


@dataclass(frozen=True)
class Layout:
    """How the files of an archive are laid out.

    Attributes:
        name: in the figures.
        metres: of a pixel.
        shape: of the raster.
        tile: its side in pixels.
        predictor: of TIFF: 2 differences, 3 of floating-point numbers, 1 none.
        canvases: each ``(C, H, W)``: real pixels of one file.
        how: the module that knows how they are read.
        bands: that are read of a file.
    """

    name: str
    metres: float
    shape: tuple[int, int]
    tile: int
    predictor: int
    canvases: Sequence[Array]
    how: Any
    bands: int = 1

    def write(self, file: Path, canvas: Array) -> list[float]:
        """A raster that is empty but for a canvas, which begins at the second tile; stored bytes of its full tiles."""
        profile = {
            "driver": "GTiff", "dtype": canvas.dtype, "count": len(canvas), "height": self.shape[0],
            "width": self.shape[1], "crs": CRS, "tiled": True, "blockxsize": self.tile, "blockysize": self.tile,
            "transform": rasterio.Affine(self.metres, 0, WEST, 0, -self.metres, NORTH), "compress": "deflate",
            "predictor": self.predictor, "interleave": "pixel", "sparse_ok": True, "nodata": 0,
        }  # fmt: skip
        with rasterio.open(file, "w", **profile) as raster:
            raster.write(canvas, window=Window(self.tile, self.tile, canvas.shape[2], canvas.shape[1]))
        with rasterio.open(file) as raster:
            sides = range(1, canvas.shape[1] // self.tile + 1)
            names = [f"BLOCK_SIZE_{col}_{row}" for row in sides for col in sides]
            return [float(raster.get_tag_item(name, "TIFF", bidx=1)) for name in names]


def layouts(kit: Path, rng: np.random.Generator) -> list[Layout]:
    """Sentinel-2 as in Earth Search, Sentinel-1 as in Planetary Computer, aerial images of 0.6 m."""
    images = [one[0] for one in rasters_s2(kit, interpolated=False)]
    fine = [mosaic([one[[band]] for one in images], CANVAS * 1024, rng) for band in FINE]
    coarse = [mosaic([one[[band], ::2, ::2] for one in images], CANVAS * 1024, rng) for band in COARSE]
    classes = [mosaic([one[None, ::2, ::2] for one in series_s2(kit)[2]], CANVAS * 1024, rng)]
    power = [(10 ** (one[0] / 10)).astype(np.float32) for one in rasters_s1(kit)]
    echoes = [mosaic([one[[band]] for one in power], CANVAS * 512, rng) for band in (0, 1)]
    colours = [mosaic(aerial(kit), CANVAS * 512, rng)]
    return [
        Layout("s2_10m", 10, (10980, 10980), 1024, 2, fine, sentinel2),
        Layout("s2_20m", 20, (5490, 5490), 1024, 2, coarse, sentinel2),
        Layout("s2_classes", 20, (5490, 5490), 1024, 1, classes, sentinel2),
        Layout("s1", 10, (23625, 28236), 512, 3, echoes, sentinel1),
        Layout("hr", AERIAL, (12400, 10600), 512, 2, colours, optical, bands=3),
    ]


def mosaic(patches: Sequence[Array], side: int, rng: np.random.Generator) -> Array:
    """A canvas ``(C, side, side)`` of patches ``(C, H, W)`` in any order, each turned and mirrored at random."""
    step = min(min(one.shape[1:]) for one in patches)
    canvas = np.zeros((len(patches[0]), side, side), patches[0].dtype)
    for row in range(0, side, step):
        for col in range(0, side, step):
            patch = patches[rng.integers(len(patches))][:, :step, :step]
            patch = np.rot90(patch, rng.integers(4), (1, 2))[:, :: rng.choice([-1, 1])]
            height, width = min(step, side - row), min(step, side - col)
            canvas[:, row : row + height, col : col + width] = patch[:, :height, :width]
    return canvas


def aerial(kit: Path) -> list[Array]:
    """Aerial images ``(4, H, W)`` at about 0.6 m: those of 0.2 m averaged, those of 1 m resampled."""
    found = []
    for path in sorted(kit.glob("flair/*/image.tif")):
        with rasterio.open(path) as file:
            image = file.read([1, 2, 3, 4])[:, :510, :510].astype(np.float32)
        found.append(image.reshape(4, 170, 3, 170, 3).mean((2, 4)).round().astype(np.uint8))
    for path in sorted(kit.glob("chesapeake/*/image.tif")):
        with rasterio.open(path) as file:
            shape = (4, *(round(side / AERIAL) for side in file.shape))
            found.append(file.read([1, 2, 3, 4], out_shape=shape, resampling=Resampling.cubic))
    return found


class _Ranges(SimpleHTTPRequestHandler):
    """Serves ranges of the files of a folder."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """Answer."""
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert match
        start, last = int(match[1]), int(match[2])
        with open(self.translate_path(self.path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(start)
            body = file.read(last - start + 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{size}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _serve(folder: str, told: Any) -> None:
    os.chdir(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Ranges)
    told.put(server.server_address[1])
    server.serve_forever()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The files of a folder, served by a process of its own so that its time is not ours."""
    context = multiprocessing.get_context("spawn")
    told = context.SimpleQueue()
    process = context.Process(target=_serve, args=(str(folder), told), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{told.get()}"
    finally:
        process.terminate()
