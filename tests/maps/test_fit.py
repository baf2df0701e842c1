"""Principal components and scales, learned from some windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.errors import ConfigError, InputError
from skysense.geo import Window
from skysense.maps import fit as fit_module
from skysense.maps.embed import embed
from skysense.maps.fit import Fit, fit, principal_axes, sample_cells
from skysense.maps.job import Settings
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import open_product
from skysense.model.assembly import SkySense
from tests.maps.fakes import ArraySource, Mean3, mean3
from tests.maps.scenes import s1_values, s2_scene


def test_components_are_the_axes_of_largest_variance() -> None:
    random = np.random.default_rng(0)
    basis, _ = np.linalg.qr(random.normal(size=(12, 12)))
    scores = random.normal(size=(4000, 12)) * np.array([9, 5, 3, *[0.1] * 9])
    mean, axes, explained = principal_axes((scores @ basis.T + 7).astype(np.float32), 3)
    np.testing.assert_allclose(mean, 7, atol=0.5)
    np.testing.assert_allclose(np.abs((axes * basis[:, :3]).sum(axis=0)), 1, atol=0.01)
    assert (axes[np.abs(axes).argmax(axis=0), range(3)] > 0).all()
    assert explained == pytest.approx(115 / 115.09, abs=1e-4)


def test_the_sample_is_bounded_repeatable_and_of_cells_of_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "SAMPLE", 500)
    values = s1_values(60, 50)
    values[:, :20] = np.nan
    source, layout = ArraySource(values), Settings().layout(60, 50)
    cells = sample_cells(source, layout, Mean3(), "mean", 2)
    assert 500 <= len(cells) < 500 + 2 * 14 * 14
    np.testing.assert_array_equal(cells, sample_cells(source, layout, Mean3(), "mean", 2))
    mean, seen = mean3(np.nan_to_num(values), ~np.isnan(values[0]))
    known = {tuple(row) for row in mean[:, seen].T.tolist()}
    assert {tuple(row) for row in cells.tolist()} <= known
    with pytest.raises(InputError, match="array: no cell is at least half observed"):
        sample_cells(ArraySource(values * np.nan), layout, Mean3(), "mean", 2)


def test_scales_and_offsets_span_the_sample_with_room_and_survive_being_kept() -> None:
    cells = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32) * [1, 10, 100, 1e-3, 0]
    cells = (cells + np.array([0, 50, -7, 0, 7])).astype(np.float32)
    found = fit(cells, None, scaled=True)
    assert found.axes_DK is None
    assert found.scale_K is not None and found.offset_K is not None
    low, high = cells.min(axis=0), cells.max(axis=0)
    for end, told in ((low, -127), (high, 127)):
        beyond = np.sign(told) * (told * found.scale_K + found.offset_K - end)
        np.testing.assert_allclose(beyond[:4], 0.025 * (high - low)[:4], rtol=1e-2)
    assert (found.scale_K[4], found.offset_K[4]) == (1, 7), "a feature that is always the same"
    again = Fit.of_arrays(found.arrays())
    np.testing.assert_array_equal(again.scale_K, found.scale_K)
    np.testing.assert_array_equal(again.offset_K, found.offset_K)
    assert (again.axes_DK, again.cells) == (None, 300)


def test_features_far_from_zero_lose_nothing_to_where_zero_is() -> None:
    cells = np.random.default_rng(0).uniform(-1, 1, size=(500, 3)).astype(np.float32)
    for away in (0, 20):
        found = fit(cells + np.float32(away), None, scaled=True)
        assert found.scale_K is not None and found.offset_K is not None
        scale, offset = tuple(found.scale_K.tolist()), tuple(found.offset_K.tolist())
        layer = Layer("features", "features", ("a", "b", "c"), "int8", scale=scale, offset=offset)
        values = (cells + np.float32(away)).T[:, None]
        assert np.abs(layer.decode(layer.encode(values)) - values).max() < 1.06 / 254


@pytest.mark.parametrize("suffix", ["tif", "zarr"])
def test_components_of_a_map_are_those_of_its_features(tmp_path: Path, model: SkySense, suffix: str) -> None:
    scene = s2_scene(tmp_path / "s.tif", 30, 22)
    with pytest.raises(ConfigError, match=r"97 dimensions: it must lie within 1 \.\. 96"):
        embed(model, scene, tmp_path / "no.tif", dims=97)
    whole = Window(0, 0, 30, 22)
    full, cut, small = (
        embed(model, scene, tmp_path / f"{name}.{suffix}", **options).path
        for name, options in (
            ("full", {}),
            ("cut", {"dims": 8}),
            ("small", {"dims": 8, "precision": "int8"}),
        )
    )
    with open_product(full) as one, open_product(cut) as two, open_product(small) as three:
        features = one.read_values("features", whole).astype(np.float64)
        components = two.read_values("features", whole)
        coarse = three.read_values("features", whole)
        explained = two.metadata["explained_variance"]
        scale = np.array(three.layers["features"].scale)
    flat, reduced = features.reshape(96, -1).T, components.reshape(8, -1).T
    # lengths and angles between the cells are kept but for what the axes leave out, which is said
    centred = flat - flat.mean(axis=0)
    assert (reduced.var(axis=0).sum() / centred.var(axis=0).sum()) == pytest.approx(explained, abs=0.02)
    assert explained > 0.5
    solution = np.linalg.lstsq(np.c_[flat, np.ones(len(flat))], reduced, rcond=None)[0]
    np.testing.assert_allclose(np.c_[flat, np.ones(len(flat))] @ solution, reduced, atol=1e-3)
    assert (np.abs(coarse - components) <= scale[:, None, None] * 0.51).all()
