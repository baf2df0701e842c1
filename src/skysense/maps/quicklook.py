"""A picture of features: their three principal components as red, green and blue.

Letters: N sampled cells, D features, h w cells of the picture.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.errors import OutputError
from skysense.files import atomic_path
from skysense.geo import Window
from skysense.maps.fit import principal_axes
from skysense.maps.product.read import Product

SAMPLE = 20_000
"""About how many cells the components are fitted on."""
LONGEST_SIDE = 2048
"""Pictures of larger maps show an overview, whose cells are means of 2 x 2, 4 x 4, ... of the map."""
_STRETCH = (2.0, 98.0)  # percentiles that become black and full colour
_BLOCK = 32  # rows read together


def draw(product: Product, layer: str, picture: Path) -> None:
    """Draw features as a PNG; cells without data are transparent.

    Args:
        product: a map.
        layer: of features.
        picture: the PNG to write.

    Raises:
        OutputError: the picture could not be written.
    """
    write_png(picture, feature_colours(product, layer, level_of(product, layer, LONGEST_SIDE)))


def level_of(product: Product, layer: str, longest: int) -> int:
    """The finest level of a layer whose longer side is at most so many pixels; the coarsest if there is none."""
    level = 0
    while (
        max(product.pixels(layer, level).height, product.pixels(layer, level).width) > longest
        and level < product.levels(layer) - 1
    ):
        level += 1
    return level


def feature_colours(product: Product, layer: str, level: int = 0) -> NDArray[np.uint8]:
    """Features as colours ``(h, w, 4)``; cells without data are transparent."""
    grid = product.pixels(layer, level)
    values_ND = _sample(product, layer, level)
    if not len(values_ND):
        return np.zeros((grid.height, grid.width, 4), np.uint8)
    mean_D, axes_D3, _ = principal_axes(values_ND, min(3, values_ND.shape[1]))
    low_3, high_3 = np.percentile((values_ND - mean_D) @ axes_D3, _STRETCH, axis=0)
    offset_3 = mean_D @ axes_D3 + low_3
    scale_3 = 255 / np.maximum(high_3 - low_3, 1e-12)
    rgba_hw4 = np.zeros((grid.height, grid.width, 4), np.uint8)
    for row, values_Dhw in _rows(product, layer, level):
        seen_hw = ~np.isnan(values_Dhw[0])
        scores_hw3 = (np.tensordot(values_Dhw, axes_D3, (0, 0)) - offset_3) * scale_3  # NaN only where not seen
        rows_hw4 = rgba_hw4[row : row + len(seen_hw)]
        rows_hw4[..., : len(scale_3)] = np.rint(np.nan_to_num(scores_hw3).clip(0, 255))
        rows_hw4[..., 3] = 255 * seen_hw
    return rgba_hw4


def _sample(product: Product, layer: str, level: int) -> NDArray[np.float32]:
    """Observed cells of a level, the same ones of the same map."""
    grid, random = product.pixels(layer, level), np.random.default_rng(0)
    share = min(1.0, SAMPLE / (grid.height * grid.width))
    found = []
    for _, values_Dhw in _rows(product, layer, level):
        flat_ND = values_Dhw.reshape(len(values_Dhw), -1).T
        seen_N = ~np.isnan(flat_ND[:, 0])
        taken_N = seen_N & (random.random(len(flat_ND)) < share)
        taken_N[np.flatnonzero(seen_N)[:1]] = True  # a few lonely cells in a large map must not be missed
        found.append(flat_ND[taken_N])
    return np.concatenate(found)


def _rows(product: Product, layer: str, level: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    grid = product.pixels(layer, level)
    for row in range(0, grid.height, _BLOCK):
        window = Window(row, 0, min(_BLOCK, grid.height - row), grid.width)
        yield row, product.read_values(layer, window, level)


def write_png(path: Path, rgba_hw4: NDArray[np.uint8]) -> None:
    """Write a picture ``(h, w, 4)`` atomically.

    Raises:
        OutputError: no permission or no space.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    height, width, _ = rgba_hw4.shape
    size = {"dtype": "uint8", "count": 4, "height": height, "width": width}
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture has no place on Earth
        try:
            with rasterio.open(temporary, "w", driver="PNG", **size) as picture:
                picture.write(np.moveaxis(rgba_hw4, -1, 0))
        except RasterioError as error:
            reason = str(error.__cause__ or error)
            raise OutputError(f"could not be written: {reason}", file=path, fix="Is the disk full?") from error
