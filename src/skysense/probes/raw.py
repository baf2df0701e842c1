"""What raw pixels say: the features of the baselines that a learned model has to beat.

Letters: T frames, C bands, H W pixels, D width, h w cells.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skysense.data.places import Places
from skysense.errors import InputError
from skysense.geo import CELL_HR_PX
from skysense.observation import Sample, Series
from skysense.probes.features import FrozenFeatures, Progress, each_sample
from skysense.probes.prepare import prepare
from skysense.sensors import MODALITIES, OPTICAL_HR, PUBLISHED, Modality, Sensor

QUARTERS = 4
PERCENTILES = (10, 50, 90)
_SENSORS: dict[Modality, Sensor] = {sensor.modality: sensor for sensor in PUBLISHED}


def extract_raw(
    places: Places | Sequence[Sample], *, clear_only: bool = False, cells: bool = True, progress: Progress | None = None
) -> FrozenFeatures:
    """Raw statistics of places: `raw_statistics` per place and `raw_cells` per cell, of all frames.

    Args:
        places: a folder of places, or samples.
        clear_only: use cloud-free pixels only, where that is known.
        cells: whether to compute the features of cells.
        progress: called after each place.

    Raises:
        InputError: a place that cannot be read, or none at all.
    """
    names, pooled, maps, masks = [], [], [], []
    for sample in each_sample(places):
        ready = prepare(sample, clear_only=clear_only)
        names.append(sample.name)
        pooled.append(raw_statistics(ready))
        if cells:
            maps.append(raw_cells(ready))
            masks.append(np.ones(ready.grid, bool))
        if progress is not None:
            progress(len(names), len(places))
    if not names:
        raise InputError("there is no place to take features of")
    return FrozenFeatures(tuple(names), np.stack(pooled), tuple(maps), tuple(masks), pooled[0].size)


def raw_statistics(sample: Sample) -> NDArray[np.float32]:
    """One vector per place: of each band mean, standard deviation and percentiles over time and space, and of each
    Sentinel band the median per quarter of the year.

    What is missing is filled plainly: with the sensor's mean, and zero for a standard deviation; an empty quarter takes
    the median of the whole series.

    Returns:
        ``(123,)``: 15 of the image, 90 of Sentinel-2, 18 of Sentinel-1, in the sensors' units.

    Raises:
        InputError: a sensor with fewer bands than the published one.
    """
    sample = sample.read_as(_SENSORS)
    parts: list[NDArray[np.floating]] = []
    for key in MODALITIES:
        series, sensor = sample.series.get(key), _SENSORS[key]
        mean, bands = np.array(sensor.mean), len(sensor.bands)
        quarters = 0 if key == "hr" else QUARTERS
        if series is None or not series.valid.any():
            parts += [mean, np.zeros(bands), *[mean] * (len(PERCENTILES) + quarters)]
            continue
        seen_PC = np.moveaxis(series.values, 1, -1)[series.valid].astype(np.float32)
        percentiles = np.percentile(seen_PC, PERCENTILES, axis=0)
        parts += [seen_PC.mean(axis=0), seen_PC.std(axis=0), *percentiles]
        parts += [_median(series, frames, percentiles[1]) for frames in _quarters(series)[:quarters]]
    return np.concatenate(parts).astype(np.float32)


def raw_cells(sample: Sample) -> NDArray[np.float32]:
    """Features per cell: medians per quarter of the Sentinel bands, mean and standard deviation of the image.

    An empty quarter of a cell takes the cell's median over the year; a cell never observed the sensor's mean.

    Returns:
        ``(54, h, w)``: 40 of Sentinel-2, 8 of Sentinel-1, 6 of the image.

    Raises:
        InputError: a sensor with fewer bands than the published one.
    """
    sample = sample.read_as(_SENSORS)
    height, width = sample.grid
    parts: list[NDArray[np.floating]] = []
    for key in ("s2", "s1"):
        series, mean = sample.series.get(key), np.array(_SENSORS[key].mean)
        if series is None:
            parts.append(np.tile(mean, QUARTERS)[:, None, None] * np.ones((1, height, width)))
        else:
            parts.append(_seasons(series, mean))
    image = sample.series.get("hr")
    if image is None:
        flat = np.concatenate([OPTICAL_HR.mean, np.zeros(len(OPTICAL_HR.bands))])
        parts.append(flat[:, None, None] * np.ones((1, height, width)))
    else:
        blocks = image.values[0].astype(np.float32).reshape(-1, height, CELL_HR_PX, width, CELL_HR_PX)
        parts += [blocks.mean(axis=(2, 4)), blocks.std(axis=(2, 4))]
    return np.concatenate(parts).astype(np.float32)


def _quarters(series: Series) -> list[NDArray[np.bool_]]:
    """Which frames fall into each quarter of the year; a frame without a date falls into none."""
    quarter_T = np.where(series.days < 0, -1, np.minimum(series.days * QUARTERS // 365, QUARTERS - 1))
    return [quarter_T == quarter for quarter in range(QUARTERS)]


def _median(series: Series, frames: NDArray[np.bool_], otherwise_C: NDArray[np.floating]) -> NDArray[np.floating]:
    seen_PC = np.moveaxis(series.values[frames], 1, -1)[series.valid[frames]]
    return np.median(seen_PC, axis=0) if len(seen_PC) else otherwise_C


def _seasons(series: Series, mean_C: NDArray[np.floating]) -> NDArray[np.float32]:
    """Medians per quarter ``(4C, h, w)``, quarter by quarter."""
    values = np.where(series.valid[:, None], series.values, np.nan).astype(np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        year = np.nanmedian(values, axis=0)
        seasons = [np.nanmedian(values[frames], axis=0) if frames.any() else year for frames in _quarters(series)]
    year = np.where(np.isnan(year), mean_C[:, None, None], year)
    return np.concatenate([np.where(np.isnan(season), year, season) for season in seasons]).astype(np.float32)
