"""Which frames of a sample a probe sees: clear ones if asked, a limited number, evenly spread in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skysense.observation import Sample, Series
from skysense.sensors import Modality

FRAMES: Mapping[Modality, int] = {"s2": 20, "s1": 10}
"""Most frames a model sees of a place: as many as the paper's samples have (specification 1.3)."""


def prepare(sample: Sample, frames: Mapping[Modality, int] | None = None, *, clear_only: bool = False) -> Sample:
    """The same place with fewer frames.

    Args:
        sample: as it was read.
        frames: most frames to keep per modality; a modality that is not named keeps all of its frames.
        clear_only: drop what is known to be cloudy: such pixels count as not observed, and frames without any clear
            pixel go. A modality without a single clear pixel is left out, unless it is the only one.

    Returns:
        A sample whose series are in the order of time.
    """
    series: dict[Modality, Series] = {}
    for key, one in sample.series.items():
        seen = _clear(one) if clear_only else one
        if seen is not None:
            limit = (frames or {}).get(key, len(seen.dates))
            series[key] = seen.take(spread(seen.dates, limit))
    return replace(sample, series=series) if series else sample


def _clear(series: Series) -> Series | None:
    if series.clear is None:
        return series
    valid = series.valid & series.clear
    keep = np.flatnonzero(valid.any(axis=(1, 2)))
    return replace(series, valid=valid).take(keep) if len(keep) else None


def spread(dates: NDArray[np.datetime64], limit: int) -> NDArray[np.int64]:
    """Indices of at most ``limit`` frames, as evenly spread in time as the dates allow, ascending.

    Each of ``limit`` evenly spaced moments between the first and the last date takes the nearest frame that is free.

    Args:
        dates: ``(T,)`` ascending; all NaT counts as evenly spaced.
        limit: at least 1.
    """
    if len(dates) <= limit:
        return np.arange(len(dates))
    days = np.arange(len(dates), dtype=float) if np.isnat(dates).any() else (dates - dates[0]).astype(float)
    moments = np.linspace(days[0], days[-1], limit) if limit > 1 else np.array([(days[0] + days[-1]) / 2])
    chosen: list[int] = []
    for moment in moments:
        distance = np.abs(days - moment)
        distance[chosen] = np.inf
        chosen.append(int(distance.argmin()))
    return np.sort(np.array(chosen))
