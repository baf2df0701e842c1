"""Phenology: how green, dry, flowering or flooded a stand is on each day of the year.

Greenness is a double logistic (a rise and a fall), repeated every year so that seasons may pass the turn of the year.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skysense.data.earth.world import SHIFTING_CROPS, Cycle, RegionType

YEAR = 365.0
Days = NDArray[np.float64]


@dataclass(frozen=True)
class Stage:
    """State of a stand on some days: shares in 0 .. 1, each ``(T,)``.

    Attributes:
        green: ground covered by living canopy.
        straw: the rest of the ground that is covered by dead or ripe plants.
        flower: yellow share of the canopy.
        flood: the rest of the ground that is under water.
        height: of the canopy relative to its full height.
    """

    green: Days
    straw: Days
    flower: Days
    flood: Days
    height: Days


def pulse(days: Days, start: float, end: float, rise: float, fall: float) -> Days:
    """Double logistic between ``start`` and ``end`` (half-way days), with widths ``rise`` and ``fall`` in days."""
    total = np.zeros_like(days)
    for year in (-YEAR, 0.0, YEAR):
        t = days + year
        total += _logistic((t - start) / rise) * _logistic((end - t) / fall)
    return np.minimum(total, 1.0)


def _logistic(x: Days) -> Days:
    return 1 / (1 + np.exp(-np.clip(x, -40, 40)))


@dataclass(frozen=True)
class Growth:
    """One stand's own calendar.

    Attributes:
        crop: one of `CROPS`, or "grass", "leaves", "conifers".
        shift: days by which this stand is later than its region type's calendar.
        tempo: length of its season relative to the usual one.
        top: greenness at its peak.
        phase: 0 .. 1, where in its cutting rhythm it is (alfalfa).
        weeds: greenness of what grows after the harvest (annual crops).
    """

    crop: str
    shift: float
    tempo: float
    top: float
    phase: float
    weeds: float

    def stage(self, days: Days, kind: RegionType) -> Stage:
        """State on each day."""
        if self.crop in (*SHIFTING_CROPS, "rapeseed", "rice"):
            return self._annual(days, kind)
        none = np.zeros_like(days)
        if self.crop == "alfalfa":
            season = pulse(days, kind.grass.start + self.shift, kind.grass.end + 15 + self.shift, 9, 9)
            length = 40 * self.tempo
            grown = ((days - self.shift) / length + self.phase) % 1.0  # 0 just after a cut
            green = self.top * (0.12 + season * (0.15 + 0.73 * np.minimum(grown / 0.6, 1.0) ** 1.3))
            return Stage(green, 0.35 * (1 - green), none, none, green)
        if self.crop == "conifers":
            green = self.top * (0.95 + 0.05 * np.cos((days - 190 - self.shift) / YEAR * 2 * np.pi))
            return Stage(green, none, none, none, np.ones_like(days))
        cycle, width = (kind.grass, 13.0) if self.crop == "grass" else (kind.leaves, 8.0)
        green = self.top * self._natural(days, cycle, width)
        dry = 0.75 if self.crop == "grass" else 0.45
        return Stage(green, dry * (1 - green), none, none, np.ones_like(days))

    def _natural(self, days: Days, cycle: Cycle, width: float) -> Days:
        season = pulse(days, cycle.start + self.shift, cycle.end + self.shift, width, 1.4 * width)
        return cycle.floor + (1 - cycle.floor) * season

    def _annual(self, days: Days, kind: RegionType) -> Stage:
        peak, t = kind.peak(self.crop) + self.shift, self.tempo
        none = np.zeros_like(days)
        rise, fall = peak - 31 * t, peak + 31 * t
        flower = flood = none
        if self.crop == "rapeseed":
            rise = peak - 50 * t  # a long rosette before it bolts
            flower = 0.75 * np.exp(-(((days - peak + YEAR / 2) % YEAR - YEAR / 2) ** 2) / (2 * (11 * t) ** 2))
        if self.crop == "rice":
            rise, fall = peak - 33 * t, peak + 33 * t
            flood = 0.95 * pulse(days, rise - 32, rise + 12, 3, 6)
        wild = self.weeds * pulse(days, fall + 45, fall + 150, 12, 16) * (1 - flood)
        green = np.maximum(self.top * pulse(days, rise, fall, 7.5 * t, 7.0 * t), wild)
        ripe = pulse(days, fall, fall + 16, 5, 3)  # straw stands until harvest
        stubble = 0.35 * pulse(days, fall + 16, fall + 55, 3, 14)
        straw = np.clip(0.9 * ripe + stubble, 0, 1) * (1 - green) * (1 - flood)
        height = np.maximum(pulse(days, rise + 6, fall + 14, 8, 3), 0.5 * wild)
        return Stage(green, straw, flower, flood, height)


def sow(rng: Generator, crop: str, place_shift: float) -> Growth:
    """A stand of ``crop`` whose calendar scatters around that of its place (days)."""
    annual = crop in (*SHIFTING_CROPS, "rapeseed", "rice")
    return Growth(
        crop=crop,
        shift=place_shift + rng.normal(0, 5.0 if annual else 4.0),
        tempo=float(np.clip(rng.normal(1, 0.09), 0.75, 1.3)),
        top=float(rng.uniform(0.74, 0.96)) if annual else float(rng.uniform(0.78, 0.95)),
        phase=float(rng.random()),
        weeds=float(rng.beta(0.8, 1.8) * 0.6),
    )
