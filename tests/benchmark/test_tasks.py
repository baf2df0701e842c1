"""The table of tasks: what its cases open."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skysense.benchmark.tasks import cut_places
from skysense.data.earth.writing import simulate
from skysense.data.labelled.open import open_labelled
from skysense.data.labelled.split import check_groups


def test_one_place_is_cut_so_that_its_east_can_be_tested_on(tmp_path: Path) -> None:
    simulate(tmp_path / "places", regions=1, places_per_region=1, footprint_cells=16, seed=0)
    data = cut_places("crop_type", 8)(tmp_path / "places")
    assert [(item.name.split("@")[1], item.split) for item in data.items] == [
        ("0,0", "train"),
        ("0,8", "val"),
        ("8,0", "train"),
        ("8,8", "val"),
    ]
    check_groups(data)
    whole = open_labelled(tmp_path / "places", format="places", label="crop_type").read(0)
    part = data.read(3)
    assert part.name == data.items[3].name and part.sample.grid == (8, 8)
    np.testing.assert_array_equal(part.target, whole.target[8:, 8:])
    np.testing.assert_array_equal(part.sample.series["s2"].values, whole.sample.series["s2"].values[..., 8:, 8:])
