"""One tile as a TIFF stores it: pixel interleave, a predictor, DEFLATE.

Letters: K bands, S side of a tile, P numbers of a row of pixels, B bytes of a number.

Predictors (TIFF 6.0 section 14; Adobe Photoshop TIFF Technical Note 3) make neighbouring numbers alike so that they
compress: 2 stores each number as its difference to the pixel on its left; 3 sorts the bytes of floats by significance
along a row, the sign and exponent first, and then does the same with bytes.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from skysense.maps.product.layer import Stored

_DEFLATE = (1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
# What a predictor leaves is noise and runs. Looking for runs only is twice as fast as level 1 and, but for a percent of
# some floats, as small; higher levels take several times as long for a few percent.
PREDICTORS: dict[Stored, int] = {"float32": 3, "float16": 3, "int8": 2, "uint8": 2}
"""TIFF predictor by number type."""


def encode_tile(values_KSS: NDArray) -> bytes:
    """Compress a tile.

    Args:
        values_KSS: stored numbers of a whole tile; float32, float16, int8 or uint8.
    """
    bands, side, _ = values_KSS.shape
    little = values_KSS.dtype.newbyteorder("<")
    bytes_SPB = (
        np.ascontiguousarray(values_KSS.transpose(1, 2, 0), little).view(np.uint8).reshape(side, side * bands, -1)
    )
    rows = _planes(bytes_SPB).reshape(side, -1)
    apart = rows.copy()
    apart[:, bands:] -= rows[:, :-bands]
    deflate = zlib.compressobj(*_DEFLATE)
    return deflate.compress(apart.data) + deflate.flush()


def _planes(bytes_SPB: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bytes of the numbers of each row sorted by significance, the most significant first: ``(S, B, P)``."""
    side, numbers, size = bytes_SPB.shape
    planes_SBP = np.empty((side, size, numbers), np.uint8)
    for at in range(size):  # far faster than one transposed copy
        planes_SBP[:, at] = bytes_SPB[..., size - 1 - at]
    return planes_SBP


def decode_tile(content: bytes, bands: int, side: int, dtype: np.dtype) -> NDArray:
    """The way back: ``(K, S, S)``, not contiguous.

    Raises:
        ValueError: no such tile.
    """
    size = dtype.itemsize
    try:
        apart = np.frombuffer(zlib.decompress(content), np.uint8).reshape(side, size * side, bands)
    except zlib.error as error:
        raise ValueError(f"a tile is damaged: {error}") from error
    planes_SBP = np.add.accumulate(apart, axis=1, dtype=np.uint8).reshape(side, size, side * bands)
    bytes_SPB = np.empty((side, side * bands, size), np.uint8)
    for at in range(size):
        bytes_SPB[..., size - 1 - at] = planes_SBP[:, at]
    pixels = bytes_SPB.view(dtype.newbyteorder("<")).reshape(side, side, bands)
    return pixels.astype(dtype, copy=False).transpose(2, 0, 1)
