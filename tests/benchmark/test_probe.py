from __future__ import annotations

from pathlib import Path

import pytest
import torch

from skysense.benchmark.probe import COMPARISONS, METHODS, probe_model, random_twin, without_context
from skysense.data.earth import simulate
from skysense.data.places import Places, write_dataset
from skysense.errors import InputError
from skysense.model.assembly import SkySense
from skysense.model.config import preset


def test_the_twin_is_the_same_model_with_other_weights() -> None:
    torch.manual_seed(5)
    model = SkySense(preset("tiny"), regions=[3, 8])
    state = torch.get_rng_state()
    twin, again = random_twin(model, 0), random_twin(model, 0)
    assert torch.equal(torch.get_rng_state(), state)
    mine, theirs = model.state_dict(), twin.state_dict()
    assert {name: tensor.shape for name, tensor in mine.items()} == {
        name: tensor.shape for name, tensor in theirs.items()
    }
    assert not torch.equal(mine["fusion.projection.weight"], theirs["fusion.projection.weight"])
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in theirs.items())
    assert torch.equal(mine["geo.region_cells"], theirs["geo.region_cells"])


def test_a_model_is_probed_beside_every_baseline(tmp_path: Path) -> None:
    simulate(tmp_path / "earth", regions=2, places_per_region=4, footprint_cells=4, seed=0)
    places = Places(tmp_path / "earth")
    model = SkySense(preset("tiny"), regions=places.regions.cells)
    seen: list[str] = []
    results = probe_model(model, places, progress=lambda done, total, words: seen.append(words))
    assert {row.method for row in results.table.rows} == set(METHODS)
    assert results.table.tasks == ["scene", "multilabel", "land_cover", "crop_type"]
    assert {(one.a, one.b) for one in results.table.differences} == set(COMPARISONS)
    assert all(0 <= row.lo <= row.value <= row.hi <= 1 for row in results.table.rows)
    assert {"raw pixels", "features, pre-trained", "scene: majority"} <= set(seen)


def test_places_without_geo_context_are_counted(tmp_path: Path) -> None:
    simulate(tmp_path / "earth", regions=3, places_per_region=2, footprint_cells=4, seed=0)
    places = Places(tmp_path / "earth")
    first, second, _ = places.regions.cells
    model = SkySense(preset("tiny"), regions=[first, second])
    assert model.geo is not None
    model.geo.initialised[0] = True
    assert without_context(model, places) == 4
    assert without_context(SkySense(preset("tiny")), places) == 0


def test_places_without_labels_are_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, title="none", simulated=False, source="", licence="", legends={})
    with pytest.raises(InputError, match="no labels"):
        probe_model(SkySense(preset("tiny")), Places(tmp_path))
