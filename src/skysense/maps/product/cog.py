"""A Cloud-Optimized GeoTIFF, put together without a second copy of its pixels.

Parts wait in the work folder as packs of compressed tiles. When all are there, the lengths of all tiles are known, and
so is where every one belongs: first the directories, full resolution first; then the tiles of the smallest overview, of
the next larger one, ..., of full resolution, row by row. That plan is written down; then each pack is copied to its
place and removed. A run that is killed goes on from the plan with the packs that are left.

Letters: K bands, H W pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from skysense.files import atomic_path, output_error, read_json, write_json
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.parts import Part, Parting
from skysense.maps.product.layer import Layer
from skysense.maps.product.levels import Level, levels_of
from skysense.maps.product.packs import Pack, is_whole, write_pack
from skysense.maps.product.store import Put, Read
from skysense.maps.product.tiff import HEADER_BYTES, LEADER_BYTES, TRAILER_BYTES, Directory, file_header, layer_tags

Piece = tuple[str, list[int], list[int]]
"""A pack by name, and for each row of its tiles the place in the file and the length."""
_Tiles = tuple[NDArray[np.int64], NDArray[np.int64]]  # offsets and lengths, row by row


@dataclass(frozen=True)
class CogStore:
    """Tiles as packs in a folder; see `Store`.

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

    def begin(self) -> None:
        """Nothing to prepare."""

    @contextmanager
    def writing(self, layer: Layer, level: Level, part: Part) -> Iterator[Put]:
        """Write a part of a level.

        Raises:
            OutputError: no space.
        """
        with write_pack(self._pack(layer, level, part), layer, level.tile) as put:
            yield put

    @contextmanager
    def reading(self, layer: Layer, level: Level) -> Iterator[Read]:
        """Read from a level whose packs are all there."""
        with ExitStack() as packs:
            yield _Reader(self, layer, level, packs).read

    def holds(self, layer: Layer, level: Level, part: Part) -> bool:
        """Whether a part is there and whole; where the plan is made, all were."""
        tiles = level.tiles_of(part)
        return self._plan(layer).exists() or is_whole(self._pack(layer, level, part), tiles.height * tiles.width)

    def pieces(self, layer: Layer) -> int:
        """How often `assemble` calls its ``step``: once for every pack."""
        return sum(len(level.parting.parts) for level in levels_of(layer, self.parting))

    def assemble(self, layer: Layer, metadata: Mapping[str, Any], step: Callable[[], None]) -> None:
        """Put the file of a layer together.

        Raises:
            OutputError: no space.
        """
        plan = self._plan(layer)
        if not plan.exists():
            self._write_plan(layer, metadata)
        file = self._file(layer)
        try:
            with open(os.open(file, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as out:
                out.write(self._header(layer).read_bytes())
                for name, offsets, lengths in read_json(plan):
                    if (self.folder / name).exists():
                        _place(self.folder / name, offsets, lengths, out)
                    step()
        except OSError as error:
            raise output_error(error, file) from error

    def close(self, metadata: Mapping[str, Any]) -> None:
        """Nothing is left to do."""

    def made(self) -> Sequence[Path]:
        """One file per layer."""
        return [self._file(layer) for layer in self.layers]

    def open_pack(self, layer: Layer, level: Level, part: Part) -> Pack:
        """A pack that is whole.

        Raises:
            InputError: it is not.
        """
        tiles = level.tiles_of(part)
        return Pack(self._pack(layer, level, part), tiles.height * tiles.width)

    def _pack(self, layer: Layer, level: Level, part: Part) -> Path:
        return self.folder / f"{layer.name}.{level.number}.{part.name}.pack"

    def _file(self, layer: Layer) -> Path:
        return self.folder / f"{layer.name}.tif"

    def _header(self, layer: Layer) -> Path:
        return self.folder / f"{layer.name}.header"

    def _plan(self, layer: Layer) -> Path:
        return self.folder / f"{layer.name}.plan.json"

    def _write_plan(self, layer: Layer, metadata: Mapping[str, Any]) -> None:
        levels = levels_of(layer, self.parting)
        tags = layer_tags(layer, self.grid.finer(layer.per_cell), {**metadata, "layer": layer.to_json()})
        directories = [
            Directory(tags, level.number > 0, level.height, level.width, level.tile, int(np.prod(level.tiles)))
            for level in levels
        ]
        starts = np.cumsum([HEADER_BYTES, *(one.size for one in directories)])
        pieces: list[Piece] = []
        tiles: dict[int, _Tiles] = {}
        end = int(starts[-1])
        for level in reversed(levels):
            tiles[level.number], end = self._lay_out(layer, level, end, pieces)
        header = file_header() + b"".join(
            one.written(int(starts[at]), *tiles[at], last=at == len(levels) - 1) for at, one in enumerate(directories)
        )
        with atomic_path(self._header(layer)) as temporary:
            temporary.write_bytes(header)
        write_json(self._plan(layer), pieces)

    def _lay_out(self, layer: Layer, level: Level, start: int, pieces: list[Piece]) -> tuple[_Tiles, int]:
        """Give the tiles of a level their places from ``start`` on, row by row; returns them and where they end."""
        lengths = np.zeros(level.tiles, np.int64)
        parts = [(part, level.tiles_of(part)) for part in level.parting.parts]
        for part, tiles in parts:
            lengths[tiles.slices()] = self.open_pack(layer, level, part).lengths.reshape(tiles.height, tiles.width)
        framed = lengths + LEADER_BYTES + TRAILER_BYTES
        offsets = start + (np.cumsum(framed) - framed.ravel()).reshape(framed.shape)
        for part, tiles in parts:
            rows, cols = tiles.slices()
            pieces.append(
                (self._pack(layer, level, part).name, offsets[rows, tiles.col].tolist(),
                 framed[rows, cols].sum(1).tolist())
            )  # fmt: skip
        return (offsets.ravel() + LEADER_BYTES, lengths.ravel()), start + int(framed.sum())


class _Reader:
    """Tiles of the packs of a level; packs are opened when they are first read from."""

    def __init__(self, store: CogStore, layer: Layer, level: Level, opened: ExitStack) -> None:
        self._store, self._layer, self._level, self._opened = store, layer, level, opened
        self._packs: dict[str, Pack] = {}
        self._lock = Lock()

    def read(self, window: Window) -> NDArray:
        """Put a window together from tiles; what hangs over is no-data in them already."""
        side = self._level.tile
        values_KHW = np.empty((len(self._layer.bands), window.height, window.width), self._layer.dtype)
        for row in range(window.row // side, -(-(window.row + window.height) // side)):
            for col in range(window.col // side, -(-(window.col + window.width) // side)):
                whole = Window(row * side, col * side, side, side)
                common = window.intersect(whole)
                assert common is not None
                here, there = (replace(common, row=common.row - one.row, col=common.col - one.col).slices()
                               for one in (window, whole))  # fmt: skip
                values_KHW[:, *here] = self._tile(row, col)[:, *there]
        return values_KHW

    def _tile(self, row: int, col: int) -> NDArray:
        part = self._level.part_with(row, col)
        tiles = self._level.tiles_of(part)
        with self._lock:
            if part.name not in self._packs:
                pack = self._packs[part.name] = self._store.open_pack(self._layer, self._level, part)
                pack.open()
                self._opened.callback(pack.close)
        at = (row - tiles.row) * tiles.width + col - tiles.col
        return self._packs[part.name].tile(at, self._layer, self._level.tile)


def _place(pack: Path, offsets: Sequence[int], lengths: Sequence[int], out: BinaryIO) -> None:
    """Copy the rows of tiles of a pack to where they belong; only when they are on the disk does the pack go."""
    with pack.open("rb") as tiles:
        for offset, length in zip(offsets, lengths, strict=True):
            out.seek(offset)
            out.write(tiles.read(length))
    out.flush()
    os.fsync(out.fileno())
    pack.unlink()
