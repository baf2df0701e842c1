"""Sentinel-2 L2A: digital numbers of an archive become reflectance x 10^4 without offset.

Since processing baseline 04.00 (25 January 2022) ESA adds 1000 to every digital number but 0, which stays no-data
(SentiWiki, S2 Products, Level-2A). Reprocessing carries the baseline, not the date, so only the baseline counts. Some
catalogues subtract the offset from their copies and say so item by item, at times wrongly: what is stated is held
against the pixels.

Layers arrive on the 10 m grid of the place. The 20 m bands and the scene classification were read at 20 m, and each
pixel is repeated, also where it comes from the map of another zone. Where one pixel of 20 m is not whole, none of its
four is observed, so that the 20 m bands of a frame are 2 x 2 repeats to the last pixel and can be stored as what they
are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling

from skysense.curate.acquisition import Acquisition
from skysense.curate.frame import Frame, Reading, describe
from skysense.curate.refusal import Reason, Refused
from skysense.sensors import BASELINE_OFFSET, SENTINEL2_L2A, looks_offset

METRES_PER_PX = 10.0
RESAMPLING = Resampling.nearest
CLASSES = "SCL"
AT_20_M = ("B5", "B6", "B7", "B8A", "B11", "B12", CLASSES)
"""What is read at 20 m, as it was measured."""

DARKEST = 1
"""Least value of an observed pixel. Reflectance of zero and below becomes 1, a ten-thousandth, so that 0 says
no-data in every array, as it does in the archives."""

_OFFSET_SINCE = 4.0
_TEST_BASELINES = 90.0  # 99.99 marks products of test runs, with and without offset
_SCALE = 1e-4
_SATURATED = 65535
_NO_DATA, _DEFECTIVE = 0, 1
_NOT_CLEAR = (3, 8, 9, 10)  # cloud shadow, cloud of medium and of high probability, thin cirrus; snow (11) is clear
_DARK_SHARE = 0.01
_DARK = 0.7 * BASELINE_OFFSET  # with the offset this would be a reflectance of -0.03, which one pixel in 100 never has


def frame(reading: Reading) -> Frame:
    """One acquisition as a frame of `SENTINEL2_L2A`.

    Args:
        reading: the ten bands, and ``SCL`` where there is one, as digital numbers.

    Returns:
        uint16 values, at least `DARKEST` where observed and 0 elsewhere. Observed is what every band holds, what is
        not saturated, and what the scene classification does not call no-data or defective, in whole blocks of 20 m.
        ``clear`` is None without a scene classification. Sources say ``offset_doubtful`` where an archive says that it
        took the offset out, and the pixels are so bright that it may still be in; bright deserts are too.

    Raises:
        Refused: nothing observed; other numbers than integers of 1e-4; an offset that is not known, or that the pixels
            contradict.
    """
    acquisition = reading.acquisition
    numbers, valid = reading.stack(SENTINEL2_L2A.bands)
    if numbers.dtype.kind not in "ui":
        raise Refused(Reason.WRONG_UNIT, f"{acquisition.item} holds {numbers.dtype}, not integer digital numbers")
    for band in SENTINEL2_L2A.bands:
        scale = acquisition.assets[band].scale
        if scale is not None and not np.isclose(scale, _SCALE):
            raise Refused(Reason.WRONG_UNIT, f"{acquisition.item} {band} has a scale of {scale:g}, not {_SCALE:g}")
    valid &= ((numbers > 0) & (numbers < _SATURATED)).all(axis=0)
    classes = reading.pixels.get(CLASSES)
    if classes is not None:
        valid &= reading.observed[CLASSES] & ~np.isin(classes, (_NO_DATA, _DEFECTIVE))
    valid = _whole_blocks(valid)
    if not valid.any():
        raise Refused(Reason.NOTHING_OBSERVED, acquisition.item)
    offset = _offset(acquisition, numbers, valid)
    doubtful = offset == 0 and _may_be_offset(acquisition, numbers, valid)
    values = np.where(valid, np.maximum(numbers.astype(np.int32) - offset, DARKEST), 0).astype(np.uint16)
    clear = None if classes is None else valid & ~np.isin(classes, _NOT_CLEAR)
    source = describe(acquisition, offset_removed=offset, offset_doubtful=doubtful or None)
    return Frame(acquisition.time, (source,), values, valid, clear)


def _whole_blocks(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without the blocks of 2 x 2 pixels that are not valid altogether."""
    height, width = valid.shape
    whole = valid.reshape(height // 2, 2, width // 2, 2).all(axis=(1, 3))
    return whole.repeat(2, axis=0).repeat(2, axis=1)


def _offset(acquisition: Acquisition, numbers: NDArray, valid: NDArray[np.bool_]) -> int:
    """What is to be subtracted, by what the archive states, held against the pixels."""
    stated = stated_offset(acquisition)
    if stated == 0:
        if baseline_number(acquisition) is None and _may_be_offset(acquisition, numbers, valid):
            raise Refused(
                Reason.OFFSET_CONTRADICTED,
                f"{acquisition.item} states that the offset of {BASELINE_OFFSET} was taken out, and no baseline, "
                "but its darkest pixels are as bright as with it",
            )
        return 0
    dark = _too_dark(numbers, valid)
    if stated is not None:
        if dark:
            raise Refused(
                Reason.OFFSET_CONTRADICTED,
                f"{acquisition.item} states baseline {acquisition.baseline} and its offset of {BASELINE_OFFSET}, "
                "but its pixels would be far below zero without it",
            )
        return stated
    if dark:
        return 0
    raise Refused(
        Reason.OFFSET_UNKNOWN,
        f"{acquisition.item} does not state whether the offset of {BASELINE_OFFSET} is in its numbers, "
        "and its darkest pixels do not tell",
    )


def _may_be_offset(acquisition: Acquisition, numbers: NDArray, valid: NDArray[np.bool_]) -> bool:
    """Whether pixels of a baseline that adds the offset, or may do so, are nowhere darker than it."""
    baseline = baseline_number(acquisition)
    return (baseline is None or baseline >= _OFFSET_SINCE) and looks_offset(numbers[None], valid[None])


def stated_offset(acquisition: Acquisition) -> int | None:
    """The offset that an archive's statements amount to; None if they do not.

    ================  ==============  ===================  =====================
    baseline          offset applied  offset of its bands  offset in the numbers
    ================  ==============  ===================  =====================
    any               yes             any                  0
    before 04.00      no, unknown     any                  0
    04.00 and later   no              -0.1, not stated     1000
    04.00 and later   no              0                    not known
    04.00 and later   unknown         any                  not known
    unknown           no              -0.1                 1000
    unknown           no              0, not stated        not known
    unknown           unknown         any                  not known
    ================  ==============  ===================  =====================

    The offset that the bands state (``raster:bands``, in reflectance) decides alone in no row: there are catalogues
    that repeat -0.1 beside numbers it has been taken from.
    """
    if acquisition.offset_applied:
        return 0
    baseline = baseline_number(acquisition)
    if baseline is not None and baseline < _OFFSET_SINCE:
        return 0
    if acquisition.offset_applied is None:
        return None
    stated = {acquisition.assets[band].offset for band in SENTINEL2_L2A.bands}
    agree = all(offset is not None and np.isclose(offset, -BASELINE_OFFSET * _SCALE) for offset in stated)
    silent = stated == {None}
    return BASELINE_OFFSET if agree or (silent and baseline is not None) else None


def baseline_number(acquisition: Acquisition) -> float | None:
    """The processing baseline as a number, 4.0 for ``04.00``; None for none, another text, or that of test runs."""
    try:
        number = float(acquisition.baseline or "nan")
    except ValueError:
        return None
    return number if number < _TEST_BASELINES else None  # also without a number: nan is not less


def _too_dark(numbers: NDArray, valid: NDArray[np.bool_]) -> bool:
    """Whether a band has more dark pixels than it could have with the offset in its numbers."""
    seen = numbers[:, valid]
    return bool((np.mean(seen < _DARK, axis=1) > _DARK_SHARE).any())
