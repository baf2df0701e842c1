"""Two linear classifiers for a handful of examples, each with its own leave-one-out, and what their scores are worth.

Letters: N examples, D features, C classes, R independent directions of the examples, G strengths to choose from.

Every class counts the same, however many labels it has: how often people label a class says little about how much
ground it covers. Example ``i`` of a class with ``n_c`` labels has the weight ``w_i = N / (C n_c)``; the weights stay as
they are when an example is left out. Both penalise the weights but not the intercept, so that a solution lies in the
directions which the examples span, and everything is computed there: ``sqrt(w) Z = U diag(s) V'``, rank R.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.errors import ConfigError

Floats = NDArray[np.float64]

STRENGTHS = 10.0 ** np.arange(-4, 1.1, 0.25)
"""Penalties to choose from, for each example."""
_UNKNOWN_STRENGTH, _UNKNOWN_TEMPERATURE = 1.0, 0.3
"""Of each example, and as a share of the spread of the scores, where no class has a second label, so that nothing can
be left out: what was best on simulated places (docs/search.md)."""
_MOST = 3000  # unknowns of the logistic regression: its Hessian is solved as it is
_STEPS = 100
_STILL = 1e-9  # of the gradient, per example
_FLAT = 1e-6  # a direction with less of the examples' spread is noise of the arithmetic


@dataclass(frozen=True)
class Examples:
    """Labelled examples in the directions they span.

    Attributes:
        mean_D, spread: their weighted mean, and the root of their mean square distance from it, per feature.
        centred_ND: the examples less the mean, over the spread.
        label_N: class index, each of 0 .. C - 1 at least once.
        weight_N: adds up to N, and to N / C within each class.
        left_NR, singular_R, right_RD: thin singular value decomposition of the weighted examples.
    """

    mean_D: Floats
    spread: float
    centred_ND: Floats
    label_N: NDArray[np.int64]
    weight_N: Floats
    left_NR: Floats
    singular_R: Floats
    right_RD: Floats

    @classmethod
    def of(cls, vectors_ND: Floats, label_N: NDArray[np.int64]) -> Examples:
        """Examples of labelled vectors; R is 0 if all vectors are the same."""
        counts_C = np.bincount(label_N)
        weight_N = len(label_N) / (len(counts_C) * counts_C[label_N])
        mean_D = weight_N @ vectors_ND / len(label_N)
        spread = float(np.sqrt(np.mean(weight_N @ np.square(vectors_ND - mean_D)) / len(label_N))) or 1.0
        centred_ND = (vectors_ND - mean_D) / spread
        left, singular, right = np.linalg.svd(np.sqrt(weight_N)[:, None] * centred_ND, full_matrices=False)
        rank = int((singular > _FLAT * np.sqrt(centred_ND.size)).sum())
        return cls(mean_D, spread, centred_ND, label_N, weight_N, left[:, :rank], singular[:rank], right[:rank])

    @property
    def judge_N(self) -> NDArray[np.bool_]:
        """Which examples tell something when they are left out: those that are not alone in their class."""
        return np.bincount(self.label_N)[self.label_N] > 1

    @property
    def hot_NC(self) -> Floats:
        """One for the class of an example, zero for the others."""
        return np.eye(int(self.label_N.max()) + 1)[self.label_N]


@dataclass(frozen=True)
class Fit:
    """A linear classifier: the scores of ``z`` are ``weight z + bias``.

    Attributes:
        weight_CD, bias_C: of centred features.
        strength: the penalty.
        left_out_NC: scores of each example by the classifier that was fitted to the others.
    """

    weight_CD: Floats
    bias_C: Floats
    strength: float
    left_out_NC: Floats


def ridge(examples: Examples, strength: float | None = None) -> Fit:
    """Least squares of the classes as 0 and 1, with a penalty on the squares of the weights.

    Minimises ``sum_i w_i |W z_i + b - t_i|^2 + strength |W|^2``. With ``h_i = w_i / N + sum_r u_ir^2 s_r^2 / (s_r^2 +
    strength)`` the residual of an example that is left out is ``e_i / (1 - h_i)`` exactly (Allen 1974, PRESS).

    Args:
        examples: to fit.
        strength: of the penalty; by default the one of `STRENGTHS` (times N) with the least sum of squares of the
            residuals of examples left out.
    """
    count, root_N1 = len(examples.label_N), np.sqrt(examples.weight_N)[:, None]
    hot_NC = examples.hot_NC
    bias_C = examples.weight_N @ hot_NC / count
    target_NC = root_N1 * (hot_NC - bias_C)
    along_RC = examples.left_NR.T @ target_NC

    def left_out_error(penalty: float) -> Floats:
        shrink_R = examples.singular_R**2 / (examples.singular_R**2 + penalty)
        error_NC = target_NC - examples.left_NR @ (shrink_R[:, None] * along_RC)
        leverage_N = examples.weight_N / count + np.square(examples.left_NR) @ shrink_R
        return error_NC / np.maximum(1 - leverage_N, 1e-9)[:, None]

    def missed(penalty: float) -> float:
        return float(np.square(left_out_error(penalty)[examples.judge_N]).sum())

    if strength is None:
        tried = STRENGTHS if examples.judge_N.any() else [_UNKNOWN_STRENGTH]
        strength = float(min(count * np.array(tried), key=missed))
    solved_RC = (examples.singular_R / (examples.singular_R**2 + strength))[:, None] * along_RC
    return Fit(solved_RC.T @ examples.right_RD, bias_C, strength, hot_NC - left_out_error(strength) / root_N1)


def logistic(examples: Examples, strength: float | None = None) -> Fit:
    """Multinomial logistic regression by Newton's method.

    Minimises ``sum_i w_i log-loss_i + strength / 2 |W|^2``: scikit-learn's ``LogisticRegression(C=1 / strength,
    class_weight="balanced")``. Scores of examples left out are those after one step of Newton's method from the full
    solution (Rad and Maleki 2020, approximate leave-one-out).

    Args:
        examples: to fit.
        strength: of the penalty; by default every second of `STRENGTHS` (times N) is tried, and the one with the least
            weighted log-loss of the examples left out is taken.

    Raises:
        ConfigError: so many examples, features and classes that the ridge regression has to do.
    """
    hot_NC = examples.hot_NC
    rank, classes = len(examples.singular_R), hot_NC.shape[1]
    if (rank + 1) * classes > _MOST:
        raise ConfigError(
            f"logistic regression of {rank} independent features and {classes} classes has {(rank + 1) * classes} "
            f"unknowns, more than {_MOST}: use the ridge regression, or a map with fewer features"
        )
    inputs_NQ = np.hstack([examples.centred_ND @ examples.right_RD.T, np.ones((len(hot_NC), 1))])
    theta_QC, best, best_loss = np.zeros((rank + 1, classes)), None, np.inf
    judge_N = examples.judge_N
    grid = STRENGTHS[::-2] if judge_N.any() else np.array([_UNKNOWN_STRENGTH])
    tried = len(hot_NC) * grid if strength is None else [strength]
    for penalty in tried:  # from the strongest, each begins at the solution before
        theta_QC, hessian = _newton(inputs_NQ, hot_NC, examples.weight_N, float(penalty), theta_QC)
        left_out_NC = _left_out(inputs_NQ, hot_NC, examples.weight_N, theta_QC, hessian)
        loss = -float((judge_N * examples.weight_N) @ (hot_NC * log_softmax(left_out_NC)).sum(axis=1))
        if loss < best_loss:
            weight_CD = theta_QC[:-1].T @ examples.right_RD
            best, best_loss = Fit(weight_CD, theta_QC[-1], float(penalty), left_out_NC), loss
    assert best is not None
    return best


def _newton(
    inputs_NQ: Floats, hot_NC: Floats, weight_N: Floats, penalty: float, theta_QC: Floats
) -> tuple[Floats, Floats]:
    """The least loss and its Hessian ``(QC, QC)``; the last input is the intercept, which has no penalty."""
    penalty_Q1 = np.full((inputs_NQ.shape[1], 1), penalty)
    penalty_Q1[-1] = 0

    def loss(theta: Floats) -> float:
        gain = (hot_NC * log_softmax(inputs_NQ @ theta)).sum(axis=1)
        return float(-weight_N @ gain + 0.5 * (penalty_Q1 * theta**2).sum())

    def slopes(theta: Floats) -> tuple[Floats, Floats]:
        share_NC = np.exp(log_softmax(inputs_NQ @ theta))
        gradient_QC = inputs_NQ.T @ (weight_N[:, None] * (share_NC - hot_NC)) + penalty_Q1 * theta
        return gradient_QC, _hessian(inputs_NQ, share_NC, weight_N, penalty_Q1[:, 0])

    now, (gradient_QC, hessian) = loss(theta_QC), slopes(theta_QC)
    for _ in range(_STEPS):
        if np.abs(gradient_QC).max() <= _STILL * len(hot_NC):
            break
        step_QC = np.linalg.solve(hessian, gradient_QC.ravel()).reshape(gradient_QC.shape)
        slope, length = float((gradient_QC * step_QC).sum()), 1.0
        while (then := loss(theta_QC - length * step_QC)) > now - 1e-4 * length * slope and length > 1e-8:
            length /= 2
        theta_QC, now = theta_QC - length * step_QC, then
        gradient_QC, hessian = slopes(theta_QC)
    return theta_QC, hessian


def _hessian(inputs_NQ: Floats, share_NC: Floats, weight_N: Floats, penalty_Q: Floats) -> Floats:
    """Second derivatives by (input, class) twice.

    The same number added to all intercepts changes no probability: ones there make the matrix regular, and the solution
    the one whose intercepts add up to zero.
    """
    (_, inputs), classes = inputs_NQ.shape, share_NC.shape[1]
    made = np.zeros((inputs, classes, inputs, classes))
    for one in range(classes):
        for other in range(one, classes):
            curve_N = weight_N * share_NC[:, one] * (float(one == other) - share_NC[:, other])
            made[:, one, :, other] = made[:, other, :, one] = inputs_NQ.T @ (curve_N[:, None] * inputs_NQ)
    made[np.arange(inputs), :, np.arange(inputs), :] += penalty_Q[:, None, None] * np.eye(classes)
    made[-1, :, -1, :] += 1
    return made.reshape(inputs * classes, inputs * classes)


def _left_out(inputs_NQ: Floats, hot_NC: Floats, weight_N: Floats, theta_QC: Floats, hessian: Floats) -> Floats:
    """Scores of each example after one Newton step without it.

    With ``J_i`` the derivative of its scores, ``M_i = J_i H^-1 J_i'``, ``g_i`` and ``A_i`` the derivatives of its loss
    by its scores, the step changes them by ``M_i (1 - A_i M_i)^-1 g_i`` (Woodbury).
    """
    count, classes = hot_NC.shape
    inputs = inputs_NQ.shape[1]
    scores_NC = inputs_NQ @ theta_QC
    share_NC = np.exp(log_softmax(scores_NC))
    inverse = np.linalg.inv(hessian).reshape(inputs, classes * inputs * classes)
    half = (inputs_NQ @ inverse).reshape(count, classes, inputs, classes)
    reach_NCC = np.einsum("naqb,nq->nab", half, inputs_NQ, optimize=True)
    curve_NCC = weight_N[:, None, None] * (
        share_NC[:, :, None] * np.eye(classes) - share_NC[:, :, None] * share_NC[:, None, :]
    )
    pull_NC1 = (weight_N[:, None] * (share_NC - hot_NC))[:, :, None]
    return scores_NC + (reach_NCC @ np.linalg.solve(np.eye(classes) - curve_NCC @ reach_NCC, pull_NC1))[:, :, 0]


def temperature(fit: Fit, examples: Examples) -> float:
    """What scores are divided by so that their softmax is a probability (Guo et al. 2017), by examples left out.

    The least weighted log-loss of the examples left out. A few of them that are all right say little about how sure one
    may be, so one more example is thought to belong to every class in equal shares: an example counts to ``(n_c + 1 /
    C) / (n_c + 1)`` as its class, the rest in equal shares as the others (after Platt 1999, who has two classes).
    """
    scores_NC = examples.centred_ND @ fit.weight_CD.T + fit.bias_C
    spread = max(float(np.ptp(scores_NC, axis=1).mean()), 1e-9)
    judge_N = examples.judge_N
    if not judge_N.any():
        return _UNKNOWN_TEMPERATURE * spread
    counts_C = np.bincount(examples.label_N)
    count_N1 = counts_C[examples.label_N][:, None]
    target_NC = (count_N1 * examples.hot_NC + 1 / len(counts_C)) / (count_N1 + 1)
    tried_G = spread * 10.0 ** np.arange(-2, 2.01, 0.05)

    def loss(tried: float) -> float:
        gain_N = (target_NC * log_softmax(fit.left_out_NC / tried)).sum(axis=1)
        return -float((judge_N * examples.weight_N) @ gain_N)

    return float(min(tried_G, key=loss))


def log_softmax(scores_NC: Floats) -> Floats:
    """Logarithms of probabilities, per example."""
    shifted = scores_NC - scores_NC.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
