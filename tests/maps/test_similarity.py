"""Cosines of stored vectors are those of the decoded ones, however they lie in memory."""

from __future__ import annotations

import numpy as np
import pytest

from skysense.errors import InputError
from skysense.maps.product.layer import Layer
from skysense.maps.similarity import cosine, norms, query_of, unseen

K = 6
SCALE = (0.01, 0.02, 0.03, 0.01, 0.05, 0.02)
OFFSET = (2.0, -0.3, 0.0, 1.0, -5.0, 0.5)


@pytest.fixture
def values_KHW():
    values = np.random.default_rng(0).normal(size=(K, 7, 9)).astype(np.float32)
    values[:, 2, 3] = np.nan
    return values


def plainly(query_K, values_KHW):
    dots = np.einsum("k,khw->hw", query_K.astype(float), values_KHW.astype(float))
    return dots / np.linalg.norm(query_K) / np.linalg.norm(values_KHW.astype(float), axis=0)


@pytest.mark.parametrize(
    ("stored", "scale", "offset"),
    [("float32", None, None), ("float16", None, None), ("int8", SCALE, None), ("int8", SCALE, OFFSET)],
)
@pytest.mark.parametrize("cells_together", [False, True])
def test_cosine_of_stored_numbers(values_KHW, stored, scale, offset, cells_together, monkeypatch):
    monkeypatch.setattr("skysense.maps.similarity._RUN", 10 * K)  # several runs, the last one shorter
    layer = Layer("features", "features", ("a",) * K, stored, scale=scale, offset=offset)
    if offset is not None:
        values_KHW = values_KHW + np.array(offset, np.float32)[:, None, None]
    stored_KHW = layer.encode(values_KHW)
    if cells_together:
        stored_KHW = np.ascontiguousarray(stored_KHW.transpose(1, 2, 0)).transpose(2, 0, 1)
    query_K = 3 * np.random.default_rng(1).normal(size=K).astype(np.float32)
    unit = {"scale": layer.scale, "offset": layer.offset}
    found_HW = cosine(query_K, stored_KHW, **unit)
    np.testing.assert_allclose(found_HW, plainly(query_K, layer.decode(stored_KHW)), atol=1e-5)
    assert found_HW.dtype == np.float32
    assert np.isnan(found_HW[2, 3]) and np.isnan(found_HW).sum() == 1 == unseen(stored_KHW).sum()
    kept_HW = norms(stored_KHW, **unit)
    np.testing.assert_array_equal(cosine(query_K, stored_KHW, **unit, norms_HW=kept_HW), found_HW)
    both_QHW = cosine(np.stack([query_K, -query_K]), stored_KHW, **unit)
    np.testing.assert_allclose(both_QHW[1], -found_HW, atol=1e-6)


def test_vector_of_zeros_is_like_nothing_and_lengths_do_not_count():
    block_KHW = np.zeros((2, 1, 3), np.float32)
    block_KHW[:, 0, 1], block_KHW[:, 0, 2] = (1, 0), (1000, 0)
    np.testing.assert_allclose(cosine(np.array([2, 0]), block_KHW), [[0, 1, 1]])


def test_what_rounding_leaves_of_zeros_is_like_nothing():
    """Decoded, the first cell is zero but for the last digit of a float32."""
    layer = Layer("features", "features", ("a",) * 3, "int8", scale=(0.1, 0.2, 0.3), offset=(0.3, 0.6, -0.9))
    stored_KHW = np.array([[[-3, -3]], [[-3, -3]], [[3, 4]]], np.int8)
    found_HW = cosine(np.array([1.0, 2, 3]), stored_KHW, scale=layer.scale, offset=layer.offset)
    assert abs(found_HW[0, 0]) < 0.1
    assert found_HW[0, 1] == pytest.approx(3 / 14**0.5, abs=1e-5)


def test_a_block_of_floats_is_left_as_it_was():
    block_KHW = np.full((2, 1, 1), 3, np.float32)
    assert norms(block_KHW, (1.0, 1.0), (0.0, 1.0)) == pytest.approx(5)
    np.testing.assert_array_equal(block_KHW, 3)


def test_query_of_several_is_the_mean_direction():
    found_K = query_of(np.array([[10.0, 0], [0, 0.1]]))
    np.testing.assert_allclose(found_K, [0.5**0.5, 0.5**0.5], atol=1e-6)
    with pytest.raises(InputError, match="cancel each other"):
        query_of(np.array([[1.0, 0], [-2, 0]]))
    with pytest.raises(InputError, match="no vector"):
        query_of(np.empty((0, 2)))


def test_query_of_another_width_is_refused(values_KHW):
    with pytest.raises(InputError, match="5 numbers cannot be compared with vectors of 6"):
        cosine(np.ones(5), values_KHW)
