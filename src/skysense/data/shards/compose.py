"""The arrays that a series becomes in a shard.

Letters: F frames of all places of the shard one after the other, C bands, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.shards.layout import CHUNK_SIDE, CLEAR, CLOUDY, HR_CHUNK_SIDE, NO_DATE, UNKNOWN
from skysense.data.shards.store import array_metadata
from skysense.observation import Series
from skysense.sensors import Modality

_MASK_FRAMES = 16

Composed = tuple[NDArray, dict[str, Any]]
"""Values of an array and its Zarr metadata."""


def series_arrays(modality: Modality, found: Sequence[Series]) -> tuple[dict[str, Composed], dict[str, Any]]:
    """The arrays of a sensor by name, frames of all places one after the other, and what the group says about them.

    Args:
        modality: of the sensor.
        found: the series of those places that have it, at least one.
    """
    sensor = found[0].sensor
    values = np.concatenate([one.values for one in found])
    side = HR_CHUNK_SIDE if modality == "hr" else CHUNK_SIDE
    halved = _halved(values) if modality != "hr" else []
    whole = [band for band in range(len(sensor.bands)) if band not in halved]
    arrays: dict[str, Composed] = {}
    if whole:
        kept = values if not halved else np.ascontiguousarray(values[:, whole])
        arrays[modality] = _image(kept, side, sensor.bands, whole, sensor.unit)
    if halved:
        coarse = np.ascontiguousarray(values[:, halved, ::2, ::2])
        arrays[f"{modality}_halved"] = _image(coarse, side // 2, sensor.bands, halved, sensor.unit)
    dates = np.concatenate([one.dates for one in found])
    days = np.where(np.isnat(dates), NO_DATE, dates.astype(np.int64)).astype(np.int32)
    arrays[f"{modality}_date"] = _vector(days, units="days since 1970-01-01", no_date=int(NO_DATE))
    valid = np.concatenate([one.valid for one in found])
    arrays[f"{modality}_observed"] = _vector(valid.mean((1, 2), dtype=np.float64).astype(np.float32))
    arrays[f"{modality}_valid"] = _mask(valid, side if modality == "hr" else None)
    if any(one.clear is not None for one in found):
        clear = np.concatenate([_clear(one) for one in found])
        meaning = {"flag_values": [CLOUDY, CLEAR, UNKNOWN], "flag_meanings": "cloudy clear unknown"}
        arrays[f"{modality}_clear"] = _mask(clear, side if modality == "hr" else None, **meaning)
    return arrays, {"sensor": sensor.name, "unit": str(sensor.unit), "whole": whole, "halved": halved}


def _clear(series: Series) -> NDArray[np.uint8]:
    return np.full(series.valid.shape, UNKNOWN, np.uint8) if series.clear is None else series.clear.astype(np.uint8)


def _halved(values_FCHW: NDArray) -> list[int]:
    """Bands whose every pixel stands for 2 x 2: those measured at 20 m and repeated; stored once, nothing is lost."""
    *_, height, width = values_FCHW.shape
    if height % 2 or width % 2:
        return []
    found = []
    for band in range(values_FCHW.shape[1]):
        image = values_FCHW[:, band]
        corner = image[:, ::2, ::2]
        if all(np.array_equal(corner, image[:, row::2, col::2]) for row, col in ((0, 1), (1, 0), (1, 1))):
            found.append(band)
    return found


def _image(values: NDArray, side: int, names: Sequence[str], bands: Sequence[int], unit: str) -> Composed:
    count, height, width = values.shape[1:]
    chunk = (1, count, min(side, height), min(side, width))
    bands_named = [names[band] for band in bands]
    return values, array_metadata(
        values.shape, chunk, values.dtype, ("frame", "band", "y", "x"), bands=bands_named, unit=str(unit)
    )


def _mask(values: NDArray, side: int | None, **attributes: Any) -> Composed:
    frames, height, width = values.shape
    chunk = (1, min(side, height), min(side, width)) if side else (min(_MASK_FRAMES, frames), height, width)
    return values, array_metadata(values.shape, chunk, values.dtype, ("frame", "y", "x"), **attributes)


def _vector(values: NDArray, **attributes: Any) -> Composed:
    return values, array_metadata(values.shape, (len(values),), values.dtype, ("frame",), **attributes)
