"""Imagery of any size on the lattice: filled up right and below to whole windows, with what nobody observed.

Letters: T time, C bands, H W pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.example import UNLABELLED
from skysense.geo import WINDOW_CELLS, Footprint
from skysense.observation import Sample, Series
from skysense.sensors import Sensor


def whole_windows(pixels: int, sensor: Sensor) -> int:
    """The next length in pixels that is whole windows: multiples of 128 of the high-resolution image, 4 of Sentinel."""
    side = WINDOW_CELLS * sensor.cell_px
    return -(-pixels // side) * side


def pad_series(series: Series) -> Series:
    """Fill a series up to whole windows; the padding is not valid and not clear."""
    height, width = series.values.shape[-2:]
    down = whole_windows(height, series.sensor) - height
    right = whole_windows(width, series.sensor) - width
    if not down and not right:
        return series
    return replace(
        series,
        values=_filled(series.values, down, right),
        valid=_filled(series.valid, down, right),
        clear=None if series.clear is None else _filled(series.clear, down, right),
    )


def _filled(values: NDArray, down: int, right: int) -> NDArray:
    """Zeros below and to the right; quicker than `numpy.pad`, which every image would feel."""
    height, width = values.shape[-2:]
    filled = np.zeros((*values.shape[:-2], height + down, width + right), values.dtype)
    filled[..., :height, :width] = values
    return filled


def pad_sample(sample: Sample) -> Sample:
    """Fill all sensors of a place up to whole windows."""
    padded = replace(sample, series={key: pad_series(series) for key, series in sample.series.items()}, footprint=None)
    if sample.footprint is None:
        return padded
    rows, cols = (new / old for new, old in zip(padded.grid, sample.grid, strict=True))
    return replace(padded, footprint=grown(sample.footprint, rows, cols))


def grown(footprint: Footprint, rows: float, cols: float) -> Footprint:
    """The ground after padding: so many times as high and as wide, from the same upper left corner."""
    left, bottom, right, top = footprint.bounds
    return Footprint((left, top - rows * (top - bottom), left + cols * (right - left), top), footprint.crs)


def pad_mask(mask_HW: NDArray[np.uint8], grid: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask on a padded grid; the padding has no label."""
    down, right = grid[0] - mask_HW.shape[0], grid[1] - mask_HW.shape[1]
    return np.pad(mask_HW, ((0, down), (0, right)), constant_values=UNLABELLED)
