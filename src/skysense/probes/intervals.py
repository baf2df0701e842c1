"""Bootstrap intervals that resample places, never cells: neighbours in one place are not independent.

A resample repeats places and drops the only place of a rare class, which lifts averages over classes. Each interval is
therefore moved back by the mean shift of the resamples (a percentile interval, corrected for its bias); a plain mean
has no such shift.

Letters: P test places, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.probes.metrics import Metric
from skysense.probes.outcomes import Outcome

RESAMPLES = 2000
LEVEL = 0.95
_BLOCK, _CELLS = 250, 2_000_000


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval.

    Attributes:
        value: of the metric on all test places, averaged over seeds.
        lo, hi: ends of the interval, within what a share (or a difference of shares) can be.
        n_places: number of test places.
    """

    value: float
    lo: float
    hi: float
    n_places: int

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.lo > 0 or self.hi < 0


def interval(outcomes: Sequence[Outcome], metric: Metric, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Interval of a metric; several outcomes (seeds) on the same places are averaged within each resample.

    Args:
        outcomes: of one method, one per seed.
        metric: see `skysense.probes.metrics`.
        resamples: draws of P places with replacement.
        seed: of the draws.

    Raises:
        InputError: outcomes on different places, or none.
    """
    return _interval([_Mean(outcomes, metric)], resamples, seed, _check(outcomes))


def paired(
    a: Sequence[Outcome], b: Sequence[Outcome], metric: Metric, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Interval of the difference a - b: both methods are scored on the same resampled places.

    Each side is averaged over its seeds within a resample, so that a method without seeds can meet one with several.
    What varies between seeds beyond the given ones is not in the interval.

    Raises:
        InputError: outcomes on different places, or none.
    """
    count = _check([*a, *b])
    return _interval([_Mean(a, metric), _Mean(b, metric)], resamples, seed, count)


class _Mean:
    """The mean of a metric over seeds, on places in one order."""

    def __init__(self, outcomes: Sequence[Outcome], metric: Metric) -> None:
        self.values = [metric(outcome) for outcome in outcomes]
        self.orders = [np.argsort(np.argsort(outcome.places)) for outcome in outcomes]

    def __call__(self, weights_RP: NDArray[np.floating]) -> NDArray[np.floating]:
        rows = [value(weights_RP[:, order]) for value, order in zip(self.values, self.orders, strict=True)]
        return np.mean(rows, axis=0)


def _check(outcomes: Sequence[Outcome]) -> int:
    if not outcomes:
        raise InputError("there is no outcome to compute an interval of")
    names = sorted(outcomes[0].places)
    if any(sorted(outcome.places) != names for outcome in outcomes):
        raise InputError("outcomes were tested on different places and cannot be compared")
    return len(names)


def _interval(sides: Sequence[_Mean], resamples: int, seed: int, count: int) -> Interval:
    def value(weights_RP: NDArray[np.floating]) -> NDArray[np.floating]:
        first = sides[0](weights_RP)
        return first - sides[1](weights_RP) if len(sides) == 2 else first

    drawn = np.concatenate([value(weights_RP) for weights_RP in draws(count, resamples=resamples, seed=seed)])
    found = float(value(np.ones((1, count)))[0])
    return corrected(found, drawn, count, least=-1.0 if len(sides) == 2 else 0.0)


def draws(count: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[NDArray[np.floating]]:
    """How often each place is drawn in each resample; the same numbers for the same count and seed.

    Args:
        count: P places, of which P are drawn with replacement.
        resamples: rows in all.
        seed: of the draws.

    Yields:
        Blocks of rows ``(R, P)``, as many as fit into a few megabytes.
    """
    rng = np.random.default_rng(seed)
    block = int(np.clip(_CELLS // count, 1, _BLOCK))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        yield rng.multinomial(count, np.full(count, 1 / count), size=size).astype(float)


def corrected(value: float, drawn_R: NDArray[np.floating], count: int, *, least: float = 0.0) -> Interval:
    """The interval that resamples span, moved back by their mean shift.

    Args:
        value: on all places.
        drawn_R: on each resample; NaN where it was not defined.
        count: number of places.
        least: what a value can be at least; at most it is one.

    Returns:
        NaN at both ends if the value is not defined, or on no resample.
    """
    if np.isnan(value) or np.isnan(drawn_R).all():
        return Interval(value, math.nan, math.nan, count)
    margin = (1 - LEVEL) / 2
    lo, hi = np.nanquantile(drawn_R, [margin, 1 - margin]) - (np.nanmean(drawn_R) - value)
    return Interval(value, float(np.clip(lo, least, 1)), float(np.clip(hi, least, 1)), count)
