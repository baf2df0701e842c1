"""What a page shows: maps of ours and images, numbered, with what the page must know of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj

from skysense.data.geotiff import opened
from skysense.errors import InputError
from skysense.maps.grid import Grid
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import Product, open_product
from skysense.viewer import imagery
from skysense.viewer.ground import LIMIT, MERCATOR, TILE, lonlat_bounds, projected
from skysense.viewer.imagery import Imagery
from skysense.viewer.pictures import Painter, palette

_OURS = "SKYSENSE"  # the tag that a GeoTIFF of ours has


@dataclass(frozen=True)
class Shown:
    """One thing on the page.

    Attributes:
        number: what the page calls it.
        name: what a person calls it.
        raster: a map of ours or imagery.
    """

    number: int
    name: str
    raster: Product | Imagery

    @property
    def grid(self) -> Grid:
        """Of the cells of a map, or of the pixels of the first image."""
        return self.raster.frames[0].grid if isinstance(self.raster, Imagery) else self.raster.grid

    def layer(self, name: str) -> Layer | None:
        """A layer of a map of ours by name."""
        return None if isinstance(self.raster, Imagery) else self.raster.layers.get(name)

    @property
    def features(self) -> Layer | None:
        """Its layer of features, if it has one."""
        if isinstance(self.raster, Imagery):
            return None
        return next((layer for layer in self.raster.layers.values() if layer.kind == "features"), None)


def open_all(products: Sequence[Path], images: Sequence[Path] = ()) -> list[Shown]:
    """Open what was named on the command line.

    Args:
        products: maps of ours, plain GeoTIFFs, folders of GeoTIFFs.
        images: plain GeoTIFFs or folders of them, below the maps.

    Raises:
        InputError: nothing was named, or one of them can be read in no way.
    """
    rasters: list[Product | Imagery] = []
    frames: list[imagery.Frame] = []
    for path in [*images, *products]:
        if path.suffix == ".zarr" or (path.is_file() and _is_ours(path)):
            rasters.append(open_product(path))
        elif path.is_dir():
            rasters.append(imagery.open_folder(path))
        else:
            frames.append(imagery.open_frame(path))
    rasters = [*imagery.group(frames), *rasters]
    if not rasters:
        raise InputError("there is nothing to show", fix="Name a map, an image or a folder of images")
    names = [raster.name if isinstance(raster, Imagery) else raster.path.name for raster in rasters]
    return [Shown(number, name, raster) for number, (name, raster) in enumerate(zip(names, rasters, strict=True))]


def _is_ours(path: Path) -> bool:
    with opened(path) as dataset:
        return _OURS in dataset.tags()


def describe(shown: Sequence[Shown], painter: Painter) -> dict[str, Any]:
    """What the page must know: places, layers, bands, legends. Plain values."""
    boxes = [lonlat_bounds(one.grid) for one in shown]
    bounds = [min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)]
    items = []
    for one, box in zip(shown, boxes, strict=True):
        layers = _frames(one.raster) if isinstance(one.raster, Imagery) else _layers(one.raster, painter)
        items.append(
            {
                "id": one.number,
                "name": one.name,
                "crs": _crs(one.grid.crs),
                "bounds": list(box),
                "layers": layers,
            }
        )
    return {"bounds": bounds, "items": items}


def _crs(crs: Any) -> str:
    """``EPSG:32632``, or of a CRS without a number its name."""
    words: str = crs.to_string()
    return words if len(words) < 30 else pyproj.CRS.from_user_input(crs).name


def _frames(series: Imagery) -> list[dict[str, Any]]:
    kind = "series" if len(series.frames) > 1 else "image"
    titles = [frame.title for frame in series.frames]
    return [{"id": "image", "kind": kind, "frames": titles, "zoom": max(_zoom(frame.grid) for frame in series.frames)}]


def _layers(product: Product, painter: Painter) -> list[dict[str, Any]]:
    found = []
    for layer in product.layers.values():
        about: dict[str, Any] = {"id": layer.name, "kind": layer.kind, "bands": len(layer.bands)}
        if layer.kind == "classes":
            names = layer.classes or ("class 0",)
            about["legend"] = [
                {"name": name, "colour": colour} for name, colour in zip(names, palette(layer), strict=False)
            ]
        elif layer.kind != "features":
            about["bands"] = list(layer.bands)
            about["limits"] = [round(limit, 6) for limit in painter.limits(product, layer)]
        about["zoom"] = _zoom(product.pixels(layer.name))
        found.append(about)
    return found


def _zoom(grid: Grid) -> float:
    """The zoom at which the pixels in its middle are as large as those of a tile."""
    row, col = grid.height / 2, grid.width / 2
    across, down = np.array([col, col + 1, col]), np.array([row, row, row + 1])
    x, y = projected(grid.crs, MERCATOR, *grid.at(across, down))
    area = abs((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]))
    side = math.sqrt(area) if np.isfinite(area) and area > 0 else 1.0
    return round(math.log2(2 * LIMIT / TILE / side), 2)
