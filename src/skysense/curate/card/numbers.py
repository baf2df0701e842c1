"""What a card says about pixels, dates and products: counted place by place, so that memory stays flat.

Letters: T frames, C bands, H W pixels, N observed pixels, E bins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.observation import Series
from skysense.sensors import MODALITIES, Modality, Sensor, Unit

BINS = 64
_BELOW, _ABOVE = 4, 6
"""A histogram goes from so many standard deviations below the model's mean to so many above it."""

PROPERTIES = {
    "platform": "platform",
    "collection": "collection",
    "catalogue": "catalogue",
    "baseline": "processing baseline",
    "orbit_state": "orbit direction",
    "relative_orbit": "relative orbit",
}
"""What is counted of the products behind a frame, and how people call it."""
NOT_STATED = "not stated"


class BandNumbers:
    """Mean, spread and histogram of every band of a sensor, over the observed pixels, clouds included.

    Args:
        sensor: whose bands.

    Attributes:
        low_C, high_C: first and last edge of the histograms; what lies beyond is counted in the outermost bins.
        counts_CE: pixels per bin.
        pixels: observed so far.
    """

    def __init__(self, sensor: Sensor) -> None:
        mean_C, std_C = np.array(sensor.mean), np.array(sensor.std)
        self._near_C = np.round(mean_C)  # a whole number: sums of what lies off it stay exact for stored integers
        lowest, highest = sensor.plausible
        whole = sensor.unit is Unit.UINT8
        self.low_C = np.full(len(std_C), 0.0) if whole else np.maximum(mean_C - _BELOW * std_C, lowest)
        self.high_C = np.full(len(std_C), 256.0) if whole else np.minimum(mean_C + _ABOVE * std_C, highest)
        self.counts_CE = np.zeros((len(std_C), BINS), np.int64)
        self.pixels = 0
        self._sum_C, self._square_C = np.zeros(len(std_C)), np.zeros(len(std_C))

    def add(self, series: Series) -> None:
        """Count the observed pixels of a series."""
        self.pixels += int(series.valid.sum())
        for band in range(len(self._near_C)):
            values_N = series.values[:, band][series.valid].astype(np.float64)
            low, high = self.low_C[band], self.high_C[band]
            bins_N = ((values_N - low) * (BINS / (high - low))).clip(0, BINS - 1).astype(np.int64)
            self.counts_CE[band] += np.bincount(bins_N, minlength=BINS)
            off_N = values_N - self._near_C[band]
            self._sum_C[band] += off_N.sum()
            self._square_C[band] += np.square(off_N).sum()

    @property
    def mean_C(self) -> NDArray[np.float64]:
        """Of the pixels counted; NaN before there is one."""
        return self._near_C + self._off_C

    @property
    def std_C(self) -> NDArray[np.float64]:
        """Of the pixels counted; NaN before there is one."""
        return np.sqrt(np.maximum(self._square_C / (self.pixels or np.nan) - self._off_C**2, 0))

    @property
    def _off_C(self) -> NDArray[np.float64]:
        return self._sum_C / (self.pixels or np.nan)


@dataclass
class SensorNumbers:
    """What is known of one sensor.

    Attributes:
        sensor: which.
        places, frames: that were looked at.
        undated: frames without a date.
        months: frames by ``2021-06``.
        pixels, observed: of all frames, and those of them that are valid.
        known_12, cloudy_12: observed pixels of dated series whose clouds are known, and those under a cloud or its
            shadow, by month of the year.
        raw_bytes: of the values, uncompressed.
        cells: of the lattice in all frames, which ``raw_bytes`` are the bytes of.
        bands: of the observed pixels.
    """

    sensor: Sensor
    places: int = 0
    frames: int = 0
    undated: int = 0
    months: Counter[str] = field(default_factory=Counter)
    pixels: int = 0
    observed: int = 0
    known_12: NDArray[np.int64] = field(default_factory=lambda: np.zeros(12, np.int64))
    cloudy_12: NDArray[np.int64] = field(default_factory=lambda: np.zeros(12, np.int64))
    raw_bytes: int = 0
    cells: int = 0
    bands: BandNumbers = field(init=False)

    def __post_init__(self) -> None:
        self.bands = BandNumbers(self.sensor)

    def add(self, series: Series) -> None:
        """Count a series of one place."""
        dated_T = ~np.isnat(series.dates)
        months_T = series.dates.astype("datetime64[M]")
        self.places += 1
        self.frames += len(dated_T)
        self.undated += int((~dated_T).sum())
        self.months.update(months_T[dated_T].astype(str).tolist())
        self.pixels += series.valid.size
        self.observed += int(series.valid.sum())
        self.raw_bytes += series.values.nbytes
        self.cells += series.valid.size // self.sensor.cell_px**2
        if series.clear is not None:
            month_T = months_T[dated_T].astype(np.int64) % 12
            seen_T = series.valid.sum(axis=(1, 2))
            cloudy_T = (series.valid & ~series.clear).sum(axis=(1, 2))
            np.add.at(self.known_12, month_T, seen_T[dated_T])
            np.add.at(self.cloudy_12, month_T, cloudy_T[dated_T])
        self.bands.add(series)

    @property
    def valid_share(self) -> float:
        """Of the pixels, those that were observed."""
        return self.observed / self.pixels

    @property
    def cloud_share(self) -> float | None:
        """Of the observed pixels whose clouds are known; None if nothing is known."""
        known = int(self.known_12.sum())
        return int(self.cloudy_12.sum()) / known if known else None

    @property
    def off_C(self) -> NDArray[np.float64]:
        """How far the mean of each band lies from the model's, in the model's standard deviations."""
        return (self.bands.mean_C - np.array(self.sensor.mean)) / np.array(self.sensor.std)


@dataclass
class Numbers:
    """All that is counted while places are looked at one by one.

    Attributes:
        sensors: by name of the sensor.
        origins: frames by name of the sensor, property of their products and value of it. A frame of two products that
            differ counts for both.
        licences: places by sensor and the words of its licence.
    """

    sensors: dict[str, SensorNumbers] = field(default_factory=dict)
    origins: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    licences: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, found: Mapping[Modality, Series], attributes: Mapping[str, Any]) -> None:
        """Count a place.

        Args:
            found: its imagery.
            attributes: what else is known of it; "products" and "licences" as curation writes them are counted.
        """
        products, licences = _mapping(attributes.get("products")), _mapping(attributes.get("licences"))
        for key in MODALITIES:
            if key in found:
                series = found[key]
                name = series.sensor.name
                self.sensors.setdefault(name, SensorNumbers(series.sensor)).add(series)
                if isinstance(products.get(key), list):
                    _count(self.origins.setdefault(name, {}), products[key])
                if key in licences:
                    self.licences[name, str(licences[key])] += 1


def _mapping(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}


def _count(origins: dict[str, Counter[str]], frames: list[Any]) -> None:
    for sources in frames:
        stated = [source for source in (sources if isinstance(sources, list) else []) if isinstance(source, Mapping)]
        for key in PROPERTIES:
            found = {str(source[key]) for source in stated if source.get(key) is not None}
            origins.setdefault(key, Counter()).update(found or {NOT_STATED})
