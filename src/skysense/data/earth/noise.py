"""Smooth random fields and moving averages, in plain numpy."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.float32]


def smooth_noise(rng: Generator, shape: tuple[int, int], cell: float, octaves: int = 1) -> Field:
    """A random field ``(H, W)`` of about zero mean and unit variance whose bumps are ``cell`` pixels wide.

    Each further octave is half as wide and half as strong.
    """
    total = np.zeros(shape, np.float32)
    power = 0.0
    for octave in range(octaves):
        size = max(cell / 2**octave, 1.0)
        height, width = (int(length / size) + 4 for length in shape)
        grid = rng.standard_normal((height, width), np.float32)
        total += 0.5**octave * _enlarge(grid, shape, size, rng.random(2))
        power += 0.25**octave
    return total * np.float32(1.55 / power**0.5)  # interpolation between nodes takes a third of the deviation


def _enlarge(grid: Field, shape: tuple[int, int], size: float, offset: NDArray[np.float64]) -> Field:
    """Interpolate nodes ``size`` pixels apart with a cubic ease, rows first."""
    for axis in (0, 1):
        position = np.arange(shape[axis]) / size + offset[axis]
        low = position.astype(np.int64)
        part = position - low
        ease = (part * part * (3 - 2 * part)).astype(np.float32)
        ease = ease[:, None] if axis == 0 else ease[None, :]
        near, far = np.take(grid, low, axis), np.take(grid, low + 1, axis)
        grid = near + (far - near) * ease
    return grid


def enlarge_to(values: Field, shape: tuple[int, int]) -> Field:
    """Bilinear interpolation of cell centres ``(h, w)`` to a finer grid ``(H, W)`` of the same ground."""
    for axis in (0, 1):
        length, factor = shape[axis], shape[axis] / values.shape[axis]
        position = np.clip((np.arange(length) + 0.5) / factor - 0.5, 0, values.shape[axis] - 1)
        low = np.minimum(position.astype(np.int64), max(values.shape[axis] - 2, 0))
        part = (position - low).astype(np.float32)
        part = part[:, None] if axis == 0 else part[None, :]
        near = np.take(values, low, axis)
        far = np.take(values, np.minimum(low + 1, values.shape[axis] - 1), axis)
        values = near + (far - near) * part
    return values


def blur(values: Field, radius: int) -> Field:
    """Box average over ``2 * radius + 1`` pixels along the last two axes; edges are repeated."""
    size = 2 * radius + 1
    for axis in (-2, -1):
        pad = [(0, 0)] * values.ndim
        pad[axis] = (radius + 1, radius)
        sums = np.cumsum(np.pad(values, pad, mode="edge"), axis=axis, dtype=np.float64)
        length = values.shape[axis]
        upper = np.take(sums, np.arange(size, size + length), axis)
        values = ((upper - np.take(sums, np.arange(length), axis)) / size).astype(np.float32)
    return values
