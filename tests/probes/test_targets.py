from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.data.places import Legend, Place, Places, write_dataset
from skysense.errors import InputError
from skysense.probes.targets import clusters, cross_folds, deal, majority, outer_folds, tasks_of


def _place(name: str, split: str | None = None, **attributes: object) -> Place:
    return Place(Path(name), name, None, None, (4, 4), None, {}, split, attributes, ("hr",), ())  # type: ignore[arg-type]


def test_boxes_and_labels_of_a_later_date_are_no_tasks(tmp_path: Path) -> None:
    legends = {
        "scene": Legend("scene", ("a", "b")),
        "things": Legend("boxes", ("a",)),
        "change": Legend("mask", ("a", "b"), after=True),
        "cover": Legend("mask", ("a", "b")),
    }
    write_dataset(tmp_path, title="Test", simulated=True, legends=legends)
    assert [task.label for task in tasks_of(Places(tmp_path))] == ["scene", "cover"]


def test_majority_takes_the_commonest_class_of_each_block() -> None:
    mask = np.array([[1, 1, 2, 2], [1, 0, 2, 3], [0, 0, 3, 5], [0, 4, 3, 5]])
    assert majority(mask, (2, 2), ignore=None).tolist() == [[1, 2], [0, 3]]  # 3 and 5 tie: the lower one
    assert majority(mask, (2, 2), ignore=0).tolist() == [[1, 2], [-1, 3]]


def test_majority_of_a_mask_on_the_cell_grid_is_the_mask() -> None:
    mask = np.array([[0, 7], [3, 0]])
    assert majority(mask, (2, 2), ignore=0).tolist() == [[-1, 7], [3, -1]]
    assert majority(np.zeros((2, 2), int), (2, 2), ignore=0).tolist() == [[-1, -1], [-1, -1]]


def test_majority_refuses_broken_cells() -> None:
    with pytest.raises(InputError, match="whole cells"):
        majority(np.zeros((5, 4), int), (2, 2), None)


def test_groups_are_dealt_whole_and_strata_evenly() -> None:
    groups = [f"g{i // 3}" for i in range(60)]
    strata = ["rare" if int(g[1:]) < 4 else "common" for g in groups]
    folds = deal(groups, 4, 0, strata)
    for group in set(groups):
        assert len({fold for fold, name in zip(folds, groups, strict=True) if name == group}) == 1
    rare = {
        fold: [g for g, f, s in zip(groups, folds, strata, strict=True) if f == fold and s == "rare"]
        for fold in range(4)
    }
    assert all(len(set(members)) == 1 for members in rare.values())


def test_the_split_of_the_places_is_used() -> None:
    places = [_place("a", "train"), _place("b", "test"), _place("c", "val"), _place("d")]
    ((train, test),) = outer_folds(places)
    assert train.tolist() == [0, 2]
    assert test.tolist() == [1]


def test_without_a_split_every_place_is_tested_once_and_clusters_stay_together() -> None:
    places = [_place(f"p{i}", cluster=f"c{i // 2}") for i in range(12)]
    folds = outer_folds(places, folds=3)
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(12))
    for train, test in folds:
        assert not {place // 2 for place in train} & {place // 2 for place in test}


def test_one_place_cannot_be_cross_validated() -> None:
    with pytest.raises(InputError, match="two places"):
        outer_folds(
            [
                _place("a"),
            ]
        )


def test_neighbours_share_a_cluster_by_chains() -> None:
    def at(name: str, lon: float | None, lat: float | None, **attributes: object) -> Place:
        return Place(Path(name), name, lon, lat, (4, 4), None, {}, "test", attributes, ("hr",), ())  # type: ignore[arg-type]

    chain = [at("a", 10.0, 60.0), at("b", 11.0, 60.0), at("c", 10.25, 60.0), at("d", 10.12, 60.0)]  # 0.12 deg: 6.7 km
    assert clusters(chain) == [0, 1, 0, 0]
    assert clusters([at("a", None, None), at("b", None, None, cluster="x"), at("c", 1, 1, cluster="x")]) == [0, 1, 1]
    for train, test in cross_folds([*chain, at("e", 0, 0)], folds=3):
        assert not ({0, 2, 3} & set(train.tolist()) and {0, 2, 3} & set(test.tolist()))
