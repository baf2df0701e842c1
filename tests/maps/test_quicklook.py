"""The picture of principal components."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from skysense.geo import Window
from skysense.maps import quicklook
from skysense.maps.grid import Grid
from skysense.maps.parts import Parting
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import open_product
from skysense.maps.product.work import Work
from skysense.maps.quicklook import draw
from tests.maps.scenes import S2_GRID

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def picture_of(values: np.ndarray, folder: Path, suffix: str = "tif") -> np.ndarray:
    depth, height, width = values.shape
    layer = Layer("features", "features", tuple(map(str, range(depth))), "float32")
    grid = Grid(rasterio.crs.CRS.from_epsg(32632), S2_GRID, height, width)
    parting = Parting(height, width, height, width)
    work = Work.begin(folder / f"map.{suffix}", grid, [layer], parting, {}, overwrite=True)
    with work.open(parting.parts[0]) as part:
        part.put("features", 0, values)
    with open_product(work.finish({})[0]) as product:
        assert product.read("features", Window(0, 0, 1, 1)).shape == (depth, 1, 1)
        draw(product, "features", folder / "look.png")
    assert not (folder / "look.png.aux.xml").exists()
    with rasterio.open(folder / "look.png") as file:
        assert file.driver == "PNG"
        return file.read()


@pytest.mark.parametrize("suffix", ["tif", "zarr"])
def test_a_ramp_becomes_a_ramp_and_no_data_is_transparent(tmp_path: Path, suffix: str) -> None:
    values = np.zeros((4, 40, 50), np.float32)
    values[2] = np.linspace(-3, 3, 50)
    values[:, :5] = np.nan
    red, green, blue, alpha = picture_of(values, tmp_path, suffix)
    assert red.shape == (40, 50)
    assert (alpha[:5] == 0).all()
    assert (alpha[5:] == 255).all()
    expected = np.clip((np.linspace(-3, 3, 50) / 2.88 + 1) / 2 * 255, 0, 255)
    np.testing.assert_allclose(red[10], expected, atol=4)
    assert green[5:].max() == blue[5:].max() == 0, "there is one component only"


def test_of_a_large_map_an_overview_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = np.repeat(np.linspace(-3, 3, 300, dtype=np.float32), 2)
    values = np.stack([np.broadcast_to(ramp, (16, 600))] * 2)
    monkeypatch.setattr(quicklook, "LONGEST_SIDE", 400)
    red, *_ = picture_of(values, tmp_path)
    assert red.shape == (8, 300)
    expected = np.clip((ramp[::2] / 2.88 + 1) / 2 * 255, 0, 255)
    np.testing.assert_allclose(red[3], expected, atol=4)


def test_a_few_observed_cells_in_a_large_map_are_seen(tmp_path: Path) -> None:
    values = np.full((2, 300, 1000), np.nan, np.float32)
    values[:, 100, 7], values[:, 101, 7] = 1, 2
    *_, alpha = picture_of(values, tmp_path)
    assert np.argwhere(alpha).tolist() == [[100, 7], [101, 7]]
