"""The high-resolution image: one, of three colours, in 8 bits.

Aerial imagery of 8 bits (NAIP) passes unchanged: it has been balanced by those who made it. Satellite imagery of 11 to
16 bits is stretched over the place, by one pair of numbers for all three bands so that colours stay, and the pair is
recorded. The image is resampled onto the lattice of 0.3125 m where it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling

from skysense.curate.frame import WHOLE, Frame, Reading, describe
from skysense.curate.refusal import Reason, Refused
from skysense.sensors import OPTICAL_HR

METRES_PER_PX = OPTICAL_HR.gsd
RESAMPLING = Resampling.bilinear

_PERCENTILES = (2.0, 98.0)


@dataclass(frozen=True)
class Stretch:
    """A linear map of an archive's numbers onto 0 .. 255.

    Attributes:
        low: becomes 0, as does what is less.
        high: becomes 255, as does what is more.
    """

    low: int
    high: int

    def apply(self, values: NDArray) -> NDArray[np.uint8]:
        """Numbers as 8 bits."""
        span = max(self.high - self.low, 1)
        scaled = (values.astype(np.float32) - self.low) * (255 / span)
        return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


def frame(reading: Reading) -> Frame:
    """One acquisition as a frame of three colours, still in the numbers of its archive.

    Args:
        reading: ``R``, ``G`` and ``B``, uint8 or uint16.

    Returns:
        Values in the archive's numbers, 0 where not observed. A pixel of zero in all three bands is not observed, even
        if the file has no no-data value: collars of aerial imagery are black, and shadows are not that dark.

    Raises:
        Refused: nothing observed, or other numbers.
    """
    acquisition = reading.acquisition
    numbers, valid = reading.stack(OPTICAL_HR.bands)
    if numbers.dtype not in (np.uint8, np.uint16):
        raise Refused(Reason.WRONG_UNIT, f"{acquisition.item} holds {numbers.dtype}, not unsigned 8 or 16 bit numbers")
    valid &= (numbers > 0).any(axis=0)
    if not valid.any():
        raise Refused(Reason.NOTHING_OBSERVED, acquisition.item)
    return Frame(acquisition.time, (describe(acquisition),), numbers * valid, valid)


def reading_order(times: Sequence[datetime], near: datetime | None) -> list[int]:
    """In which order images are worth reading: the nearest in time first, or the most recent.

    Read one after the other and stop at the first that is `WHOLE`: it is the one `choose_image` would choose.

    Args:
        times: of the images.
        near: a time the image should be close to; the later of two that are equally far goes first.
    """
    return sorted(range(len(times)), key=lambda index: (*_distance(times[index], near), index))


def choose_image(frames: Sequence[Frame], near: datetime | None) -> Frame | None:
    """The one image of a place: of those that are whole the nearest in time, otherwise the one that shows most.

    Args:
        frames: images of one place.
        near: a time it should be close to; the most recent if None.

    Returns:
        One of them, the same whatever their order; None if there is none.
    """

    def rank(frame: Frame) -> tuple[float, float, float, str]:
        return (-min(frame.share, WHOLE), *_distance(frame.time, near), frame.name)

    return min(frames, key=rank, default=None)


def _distance(time: datetime, near: datetime | None) -> tuple[float, float]:
    return (0.0 if near is None else abs((time - near).total_seconds()), -time.timestamp())


def find_stretch(values_CHW: NDArray, valid_HW: NDArray[np.bool_]) -> Stretch | None:
    """How an image comes to 8 bits: the 2nd and 98th percentile over all bands; None if it has 8 bits already."""
    if values_CHW.dtype == np.uint8:
        return None
    low, high = np.percentile(values_CHW[:, valid_HW], _PERCENTILES, method="nearest")
    return Stretch(int(low), int(high))


def colours(frame: Frame) -> tuple[NDArray[np.uint8], Stretch | None]:
    """Values ``(3, H, W)`` of 8 bits, 0 where not observed, and the stretch that made them."""
    stretch = find_stretch(frame.values, frame.valid)
    values = frame.values if stretch is None else stretch.apply(frame.values) * frame.valid
    return values, stretch
