"""The simulated Earth is learnable and not trivial: a random forest on raw pixels lands between chance and perfect.

Places are split as `simulate` splits them, never by pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from skysense.data.earth import CROPS, LAND_COVERS, SimulatedPlace, place_index, simulate_place
from skysense.data.earth.world import block_splits
from skysense.observation import Series

REGIONS, NUMBER = 8, 16
GRID_DAYS = np.arange(15, 365, 25)


@dataclass
class Table:
    """Features and labels of all places (P) and of all their cells (N)."""

    train_P: NDArray[np.bool_]
    place_PF: NDArray[np.float32]
    scene_P: NDArray[np.str_]
    covers_PC: NDArray[np.bool_]
    cell_NF: NDArray[np.float32]
    crop_N: NDArray[np.uint8]
    train_N: NDArray[np.bool_]
    kind_N: NDArray[np.int64]
    ambiguous_N: NDArray[np.bool_]


def _cells(s2: Series) -> NDArray[np.float32]:
    """Per cell: blue, red, B6, B8, B11 and NDVI of the clear frames, interpolated to one calendar ``(N, F)``."""
    values = s2.values.astype(np.float32).reshape(len(s2.dates), 10, -1)
    ndvi = (values[:, 6] - values[:, 2]) / (values[:, 6] + values[:, 2] + 1)
    bands = np.concatenate([values[:, [0, 2, 4, 6, 8]], 1e4 * ndvi[:, None]], axis=1)
    assert s2.clear is not None
    clear = s2.clear.reshape(len(s2.dates), -1)
    rows = []
    for n in range(bands.shape[2]):
        keep = clear[:, n] if clear[:, n].sum() > 1 else np.ones(len(clear), bool)
        rows.append(np.concatenate([np.interp(GRID_DAYS, s2.days[keep], bands[keep, band, n]) for band in range(6)]))
    return np.array(rows, np.float32)


def _statistics(place: SimulatedPlace) -> NDArray[np.float32]:
    """Means and deviations of each band of each sensor over space and time, and of the image's finest texture."""
    parts = []
    for series in place.sample.series.values():
        values = series.values.astype(np.float32)
        parts += [values.mean((0, 2, 3)), values.std((0, 2, 3)), values.mean(0).std((1, 2)), values.std(0).mean((1, 2))]
    image = place.sample.series["hr"].values[0].astype(np.float32)
    return np.concatenate([*parts, np.abs(np.diff(image, axis=1)).mean((1, 2))])


def _table(footprint_cells: int) -> Table:
    places, splits = [], []
    for region in range(REGIONS):
        splits += block_splits(0, region, 0, {"train": 0.5, "test": 0.5})
        places += [simulate_place(0, place_index(region, n), footprint_cells=footprint_cells) for n in range(NUMBER)]
    train = np.array([split == "train" for split in splits])
    cells = [_cells(place.sample.series["s2"]) for place in places]
    crops = np.stack([place.masks["crop_type"].ravel() for place in places])
    size = crops.shape[1]
    ambiguous = [
        [CROPS[c] in place.attributes["ambiguous_crops"] for c in row] for place, row in zip(places, crops, strict=True)
    ]
    return Table(
        train_P=train,
        place_PF=np.stack([_statistics(place) for place in places]),
        scene_P=np.array([place.labels["scene"] for place in places]),
        covers_PC=np.array([[name in place.labels["multilabel"] for name in LAND_COVERS] for place in places]),
        cell_NF=np.concatenate(cells),
        crop_N=crops.ravel(),
        train_N=train.repeat(size),
        kind_N=np.array([place.attributes["region_index"] % 4 for place in places]).repeat(size),
        ambiguous_N=np.array(ambiguous).ravel(),
    )


def _forest(
    features: NDArray, labels: NDArray, train: NDArray[np.bool_], keep: NDArray[np.bool_], most: int = 1000
) -> NDArray:
    """Predictions for the test rows of ``keep`` by a forest grown on at most ``most`` of its training rows."""
    from sklearn.ensemble import RandomForestClassifier

    rows = np.flatnonzero(train & keep)
    rows = np.random.default_rng(0).permutation(rows)[:most]
    forest = RandomForestClassifier(50, min_samples_leaf=2, max_features=0.2, random_state=0, n_jobs=1)
    return forest.fit(features[rows], labels[rows]).predict(features[~train & keep])


def _most_common(labels: NDArray) -> float:
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


@pytest.mark.parametrize("footprint_cells", [8, pytest.param(16, marks=pytest.mark.long)])
def test_a_forest_lands_between_chance_and_perfect(footprint_cells: int) -> None:
    table = _table(footprint_cells)
    test = ~table.train_P
    every = np.ones(len(test), bool)
    scene = (_forest(table.place_PF, table.scene_P, table.train_P, every) == table.scene_P[test]).mean()
    assert _most_common(table.scene_P[test]) + 0.10 < scene < 0.90

    from sklearn.metrics import f1_score

    covers = _forest(table.place_PF, table.covers_PC, table.train_P, every)
    constant = np.broadcast_to(table.covers_PC[table.train_P].mean(0) > 0.5, covers.shape)
    score, chance = (
        f1_score(table.covers_PC[test], guess, average="macro", zero_division=0) for guess in (covers, constant)
    )
    assert chance + 0.10 < score < 0.90

    grown = table.crop_N > 0
    crop = (_forest(table.cell_NF, table.crop_N, table.train_N, grown) == table.crop_N[~table.train_N & grown]).mean()
    assert _most_common(table.crop_N[~table.train_N & grown]) + 0.10 < crop < 0.90

    # The ambiguous crops need the region: with its type they are easy, without it no forest gets far.
    unsure = table.ambiguous_N
    truth = table.crop_N[~table.train_N & unsure]
    with_type = np.concatenate([table.cell_NF, np.eye(4, dtype=np.float32)[table.kind_N].repeat(8, axis=1)], axis=1)
    blind = (_forest(table.cell_NF, table.crop_N, table.train_N, unsure) == truth).mean()
    told = (_forest(with_type, table.crop_N, table.train_N, unsure) == truth).mean()
    assert told > 0.75 and told > blind + 0.2
    # One cell hardly says in which type of region it lies.
    kind = (_forest(table.cell_NF, table.kind_N, table.train_N, unsure) == table.kind_N[~table.train_N & unsure]).mean()
    assert kind < 0.70
