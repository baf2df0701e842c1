"""Answers as GeoTIFFs: at full resolution on the map's own grid, of what is visible or of the whole map.

Letters: K bands of features, C bands written, h w pixels of a block.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window as RasterWindow

import skysense
from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import Product
from skysense.viewer.answers import Similarity, Taught
from skysense.viewer.ground import on_grid
from skysense.viewer.pictures import rgb

MOST = 100_000_000
"""Pixels of a download: 10,000 x 10,000."""
_SIDE = 256

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawn:
    """What is written.

    Attributes:
        dtype: of the file.
        nodata: of the file.
        bands: names.
        computed: from stored features ``(K, h, w)`` to ``(C, h, w)`` as they are written.
        colours: by number, of classes.
        tags: of the file.
    """

    dtype: str
    nodata: float
    bands: tuple[str, ...]
    computed: Callable[[NDArray], NDArray]
    tags: Mapping[str, str]
    colours: Mapping[int, tuple[int, int, int]] | None = None


def window_of(grid: Grid, box: Box | None) -> Window:
    """The pixels of a grid that a rectangle of the screen touches; all of them without one.

    Args:
        grid: of the map.
        box: west, south, east, north in degrees.

    Raises:
        InputError: the rectangle shows nothing of the map, or the download would be larger than `MOST`.
    """
    whole = Window(0, 0, grid.height, grid.width)
    window: Window | None = whole
    if box is not None:
        west, south, east, north = box
        along = np.linspace(0, 1, 9)
        places = [(west + t * (east - west), lat) for t in along for lat in (south, north)]
        places += [(lon, south + t * (north - south)) for t in along for lon in (west, east)]
        rows, cols = zip(*(on_grid(grid, lon, lat) for lon, lat in places), strict=True)
        top, left = math.floor(min(rows)), math.floor(min(cols))
        window = whole.intersect(Window(top, left, math.ceil(max(rows)) - top, math.ceil(max(cols)) - left))
    if window is None:
        raise InputError("nothing of the map is visible here", fix="Move the map into view, or download all of it")
    if window.height * window.width > MOST:
        raise InputError(
            f"{window.height} x {window.width} cells are more than a download may have ({MOST:,})",
            fix="Zoom in and download what is visible, or use skysense search and skysense fewshot for the whole map",
        )
    return window


def write(product: Product, layer: Layer, window: Window, drawn: Drawn) -> Path:
    """Compute a window at full resolution and write it.

    Args:
        product: the map.
        layer: its features.
        window: in cells of the layer.
        drawn: what to write.

    Returns:
        A temporary file, for the caller to delete.
    """
    grid = product.pixels(layer.name).part(window)
    with tempfile.NamedTemporaryFile(prefix="skysense-view-", suffix=".tif", delete=False) as file:
        path = Path(file.name)
    places = [(row, col) for row in range(0, window.height, _SIDE) for col in range(0, window.width, _SIDE)]

    def block(at: tuple[int, int]) -> NDArray:
        height, width = min(_SIDE, window.height - at[0]), min(_SIDE, window.width - at[1])
        return drawn.computed(product.read(layer.name, Window(window.row + at[0], window.col + at[1], height, width)))

    try:
        with (
            rasterio.open(
                path, "w", driver="GTiff", crs=grid.crs, transform=grid.transform, height=grid.height,
                width=grid.width, count=len(drawn.bands), dtype=drawn.dtype, nodata=drawn.nodata, tiled=True,
                blockxsize=_SIDE, blockysize=_SIDE, compress="deflate", zlevel=1, bigtiff="if_safer",
            ) as dataset,
            ThreadPoolExecutor(2) as workers,
        ):  # fmt: skip
            dataset.descriptions = drawn.bands
            dataset.update_tags(SOFTWARE=f"skysense {skysense.__version__}", MAP=product.path.name, **drawn.tags)
            if drawn.colours is not None:
                dataset.write_colormap(1, {index: (*colour, 255) for index, colour in drawn.colours.items()})
            for start in range(0, len(places), 64):  # few enough to be held in memory while they wait to be written
                some = places[start : start + 64]
                for (row, col), values in zip(some, workers.map(block, some), strict=True):
                    dataset.write(values, window=RasterWindow(col, row, values.shape[2], values.shape[1]))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def similarity(asked: Similarity, lon: float, lat: float) -> Drawn:
    """Cosines as float32, NaN where there is no data."""
    tags = {"SIMILAR_TO": f"lon {lon:.8f}, lat {lat:.8f}"}
    return Drawn("float32", math.nan, ("cosine similarity",), asked, tags)


def classes(taught: Taught, names: Sequence[str], colours: Sequence[str]) -> Drawn:
    """Class indices as bytes with a colour table, 255 where there is no data; names of the classes as tags."""

    def computed(stored_KHW: NDArray) -> NDArray:
        return np.nan_to_num(taught(stored_KHW)[:1], nan=255).astype(np.uint8)

    tags = {f"CLASS_{index}": name for index, name in enumerate(names)}
    table = {index: rgb(colour) for index, colour in enumerate(colours)}
    return Drawn("uint8", 255, ("class",), computed, tags, table or None)


def uncertainty(taught: Taught) -> Drawn:
    """Doubt and novelty as float32, NaN where there is no data."""

    def computed(stored_KHW: NDArray) -> NDArray:
        _, sure_HW, novel_HW = taught(stored_KHW)
        return np.stack([1 - sure_HW, novel_HW])

    bands = ("1 - probability of the class", "novelty: how unlike all labelled points")
    return Drawn("float32", math.nan, bands, computed, {})
