from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from skysense.benchmark.pictures import neighbour_sheet, prototype_use, sensor_sheet
from skysense.data.earth import simulate
from skysense.data.places import Places
from skysense.geo import RegionTable
from skysense.probes.features import FrozenFeatures


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    root = tmp_path_factory.mktemp("earth")
    simulate(root, regions=2, places_per_region=2, footprint_cells=4, seed=4)
    return Places(root)


def features(places: Places, directions_ND: np.ndarray) -> FrozenFeatures:
    """Every cell of place n points to direction n; a channel of context follows."""
    cells = [np.broadcast_to(np.append(one, 9.0)[:, None, None], (4, 4, 4)).astype(np.float32) for one in directions_ND]
    noise = np.random.default_rng(0).normal(0, 1e-3, (len(cells), 4, 4, 4))
    cells = [(one + more).astype(np.float32) for one, more in zip(cells, noise, strict=True)]
    names = tuple(place.name for place in places)
    pooled = np.stack([one.mean((1, 2)) for one in cells])
    return FrozenFeatures(names, pooled, tuple(cells), (np.ones((4, 4), bool),) * len(cells), 3)


def model_of(places: Places, learned: list[bool], extra: int) -> Any:
    """A stand-in: the regions of the places and one before them, with two prototypes along the first two axes."""
    cells = sorted([*places.regions.cells, extra])
    geo = SimpleNamespace(
        prototypes=torch.eye(3)[:2].repeat(3, 1, 1),
        initialised=torch.tensor(learned),
    )
    return SimpleNamespace(geo=geo, region_table=RegionTable(cells))


def test_prototypes_are_counted_within_the_regions_of_the_places(places: Places) -> None:
    axes = np.eye(3)[[0, 1, 0, 0]]  # two places in each region
    found = features(places, axes)
    slots = [places.regions.slot(place.lon, place.lat) for place in places]
    assert sorted(slots) == [0, 0, 1, 1]
    expected = np.zeros((2, 2), int)
    for slot, axis in zip(slots, (0, 1, 0, 0), strict=True):
        expected[slot, axis] += 16
    model = model_of(places, [True, True, True], extra=0)  # the model's slots differ from the folder's by one
    assert prototype_use(model, places, found).tolist() == expected.ravel().tolist()
    partly = model_of(places, [True, True, False], extra=0)
    assert prototype_use(partly, places, found).tolist() == expected[0].tolist()


def test_neighbours_are_those_of_the_most_similar_fused_feature(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    angles = np.array([0.0, 2.0, 0.1, 2.1])
    found = features(places, np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1))
    shown: list[Any] = []
    monkeypatch.setattr("skysense.benchmark.pictures.picture_sheet", lambda *parts: shown.extend(parts))
    neighbour_sheet(places, found)
    rows, titles, names = shown
    assert titles == ["image", "features", "neighbour 1", "neighbour 2", "neighbour 3"]
    assert names == [str(place.labels["scene"]) for place in places]
    images = [row[0] for row in rows]
    for index, nearest in enumerate((2, 3, 0, 1)):
        assert np.array_equal(rows[index][2], images[nearest])


def test_sensors_show_the_greenest_and_the_least_green_day(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("skysense.benchmark.pictures.picture_sheet", lambda *parts: shown.extend(parts))
    sensor_sheet(places, features(places, np.eye(3)[[0, 1, 2, 0]]))
    rows, titles, _ = shown
    assert titles == ["image", "Sentinel-2, greenest", "least green", "Sentinel-1", "features"]
    assert [picture.shape for picture in rows[0]] == [(64, 64, 3), *[(4, 4, 3)] * 4]
    s2 = places.read_sample(places[0], ["s2"]).series["s2"]
    clear = (s2.valid if s2.clear is None else s2.valid & s2.clear).all((1, 2))
    values = s2.values[clear].astype(float)
    index = ((values[:, 6] - values[:, 2]) / (values[:, 6] + values[:, 2] + 1)).mean((1, 2))
    for column, frame in ((1, index.argmax()), (2, index.argmin())):
        colours = values[frame, 2::-1]
        white = max(np.percentile(colours, 98), 600)
        assert np.abs(rows[0][column].transpose(2, 0, 1) - (255 * colours / white).clip(0, 255)).max() <= 1
