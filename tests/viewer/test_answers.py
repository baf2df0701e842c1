"""Answers of the page on numbers that are stored with an offset: those of the numbers in their unit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.geo import Window
from skysense.maps.fewshot import FewShot
from skysense.maps.ground import Ground
from skysense.maps.product.read import open_product
from skysense.viewer.answers import Point, similarity_at, teach
from skysense.viewer.blocks import Blocks
from tests.maps.feature_maps import classes_of, features_of_classes, write_features

CELLS = [(5, 5), (30, 10), (5, 60), (50, 70), (30, 55), (28, 60)]


@pytest.mark.parametrize("stored", ["int8", "float32"])
def test_answers_on_stored_numbers_are_those_on_decoded_ones(tmp_path: Path, stored: str) -> None:
    ground_HW = classes_of(60, 80)
    values_KHW = features_of_classes(ground_HW) + np.linspace(3, 9, 8)[:, None, None]  # far from zero
    with open_product(write_features(tmp_path / "map.tif", values_KHW, stored=stored)) as product:
        layer, whole = product.layers["features"], Window(0, 0, 60, 80)
        stored_KHW, unit_KHW = product.read("features", whole), product.read_values("features", whole)
        places_N2 = Ground(product.grid).lonlat(*np.array(CELLS).T)
        points = [Point(lon, lat, int(ground_HW[cell])) for (lon, lat), cell in zip(places_N2, CELLS, strict=True)]
        taught = teach(Blocks(), product, layer, 0, points)
        learned = FewShot.fit(np.stack([unit_KHW[:, *cell] for cell in CELLS]), np.array([one.label for one in points]))
        expected = learned.answer(unit_KHW)
        found_3HW = taught(stored_KHW)
        np.testing.assert_allclose(found_3HW[1], 1 - expected.uncertainty_HW, atol=1e-3)  # rounding of float32
        np.testing.assert_allclose(found_3HW[2], expected.novelty_HW, atol=1e-3)  # rounding of float32
        alike_HW = similarity_at(Blocks(), product, layer, *places_N2[0].tolist())(stored_KHW)[0]
    query_K = unit_KHW[:, 5, 5]
    dots_HW = np.tensordot(query_K, unit_KHW, 1) / np.linalg.norm(query_K) / np.linalg.norm(unit_KHW, axis=0)
    np.testing.assert_allclose(alike_HW, dots_HW, atol=1e-5)
