"""The picture of principal components."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from skysense.maps import quicklook
from skysense.maps.quicklook import CellSample, components, draw
from tests.maps.scenes import S2_GRID, write_scene


def test_components_are_the_axes_of_largest_variance() -> None:
    random = np.random.default_rng(0)
    basis, _ = np.linalg.qr(random.normal(size=(12, 12)))
    scores = random.normal(size=(4000, 12)) * np.array([9, 5, 3, *[0.1] * 9])
    mean, axes = components((scores @ basis.T + 7).astype(np.float32))
    np.testing.assert_allclose(mean, 7, atol=0.5)
    np.testing.assert_allclose(np.abs((axes * basis[:, :3]).sum(axis=0)), 1, atol=0.01)
    assert (axes[np.abs(axes).argmax(axis=0), range(3)] > 0).all()


def picture_of(values: np.ndarray, folder: Path) -> np.ndarray:
    path = write_scene(folder / "features.tif", values, transform=S2_GRID)
    sample = CellSample(values[0].size)
    sample.add(values)
    assert sample.observed == int((~np.isnan(values[0])).sum())
    draw(path, folder / "look.png", sample)
    assert not (folder / "look.png.aux.xml").exists()
    with rasterio.open(folder / "look.png") as file:
        assert file.driver == "PNG"
        return file.read()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_ramp_becomes_a_ramp_and_no_data_is_transparent(tmp_path: Path) -> None:
    values = np.zeros((4, 40, 50), np.float32)
    values[2] = np.linspace(-3, 3, 50)
    values[:, :5] = np.nan
    red, green, blue, alpha = picture_of(values, tmp_path)
    assert red.shape == (40, 50)
    assert (alpha[:5] == 0).all()
    assert (alpha[5:] == 255).all()
    expected = np.clip((np.linspace(-3, 3, 50) / 2.88 + 1) / 2 * 255, 0, 255)
    np.testing.assert_allclose(red[10], expected, atol=4)
    assert green[5:].max() == blue[5:].max() == 0, "there is one component only"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_long_map_is_thinned_on_one_regular_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(3, 45, 101)).astype(np.float32)
    full = picture_of(values, tmp_path)
    monkeypatch.setattr(quicklook, "LONGEST_SIDE", 21)  # every fifth cell
    thin = picture_of(values, tmp_path)
    assert thin.shape == (4, 9, 21)
    np.testing.assert_array_equal(thin, full[:, ::5, ::5])


def test_a_few_observed_cells_in_a_large_map_are_sampled() -> None:
    values = np.full((2, 300, 1000), np.nan, np.float32)
    values[:, 100, 7] = 1
    sample = CellSample(values[0].size)
    sample.add(values)
    np.testing.assert_array_equal(sample.values_ND, [[1, 1]])


def test_the_sample_is_bounded_and_repeatable() -> None:
    values = np.random.default_rng(0).normal(size=(2, 500, 400)).astype(np.float32)
    samples = [CellSample(values[0].size) for _ in range(2)]
    for sample in samples:
        sample.add(values)
    assert 18_000 < len(samples[0].values_ND) < 22_000
    np.testing.assert_array_equal(samples[0].values_ND, samples[1].values_ND)
