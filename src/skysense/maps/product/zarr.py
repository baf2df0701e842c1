"""A map as a Zarr v3 group, written by TensorStore.

::

    name.zarr/              attributes: skysense
      features/             a layer; attributes: multiscales, proj:, spatial:
        0/                  full resolution; attributes: proj:, spatial:
          features          (band, y, x), in shards of one row of tiles of a part
          x, y              pixel centres, where rows run along an axis of the map
          spatial_ref       the CRS and the affine, as CF and GDAL say it
        1/                  the first overview, ...

Letters: K bands, H W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.shards.store import kvstore, open_array, readable, writable
from skysense.errors import need
from skysense.files import make_folder, output_error, read_json, write_json, write_text
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.parts import Part, Parting
from skysense.maps.product.conventions import array_attributes, level_attributes, multiscale_attributes, spatial_ref
from skysense.maps.product.layer import Layer
from skysense.maps.product.levels import Level, levels_of
from skysense.maps.product.store import Put, Read, threads

GROUP_FILE = "zarr.json"
_DIMENSIONS = ("band", "y", "x")
_ZSTD_LEVEL = 1


@dataclass(frozen=True)
class ZarrStore:
    """The group in a work folder; see `Store`.

    Attributes:
        folder: the work folder.
        grid: of the cells of the map.
        layers: of the map.
        parting: of the map, in cells.
    """

    folder: Path
    grid: Grid
    layers: tuple[Layer, ...]
    parting: Parting

    @property
    def root(self) -> Path:
        """The group."""
        return self.folder / "map.zarr"

    def begin(self) -> None:
        """Describe the arrays, so that parts can be written in any process."""
        need("tensorstore", "shards")
        for layer in self.layers:
            for level in levels_of(layer, self.parting):
                write_json(self._level(layer, level) / layer.name / GROUP_FILE, array_metadata(layer, level))

    @contextmanager
    def writing(self, layer: Layer, level: Level, part: Part) -> Iterator[Put]:
        """Write a part of a level.

        Raises:
            OutputError: no space.
        """
        done = self._done(layer, level, part)
        done.unlink(missing_ok=True)
        root = self._level(layer, level)
        with writable(root):
            spec = {
                "driver": "zarr3",
                "kvstore": kvstore(root, layer.name),
                "store_data_equal_to_fill_value": True,
                "context": {"cache_pool": {"total_bytes_limit": 0}},  # what is written is not read again
            }
            array = need("tensorstore", "shards").open(spec, write=True, open=True).result()

        def put(row: int, block_KHW: NDArray) -> None:
            _, rows, width = block_KHW.shape
            with writable(root):
                top, left = part.window.row + row, part.window.col
                array[:, top : top + rows, left : left + width].write(block_KHW).result()

        yield put
        write_text(done, "")

    @contextmanager
    def reading(self, layer: Layer, level: Level) -> Iterator[Read]:
        """Read from a level whose parts are there."""
        root = self._level(layer, level)
        array = open_array(root, layer.name, read_json(root / layer.name / GROUP_FILE), threads())

        def read(window: Window) -> NDArray:
            rows, cols = min(window.height, level.height - window.row), min(window.width, level.width - window.col)
            with readable(root / layer.name):
                there = array[:, window.row : window.row + rows, window.col : window.col + cols].read().result()
            if (rows, cols) == (window.height, window.width):
                return there
            values_KHW = np.full((len(layer.bands), window.height, window.width), layer.nodata, layer.dtype)
            values_KHW[:, :rows, :cols] = there
            return values_KHW

        yield read

    def holds(self, layer: Layer, level: Level, part: Part) -> bool:
        """Whether a part is there."""
        return self._done(layer, level, part).exists()

    def pieces(self, layer: Layer) -> int:
        """How often `assemble` calls its ``step``."""
        return 1

    def assemble(self, layer: Layer, metadata: Mapping[str, Any], step: Callable[[], None]) -> None:
        """Say of a layer what readers need: place, scale, offset, meaning."""
        pixels = self.grid.finer(layer.per_cell)
        levels = levels_of(layer, self.parting)
        for level in levels:
            grid = pixels.coarser(2**level.number)
            folder = self._level(layer, level)
            write_json(folder / layer.name / GROUP_FILE, array_metadata(layer, level))  # scales are known only now
            for name, (values, dimension, attributes) in _places(grid).items():
                _write_small(folder / name, values, dimension, attributes)
            _write_group(folder, level_attributes(grid))
        said = {"skysense": {**metadata, "layer": layer.to_json()}}
        _write_group(self.root / layer.name, multiscale_attributes(layer, pixels, len(levels)) | said)
        step()

    def close(self, metadata: Mapping[str, Any]) -> None:
        """Describe the whole."""
        for left in (*self.root.rglob("*.__lock"), *self.root.rglob(".*")):  # of writers that were killed
            left.unlink(missing_ok=True)
        _write_group(self.root, {"skysense": metadata})

    def made(self) -> Sequence[Path]:
        """The one group."""
        return [self.root]

    def _level(self, layer: Layer, level: Level) -> Path:
        return self.root / layer.name / str(level.number)

    def _done(self, layer: Layer, level: Level, part: Part) -> Path:
        return self.folder / f"{layer.name}.{level.number}.{part.name}.done"


def array_metadata(layer: Layer, level: Level) -> dict[str, Any]:
    """Zarr v3 metadata of one level: a shard is a row of tiles of a part, a chunk is a tile with all bands."""
    bands, tile, dtype = len(layer.bands), level.tile, layer.dtype
    across = min(level.parting.part_width, level.tiles[1] * tile)
    shuffle = "bitshuffle" if dtype.itemsize > 1 else "noshuffle"
    blosc = {"cname": "zstd", "clevel": _ZSTD_LEVEL, "shuffle": shuffle, "typesize": dtype.itemsize, "blocksize": 0}
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    inner = [little if dtype.itemsize > 1 else {"name": "bytes"}, {"name": "blosc", "configuration": blosc}]
    crc = {"name": "crc32c"}
    sharding = {
        "chunk_shape": [bands, tile, tile],
        "codecs": [*inner, crc],
        "index_codecs": [little, crc],
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [bands, level.height, level.width],
        "data_type": dtype.name,
        "fill_value": int(layer.nodata) if dtype.kind in "iu" else "NaN",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [bands, tile, across]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": list(_DIMENSIONS),
        "attributes": array_attributes(layer),
    }


def _places(grid: Grid) -> dict[str, tuple[NDArray, tuple[str, ...], dict[str, Any]]]:
    """Small arrays beside a level: name, values, dimensions, attributes."""
    ref, axes = spatial_ref(grid)
    places: dict[str, tuple[NDArray, tuple[str, ...], dict[str, Any]]] = {
        "spatial_ref": (np.zeros((), np.int32), (), ref)
    }
    a, b, c, d, e, f = grid.transform[:6]
    if b == d == 0:
        places["x"] = (a * (np.arange(grid.width) + 0.5) + c, ("x",), axes["x"])
        places["y"] = (e * (np.arange(grid.height) + 0.5) + f, ("y",), axes["y"])
    return places


def _write_small(folder: Path, values: NDArray, dimensions: tuple[str, ...], attributes: dict[str, Any]) -> None:
    """An array of one chunk, not compressed."""
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(values.shape),
        "data_type": values.dtype.name,
        "fill_value": 0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(values.shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "dimension_names": list(dimensions),
        "attributes": attributes,
    }
    chunk = folder.joinpath("c", *("0" for _ in dimensions))
    make_folder(chunk.parent)
    try:
        chunk.write_bytes(values.astype(values.dtype.newbyteorder("<")).tobytes())
    except OSError as error:
        raise output_error(error, chunk) from error
    write_json(folder / GROUP_FILE, metadata)


def _write_group(folder: Path, attributes: Mapping[str, Any]) -> None:
    """The metadata of a group, with those of everything in it, so that readers need no other file to know it all."""
    inside = {}
    for file in sorted(folder.rglob(GROUP_FILE)):
        if file.parent != folder:
            one = read_json(file)
            one.pop("consolidated_metadata", None)
            inside[file.parent.relative_to(folder).as_posix()] = one
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": dict(attributes),
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": inside},
    }
    write_text(folder / GROUP_FILE, json.dumps(group, allow_nan=False) + "\n")
