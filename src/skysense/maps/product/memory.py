"""Maps in memory, as data sets of xarray.

Letters: K bands, H W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skysense.errors import InputError, need
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.product.conventions import spatial_ref
from skysense.maps.product.layer import Layer

if TYPE_CHECKING:
    import xarray

    from skysense.maps.product.read import Product

MOST_BYTES = 4 << 30
"""A map that is larger as float32 does not come back in memory: its computer may have no more."""


def check_size(grid: Grid, layers: Sequence[Layer]) -> None:
    """Refuse a map that is too large to be held in memory.

    Args:
        grid: of the cells.
        layers: of the map.

    Raises:
        InputError: it takes more than `MOST_BYTES`.
    """
    size = sum(4 * len(layer.bands) * layer.per_cell**2 for layer in layers) * grid.height * grid.width
    if size > MOST_BYTES:
        limit = f"{MOST_BYTES / 2**30:g} GiB"
        raise InputError(
            f"the map takes {size / 2**30:.1f} GiB in memory, more than {limit}",
            fix="Name an output (out='map.tif' or 'map.zarr'), which is written piece by piece, or a smaller area",
        )


def dataset_of(product: Product, names: Sequence[str], level: int, window: Window | None) -> xarray.Dataset:
    """Layers of a map as variables with the dimensions ``band``, ``y``, ``x``; see `Product.to_xarray`.

    Raises:
        InputError: no such layer or level, layers with pixels of different size, or more than `MOST_BYTES`.
        MissingExtra: xarray is not installed.
    """
    xarray = need("xarray", "maps")
    grids = {name: product.pixels(name, level) for name in names}
    whole = grids[names[0]]
    if any(grid != whole for grid in grids.values()):
        raise InputError("has layers with pixels of different size", file=product.path, fix="Name one of them")
    window = window or Window(0, 0, whole.height, whole.width)
    grid = whole.part(window)
    layers = [product.layers[name] for name in names]
    size = sum(4 * len(layer.bands) for layer in layers) * window.height * window.width
    if size > MOST_BYTES:
        raise InputError(
            f"this part of it takes {size / 2**30:.1f} GiB in memory, more than {MOST_BYTES / 2**30:g} GiB",
            file=product.path,
            fix="Name a window, a coarser level or one layer, or read it window by window",
        )
    variables: dict[str, Any] = {}
    bands: dict[str, tuple[str, ...]] = {}
    for layer in layers:
        values_KHW = product.read_values(layer.name, window, level)
        dims: tuple[str, ...] = ("y", "x")
        values = values_KHW[0]
        if len(layer.bands) > 1 or layer.kind == "features":
            dimension = "band" if bands.get("band", layer.bands) == layer.bands else f"{layer.name}_band"
            bands[dimension] = layer.bands
            dims, values = (dimension, *dims), values_KHW
        variables[layer.name] = xarray.Variable(dims, values, _said(layer), {"grid_mapping": "spatial_ref"})
    mapping, axes = spatial_ref(grid)
    coordinates: dict[str, Any] = {name: (name, np.array(labels, object)) for name, labels in bands.items()}
    if grid.transform.b == 0 == grid.transform.d:
        x, _ = grid.at(np.arange(grid.width) + 0.5, 0)
        _, y = grid.at(0, np.arange(grid.height) + 0.5)
        coordinates |= {"y": ("y", y, axes["y"]), "x": ("x", x, axes["x"])}
    coordinates["spatial_ref"] = ((), 0, mapping)
    model = product.metadata.get("model") or {}
    said = {"software": product.metadata.get("software", ""), "model_sha256": model.get("sha256", "")}
    return xarray.Dataset(variables, coordinates, said | {"skysense": json.dumps(product.metadata, ensure_ascii=False)})


def _said(layer: Layer) -> dict[str, Any]:
    """Attributes of a variable (CF 1.11, 3.5 for classes)."""
    said: dict[str, Any] = {"long_name": layer.name, "kind": layer.kind}
    if layer.classes:
        said["flag_values"] = list(range(len(layer.classes)))
        said["flag_meanings"] = " ".join("_".join(name.split()) for name in layer.classes)
        said |= {"class_names": list(layer.classes), "class_colours": list(layer.colours)}
    return said
