from __future__ import annotations

import numpy as np
import pytest

from skysense.errors import InputError
from skysense.probes.intervals import corrected, interval, paired
from skysense.probes.metrics import accuracy, mean_average_precision
from skysense.probes.outcomes import Outcome


def _outcome(right: np.ndarray, names: list[str] | None = None) -> Outcome:
    names = names or [f"p{i:03}" for i in range(len(right))]
    return Outcome(tuple(names), np.arange(len(right)), np.zeros(len(right), int), np.eye(2)[1 - right.astype(int)])


def test_the_interval_is_that_of_the_binomial() -> None:
    right = np.arange(100) < 70
    result = interval([_outcome(right)], accuracy)
    assert result.value == pytest.approx(0.7)
    assert result.n_places == 100
    half = 1.96 * np.sqrt(0.7 * 0.3 / 100)
    assert result.lo == pytest.approx(0.7 - half, abs=0.02)
    assert result.hi == pytest.approx(0.7 + half, abs=0.02)


def test_coverage_is_near_its_level() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(300):
        result = interval([_outcome(rng.random(60) < 0.6)], accuracy, resamples=300, seed=trial)
        inside += result.lo <= 0.6 <= result.hi
    assert 0.90 <= inside / 300 <= 0.985


def test_an_average_over_rare_classes_lies_within_its_interval() -> None:
    """Repeated places lift the average precision of rare classes: an interval left there would miss its own value."""
    rng = np.random.default_rng(0)
    names = tuple(f"p{i}" for i in range(30))
    values, inside = [], []
    for trial in range(60):
        truth = (rng.random((30, 8)) < 0.08).astype(int)
        scores = truth + rng.normal(0, 1, truth.shape)
        result = interval(
            [Outcome(names, np.arange(30), truth, scores)], mean_average_precision, resamples=200, seed=trial
        )
        values.append(result.value)
        inside.append((result.lo, result.hi))
        assert result.lo < result.value < result.hi
    expected = np.mean(values)
    assert np.mean([lo <= expected <= hi for lo, hi in inside]) > 0.85


def test_cells_of_one_place_are_resampled_together() -> None:
    """A hundred cells that rise and fall together say no more than their ten places."""
    right = np.repeat(np.arange(10) < 6, 10)
    clustered = Outcome(
        tuple(f"p{i}" for i in range(10)),
        np.repeat(np.arange(10), 10),
        np.zeros(100, int),
        np.eye(2)[1 - right.astype(int)],
    )
    by_place, by_cell = interval([clustered], accuracy), interval([_outcome(right)], accuracy)
    assert by_place.hi - by_place.lo > 2.5 * (by_cell.hi - by_cell.lo)


def test_a_paired_difference_sees_what_two_intervals_do_not() -> None:
    rng = np.random.default_rng(3)
    hard = rng.random(100) < 0.5
    better, worse = hard.copy(), hard.copy()
    better[np.flatnonzero(~hard)[:8]] = True  # right wherever the other is, and on eight places more
    result = paired([_outcome(better)], [_outcome(worse)], accuracy)
    assert result.value == pytest.approx(0.08)
    assert result.excludes_zero
    one, other = interval([_outcome(better)], accuracy), interval([_outcome(worse)], accuracy)
    assert one.lo < other.hi


def test_equal_methods_differ_by_zero_and_noise_does_not_exclude_it() -> None:
    rng = np.random.default_rng(4)
    a, b = _outcome(rng.random(80) < 0.5), _outcome(rng.random(80) < 0.5)
    assert not paired([a], [b], accuracy).excludes_zero
    same = paired([a], [a], accuracy)
    assert (same.value, same.lo, same.hi) == (0.0, 0.0, 0.0)


def test_seeds_are_averaged_within_a_resample_and_places_may_come_in_any_order() -> None:
    right = np.arange(20) < 10
    names = [f"p{i:03}" for i in range(20)]
    shuffled = np.random.default_rng(0).permutation(20)
    same = _outcome(right[shuffled], [names[i] for i in shuffled])
    result = paired([_outcome(right, names), same], [same], accuracy)
    assert (result.value, result.lo, result.hi) == pytest.approx((0.0, 0.0, 0.0))


def test_other_places_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="different places"):
        paired([_outcome(np.ones(3))], [_outcome(np.ones(4))], accuracy)
    with pytest.raises(InputError, match="no outcome"):
        interval([], accuracy)


@pytest.mark.filterwarnings("error")
def test_what_is_defined_on_no_resample_has_no_interval() -> None:
    found = corrected(0.5, np.full(10, np.nan), 3)
    assert found.value == 0.5 and np.isnan([found.lo, found.hi]).all()
    assert corrected(0.5, np.array([0.4, 0.6, np.nan]), 3).lo < 0.5
