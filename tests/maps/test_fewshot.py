"""Classifiers of a handful of labels: closed forms against plain ones, and what their answers are worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skysense.errors import ConfigError, InputError
from skysense.maps.fewshot import FewShot, right_when_left_out
from skysense.maps.fewshot_fit import Examples, _hessian, log_softmax, logistic, ridge, temperature
from skysense.maps.product.layer import Layer


def handful(seed: int, classes: int, bands: int, most: int = 6, apart: float = 1.0):
    """Labelled vectors, some labels per class."""
    rng = np.random.default_rng(seed)
    label_N = np.repeat(np.arange(classes), rng.integers(2, most + 1, classes))
    centres_CK = apart * rng.normal(size=(classes, bands))
    return centres_CK[label_N] + rng.normal(size=(len(label_N), bands)), label_N


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 12), st.floats(0.05, 50))
def test_ridge_left_out_is_a_fit_without_it(seed, classes, bands, strength):
    vectors_NK, label_N = handful(seed, classes, bands)
    examples = Examples.of(vectors_NK, label_N)
    found = ridge(examples, strength)
    hot_NC = np.eye(classes)[label_N]
    inputs_NQ = np.hstack([examples.centred_ND, np.ones((len(label_N), 1))])
    penalty_QQ = strength * np.diag([1.0] * bands + [0])
    for out in range(len(label_N)):
        weight_N = examples.weight_N.copy()
        weight_N[out] = 0
        theta_QC = np.linalg.solve((inputs_NQ.T * weight_N) @ inputs_NQ + penalty_QQ, (inputs_NQ.T * weight_N) @ hot_NC)
        np.testing.assert_allclose(found.left_out_NC[out], inputs_NQ[out] @ theta_QC, atol=1e-7)


def test_ridge_chooses_the_strength_with_the_least_error_left_out():
    vectors_NK, label_N = handful(0, 3, 20, apart=0.5)
    examples = Examples.of(vectors_NK, label_N)

    def error(fit):
        return (examples.weight_N @ np.square(fit.left_out_NC - examples.hot_NC)).sum()

    chosen = ridge(examples)
    assert all(error(chosen) <= error(ridge(examples, other)) + 1e-12 for other in (0.1, 1.0, 10.0, 100.0))
    assert 0.1 < chosen.strength < 1000


def test_logistic_is_scikit_learns():
    sklearn = pytest.importorskip("sklearn.linear_model")
    vectors_NK, label_N = handful(3, 4, 10, most=20)
    examples = Examples.of(vectors_NK, label_N)
    found = logistic(examples, 2.0)
    peer = sklearn.LogisticRegression(C=0.5, class_weight="balanced", tol=1e-10, max_iter=10_000)
    peer.fit(examples.centred_ND, label_N)
    np.testing.assert_allclose(found.weight_CD, peer.coef_, atol=1e-5)
    np.testing.assert_allclose(found.bias_C - found.bias_C.mean(), peer.intercept_ - peer.intercept_.mean(), atol=1e-5)


def test_logistic_hessian_is_the_derivative_of_the_gradient():
    rng = np.random.default_rng(0)
    inputs_NQ, weight_N, penalty_Q = rng.normal(size=(9, 3)), rng.uniform(0.5, 2, 9), np.array([0.7, 0.7, 0.0])
    hot_NC, theta_QC = np.eye(4)[rng.integers(0, 4, 9)], rng.normal(size=(3, 4))

    def gradient(theta):
        share_NC = np.exp(log_softmax(inputs_NQ @ theta))
        return (inputs_NQ.T @ (weight_N[:, None] * (share_NC - hot_NC)) + penalty_Q[:, None] * theta).ravel()

    numeric = np.empty((12, 12))
    for at in range(12):
        step = np.zeros(12)
        step[at] = 1e-6
        step = step.reshape(3, 4)
        numeric[at] = (gradient(theta_QC + step) - gradient(theta_QC - step)) / 2e-6
    exact = _hessian(inputs_NQ, np.exp(log_softmax(inputs_NQ @ theta_QC)), weight_N, penalty_Q).reshape(3, 4, 3, 4)
    exact[-1, :, -1, :] -= 1  # what makes it regular
    np.testing.assert_allclose(exact.reshape(12, 12), numeric, atol=1e-6)


def test_logistic_left_out_is_near_a_fit_without_it():
    vectors_NK, label_N = handful(5, 3, 6, most=15)
    examples = Examples.of(vectors_NK, label_N)
    strength = 5.0
    found = logistic(examples, strength)
    full_NC = examples.centred_ND @ found.weight_CD.T + found.bias_C
    for out in range(0, len(label_N), 4):
        weight_N = examples.weight_N.copy()
        weight_N[out] = 1e-12
        without = logistic(_weighted(examples, weight_N), strength)
        exact_C = without.weight_CD @ examples.centred_ND[out] + without.bias_C
        moved, missed = np.abs(exact_C - full_NC[out]).max(), np.abs(exact_C - found.left_out_NC[out]).max()
        assert missed < 0.2 * moved + 1e-6


def _weighted(examples, weight_N):
    left, singular, right = np.linalg.svd(np.sqrt(weight_N)[:, None] * examples.centred_ND, full_matrices=False)
    return Examples(
        examples.mean_D, examples.spread, examples.centred_ND, examples.label_N, weight_N, left, singular, right
    )


def test_logistic_of_too_many_unknowns_says_what_to_use():
    vectors_NK, label_N = handful(0, 40, 90, most=3)
    with pytest.raises(ConfigError, match="use the ridge regression"):
        FewShot.fit(vectors_NK, label_N, method="logistic")


@pytest.mark.parametrize("method", ["ridge", "logistic"])
def test_probabilities_hold_on_ground_that_was_not_labelled(method):
    rng = np.random.default_rng(0)
    centres_CK = 0.6 * rng.normal(size=(4, 16))
    label_N, asked_M = np.repeat(np.arange(4), 15), np.repeat(np.arange(4), 500)
    learned = FewShot.fit(centres_CK[label_N] + rng.normal(size=(60, 16)), label_N, method=method)
    block_KHW = (centres_CK[asked_M] + rng.normal(size=(2000, 16))).T.reshape(16, 40, 50).astype(np.float32)
    answers = learned.answer(block_KHW)
    right_M = answers.classes_HW.ravel() == asked_M
    assert 0.7 < right_M.mean() < 0.95
    assert (1 - answers.uncertainty_HW).mean() == pytest.approx(right_M.mean(), abs=0.06)
    np.testing.assert_allclose(answers.probability_CHW.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(learned.scores(block_KHW).argmax(axis=0), answers.classes_HW)


def test_novelty_grows_away_from_the_labels_and_off_their_directions():
    vectors_NK, label_N = handful(1, 3, 30, apart=2.0)  # fewer labels than bands: not all directions are known
    learned = FewShot.fit(vectors_NK, label_N)
    mean_K = vectors_NK.mean(axis=0)
    strange_K = np.random.default_rng(9).normal(size=30)

    def novelty(*vectors):
        return learned.answer(np.array(vectors, np.float32).T[:, None]).novelty_HW[0]

    farther = novelty(*[mean_K + reach * (vectors_NK[0] - mean_K) for reach in (0, 1, 2, 4, 8)])
    assert (np.diff(farther) > 0).all()
    assert novelty(*(mean_K + 3 * strange_K[None])).min() > novelty(*vectors_NK).max()


def test_novelty_is_the_weight_a_cell_would_have_in_its_own_answer():
    vectors_NK, label_N = handful(2, 2, 5)
    learned = FewShot.fit(vectors_NK, label_N, strength=3.0)
    examples = Examples.of(vectors_NK, label_N)
    asked_K = np.random.default_rng(3).normal(size=5)
    z_K = (asked_K - examples.mean_D) / examples.spread
    gram_KK = (examples.centred_ND.T * examples.weight_N) @ examples.centred_ND + 3.0 * np.eye(5)
    own = z_K @ np.linalg.solve(gram_KK + np.outer(z_K, z_K), z_K)  # its leverage once it is an example
    found = learned.answer(asked_K.astype(np.float32)[:, None, None]).novelty_HW[0, 0]
    assert found == pytest.approx(own, rel=1e-4)


@pytest.mark.parametrize("offset", [None, (1.0, -2.0, 0.5, 3.0, 0.0)])
def test_stored_numbers_and_missing_cells(offset):
    vectors_NK, label_N = handful(4, 3, 5, apart=2)
    learned = FewShot.fit(vectors_NK, label_N)
    layer = Layer("features", "features", ("a",) * 5, "int8", scale=(0.05, 0.04, 0.03, 0.06, 0.05), offset=offset)
    values_KHW = vectors_NK.T[:, None].astype(np.float32)
    values_KHW[:, 0, 1] = np.nan
    stored_KHW = layer.encode(values_KHW)
    on_stored = learned.stored_with(layer.scale, layer.offset)
    found, plain = on_stored.answer(stored_KHW), learned.answer(layer.decode(stored_KHW))
    np.testing.assert_allclose(on_stored.scores(stored_KHW), learned.scores(layer.decode(stored_KHW)), atol=1e-5)
    np.testing.assert_allclose(found.probability_CHW, plain.probability_CHW, atol=1e-5)
    np.testing.assert_allclose(found.novelty_HW, plain.novelty_HW, atol=1e-5)
    for one in (found.classes_HW, found.uncertainty_HW, found.novelty_HW):
        assert np.isnan(one[0, 1]) and np.isnan(one).sum() == 1


def test_one_label_per_class_is_enough_to_begin():
    vectors_CK = np.eye(3, 6)
    learned = FewShot.fit(vectors_CK, np.arange(3))
    answers = learned.answer(vectors_CK.T[:, None].astype(np.float32))
    np.testing.assert_array_equal(answers.classes_HW, [[0, 1, 2]])
    assert 0.02 < answers.uncertainty_HW.max() < 0.6  # neither sure nor without an opinion


def test_every_class_counts_the_same_however_many_labels_it_has():
    rng = np.random.default_rng(0)
    label_N = np.repeat([0, 1], [40, 4])
    vectors_NK = np.where(label_N[:, None] == 0, -1.0, 1.0) + rng.normal(size=(44, 1))
    examples = Examples.of(vectors_NK, label_N)
    assert examples.weight_N[label_N == 0].sum() == pytest.approx(examples.weight_N[label_N == 1].sum())
    halfway = vectors_NK[label_N == 0].mean() / 2 + vectors_NK[label_N == 1].mean() / 2
    learned = FewShot.fit(vectors_NK, label_N)
    np.testing.assert_allclose(learned.answer(np.full((1, 1, 1), halfway, np.float32)).probability_CHW, 0.5, atol=1e-3)


def test_temperature_is_high_where_the_labels_contradict_each_other():
    def found(apart):
        examples = Examples.of(*handful(0, 2, 4, most=20, apart=apart))
        fit = ridge(examples, 10.0)
        scores_NC = examples.centred_ND @ fit.weight_CD.T
        return temperature(fit, examples) / np.ptp(scores_NC, axis=1).mean()

    assert found(0.0) > 5 * found(4.0)


@pytest.mark.parametrize(
    ("vectors", "labels", "message"),
    [
        (np.zeros((0, 2)), [], "one label for each"),
        (np.eye(3), [0, 1], "3 vectors and 2 labels"),
        (np.eye(2), [0, 0], "of one class"),
        (np.eye(2), [0, 2], "without a gap"),
        (np.array([[0, np.nan], [1, 1]]), [0, 1], "not finite"),
        (np.ones((2, 3)), [0, 1], "are the same"),
    ],
)
def test_what_cannot_be_learned_is_refused(vectors, labels, message):
    with pytest.raises(InputError, match=message):
        FewShot.fit(vectors, np.array(labels, np.int64))


def test_what_is_right_counts_classes_of_several_labels_only():
    label_N = np.array([0, 0, 1, 1, 1, 1, 2])
    left_out_NC = np.eye(3)[[0, 1, 1, 1, 1, 0, 0]]
    assert right_when_left_out(left_out_NC, label_N) == (1 / 2 + 3 / 4) / 2
    assert right_when_left_out(np.eye(3)[[1, 2, 0]], np.array([0, 1, 2])) is None
