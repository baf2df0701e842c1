from __future__ import annotations

import numpy as np
import pytest

from skysense.errors import InputError
from skysense.probes.features import FrozenFeatures
from skysense.probes.protocol import CELLS_PER_CLASS, Method, draw_cells, examples, probe, run
from skysense.probes.table import Table
from skysense.probes.targets import Targets, Task

N = 60
NAMES = tuple(f"p{i:02}" for i in range(N))
SCENE = Task("scene", "scene", ("a", "b", "c"))
FOLDS = [(np.arange(0, N, 2), np.arange(1, N, 2))]


def _features(pooled: np.ndarray) -> FrozenFeatures:
    return FrozenFeatures(NAMES, pooled.astype(np.float32), (), (), pooled.shape[1])


def _scene_targets(seed: int = 0) -> Targets:
    return Targets(SCENE, NAMES, scene_N=np.random.default_rng(seed).integers(0, 3, N))


def _clear_signal(targets: Targets) -> FrozenFeatures:
    assert targets.scene_N is not None
    return _features(np.eye(3)[targets.scene_N] + np.random.default_rng(1).normal(0, 0.05, (N, 3)))


def _noise(seed: int = 0) -> FrozenFeatures:
    return _features(np.random.default_rng(100 + seed).normal(size=(N, 6)))


def test_a_clear_signal_scores_one_and_noise_does_not() -> None:
    targets = _scene_targets()
    methods = [
        Method("signal", "linear", {0: _clear_signal(targets)}),
        Method("noise", "knn", {0: _noise(0), 1: _noise(1)}),
        Method("chance", "majority", {0: _noise()}),
    ]
    results = run([targets], methods, FOLDS)
    signal = results.table.find("scene", "signal", "accuracy")
    assert (signal.value, signal.lo, signal.hi, signal.n_places) == (1.0, 1.0, 1.0, N // 2)
    noise = results.table.find("scene", "noise", "accuracy")
    assert len([row for row in results.table.rows if row.method == "noise" and row.metric == "accuracy"]) == 3
    accuracy, f1 = results.compare("signal", "noise")
    assert accuracy.excludes_zero
    assert f1.excludes_zero
    assert accuracy.value == pytest.approx(1 - noise.value)
    with pytest.raises(InputError, match="no task in common"):
        results.compare("signal", "nobody")


def test_intervals_of_noise_contain_chance() -> None:
    inside = 0
    for seed in range(40):
        results = run([_scene_targets(seed)], [Method("noise", "knn", {0: _noise(seed)})], FOLDS)
        row = results.table.find("scene", "noise", "accuracy")
        inside += row.lo <= 1 / 3 <= row.hi
    assert 34 <= inside <= 40  # 95 % of 40 is 38


def test_only_places_to_learn_from_are_learned_from() -> None:
    """Labels of the test places are turned around: a probe that saw them would score more than nothing."""
    targets = _scene_targets()
    features = _clear_signal(targets)
    assert targets.scene_N is not None
    turned = targets.scene_N.copy()
    turned[1::2] = (turned[1::2] + 1) % 3
    outcome = probe(Targets(SCENE, NAMES, scene_N=turned), features, "linear", FOLDS)
    assert (outcome.answer_M != outcome.truth).all()
    assert set(outcome.places) == set(NAMES[1::2])
    with pytest.raises(InputError, match="both learned from and tested"):
        probe(targets, features, "linear", [(np.arange(10), np.arange(5, 15))])


def test_unlabelled_places_are_neither_learned_from_nor_tested() -> None:
    targets = _scene_targets()
    assert targets.scene_N is not None
    some = targets.scene_N.copy()
    some[:20] = -1
    outcome = probe(Targets(SCENE, NAMES, scene_N=some), _clear_signal(targets), "linear", FOLDS)
    assert set(outcome.places) == set(NAMES[21::2])


def test_features_of_other_places_are_refused() -> None:
    features = _clear_signal(_scene_targets())
    other = FrozenFeatures(NAMES[::-1], features.pooled_ND, (), (), 3)
    with pytest.raises(InputError, match="different places"):
        probe(_scene_targets(), other, "linear", FOLDS)


def test_cells_are_drawn_evenly_per_class_and_the_same_for_every_method() -> None:
    cells = np.full((20, 20), -1)
    cells[:10] = 0
    cells[10:, :3] = 1
    cells[19, 19] = 2
    row, col = draw_cells(cells, seed=4)
    drawn = cells[row, col]
    assert [(drawn == value).sum() for value in (-1, 0, 1, 2)] == [0, CELLS_PER_CLASS, CELLS_PER_CLASS, 1]
    assert len(set(zip(row.tolist(), col.tolist(), strict=True))) == len(row)
    again = draw_cells(cells, seed=4)
    assert (again[0] == row).all()
    assert (again[1] == col).all()
    assert len(draw_cells(np.full((4, 4), -1), seed=0)[0]) == 0


def test_examples_of_cells_carry_the_features_of_their_cell() -> None:
    cells = np.stack([np.indices((4, 4))[0] * 10 + np.indices((4, 4))[1] + 100 * i for i in range(2)])[:, None]
    labels = tuple(np.where((np.indices((4, 4)).sum(axis=0) % 2).astype(bool), i, -1) for i in range(2))
    occupied = (np.ones((4, 4), bool),) * 2
    features = FrozenFeatures(("a", "b"), np.zeros((2, 1), np.float32), tuple(cells.astype(np.float32)), occupied, 1)
    targets = Targets(Task("crop", "mask", ("x", "y")), ("a", "b"), cells_hw=labels)
    found = examples(targets, features, np.array([1]))
    assert (found.place_M == 1).all()
    assert (found.target == 1).all()
    wanted = [100 + 10 * r + c for r in range(4) for c in range(4) if (r + c) % 2]
    assert sorted(found.features_MD[:, 0].tolist()) == wanted


def test_a_table_survives_json_and_marks_the_best() -> None:
    targets = _scene_targets()
    results = run(
        [targets],
        [Method("signal|", "linear", {0: _clear_signal(targets)}), Method("chance", "majority", {0: _noise()})],
        FOLDS,
    )
    results.compare("signal|", "chance")
    again = Table.from_json(results.table.to_json())
    assert again == results.table
    text = again.markdown()
    assert "| signal\\| | **100.0 [100.0, 100.0]** |" in text
    assert "| method | accuracy (n = 30) | macro F1 (n = 30) |" in text
    assert "| signal\\| minus chance |" in text
    with pytest.raises(InputError, match="not a table"):
        Table.from_json({"rows": [{"nonsense": 1}]})
    with pytest.raises(InputError, match="no row"):
        again.find("scene", "nobody", "accuracy")
