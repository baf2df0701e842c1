"""A series in memory, as an array or a data set of xarray: read like a cube that is open already.

Letters: H W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from skysense.maps.grid import Grid
from skysense.maps.sources.cube import CubeReader, CubeStack, Layers
from skysense.maps.sources.cube_open import understood
from skysense.maps.sources.named import Entry
from skysense.sensors import Modality, Sensor

_BLOCK = 256  # rows that are looked at together


@dataclass(frozen=True)
class ArrayStack(CubeStack):
    """Frames of one sensor in memory, see `skysense.maps.sources.stack.Stack`.

    Attributes:
        dataset: of xarray; its arrays may be lazy, and are then read window by window.
    """

    dataset: Any = field(default=None, repr=False, compare=False)

    def files(self) -> list[dict[str, Any]]:
        """A hash of the pixels: there is no file whose size and time of change could tell two arrays apart."""
        digest = hashlib.sha256()
        masks = (self.valid, self.clear, self.classes)
        for layers in (*self.layers, *(mask for mask in masks if mask is not None)):
            pixels = self.dataset[layers.variable]
            digest.update(f"{layers.variable} {layers.bands} {pixels.dtype} {pixels.shape}".encode())
            for row in range(0, pixels.sizes[layers.axes.y], _BLOCK):
                block = pixels.isel({layers.axes.y: slice(row, row + _BLOCK)}).values
                digest.update(np.ascontiguousarray(block).data)
        return [{"name": self.name, "sha256": digest.hexdigest()}]

    @contextmanager
    def open(self, pixels: Grid) -> Iterator[CubeReader]:
        """For reading on a grid of pixels."""
        yield CubeReader(self, pixels, self.dataset)


def array_stack(said: Entry, reads: Mapping[Modality, Sensor]) -> ArrayStack:
    """Understand imagery in memory.

    Dimensions, bands, unit, days, CRS and place are found as in a cube on disk, see `cube_stack`. NaN is no-data, which
    is what xarray makes of it when it decodes a file.

    Args:
        said: the array, and sensor, unit and date where it does not say them.
        reads: sensors that the model reads.

    Raises:
        InputError: no CRS or coordinates, uneven coordinates, bands of no sensor, a unit that is missing or another
            one, frames without dates.
    """
    dataset = _with_words(said.data)
    name = getattr(said.data, "name", None) or "array"
    found = understood(dataset, Path(str(name)), said, reads)
    known = {one.name: getattr(found, one.name) for one in fields(CubeStack)}
    known["layers"] = tuple(_nan_is_no_data(layers) for layers in found.layers)
    return ArrayStack(**known, dataset=dataset)


def _with_words(data: Any) -> Any:
    """A data set whose CRS is text, whatever object it was."""
    if hasattr(data, "data_vars"):
        dataset = data.copy()
    else:
        dataset = data.to_dataset(name="values" if data.name is None else data.name).assign_attrs(data.attrs)
    for one in (dataset, *dataset.data_vars.values()):
        if hasattr(one.attrs.get("crs"), "to_wkt"):
            one.attrs = {**one.attrs, "crs": one.attrs["crs"].to_wkt()}
    return dataset


def _nan_is_no_data(layers: Layers) -> Layers:
    if np.dtype(layers.stored).kind != "f" or layers.numbers.nodata is not None:
        return layers
    return replace(layers, numbers=replace(layers.numbers, nodata=float("nan")))
