from __future__ import annotations

import numpy as np
import pytest

from skysense.probes.metrics import accuracy, macro_f1, mean_average_precision, place_recall
from skysense.probes.outcomes import Outcome


def _one(outcome: Outcome, metric) -> float:
    return float(metric(outcome)(np.ones((1, len(outcome.places))))[0])


def _scene(truth: list[int], answer: list[int], classes: int = 3) -> Outcome:
    places = tuple(f"p{i}" for i in range(len(truth)))
    return Outcome(places, np.arange(len(truth)), np.array(truth), np.eye(classes)[answer])


def test_accuracy_and_macro_f1_by_hand() -> None:
    outcome = _scene([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 2])
    assert _one(outcome, accuracy) == pytest.approx(4 / 6)
    # class 0: 2 of 3 found, 2 of 2 right: F1 0.8; class 1: 2 of 3 found, 2 of 3 right: F1 2/3; class 2 has no truth
    assert _one(outcome, macro_f1) == pytest.approx((0.8 + 2 / 3) / 2)


def test_average_precision_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    truth = np.array([[1, 0], [0, 0], [1, 0], [0, 0]])
    outcome = Outcome(("a", "b", "c", "d"), np.arange(4), truth, scores)
    # positives at ranks 1 and 3: (1/1 + 2/3) / 2; the second class has no positive and does not count
    assert _one(outcome, mean_average_precision) == pytest.approx((1 + 2 / 3) / 2)


def test_weights_repeat_places() -> None:
    rng = np.random.default_rng(0)
    truth, scores = (rng.random((12, 4)) < 0.4).astype(int), rng.random((12, 4)).round(1)  # rounding makes ties
    outcome = Outcome(tuple("abcdefghijkl"), np.arange(12), truth, scores)
    weights = rng.integers(0, 4, 12)
    rows = np.repeat(np.arange(12), weights)
    repeated = Outcome(tuple(f"r{i}" for i in range(len(rows))), np.arange(len(rows)), truth[rows], scores[rows])
    assert mean_average_precision(outcome)(weights[None].astype(float))[0] == pytest.approx(
        _one(repeated, mean_average_precision)
    )
    single = Outcome(outcome.places, outcome.place_M, truth.argmax(1), scores)
    again = Outcome(repeated.places, repeated.place_M, truth.argmax(1)[rows], scores[rows])
    for metric in (accuracy, macro_f1, place_recall):
        assert metric(single)(weights[None].astype(float))[0] == pytest.approx(_one(again, metric))


def test_metrics_agree_with_scikit_learn() -> None:
    reference = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    truth, scores = (rng.random((40, 5)) < 0.3).astype(int), rng.random((40, 5)).round(1)
    outcome = Outcome(tuple(f"p{i}" for i in range(40)), np.arange(40), truth, scores)
    expected = np.mean([reference.average_precision_score(truth[:, k], scores[:, k]) for k in range(5)])
    assert _one(outcome, mean_average_precision) == pytest.approx(expected)
    labels = rng.integers(0, 5, 40)
    single = Outcome(outcome.places, outcome.place_M, labels, scores)
    assert _one(single, macro_f1) == pytest.approx(
        reference.f1_score(labels, scores.argmax(1), average="macro", labels=np.unique(labels))
    )


def test_place_recall_weighs_places_and_their_classes_equally() -> None:
    place = np.array([0] * 10 + [1] * 2)
    truth = np.array([0] * 9 + [1] + [2, 2])
    answer = np.array([0] * 9 + [0] + [2, 0])
    outcome = Outcome(("big", "small"), place, truth, np.eye(3)[answer])
    assert _one(outcome, place_recall) == pytest.approx(((1 + 0) / 2 + 0.5) / 2)
