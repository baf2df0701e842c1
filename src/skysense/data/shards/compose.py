"""The arrays that a series becomes in a shard.

Letters: F frames of all places of the shard one after the other, C bands, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.shards.layout import CHUNK_SIDE, CLEAR, CLOUDY, HR_CHUNK_SIDE, NO_DATE, UNKNOWN
from skysense.data.shards.store import array_metadata
from skysense.observation import Series
from skysense.sensors import Modality

_MASK_FRAMES = 16


@dataclass(frozen=True)
class Composed:
    """An array to be written. Its values are made of the series when they are asked for, since together they are large.

    Attributes:
        metadata: for Zarr.
        series: of the places.
        part: what the array holds of one of them.
    """

    metadata: dict[str, Any]
    series: Sequence[Series]
    part: Callable[[Series], NDArray]

    def rows(self, start: int, stop: int) -> NDArray:
        """Values of the frames ``start`` .. ``stop - 1`` of all places one after the other."""
        found, at = [], 0
        for one in self.series:
            count = len(one.dates)
            if at < stop and at + count > start:
                found.append(self.part(one)[max(start - at, 0) : stop - at])
            at += count
        return np.ascontiguousarray(found[0]) if len(found) == 1 else np.concatenate(found)


def series_arrays(modality: Modality, found: Sequence[Series]) -> tuple[dict[str, Composed], dict[str, Any]]:
    """The arrays of a sensor by name, frames of all places one after the other, and what the group says about them.

    Args:
        modality: of the sensor.
        found: the series of those places that have it, at least one.
    """
    sensor = found[0].sensor
    side = HR_CHUNK_SIDE if modality == "hr" else CHUNK_SIDE
    halved = _halved(found) if modality != "hr" else []
    whole = [band for band in range(len(sensor.bands)) if band not in halved]

    def image(bands: list[int], step: int) -> Composed:
        def part(one: Series) -> NDArray:
            return (one.values if len(bands) == len(sensor.bands) else one.values[:, bands])[..., ::step, ::step]

        count, _, height, width = (sum(len(one.dates) for one in found), *part(found[0]).shape[1:])
        chunk = (1, len(bands), min(side // step, height), min(side // step, width))
        about = {"bands": [sensor.bands[band] for band in bands], "unit": str(sensor.unit)}
        shape, dtype = (count, len(bands), height, width), found[0].values.dtype
        return Composed(array_metadata(shape, chunk, dtype, ("frame", "band", "y", "x"), **about), found, part)

    arrays: dict[str, Composed] = {}
    if whole:
        arrays[modality] = image(whole, 1)
    if halved:
        arrays[f"{modality}_halved"] = image(halved, 2)
    arrays[f"{modality}_date"] = _vector(found, _days, units="days since 1970-01-01", no_date=NO_DATE)
    arrays[f"{modality}_observed"] = _vector(found, observed_share)
    mask_side = side if modality == "hr" else None
    arrays[f"{modality}_valid"] = _mask(found, lambda one: one.valid, mask_side)
    if any(one.clear is not None for one in found):
        meaning = {"flag_values": [CLOUDY, CLEAR, UNKNOWN], "flag_meanings": "cloudy clear unknown"}
        arrays[f"{modality}_clear"] = _mask(found, _clear, mask_side, **meaning)
    return arrays, {"sensor": sensor.name, "unit": str(sensor.unit), "whole": whole, "halved": halved}


def _days(series: Series) -> NDArray[np.int32]:
    return np.where(np.isnat(series.dates), NO_DATE, series.dates.astype(np.int64)).astype(np.int32)


def observed_share(series: Series) -> NDArray[np.float32]:
    """``(F,)`` share of the pixels of each frame that was observed; 1 only if it is all of them."""
    share = series.valid.mean((1, 2), dtype=np.float64).astype(np.float32)
    return np.where(series.valid.all((1, 2)), share, np.minimum(share, np.nextafter(np.float32(1), np.float32(0))))


def _clear(series: Series) -> NDArray[np.uint8]:
    return np.full(series.valid.shape, UNKNOWN, np.uint8) if series.clear is None else series.clear.astype(np.uint8)


def _halved(found: Sequence[Series]) -> list[int]:
    """Bands whose every pixel stands for 2 x 2: those measured at 20 m and repeated; stored once, nothing is lost."""
    *_, bands, height, width = found[0].values.shape
    if height % 2 or width % 2:
        return []
    return [band for band in range(bands) if all(_is_halved(one.values[:, band]) for one in found)]


def _is_halved(image_FHW: NDArray) -> bool:
    bits = image_FHW.view(f"u{image_FHW.itemsize}")  # to the bit: NaN are equal, zeros of two signs are not
    corner = bits[:, ::2, ::2]
    return all(np.array_equal(corner, bits[:, row::2, col::2]) for row, col in ((0, 1), (1, 0), (1, 1)))


def _mask(found: Sequence[Series], part: Callable[[Series], NDArray], side: int | None, **attributes: Any) -> Composed:
    frames, (height, width) = sum(len(one.dates) for one in found), found[0].valid.shape[1:]
    chunk = (1, min(side, height), min(side, width)) if side else (min(_MASK_FRAMES, frames), height, width)
    dtype = part(found[0]).dtype
    return Composed(
        array_metadata((frames, height, width), chunk, dtype, ("frame", "y", "x"), **attributes), found, part
    )


def _vector(found: Sequence[Series], part: Callable[[Series], NDArray], **attributes: Any) -> Composed:
    frames = sum(len(one.dates) for one in found)
    return Composed(array_metadata((frames,), (frames,), part(found[0]).dtype, ("frame",), **attributes), found, part)
