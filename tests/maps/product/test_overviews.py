"""Overviews: the mean of what was observed, the most frequent class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.geo import Window
from skysense.maps.product.layer import Layer
from skysense.maps.product.overviews import halve
from skysense.maps.product.read import open_product
from tests.maps.product.made import classes, features, numbers, write

NONE = 255


def by_hand(layer: Layer, stored: np.ndarray) -> np.ndarray:
    """Pixel by pixel, sides rounded up."""
    bands, height, width = stored.shape
    made = np.full((bands, -(-height // 2), -(-width // 2)), layer.nodata, layer.dtype)
    values = layer.decode(stored)
    for band, row, col in np.ndindex(made.shape):
        part = values[band, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2]
        seen = part[~np.isnan(part)]
        if len(seen) and layer.kind == "classes":
            made[band, row, col] = np.bincount(seen.astype(int)).argmax()
        elif len(seen):
            one = np.full((bands, 1, 1), seen.mean(dtype=np.float64), np.float32)
            made[band, row, col] = layer.encode(one)[band, 0, 0]
    return made


@pytest.mark.parametrize(
    ("pixels", "wanted"),
    [([1, 1, 0, 0], 0), ([2, 1, 1, 0], 1), ([NONE, NONE, 2, 1], 1), ([NONE] * 4, NONE), ([NONE, NONE, NONE, 2], 2)],
)
def test_the_most_frequent_class_wins_and_then_the_lower_index(pixels: list[int], wanted: int) -> None:
    stored = np.array(pixels, np.uint8).reshape(1, 2, 2)
    assert halve(classes(), stored).tolist() == [[[wanted]]]


@pytest.mark.parametrize("layer", [features(), features("float16"), features("int8"), features("uint8"), classes()])
def test_halves_agree_with_a_pixel_by_pixel_rule(layer: Layer) -> None:
    stored = numbers(layer, 24, 18)
    made, wanted = layer.decode(halve(layer, stored)), layer.decode(by_hand(layer, stored))
    step = 1.01 * max(layer.scale) if layer.scale else 0  # of two numbers equally near either may be taken
    np.testing.assert_allclose(made, wanted, rtol=1e-6 if layer.stored == "float32" else 1e-3, atol=step or 1e-6)


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_every_level_is_made_of_the_one_below(tmp_path: Path, suffix: str) -> None:
    """Odd sides, several parts, pixels finer than cells."""
    layers = [features("float32", 2), classes(per_cell=2)]
    out = tmp_path / f"out{suffix}"
    made = write(out, layers, (1041, 523), (512, 256))
    with open_product(out) as product:
        assert [product.levels(layer.name) for layer in layers] == [3, 4]
        for layer in layers:
            below = made[layer.name]
            for level in range(1, product.levels(layer.name)):
                grid = product.pixels(layer.name, level)
                found = product.read(layer.name, Window(0, 0, grid.height, grid.width), level)
                height, width = below.shape[1:]
                even = np.full((len(layer.bands), height + height % 2, width + width % 2), layer.nodata, layer.dtype)
                even[:, :height, :width] = below
                np.testing.assert_array_equal(found, halve(layer, even))
                below = found
