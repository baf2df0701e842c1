"""Packs: the compressed tiles of one part of a level, one after the other, and how long each of them is.

A pack is what waits in the work folder until it is known where in the final file it belongs. Its tiles lie row by row,
framed as they will be there; their lengths follow as 32-bit integers. A pack that was cut short does not add up.

Letters: K bands, S side of a tile, H W pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.files import atomic_path
from skysense.maps.product.codec import decode_tile, encode_tile
from skysense.maps.product.layer import Layer
from skysense.maps.product.store import Put, threads
from skysense.maps.product.tiff import LEADER_BYTES, TRAILER_BYTES, framed

_LENGTH = np.dtype("<u4")


@contextmanager
def write_pack(path: Path, layer: Layer, side: int) -> Iterator[Put]:
    """Write a pack atomically.

    Args:
        path: of the pack.
        layer: what is in it.
        side: of a tile, pixels.

    Raises:
        OutputError: no space.
    """
    lengths: list[int] = []
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        ThreadPoolExecutor(threads(), thread_name_prefix="tiles") as pool,
    ):

        def put(_: int, block_KHW: NDArray) -> None:
            for tile in pool.map(encode_tile, _tiles(layer, block_KHW, side)):
                file.write(framed(tile))
                lengths.append(len(tile))

        yield put
        file.write(np.array(lengths, _LENGTH).tobytes())


def _tiles(layer: Layer, block_KHW: NDArray, side: int) -> Iterator[NDArray]:
    """Whole tiles of a block, row by row; what hangs over is no-data."""
    bands, height, width = block_KHW.shape
    for row in range(0, height, side):
        for col in range(0, width, side):
            part = block_KHW[:, row : row + side, col : col + side]
            if part.shape[1:] != (side, side):
                whole = np.full((bands, side, side), layer.nodata, layer.dtype)
                whole[:, : part.shape[1], : part.shape[2]] = part
                part = whole
            yield part


class Pack:
    """A pack to read from; several threads may.

    Args:
        path: of the pack.
        tiles: how many it has.

    Attributes:
        lengths: of its tiles, bytes, without their frames.
        starts: of their frames, from the beginning of the pack.

    Raises:
        InputError: it is not there or not whole.
    """

    def __init__(self, path: Path, tiles: int) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.lengths = _lengths(file, tiles)
        except OSError as error:
            raise InputError(f"could not be read: {os.strerror(error.errno or 0).lower()}", file=path) from error
        except ValueError as error:
            raise InputError("is not whole", file=path, fix="Remove it: its part is then computed again") from error
        framed_lengths = self.lengths + LEADER_BYTES + TRAILER_BYTES
        self.starts = np.cumsum(framed_lengths) - framed_lengths
        self._file: BinaryIO | None = None

    def open(self) -> None:
        """Be ready to read tiles."""
        self._file = self.path.open("rb")

    def close(self) -> None:
        """End reading."""
        if self._file is not None:
            self._file.close()

    def tile(self, at: int, layer: Layer, side: int) -> NDArray:
        """Stored numbers ``(K, S, S)`` of a tile."""
        assert self._file is not None
        content = os.pread(self._file.fileno(), int(self.lengths[at]), int(self.starts[at]) + LEADER_BYTES)
        try:
            return decode_tile(content, len(layer.bands), side, layer.dtype)
        except ValueError as error:
            raise InputError(str(error), file=self.path, fix="Remove it: its part is then computed again") from error


def is_whole(path: Path, tiles: int) -> bool:
    """Whether a pack is there and adds up."""
    try:
        with path.open("rb") as file:
            _lengths(file, tiles)
    except (OSError, ValueError):
        return False
    return True


def _lengths(file: BinaryIO, tiles: int) -> NDArray[np.int64]:
    size = os.fstat(file.fileno()).st_size
    start = size - tiles * _LENGTH.itemsize
    if start < 0:
        raise ValueError("too short")
    file.seek(start)
    lengths = np.frombuffer(file.read(), _LENGTH).astype(np.int64)
    if len(lengths) != tiles or lengths.sum() + tiles * (LEADER_BYTES + TRAILER_BYTES) != start:
        raise ValueError("does not add up")
    return lengths
