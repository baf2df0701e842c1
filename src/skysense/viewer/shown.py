"""What a page shows: maps of ours and images, numbered, with what the page must know of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
from numpy.typing import NDArray

from skysense.data.geotiff import opened
from skysense.errors import InputError
from skysense.maps.grid import Grid
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import Product, open_product
from skysense.viewer import imagery
from skysense.viewer.ground import LIMIT, MERCATOR, NORTHMOST, TILE, lonlat_bounds, nearest_turn, projected
from skysense.viewer.imagery import Imagery
from skysense.viewer.pictures import Painter, palette

Box = tuple[float, float, float, float]
"""West, south, east, north, degrees."""
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
    rasters = _with_their_layers_once(rasters)
    names = [raster.name if isinstance(raster, Imagery) else raster.path.name for raster in rasters]
    shown = [Shown(number, name, raster) for number, (name, raster) in enumerate(zip(names, rasters, strict=True))]
    for one in shown:
        _, south, _, north = lonlat_bounds(one.grid)
        if math.isnan(south):
            raise InputError("lies nowhere on the Earth: its CRS does not fit its geotransform", file=one.raster.path)
        if south >= NORTHMOST or north <= -NORTHMOST:
            raise InputError(
                f"lies beyond {NORTHMOST:.0f} degrees of latitude, where the page (Web Mercator) has no place for it",
                file=one.raster.path,
            )
    return shown


def _with_their_layers_once(rasters: Sequence[Product | Imagery]) -> list[Product | Imagery]:
    """Without the files of layers that another file brought along: ``map*.tif`` names all layers of a map."""
    maps = [raster for raster in rasters if isinstance(raster, Product)]
    brought = {
        product.path.with_name(f"{product.path.stem}_{name}{product.path.suffix}").resolve()
        for product in maps
        for name in list(product.layers)[1:]
    }
    kept: list[Product | Imagery] = []
    for raster in rasters:
        if isinstance(raster, Product) and raster.path.resolve() in brought:
            raster.close()
        else:
            kept.append(raster)
    return kept


def _is_ours(path: Path) -> bool:
    with opened(path) as dataset:
        return _OURS in dataset.tags()


def describe(shown: Sequence[Shown], painter: Painter) -> dict[str, Any]:
    """What the page must know: places, layers, bands, legends. Plain values."""
    boxes = _beside_one_another([lonlat_bounds(one.grid) for one in shown])
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


def _beside_one_another(boxes: Sequence[Box]) -> list[Box]:
    """Boxes in degrees without what the page cannot show, all as near to the first as whole turns bring them."""
    moved = []
    for west, south, east, north in boxes:
        middle, first = (west + east) / 2, (boxes[0][0] + boxes[0][2]) / 2
        by = float(nearest_turn(middle, first, 360)) - middle
        moved.append((west + by, max(south, -NORTHMOST), east + by, min(north, NORTHMOST)))
    return moved


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
    """The zoom at which its pixels are as large as those of a tile, where the page shows them smallest."""
    row, col = (axis.ravel() for axis in np.meshgrid(*(np.linspace(0, n - 1, 3) for n in (grid.height, grid.width))))
    here, right, below = (
        np.stack(projected(grid.crs, MERCATOR, *grid.at(col + across, row + down)))
        for across, down in ((0, 0), (1, 0), (0, 1))
    )
    (right_x, right_y), (below_x, below_y) = (_apart(here, other) for other in (right, below))
    area = np.abs(right_x * below_y - below_x * right_y)
    shown = np.isfinite(area) & (area > 0) & (np.abs(here[1]) < LIMIT)
    side = math.sqrt(area[shown].min()) if shown.any() else 1.0
    return round(math.log2(2 * LIMIT / TILE / side), 2)


def _apart(here: NDArray[np.float64], there: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far places are east and north of others, metres of Web Mercator; the short way around the Earth."""
    with np.errstate(invalid="ignore"):  # places that it does not have
        return nearest_turn(there[0] - here[0], 0.0, 2 * LIMIT), there[1] - here[1]
