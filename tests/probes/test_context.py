from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.data.earth.world import SITES
from skysense.data.places import Place
from skysense.errors import InputError
from skysense.geo import RegionTable, region_cell
from skysense.probes.context import (
    ALL_CROPS,
    AMBIGUOUS_CROPS,
    CONTEXT_METRICS,
    POSITION,
    WITH_CONTEXT,
    WITHOUT_CONTEXT,
    WRONG_REGION,
    ambiguous,
    context_methods,
    context_outcomes,
    position_features,
    region_folds,
    wrong_regions,
)
from skysense.probes.features import FrozenFeatures
from skysense.probes.outcomes import Outcome
from skysense.probes.protocol import pool
from skysense.probes.targets import Targets, Task

CROPS = ("none", "wheat", "maize", "rice")


def _place(region: int, number: int, types: int = 2) -> Place:
    attributes = {"region_type": f"t{region % types}", "region_index": region, "ambiguous_crops": ["wheat", "maize"]}
    name = f"r{region}p{number}"
    lon, lat = SITES[region].lon, SITES[region].lat
    return Place(Path(name), name, lon, lat, (4, 4), None, {}, None, attributes, ("s2",), ())


PLACES = [_place(region, number) for region in range(5) for number in range(6)]
TABLE = RegionTable(region_cell(site.lon, site.lat) for site in SITES[:5])


def test_no_region_is_both_learned_from_and_tested_and_every_type_is_in_both() -> None:
    folds = region_folds(PLACES)
    assert len(folds) == 2  # the rarer type has two regions; the fifth region is always learned from
    for train, test in folds:
        regions = [{PLACES[at].attributes["region_index"] for at in part} for part in (train, test)]
        types = [{PLACES[at].attributes["region_type"] for at in part} for part in (train, test)]
        assert not regions[0] & regions[1]
        assert types[0] == types[1] == {"t0", "t1"}
        assert len(train) + len(test) == len(PLACES)
    tested = np.concatenate([test for _, test in folds])
    assert len(set(tested.tolist())) == len(tested)


def test_a_type_with_one_region_cannot_be_tested() -> None:
    with pytest.raises(InputError, match="fewer than two regions: t1"):
        region_folds(PLACES[:18])
    with pytest.raises(InputError, match="no attribute 'region_type'"):
        region_folds([Place(Path("x"), "x", 0, 0, (4, 4), None, {}, None, {}, ("s2",), ())])


def test_a_wrong_region_is_of_another_type() -> None:
    wrong = wrong_regions(PLACES, TABLE, seed=3)
    type_of = {TABLE.slot(place.lon, place.lat): place.attributes["region_type"] for place in PLACES}
    assert set(wrong) == {place.name for place in PLACES}
    assert all(type_of[wrong[place.name]] != place.attributes["region_type"] for place in PLACES)
    assert len({wrong[place.name] for place in PLACES if place.attributes["region_type"] == "t1"}) == 3
    with pytest.raises(InputError, match="no region that the model knows"):
        wrong_regions(PLACES, RegionTable([1]), seed=0)
    with pytest.raises(InputError, match="one type"):
        wrong_regions(PLACES[:6], TABLE, seed=0)


def test_position_features_by_hand() -> None:
    rows = position_features(PLACES)
    assert rows.shape == (30, 6)
    assert rows[:, :2].mean(axis=0) == pytest.approx([0, 0], abs=1e-9)
    assert rows[7, 2] == pytest.approx(np.sin(np.radians(SITES[1].lon)))
    assert rows[7, 5] == pytest.approx(np.cos(np.radians(SITES[1].lat)))


def test_ambiguous_examples_alone() -> None:
    names = (PLACES[0].name, PLACES[1].name)
    outcome = Outcome(names, np.array([0, 0, 1]), np.array([1, 3, 2]), np.eye(4)[[1, 1, 1]])
    kept = ambiguous(outcome, PLACES, CROPS)
    assert kept.truth.tolist() == [1, 2]
    with pytest.raises(InputError, match="ambiguous crop"):
        ambiguous(outcome.take(np.array([False, True, False])), PLACES, CROPS)


def _earth(seed: int) -> tuple[Targets, FrozenFeatures]:
    """Wheat of one type looks like maize of the other; the context part alone tells the type."""
    rng = np.random.default_rng(seed)
    labels, maps = [], []
    for place in PLACES:
        kind = place.attributes["region_index"] % 2
        label = rng.integers(1, 4, (4, 4))
        look = np.where(label == 3, 2, (label - 1) ^ kind)
        fused = np.moveaxis(np.eye(3)[look], -1, 0)
        context = np.stack([fused[i] * kind for i in range(3)])
        noise = rng.normal(0, 0.05, (6, 4, 4))
        maps.append((np.concatenate([fused, context]) + noise).astype(np.float32))
        labels.append(label.astype(np.int64))
    names = tuple(place.name for place in PLACES)
    occupied = tuple(np.ones((4, 4), bool) for _ in PLACES)
    pooled = np.stack([one.mean(axis=(1, 2)) for one in maps])
    features = FrozenFeatures(names, pooled, tuple(maps), occupied, 3)
    return Targets(Task("crop_type", "mask", CROPS, ignore=0), names, cells_hw=tuple(labels)), features


def test_context_that_tells_regions_apart_is_found_to_help() -> None:
    targets, right = _earth(0)
    scrambled = np.random.default_rng(0).permutation(len(PLACES))
    maps = [one.copy() for one in right.cells_Dhw]
    for at, other in enumerate(scrambled):
        maps[at][3:] = right.cells_Dhw[other][3:]
    wrong = FrozenFeatures(right.names, right.pooled_ND, tuple(maps), right.occupied_hw, 3)
    methods = context_methods(PLACES, {0: right}, {0: wrong}, "linear")
    assert [method.name for method in methods] == [WITH_CONTEXT, WITHOUT_CONTEXT, WRONG_REGION, POSITION]
    tasks = {ALL_CROPS: CONTEXT_METRICS, AMBIGUOUS_CROPS: CONTEXT_METRICS}
    found = context_outcomes(PLACES, targets, methods)
    results = pool(list(found.items()), [method.name for method in methods], tasks)
    value = {
        name: results.table.find(AMBIGUOUS_CROPS, name, "macro F1").value for name in (WITH_CONTEXT, WITHOUT_CONTEXT)
    }
    assert value[WITH_CONTEXT] > 0.98
    assert value[WITHOUT_CONTEXT] < 0.7
    assert all(one.excludes_zero and one.value > 0 for one in results.compare(WITH_CONTEXT, WITHOUT_CONTEXT))
    assert all(one.excludes_zero for one in results.compare(WITH_CONTEXT, WRONG_REGION))
    assert results.table.find(ALL_CROPS, WITHOUT_CONTEXT, "macro F1").value > value[WITHOUT_CONTEXT]
    assert results.table.find(ALL_CROPS, WITH_CONTEXT, "macro F1").n_places == 24
