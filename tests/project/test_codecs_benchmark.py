"""The comparison of codecs: what is decoded is what was encoded, and the arithmetic of a view is right."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def _script(name: str, called: str) -> ModuleType:
    """A script of a folder that is no package, under a name that hides nothing of Python's own."""
    spec = importlib.util.spec_from_file_location(called, BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[called] = module
    spec.loader.exec_module(module)
    return module


pytest.importorskip("numcodecs")
pytest.importorskip("xarray")
blocks = _script("_blocks", "_blocks")
candidates = _script("_block_codecs", "_block_codecs")
compared = _script("codecs", "_codecs_benchmark")

WORDS = ("u1", "u2", "i2")
SHAPES = st.tuples(*[st.integers(1, 4)] * 4)


@given(st.data(), st.sampled_from(WORDS), st.sampled_from(["", "x", "yx", "byx", "tyx"]), st.booleans())
def test_a_residual_gives_the_block_back(data: st.DataObject, word: str, axes: str, zigzag: bool) -> None:
    block = data.draw(arrays(word, SHAPES))
    left = candidates.residual(block, axes, zigzag)
    left.setflags(write=False)  # as bytes of a store are
    back = candidates.restored(left, axes, zigzag, block.dtype)
    assert back.dtype == block.dtype
    np.testing.assert_array_equal(back, block)


def test_a_slope_leaves_its_edges_only() -> None:
    rows, cols = np.mgrid[:4, :5]
    left = candidates.residual((100 + 3 * rows - 2 * cols).astype(np.int16)[None, None], "yx", False)[0, 0]
    np.testing.assert_array_equal(left[1:, 1:], 0)
    assert left[0, 0] == 100 and left[1, 0] == 3 and left[0, 1] == 2**16 - 2


def test_zigzag_counts_away_from_nought() -> None:
    small = np.array([0, -1, 1, -2, 2, 127, -128], np.int8).reshape(1, 1, 1, -1)
    assert candidates.residual(small, "", True).ravel().tolist() == [0, 1, 2, 3, 4, 254, 255]


def _ground(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    rng = np.random.default_rng(0)
    walk = rng.integers(-3, 4, shape).cumsum(-1).cumsum(-2)
    return (walk % 251 if dtype is np.uint8 else walk + (1000 if dtype is np.uint16 else -900)).astype(dtype)


@pytest.mark.parametrize("codec", candidates.codecs(), ids=lambda codec: f"{codec.library}:{codec.name}")
def test_every_codec_is_lossless(codec: object) -> None:
    fine, coarse = _ground((2, 4, 16, 16), np.uint16), _ground((2, 6, 8, 8), np.uint16)
    found = (
        blocks.on_one_grid(fine, coarse),
        _ground((1, 3, 16, 16), np.uint8),
        _ground((1, 2, 16, 16), np.int16),
        _ground((3, 2, 8, 8), np.int16).astype(np.float32) / 64,
    )
    able = [block for block in found if codec.can(block)]
    assert able
    for block in able:
        row = compared.measured(codec, "s1", [block], 1)  # raises where the block came back changed
        assert row.raw == block.nbytes and row.stored > 0


def test_bands_that_were_not_repeated_are_not_stored_once() -> None:
    (native,) = (codec for codec in candidates.codecs() if codec.name.startswith("native"))
    block = blocks.on_one_grid(_ground((1, 4, 8, 8), np.uint16), _ground((1, 6, 4, 4), np.uint16))
    assert native.can(block)
    block[0, 9, 1, 1] += 1
    assert not native.can(block)


def test_ten_bands_stand_in_their_order() -> None:
    fine = np.array([2, 3, 4, 8], np.uint16)[None, :, None, None].repeat(2, 2).repeat(2, 3)
    coarse = np.array([5, 6, 7, 80, 11, 12], np.uint16)[None, :, None, None]
    assert blocks.on_one_grid(fine, coarse)[0, :, 1, 1].tolist() == [2, 3, 4, 5, 6, 7, 8, 80, 11, 12]


def test_blocks_are_cut_whole() -> None:
    stack = np.arange(3 * 5 * 4).reshape(3, 1, 5, 4)
    cut = blocks.cut(stack, 2, 2)
    assert [block[0, 0, 0, 0] for block in cut] == [0, 2, 8, 10]
    assert {block.shape for block in cut} == {(2, 1, 2, 2)}


def test_blocks_of_every_shape_hold_the_same_pixels() -> None:
    stacks = [np.arange(4 * 16 * 16, dtype=np.uint16).reshape(4, 1, 16, 16)]
    found = blocks.shaped("s1", stacks, ((1, 4), (1, 8), (2, 8)))
    assert list(found) == ["s1 1x1x4x4", "s1 1x1x8x8", "s1 2x1x8x8"]
    pixels = [np.sort(np.concatenate([block.ravel() for block in cut])) for cut in found.values()]
    assert (pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all()


def test_blocks_that_a_window_meets() -> None:
    assert compared.touched(64, 16, 64, 4) == 1
    assert compared.touched(32, 16, 64, 4) == pytest.approx(1 + 3 / 13)  # starts at 20, 24 and 28 of 0, 4 ... 48
    assert compared.touched(4, 16, 64, 4) == 4
    assert compared.touched(3, 4, 5, 1) == 2  # rows 0..3 and 1..4 of blocks 0..2 and 3..5


def test_blocks_that_a_view_decodes() -> None:
    assert compared.blocks_of_view("s2", 1, 64) == 20
    assert compared.blocks_of_view("s2", 4, 32) == pytest.approx(5 * (16 / 13) ** 2)
    assert compared.blocks_of_view("hr", 1, 128) == 16
    assert compared.blocks_of_view("hr", 1, 512) == pytest.approx((22 / 13) ** 2)  # 4 of 13 starts meet one block


def _row(stored: int, decoding: float) -> object:
    (codec, *_) = candidates.codecs()
    return compared.Row(codec, 1000, stored, 1, decoding, 1.0, 1e3 * decoding, 0.0)


def test_the_rule_takes_the_fewest_bytes_within_the_budget() -> None:
    small, middle, quick, worse = _row(100, 0.009), _row(200, 0.004), _row(300, 0.001), _row(301, 0.004)
    rows = [worse, quick, small, middle]
    assert compared.undominated(rows) == [small, middle, quick]
    assert compared.chosen(rows, 10.0) is small
    assert compared.chosen(rows, 5.0) is middle
    assert compared.chosen(rows, 0.5) is None
