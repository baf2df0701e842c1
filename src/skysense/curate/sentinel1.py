"""Sentinel-1: terrain-corrected backscatter becomes decibel.

Decibels are rounded to steps of 1/64. The error is 0.008 dB at most, where the speckle of a GRD product (about 4.4
looks) spreads by 2 dB and the instrument is calibrated to 1 dB (3 sigma). The bits that this leaves empty make a
lossless store about half as large.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling

from skysense.curate.frame import Frame, Reading, describe
from skysense.curate.refusal import Reason, Refused
from skysense.sensors import SENTINEL1

METRES_PER_PX = 10.0
RESAMPLING = Resampling.nearest

STEPS_PER_DB = 64
FAINTEST_DB = -50.0
"""Less than this is border noise. The noise of the instrument lies near -22 dB; calm water and what the subtraction of
noise leaves over lie below it, but not by a factor of 600."""


def frame(reading: Reading) -> Frame:
    """One acquisition as a frame of `SENTINEL1`.

    Args:
        reading: ``VV`` and ``VH`` as linear power or, by the acquisition's unit, as decibel.

    Returns:
        float32 decibel in steps of 1/64, NaN where not observed: no-data, not finite, zero or negative power, border
        noise, in either polarisation. ``clear`` is None: the radar sees through clouds.

    Raises:
        Refused: nothing observed, or numbers without calibration (amplitudes of a GRD product).
    """
    acquisition = reading.acquisition
    numbers, valid = reading.stack(SENTINEL1.bands)
    if acquisition.unit == "power":
        decibel = _decibel(numbers)
    elif acquisition.unit == "dB":
        decibel = numbers.astype(np.float32)
    else:
        raise Refused(
            Reason.NOT_CALIBRATED,
            f"{acquisition.item} holds {acquisition.unit}, from which no backscatter follows without its annotation",
        )
    valid &= (np.isfinite(decibel) & (decibel >= FAINTEST_DB) & (decibel <= SENTINEL1.plausible[1])).all(axis=0)
    if not valid.any():
        raise Refused(Reason.NOTHING_OBSERVED, acquisition.item)
    values = np.where(valid, np.round(decibel * STEPS_PER_DB) / STEPS_PER_DB, np.nan).astype(np.float32)
    return Frame(acquisition.time, (describe(acquisition),), values, valid)


def _decibel(power: NDArray) -> NDArray[np.float32]:
    """10 log10 of a power; NaN where there is none."""
    positive = np.where(power > 0, power, np.nan)  # NaN is not above zero either
    return (10 * np.log10(positive, dtype=np.float64)).astype(np.float32)
