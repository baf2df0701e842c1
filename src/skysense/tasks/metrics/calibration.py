"""Whether a confidence means what it says: expected calibration error in 15 bins (Guo et al., ICML 2017).

Letters: N answers, Q bins, P groups, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skysense.probes.metrics import Resampled
from skysense.tasks.metrics.counts import Floats, ratio
from skysense.tasks.metrics.results import Reliability

BINS = 15

Binned = NDArray[np.floating]
"""``(3, Q)``: how many answers, the sum of their confidences, how many were right."""


def binned(confidence_N: NDArray[np.floating], right_N: NDArray[np.bool_]) -> Binned:
    """Sort answers into bins of equal width; a confidence on an edge belongs to the upper bin, 1 to the last.

    Args:
        confidence_N: 0 .. 1.
        right_N: whether what was said with this confidence is so.
    """
    bin_N = np.clip((confidence_N * BINS).astype(np.int64), 0, BINS - 1)
    wrong_Q, right_Q = np.bincount(bin_N + BINS * right_N, minlength=2 * BINS).reshape(2, BINS)
    return np.stack([wrong_Q + right_Q, np.bincount(bin_N, confidence_N, BINS), right_Q])


def calibration_error(bins: Sequence[Binned], place: NDArray[np.int64], places: int) -> Resampled:
    """Expected calibration error: the gap between confidence and share of right answers, averaged over answers.

    Args:
        bins: of each image.
        place: group of each image.
        places: P.

    Returns:
        Function of weights ``(R, P)`` to values ``(R,)``, ready to be resampled.
    """
    bins_P = np.zeros((places, 3 * BINS))
    for one, group in zip(bins, place, strict=True):
        bins_P[group] += one.ravel()

    def values(weights_RP: Floats) -> Floats:
        count_RQ, confidence_RQ, right_RQ = np.split(weights_RP @ bins_P, 3, axis=1)
        return ratio(np.abs(right_RQ - confidence_RQ).sum(axis=1), count_RQ.sum(axis=1))

    return values


def reliability_of(bins: Sequence[Binned]) -> Reliability:
    """The diagram of all images together."""
    count_Q, confidence_Q, right_Q = np.sum(bins, axis=0)
    return Reliability(count_Q, ratio(confidence_Q, count_Q), ratio(right_Q, count_Q))
