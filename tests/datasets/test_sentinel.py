"""Bands that lie in files of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.datasets.sentinel import read_bands
from skysense.errors import InputError
from skysense.geo import Window
from skysense.sensors import SENTINEL2_L2A
from tests.data.labelled.files import write

DAY = np.datetime64("2020-01-01")
FINE = {"B2", "B3", "B4", "B8"}


def bands(root: Path, fine: tuple[int, int] = (12, 16)) -> list[Path]:
    rng = np.random.default_rng(0)
    files = [root / f"{band}.tif" for band in SENTINEL2_L2A.bands]
    for file in files:
        step = 1 if file.stem in FINE else 2
        write(file, rng.integers(1, 4000, (fine[0] // step, fine[1] // step)).astype(np.uint16))
    return files


@pytest.mark.parametrize(
    "window", [Window(0, 0, 12, 16), Window(3, 5, 4, 6), Window(4, 2, 3, 1), Window(11, 15, 1, 1), Window(9, 13, 8, 8)]
)
def test_a_window_is_a_crop_of_the_whole(tmp_path: Path, window: Window) -> None:
    """Its edges may run through pixels of the coarser bands."""
    files = bands(tmp_path)
    whole, head = read_bands(files, SENTINEL2_L2A, DAY)
    part, same = read_bands(files, SENTINEL2_L2A, DAY, window)
    assert (head.height, head.width) == (same.height, same.width) == whole.values.shape[2:] == (12, 16)
    np.testing.assert_array_equal(part.values, whole.values[..., *window.slices()])
    np.testing.assert_array_equal(part.valid, whole.valid[..., *window.slices()])


def test_coarser_bands_are_refused_where_all_have_one_grid(tmp_path: Path) -> None:
    files = bands(tmp_path)
    with pytest.raises(InputError, match="is 6 x 8 px, which are not the 12 x 16 px of the first band") as caught:
        read_bands(files, SENTINEL2_L2A, DAY, one_grid=True)
    assert caught.value.file.stem == next(band for band in SENTINEL2_L2A.bands if band not in FINE)
