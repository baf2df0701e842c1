from __future__ import annotations

import numpy as np
import pytest

from skysense.errors import InputError
from skysense.probes.classify import STRENGTHS, Examples, choose_strength, predict


def _separable(count: int, seed: int) -> Examples:
    rng = np.random.default_rng(seed)
    target = np.arange(count) % 3
    features = rng.normal(0, 0.1, (count, 8)).astype(np.float32)
    features[np.arange(count), target] += 5
    return Examples(features, target, np.arange(count), 3)


@pytest.mark.parametrize("head", ["linear", "knn", "forest"])
def test_what_is_separable_is_separated(head) -> None:
    train, test = _separable(60, 0), _separable(30, 1)
    assert (predict(head, train, test.features_MD).argmax(axis=1) == test.target).all()


@pytest.mark.parametrize("head", ["linear", "knn", "forest"])
def test_several_classes_at_once(head) -> None:
    train, test = _separable(60, 0), _separable(30, 1)
    several = Examples(train.features_MD, np.eye(3, dtype=int)[train.target] | [0, 0, 1], train.place_M, 3)
    scores = predict(head, several, test.features_MD)
    assert ((scores[:, :2] > 0.5) == np.eye(3, dtype=bool)[test.target][:, :2]).all()
    assert scores[:, 2] == pytest.approx(1.0)


def test_the_majority_answers_with_the_frequencies_of_the_training_part() -> None:
    train = Examples(np.zeros((4, 2), np.float32), np.array([0, 0, 0, 2]), np.arange(4), 3)
    assert predict("majority", train, np.zeros((2, 2), np.float32)).tolist() == [[0.75, 0, 0.25]] * 2


def test_scale_of_a_feature_does_not_matter_to_the_linear_head() -> None:
    train, test = _separable(60, 0), _separable(30, 1)
    scale = np.array([1e-4, 1, 1e4, 1, 1, 1, 1, 1], np.float32)
    scaled = Examples(train.features_MD * scale, train.target, train.place_M, 3)
    plain = predict("linear", train, test.features_MD)
    assert predict("linear", scaled, test.features_MD * scale) == pytest.approx(plain, abs=1e-3)


def test_noise_is_regularised_strongly_and_a_clear_signal_weakly() -> None:
    rng = np.random.default_rng(0)
    noise = Examples(rng.normal(size=(120, 60)).astype(np.float32), rng.integers(0, 3, 120), np.arange(120), 3)
    assert choose_strength(noise, 0) <= STRENGTHS[1]
    assert choose_strength(_separable(120, 0), 0) == STRENGTHS[-1]


def test_the_strength_is_chosen_on_places_that_were_held_out() -> None:
    """Each place has a fingerprint: cells of a place seen in training would make memorising look good."""
    rng = np.random.default_rng(0)
    place = np.repeat(np.arange(40), 10)
    fingerprint = rng.normal(size=(40, 60))
    features = (fingerprint[place] + rng.normal(0, 0.01, (400, 60))).astype(np.float32)
    by_place = Examples(features, rng.integers(0, 2, 40)[place], place, 2)
    assert choose_strength(by_place, 0) == STRENGTHS[0]
    leaking = Examples(features, by_place.target, np.arange(400), 2)
    assert choose_strength(leaking, 0) == STRENGTHS[-1]


def test_a_class_that_was_never_learned_scores_zero() -> None:
    train = _separable(60, 0)
    partial = train.take(train.target != 1)
    for head in ("linear", "knn", "forest"):
        assert (predict(head, partial, train.features_MD)[:, 1] == 0).all()


def test_bad_features_are_refused() -> None:
    train = _separable(6, 0)
    with pytest.raises(InputError, match="not finite"):
        predict("linear", train, np.full((1, 8), np.nan, np.float32))
    with pytest.raises(InputError, match="no labelled"):
        predict("knn", train.take(np.zeros(6, bool)), train.features_MD)
