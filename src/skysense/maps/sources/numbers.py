"""How stored numbers become those of a sensor's unit, where an archive says how; letters: C bands, H W pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.curate.sentinel1 import FAINTEST_DB
from skysense.curate.sentinel2 import DARKEST

_SATURATED = 65535


@dataclass(frozen=True)
class Numbers:
    """From stored numbers to those of the unit: ``value = stored x scale + shift``, or decibels of a power.

    Attributes:
        scale, shift: see above.
        offset: stored numbers are Sentinel-2's digital numbers, from which this is subtracted: 0 is no-data, 65535 is
            saturated, and what falls below 1 becomes 1, as where the model's training data come from
            (`skysense.curate.sentinel2`); None if they are not.
        power: stored numbers are linear power, and the unit is dB; what is fainter than -50 dB is border noise
            (`skysense.curate.sentinel1`).
        nodata: stored number of pixels that were not observed, where the file does not say so itself.
        dark: a pixel is missing only if all its bands hold that number; a dark one may hold it in some.
    """

    scale: float = 1.0
    shift: float = 0.0
    offset: int | None = None
    power: bool = False
    nodata: float | None = None
    dark: bool = False

    def dtype(self, stored: str) -> np.dtype:
        """Number type of the values that `understood` makes."""
        if self.power or (self.scale, self.shift) != (1.0, 0.0) or np.dtype(stored).kind == "f":
            return np.dtype(np.float32)
        return np.dtype(stored if self.offset is None else np.uint16)

    def understood(self, stored_CHW: NDArray, seen_HW: NDArray[np.bool_]) -> tuple[NDArray, NDArray[np.bool_], int]:
        """Values in the unit, what was observed, and how many observed pixels are not finite (they do not count)."""
        if self.nodata is not None:
            empty = np.isnan(stored_CHW) if np.isnan(self.nodata) else stored_CHW == self.nodata
            seen_HW = seen_HW & ~(empty.all(axis=0) if self.dark else empty.any(axis=0))
        values = stored_CHW
        if self.power:
            positive = np.where(values > 0, values, np.nan)
            values = 10 * np.log10(positive, dtype=np.float64)
            seen_HW = seen_HW & (values >= FAINTEST_DB).all(axis=0)
        elif (self.scale, self.shift) != (1.0, 0.0):
            values = values.astype(np.float64) * self.scale + self.shift
        elif self.offset is not None:
            seen_HW = seen_HW & ((values > 0) & (values < _SATURATED)).all(axis=0)
            values = np.maximum(values.astype(np.int32) - self.offset, DARKEST).astype(np.uint16)
        not_finite = 0
        if values.dtype.kind == "f":
            finite_HW = np.isfinite(values).all(axis=0)
            not_finite = int((seen_HW & ~finite_HW).sum())
            seen_HW = seen_HW & finite_HW
            values = np.where(seen_HW, values, 0).astype(np.float32)
        return values, seen_HW, not_finite


AS_STORED = Numbers()
