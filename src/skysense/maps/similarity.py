"""How alike features are: the cosine between a query and every vector of a block, as it is stored.

Letters: N vectors, K their numbers (bands of a map), Q queries, H W cells, n cells of a run that fits the cache.

The cosine of a query ``q`` and a cell ``x`` is ``q . x / (|q| |x|)``. A query made of several examples is the mean of
their directions, ``sum_i x_i / |x_i|``, so that its cosine with a cell is proportional to the mean of their cosines.
Numbers kept as ``int8`` are ``scale_k x_k + offset_k``, and ``q . (scale x + offset) = (q scale) . x + q . offset``:
both go into the query once, never into the block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.maps.product.layer import NODATA

_RUN = 1 << 20  # numbers looked at at once: 4 MiB as float32, which stays in the cache between two products
_ONE_THREAD = 1 << 15  # numbers that torch converts by one thread; its others get in the way of numpy's
_LEAST = np.float32(1e-12)  # length of a vector of zeros: its cosine with anything is zero
_ROUNDED = np.float32(1e-5)  # shorter than this share of the offsets, a vector is what rounding left of zeros


def unit(vectors_ND: NDArray) -> NDArray[np.float32]:
    """Vectors of length one, in the same directions; zeros stay zeros."""
    vectors_ND = vectors_ND.astype(np.float32)
    return vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), _LEAST)


def query_of(vectors_ND: NDArray) -> NDArray[np.float32]:
    """One query ``(D,)`` of length one for all examples: the mean of their directions.

    Args:
        vectors_ND: in their own unit, finite.

    Raises:
        InputError: there is no example, or they point to all sides alike.
    """
    if not len(vectors_ND):
        raise InputError("there is no vector to look for")
    mean_D = unit(vectors_ND).mean(axis=0)
    length = float(np.linalg.norm(mean_D))
    if not length > 1e-6:
        raise InputError("the examples cancel each other, or are zero: they have no direction in common")
    return mean_D / np.float32(length)


def unseen(block_KHW: NDArray) -> NDArray[np.bool_]:
    """Cells ``(H, W)`` or ``(n,)`` without data; a cell has all its bands or none."""
    first = block_KHW[0]
    return np.isnan(first) if first.dtype.kind == "f" else first == NODATA[first.dtype.name]


def runs(block_KHW: NDArray) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """The cells of a block as float32, some at a time: their positions, row by row, and a ``(K, n)`` array to read.

    Cells without data are NaN, so that whatever is computed of them is. A block of float32 is not copied, whether its
    bands or its cells lie next to each other in memory.
    """
    bands, height, width = block_KHW.shape
    flat_KN = block_KHW.reshape(bands, height * width)
    step = max(_RUN // bands, 256)
    for start in range(0, height * width, step):
        some = slice(start, min(start + step, height * width))
        yield some, _float32(flat_KN[:, some])


def _float32(stored_Kn: NDArray) -> NDArray[np.float32]:
    if stored_Kn.dtype == np.float32:
        return stored_Kn
    if stored_Kn.dtype == np.float16:
        return _float32_of_half(stored_Kn)
    values_Kn = stored_Kn.astype(np.float32)
    values_Kn[:, unseen(stored_Kn)] = np.nan
    return values_Kn


def _float32_of_half(stored_Kn: NDArray[np.float16]) -> NDArray[np.float32]:
    """By torch, which converts many at a time, numpy one by one; where both have threads, by one of torch's alone."""
    values_Kn = np.empty_like(stored_Kn, np.float32)
    by_band = stored_Kn.strides[0] >= stored_Kn.strides[1]
    stored, values = (torch.from_numpy(one if by_band else one.T) for one in (stored_Kn, values_Kn))
    step = len(stored) if torch.get_num_threads() == 1 else max(_ONE_THREAD // stored.shape[1], 1)
    for some, made in zip(stored.split(step), values.split(step), strict=True):
        made.copy_(some)
    return values_Kn


def product(matrix_RK: NDArray[np.float32], values_Kn: NDArray[np.float32]) -> NDArray[np.float32]:
    """The product ``(R, n)`` of a few rows with the cells of a run.

    In the order in which the numbers lie: the other one takes three times as long. By numpy, whose threads are those of
    everything else that is done with a run; torch has its own, and they would wait for each other.
    """
    if values_Kn.strides[0] < values_Kn.strides[1]:  # the bands of a cell lie next to each other
        return (values_Kn.T @ matrix_RK.T).T
    return matrix_RK @ values_Kn


def norms(
    block_KHW: NDArray, scale: Sequence[float] | None = None, offset: Sequence[float] | None = None
) -> NDArray[np.float32]:
    """Lengths ``(H, W)`` of the vectors of a block, NaN where it has no data; to be kept between queries.

    Args:
        block_KHW: int8, float16 or float32, as it is stored.
        scale: of each band, see `skysense.maps.product.layer.Layer`.
        offset: likewise.
    """
    bands, height, width = block_KHW.shape
    scale_K = np.ones(bands, np.float32) if scale is None else np.asarray(scale, np.float32)
    weight_K = np.square(scale_K)
    length_N = np.empty(height * width, np.float32)
    for some, values_Kn in runs(block_KHW):
        if offset is not None:  # added to the numbers, not multiplied out: short vectors would drown in rounding
            steps_K1 = (np.asarray(offset, np.float32) / scale_K)[:, None]
            values_Kn = np.add(values_Kn, steps_K1, out=None if values_Kn.dtype == block_KHW.dtype else values_Kn)
        length_N[some] = weight_K @ np.square(values_Kn)
    return np.sqrt(length_N, out=length_N).reshape(height, width)


def cosine(
    query: NDArray,
    block_KHW: NDArray,
    *,
    scale: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    norms_HW: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Cosine of one or several queries with every cell of a block.

    Args:
        query: ``(K,)``, or ``(Q, K)`` of several; of any length but zero.
        block_KHW: int8, float16 or float32, as it is stored.
        scale: of each band, where the numbers are stored with one.
        offset: likewise.
        norms_HW: of the block, where they are known from an earlier query.

    Returns:
        ``(H, W)``, or ``(Q, H, W)`` of several; -1 .. 1, NaN where there is no data.

    Raises:
        InputError: a query of another number of bands.
    """
    bands, height, width = block_KHW.shape
    if query.shape[-1] != bands:
        raise InputError(f"a query of {query.shape[-1]} numbers cannot be compared with vectors of {bands}")
    asked_QK = unit(np.atleast_2d(query))
    offset_K = np.zeros(bands, np.float32) if offset is None else np.asarray(offset, np.float32)
    constant_Q1 = (asked_QK @ offset_K)[:, None]
    least = max(_LEAST, _ROUNDED * np.linalg.norm(offset_K))
    if scale is not None:
        asked_QK = asked_QK * np.asarray(scale, np.float32)
    if norms_HW is None:
        norms_HW = norms(block_KHW, scale, offset)
    product_QN = np.empty((len(asked_QK), height * width), np.float32)
    for some, values_Kn in runs(block_KHW):
        np.matmul(asked_QK, values_Kn, out=product_QN[:, some])
    if offset is not None:
        product_QN += constant_Q1
    product_QN /= np.maximum(norms_HW.reshape(-1), least)
    return product_QN.reshape(*query.shape[:-1], height, width)
