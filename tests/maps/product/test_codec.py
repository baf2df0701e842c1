"""Tiles come back to the bit."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skysense.maps.product.codec import decode_tile, encode_tile


@settings(deadline=None, max_examples=40)
@given(
    stored=st.sampled_from(["float32", "float16", "int8", "uint8"]),
    bands=st.integers(1, 9),
    side=st.sampled_from([16, 32]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_tile_comes_back_to_the_bit(stored: str, bands: int, side: int, seed: int) -> None:
    dtype = np.dtype(stored)
    bits = np.random.default_rng(seed).integers(0, 256, (bands, side, side * dtype.itemsize), np.uint8)
    tile = decode_tile(encode_tile(bits.view(dtype)), bands, side, dtype)
    np.testing.assert_array_equal(np.ascontiguousarray(tile).view(np.uint8), bits)
    assert tile.dtype == dtype


def test_the_predictor_of_floats_sorts_bytes_and_stores_differences() -> None:
    tile = np.full((1, 16, 16), 1.5, np.float32)  # 3f c0 00 00
    rows = np.frombuffer(zlib.decompress(encode_tile(tile)), np.uint8).reshape(16, 64)
    assert rows[0].tolist() == [0x3F] + [0] * 15 + [0xC0 - 0x3F] + [0] * 15 + [256 - 0xC0] + [0] * 31


def test_the_predictor_of_integers_takes_the_same_band_of_the_pixel_before() -> None:
    tile = np.stack([np.full((16, 16), 7, np.int8), np.tile(np.arange(16, dtype=np.int8), (16, 1)) * -1])
    rows = np.frombuffer(zlib.decompress(encode_tile(tile)), np.uint8).reshape(16, 16, 2)
    assert rows[3, :, 0].tolist() == [7] + [0] * 15
    assert rows[3, :, 1].tolist() == [0] + [255] * 15


def test_a_damaged_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="damaged"):
        decode_tile(encode_tile(np.zeros((1, 16, 16), np.uint8))[:-3], 1, 16, np.dtype("uint8"))
