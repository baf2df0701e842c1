"""What places look like: one small picture per sensor.

Letters: T frames, H W pixels.
"""

from __future__ import annotations

from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.draw import picture
from skysense.observation import Sample, Series
from skysense.sensors import MODALITIES, Modality

TITLES: dict[Modality, str] = {"hr": "Image", "s2": "Sentinel-2", "s1": "Sentinel-1"}
_SIDE = 256
_WORDS = 26


def thumbnails(sample: Sample) -> dict[str, Any]:
    """The name of a place, and by title of a sensor a picture of at most some 256 pixels with its date.

    The image as it is, Sentinel-2 in true colours, Sentinel-1 with VV red, VH green and their difference blue.
    """
    shown: dict[str, Any] = {"name": shorten(sample.name, _WORDS, placeholder="…") or sample.name[:_WORDS]}
    for key in MODALITIES:
        if key in sample.series:
            series = sample.series[key].take([clearest(sample.series[key])])
            date = series.dates[0]
            drawn = picture(Sample(sample.name, {key: series}))
            shown[TITLES[key]] = (_shrunk(drawn), "" if np.isnat(date) else str(date))
    return shown


def clearest(series: Series) -> int:
    """A frame in which most pixels were observed, and without cloud where that is known.

    Of several the middle one: the first of a year would be a picture of its winter.
    """
    seen_THW = series.valid if series.clear is None else series.valid & series.clear
    seen_T = seen_THW.sum(axis=(1, 2))
    best = np.flatnonzero(seen_T == seen_T.max())
    return int(best[len(best) // 2])


def _shrunk(pixels_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mean of blocks of pixels, where there are many."""
    factor = max(max(pixels_HW3.shape[:2]) // _SIDE, 1)
    height, width = (side // factor for side in pixels_HW3.shape[:2])
    blocks = pixels_HW3[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
