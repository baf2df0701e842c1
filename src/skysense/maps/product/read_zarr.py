"""Layers of a map in a Zarr group, read by TensorStore.

Letters: K bands, h w pixels of a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.shards.store import open_array, readable
from skysense.errors import InputError
from skysense.files import read_json
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.product.layer import Layer
from skysense.maps.product.metadata import FIX, parse, parse_layer
from skysense.maps.product.read import Raster
from skysense.maps.product.store import threads
from skysense.maps.product.zarr import GROUP_FILE


class ZarrRaster:
    """The levels of one layer; TensorStore reads for any number of threads."""

    def __init__(self, folder: Path, arrays: Sequence[Any]) -> None:
        self.folder, self._arrays = folder, arrays

    @property
    def levels(self) -> int:
        """Full resolution and overviews."""
        return len(self._arrays)

    def read(self, window: Window, level: int, bands: Sequence[int]) -> NDArray:
        """Stored numbers ``(K, h, w)`` of a window within the level.

        Raises:
            InputError: a file is missing or damaged.
        """
        array = self._arrays[level]
        with readable(self.folder):
            if list(bands) == list(range(array.shape[0])):
                return array[:, *window.slices()].read().result()
            return array[np.array(bands, np.int64)][:, *window.slices()].read().result()

    def close(self) -> None:
        """Nothing stays open."""


def read_zarr(path: Path) -> tuple[Grid, dict[str, Layer], dict[str, Any], dict[str, Raster]]:
    """Grid, layers, metadata and rasters of a map.

    Raises:
        InputError: it is no map of this package.
    """
    if not (path / GROUP_FILE).is_file():
        raise InputError("is a folder and no Zarr", file=path, fix=FIX)
    try:
        said = read_json(path / GROUP_FILE)["attributes"]["skysense"]
    except (KeyError, TypeError) as error:
        raise InputError("is no map of skysense", file=path, fix=FIX) from error
    grid, metadata = parse(said, path)
    layers: dict[str, Layer] = {}
    rasters: dict[str, Raster] = {}
    for name in metadata.get("layers", []):
        group = read_json(path / name / GROUP_FILE)
        try:
            said = group["attributes"]["skysense"]["layer"]
            assets = [one["asset"] for one in group["attributes"]["multiscales"]["layout"]]
            metadata_of = group["consolidated_metadata"]["metadata"]
            found = [metadata_of[f"{asset}/{name}"] for asset in assets]
        except (KeyError, TypeError) as error:
            raise InputError(f"is damaged: lacks {error}", file=path / name / GROUP_FILE) from error
        layers[name] = parse_layer(said, path / name)
        with readable(path / name):
            arrays = [
                open_array(path / name / asset, name, one, threads()) for asset, one in zip(assets, found, strict=True)
            ]
        rasters[name] = ZarrRaster(path / name, arrays)
    return grid, layers, metadata, rasters
