"""Layers of a map in GeoTIFFs, read by rasterio.

Letters: K bands, h w pixels of a window.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.product.layer import Layer
from skysense.maps.product.metadata import FIX, parse, parse_layer
from skysense.maps.product.read import Raster
from skysense.maps.product.tiff import METADATA_TAG


class CogRaster:
    """One GeoTIFF; GDAL wants a file handle for every thread and level, so those that are free are kept.

    Attributes:
        levels: full resolution and overviews.
    """

    def __init__(self, path: Path, layer: Layer, levels: int) -> None:
        self.path, self.layer, self.levels = path, layer, levels
        self._free: list[SimpleQueue[Any]] = [SimpleQueue() for _ in range(levels)]

    def read(self, window: Window, level: int, bands: Sequence[int]) -> NDArray:
        """Stored numbers ``(K, h, w)`` of a window within the level.

        Raises:
            InputError: the file is damaged.
        """
        with self._opened(level) as dataset:
            place = RasterWindow(window.col, window.row, window.width, window.height)
            return dataset.read([band + 1 for band in bands], window=place).astype(self.layer.dtype, copy=False)

    @contextmanager
    def _opened(self, level: int) -> Iterator[Any]:
        with _readable(self.path):
            try:
                dataset = self._free[level].get_nowait()
            except Empty:
                options = {} if level == 0 else {"overview_level": level - 1}
                dataset = rasterio.open(self.path, **options)
            try:
                yield dataset
            finally:
                self._free[level].put(dataset)

    def close(self) -> None:
        """Close the files that nobody reads."""
        for free in self._free:
            while not free.empty():
                free.get().close()


def read_cog(path: Path) -> tuple[Grid, dict[str, Layer], dict[str, Any], dict[str, Raster]]:
    """Grid, layers, metadata and rasters of a map; those of its other layers too where they lie beside it.

    Raises:
        InputError: it is no map of this package, or another program changed it.
    """
    grid, layer, metadata, raster = _one(path)
    layers, rasters = {layer.name: layer}, {layer.name: raster}
    first, *others = metadata.get("layers", [layer.name])
    for name in others if layer.name == first else ():
        beside = path.with_name(f"{path.stem}_{name}{path.suffix}")
        if beside.exists():
            _, other, said, raster = _one(beside)
            if said.get("run") == metadata.get("run"):  # else it was left by another run
                layers[name], rasters[name] = other, raster
    return grid, layers, metadata, rasters


def _one(path: Path) -> tuple[Grid, Layer, dict[str, Any], Raster]:
    with _readable(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as dataset:
            said = dataset.tags().get(METADATA_TAG)
            if said is None:
                raise InputError("is no map of skysense", file=path, fix=FIX)
            grid, metadata = parse(said, path)
            layer = parse_layer(metadata.get("layer"), path)
            pixels = grid.finer(layer.per_cell)
            found = (dataset.height, dataset.width, dataset.count)
            if found != (pixels.height, pixels.width, len(layer.bands)) or not dataset.transform.almost_equals(
                pixels.transform
            ):
                raise InputError(
                    "was changed by another program: it is not where or not as large as it says", file=path, fix=FIX
                )
            raster = CogRaster(path, layer, 1 + len(dataset.overviews(1)))
    return grid, layer, metadata, raster


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except RasterioError as error:
        raise InputError(f"could not be read: {error.__cause__ or error}", file=path) from error
