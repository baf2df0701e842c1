"""What Sentinel-2 and Sentinel-1 see of the same ground: cell fractions of materials, air, clouds, orbits, speckle.

Letters: M materials, T dates, C bands, h w cells of 10 m.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skysense.data.earth.noise import Field, smooth_noise
from skysense.data.earth.spectra import Material, Weather, optical, radar
from skysense.data.earth.world import RegionType
from skysense.geo import CELL_HR_PX
from skysense.observation import Series, day_of_year
from skysense.sensors import SENTINEL1, SENTINEL2_L2A

BANDS_20M = [3, 4, 5, 7, 8, 9]  # B5 B6 B7 B8A B11 B12: measured at 20 m, repeated on the 10 m grid
CLOUD = np.array([0.92, 0.92, 0.94, 0.95, 0.97, 0.98, 1.0, 1.0, 0.62, 0.45])
HAZE = np.array([1.0, 0.78, 0.55, 0.48, 0.42, 0.38, 0.34, 0.33, 0.10, 0.05])
LOOKS = 4.4
"""Equivalent number of looks of Sentinel-1 IW GRD at 10 m."""
REFERENCE_INCIDENCE = 38.0


def fractions(material: NDArray[np.int16], count: int) -> NDArray[np.float64]:
    """Share of each material in each cell ``(M, h, w)``.

    Args:
        material: ``(H, W)`` high-resolution grid.
        count: number of materials.
    """
    h, w = material.shape[0] // CELL_HR_PX, material.shape[1] // CELL_HR_PX
    cell = np.arange(h).repeat(CELL_HR_PX)[:, None] * w + np.arange(w).repeat(CELL_HR_PX)[None, :]
    counts = np.bincount((cell * count + material).ravel(), minlength=h * w * count)
    return counts.reshape(h, w, count).transpose(2, 0, 1) / CELL_HR_PX**2


def _moisture(rng: Generator, dates: NDArray[np.datetime64]) -> Weather:
    """Soil moisture that rises with each shower and dries within days."""
    days = (dates - dates[0].astype("datetime64[Y]")).astype("timedelta64[D]").astype(int)
    rain = np.where(rng.random(430) < rng.uniform(0.08, 0.22), rng.gamma(1.2, 0.4, 430), 0)
    level = np.empty(430)
    wet = rng.uniform(0.1, 0.5)
    for day, shower in enumerate(rain):
        wet = min(wet * 0.88 + shower, 1.0)
        level[day] = wet
    return Weather(level[np.clip(days, 0, 365) + 40])


def _mix(share: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(T, C, h, w)`` from shares ``(M, h, w)`` and values ``(M, T, C)`` (BLAS would differ between machines)."""
    return np.einsum("mtc,mhw->tchw", values, share)


def sentinel2(
    rng: Generator,
    share: NDArray[np.float64],
    materials: Sequence[Material],
    vigour: Field,
    year: int,
    kind: RegionType,
) -> Series:
    """A year of Sentinel-2 L2A.

    Args:
        rng: random numbers.
        share: ``(M, h, w)`` of each material in each cell.
        materials: what there is.
        vigour: ``(h, w)`` how well plants grow, about 1.
        year: of the dates.
        kind: the region's type.
    """
    dates = _s2_dates(rng, year)
    days = day_of_year(dates).astype(np.float64) + 1
    look = optical(materials, days, kind, _moisture(rng, dates))
    covered = look.green[..., None] * (look.canopy - look.ground)
    clean = _mix(share, look.ground) + _mix(share, covered) * vigour
    clean *= rng.normal(1, 0.035, (len(dates), 1, 1, 1))  # what atmospheric correction and view angle leave behind
    clean += rng.normal(0, 0.004, (len(dates), 10, 1, 1))
    values, clear = _weather(rng, clean, days, kind)
    values *= 1 + rng.normal(0, 0.012, values.shape)
    values += rng.normal(0, 0.0025, values.shape)
    h, w = values.shape[2:]
    coarse = values[:, BANDS_20M].reshape(len(dates), len(BANDS_20M), h // 2, 2, w // 2, 2).mean((3, 5))
    values[:, BANDS_20M] = coarse.repeat(2, 2).repeat(2, 3)
    valid = _swath(rng, len(dates), (h, w))
    digital = np.clip(np.rint(values * 1e4), 1, 16000).astype(np.uint16)
    digital *= valid[:, None]
    return Series(SENTINEL2_L2A, digital, dates, valid, clear & valid)


def _s2_dates(rng: Generator, year: int) -> NDArray[np.datetime64]:
    """12 to 20 of the satellite's five-day passes, spread over the year."""
    passes = np.arange(int(rng.integers(0, 5)), 365, 5)
    bins = np.array_split(passes, int(rng.integers(12, 21)))
    days = np.array([rng.choice(one) for one in bins])
    return np.datetime64(f"{year}-01-01", "D") + days.astype("timedelta64[D]")


def _weather(
    rng: Generator, clean: NDArray[np.float64], days: NDArray[np.float64], kind: RegionType
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Clouds, their shadows and haze; and where the sky is clear ``(T, h, w)``."""
    count, _, h, w = clean.shape
    season = np.cos(2 * np.pi * (days - kind.cloudiest) / 365)
    amount = np.clip(kind.cloud[0] + kind.cloud[1] * season, 0.03, 0.9)
    values, clear = clean.copy(), np.ones((count, h, w), bool)
    for t in range(count):
        haze = rng.gamma(1.3, 0.009)
        values[t] = values[t] * (1 - 0.6 * haze) + haze * HAZE[:, None, None]
        if rng.random() > amount[t]:
            continue
        pad = 8
        field = smooth_noise(rng, (h + 2 * pad, w + 2 * pad), float(rng.uniform(7, 22)), octaves=3)
        thick = np.clip((field + np.float32(rng.normal(0.2, 0.9))) * np.float32(1.1), 0, 1)
        cloud = thick[pad:-pad, pad:-pad]
        down, right = int(rng.integers(3, pad)), int(rng.integers(-5, 6))
        shade = thick[pad - down : pad - down + h, pad - right : pad - right + w]
        values[t] *= 1 - 0.62 * shade * (1 - cloud)
        bright = rng.uniform(0.45, 0.95) * CLOUD[:, None, None] * (0.85 + 0.15 * cloud)
        values[t] = values[t] * (1 - cloud) + bright * cloud
        clear[t] = (cloud < 0.06) & (shade < 0.15)
    return values, clear


def _swath(rng: Generator, count: int, grid: tuple[int, int]) -> NDArray[np.bool_]:
    """Observed cells ``(T, h, w)``: a few frames are cut by the edge of the swath."""
    valid = np.ones((count, *grid), bool)
    rows, cols = np.arange(grid[0])[:, None] / grid[0] - 0.5, np.arange(grid[1])[None, :] / grid[1] - 0.5
    for t in range(count):
        if rng.random() < 0.07:
            angle = rng.normal(0.25, 0.05)  # the track leans from north
            side = 1 if rng.random() < 0.5 else -1
            valid[t] = side * (cols * np.cos(angle) + rows * np.sin(angle)) < rng.uniform(-0.25, 0.45)
    return valid


def sentinel1(
    rng: Generator, share: NDArray[np.float64], materials: Sequence[Material], year: int, kind: RegionType
) -> Series:
    """A year of Sentinel-1 GRD, VV and VH in dB, seen from two orbits; arguments as for `sentinel2`."""
    start = np.datetime64(f"{year}-01-01", "D")
    first = rng.integers(0, 12, 2)
    passes = np.array([(day, orbit) for orbit in (0, 1) for day in range(int(first[orbit]), 365, 12)])
    passes = passes[np.lexsort(passes.T[::-1])]
    chosen = np.array(
        [rng.choice(len(one)) + one[0] for one in np.array_split(np.arange(len(passes)), rng.integers(8, 15))]
    )
    days, orbit = passes[chosen].T
    dates = start + days.astype("timedelta64[D]")
    power = _mix(share, radar(materials, day_of_year(dates).astype(np.float64) + 1, kind, _moisture(rng, dates)))
    # Backscatter falls as the beam gets shallower; man-made corners answer one orbit better than the other.
    incidence = np.array([rng.uniform(31, 37), rng.uniform(38, 45)])[rng.permutation(2)]
    level = -0.16 * (incidence - REFERENCE_INCIDENCE)
    corner = np.array([one.radar == "building" for one in materials])
    built = share[corner].sum(0)
    facing = rng.normal(0, 2.5, 2)
    offset = level[orbit][:, None, None] + facing[orbit][:, None, None] * built
    power *= 10 ** ((offset + rng.normal(0, 0.2, (len(days), 1, 1))) / 10)[:, None]
    speckle = rng.gamma(LOOKS, 1 / LOOKS, power.shape)
    thermal = 10 ** (rng.uniform(-27, -25) / 10)  # adds to the echo before detection, so it speckles along
    decibel = 10 * np.log10((power + thermal) * speckle)
    values = np.round(decibel, 2).astype(np.float32)
    return Series(SENTINEL1, values, dates, np.ones((len(days), *share.shape[1:]), bool))
