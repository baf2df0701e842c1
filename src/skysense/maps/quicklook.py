"""A picture of features: their three principal components as red, green and blue.

Letters: N sampled cells, D features, h w cells of the picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window as RasterWindow

from skysense.maps.raster import BLOCK, write_png

SAMPLE = 20_000
"""About how many cells the components are fitted on."""
LONGEST_SIDE = 2048
"""Pictures of larger maps show every second, third, ... cell."""
_STRETCH = (2.0, 98.0)  # percentiles that become black and full colour


class CellSample:
    """A random sample of observed cells, the same for the same map; gathered while the map is written.

    Args:
        cells: of the whole map.
    """

    def __init__(self, cells: int) -> None:
        self._share = min(1.0, SAMPLE / cells)
        self._random = np.random.default_rng(0)
        self._parts: list[NDArray[np.float32]] = []
        self.observed = 0

    def add(self, values_Dhw: NDArray[np.float32]) -> None:
        """Look at some rows ``(D, rows, width)``; NaN is no-data."""
        flat_ND = values_Dhw.reshape(len(values_Dhw), -1).T
        seen_N = ~np.isnan(flat_ND[:, 0])
        self.observed += int(seen_N.sum())
        taken_N = seen_N & (self._random.random(len(flat_ND)) < self._share)
        taken_N[np.flatnonzero(seen_N)[:1]] = True  # a few lonely cells in a large map must not be missed
        self._parts.append(flat_ND[taken_N])

    @property
    def values_ND(self) -> NDArray[np.float32]:
        """The sample; at least one cell of a map that has any."""
        return np.concatenate(self._parts)


def components(values_ND: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean ``(D,)`` and the three first principal axes ``(D, 3)``, zero where there are fewer.

    The sign of an axis is free: its largest entry is made positive.
    """
    mean_D = values_ND.mean(axis=0)
    centred_ND = (values_ND - mean_D).astype(np.float64)
    _, axes_DD = np.linalg.eigh(centred_ND.T @ centred_ND)
    axes_D3 = np.zeros((len(mean_D), 3), np.float32)
    for at in range(min(3, len(mean_D))):
        axis_D = axes_DD[:, -1 - at]
        axes_D3[:, at] = axis_D * np.sign(axis_D[np.abs(axis_D).argmax()])
    return mean_D, axes_D3


def draw(features: Path, picture: Path, sample: CellSample) -> None:
    """Draw a raster of features as a PNG; cells without data are transparent.

    Args:
        features: the GeoTIFF.
        picture: the PNG to write; one pixel per cell, or every k-th cell of a map longer than `LONGEST_SIDE`.
        sample: of its observed cells.

    Raises:
        OutputError: the picture could not be written.
    """
    values_ND = sample.values_ND
    mean_D, axes_D3 = components(values_ND)
    low_3, high_3 = np.percentile((values_ND - mean_D) @ axes_D3, _STRETCH, axis=0)
    offset_3 = mean_D @ axes_D3 + low_3
    scale_3 = 255 / np.maximum(high_3 - low_3, 1e-12)
    with rasterio.open(features) as dataset:
        step = -(-max(dataset.height, dataset.width) // LONGEST_SIDE)
        shape = (-(-dataset.height // step), -(-dataset.width // step))
        rgba_hw4 = np.zeros((*shape, 4), np.uint8)
        for row in range(0, dataset.height, BLOCK):
            for col in range(0, dataset.width, BLOCK):
                # the first cells of this tile that lie on the coarser grid
                down, across = -row % step, -col % step
                window = RasterWindow(col, row, min(BLOCK, dataset.width - col), min(BLOCK, dataset.height - row))
                tile_Dhw = dataset.read(window=window)[:, down::step, across::step]
                if 0 in tile_Dhw.shape:
                    continue
                seen_hw = ~np.isnan(tile_Dhw[0])
                scores_3n = axes_D3.T @ tile_Dhw.reshape(len(tile_Dhw), -1)  # NaN only where not seen
                rgb_3n = (scores_3n - offset_3[:, None]) * scale_3[:, None]
                rgb_hw3 = np.rint(np.nan_to_num(rgb_3n).clip(0, 255)).T.reshape(*seen_hw.shape, 3)
                top, left = (row + down) // step, (col + across) // step
                area_hw4 = rgba_hw4[top : top + seen_hw.shape[0], left : left + seen_hw.shape[1]]
                area_hw4[..., :3] = rgb_hw3
                area_hw4[..., 3] = 255 * seen_hw
    write_png(picture, rgba_hw4)
