"""What the ground reflects and scatters: materials, their ten Sentinel-2 bands and two Sentinel-1 channels.

Letters: M materials, T dates, C bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skysense.data.earth.growth import Growth, Stage
from skysense.data.earth.world import RegionType

Array = NDArray[np.float64]

# Surface reflectance in B2 B3 B4 B5 B6 B7 B8 B8A B11 B12; typical textbook curves.
SOILS = np.array([
    [0.065, 0.090, 0.120, 0.145, 0.165, 0.185, 0.205, 0.220, 0.310, 0.260],  # brown
    [0.050, 0.085, 0.165, 0.195, 0.215, 0.235, 0.250, 0.265, 0.340, 0.300],  # red
    [0.040, 0.052, 0.066, 0.078, 0.090, 0.102, 0.114, 0.122, 0.190, 0.165],  # dark
    [0.110, 0.150, 0.200, 0.225, 0.245, 0.265, 0.285, 0.300, 0.410, 0.360],  # pale
])  # fmt: skip
CANOPIES = {
    "crop": (0.022, 0.065, 0.033, 0.095, 0.310, 0.410, 0.450, 0.470, 0.210, 0.095),
    "alfalfa": (0.021, 0.068, 0.033, 0.100, 0.340, 0.450, 0.495, 0.515, 0.215, 0.095),
    "rice": (0.026, 0.068, 0.030, 0.095, 0.270, 0.350, 0.385, 0.400, 0.160, 0.070),
    "grass": (0.028, 0.070, 0.048, 0.105, 0.260, 0.325, 0.355, 0.375, 0.225, 0.120),
    "broadleaf": (0.017, 0.045, 0.027, 0.070, 0.230, 0.300, 0.330, 0.345, 0.150, 0.065),
    "conifer": (0.015, 0.033, 0.021, 0.050, 0.135, 0.170, 0.190, 0.200, 0.090, 0.040),
    "orchard": (0.022, 0.052, 0.037, 0.085, 0.230, 0.290, 0.320, 0.335, 0.175, 0.085),
}  # fmt: skip
FLOWER = (0.055, 0.190, 0.185, 0.235, 0.370, 0.435, 0.470, 0.480, 0.250, 0.140)
STRAW = (0.085, 0.130, 0.175, 0.210, 0.245, 0.275, 0.305, 0.325, 0.370, 0.270)
LITTER = (0.050, 0.070, 0.090, 0.110, 0.130, 0.145, 0.160, 0.175, 0.225, 0.150)
PADDY = (0.060, 0.075, 0.065, 0.065, 0.060, 0.060, 0.055, 0.055, 0.030, 0.020)
SURFACES = {
    "clear water": (0.040, 0.042, 0.025, 0.020, 0.015, 0.014, 0.012, 0.011, 0.007, 0.005),
    "turbid water": (0.060, 0.090, 0.085, 0.075, 0.045, 0.045, 0.035, 0.032, 0.010, 0.008),
    "asphalt": (0.085, 0.092, 0.098, 0.105, 0.112, 0.120, 0.126, 0.132, 0.155, 0.145),
    "concrete": (0.190, 0.215, 0.235, 0.250, 0.260, 0.270, 0.280, 0.285, 0.310, 0.290),
    "dirt road": (0.130, 0.165, 0.205, 0.225, 0.240, 0.255, 0.270, 0.285, 0.380, 0.340),
    "tile roof": (0.065, 0.090, 0.185, 0.215, 0.235, 0.255, 0.275, 0.285, 0.310, 0.270),
    "slate roof": (0.085, 0.090, 0.092, 0.098, 0.105, 0.112, 0.118, 0.122, 0.150, 0.150),
    "metal roof": (0.270, 0.285, 0.295, 0.300, 0.305, 0.310, 0.315, 0.320, 0.330, 0.320),
    "blue roof": (0.235, 0.200, 0.150, 0.150, 0.160, 0.175, 0.190, 0.195, 0.240, 0.230),
    "gravel": (0.170, 0.205, 0.240, 0.260, 0.275, 0.290, 0.305, 0.315, 0.380, 0.350),
}  # fmt: skip

# Backscatter gamma0 of VV, VH in dB at the reference incidence: of the bare ground, and under a full canopy.
RADAR = {
    "field": ((-12.5, -21.0), (-9.5, -15.2)),
    "rice": ((-12.5, -21.0), (-8.5, -16.0)),
    "grass": ((-12.8, -20.8), (-11.2, -17.2)),
    "forest": ((-10.2, -16.6), (-8.6, -14.2)),
    "orchard": ((-11.5, -18.2), (-9.2, -15.0)),
    "water": ((-19.5, -27.5), (-19.5, -27.5)),
    "paved": ((-14.5, -22.5), (-14.5, -22.5)),
    "building": ((-2.5, -11.5), (-2.5, -11.5)),
    "bare": ((-13.5, -22.5), (-13.5, -22.5)),
}
PADDY_RADAR = (-18.5, -25.5)
DAMP = {"field": 1.0, "rice": 1.0, "grass": 0.8, "bare": 0.8, "orchard": 0.6, "forest": 0.15}
"""How much of a soil's moisture response reaches the radar."""


@dataclass(frozen=True)
class Material:
    """One stand, roof, road or water body of a place.

    Attributes:
        cover: index into `LAND_COVERS`.
        crop: index into `CROPS`.
        ground: reflectance ``(10,)`` of what lies under the canopy; of everything, if nothing grows.
        canopy: reflectance ``(10,)`` of the living canopy.
        growth: calendar, or None where nothing grows.
        radar: key into `RADAR`.
        radar_offset: dB, this one's own level.
        rows: direction (radians) and spacing (metres) of planted rows; spacing 0 for none.
        grain: strength of fine texture in the high-resolution image.
    """

    cover: int
    crop: int
    ground: Array
    canopy: Array
    growth: Growth | None
    radar: str
    radar_offset: float = 0.0
    rows: tuple[float, float] = (0.0, 0.0)
    grain: float = 0.06


@dataclass(frozen=True)
class Weather:
    """Soil moisture 0 (dry) .. 1 (wet) on each day, ``(T,)``."""

    moisture: Array


@dataclass(frozen=True)
class Optical:
    """Reflectance of materials: ``ground + green * (canopy - ground)``.

    Attributes:
        ground: ``(M, T, 10)`` between and beneath the plants, with straw and water standing there.
        canopy: ``(M, T, 10)``, with flowers.
        green: ``(M, T)`` share of ground under canopy.
    """

    ground: Array
    canopy: Array
    green: Array


def _stages(materials: Sequence[Material], days: Array, kind: RegionType) -> list[Stage]:
    none = np.zeros_like(days)
    bare = Stage(none, none, none, none, none)
    return [bare if one.growth is None else one.growth.stage(days, kind) for one in materials]


def optical(materials: Sequence[Material], days: Array, kind: RegionType, weather: Weather) -> Optical:
    """Reflectance of each material on each day ``(T,)`` of the year."""
    stages = _stages(materials, days, kind)
    green, straw, flower, flood = (
        np.stack([getattr(stage, name) for stage in stages])[..., None]
        for name in ("green", "straw", "flower", "flood")
    )
    soil = np.stack([one.ground for one in materials])[:, None, :]
    grows = np.array([one.growth is not None for one in materials])[:, None, None]
    soil = soil * np.where(grows, 1.06 - 0.34 * weather.moisture[None, :, None], 1.0)  # wet soil is darker
    litter = np.array([LITTER if one.radar in ("forest", "orchard") else STRAW for one in materials])[:, None, :]
    share = np.clip(straw / np.maximum(1 - green, 0.05), 0, 1)
    ground = (1 - flood) * ((1 - share) * soil + share * litter) + flood * np.array(PADDY)
    canopy = np.stack([one.canopy for one in materials])[:, None, :]
    canopy = canopy + flower * (np.array(FLOWER) - canopy)
    return Optical(ground, canopy, green[..., 0])


def radar(materials: Sequence[Material], days: Array, kind: RegionType, weather: Weather) -> Array:
    """Linear backscatter power ``(M, T, 2)`` of VV and VH at the reference incidence, before speckle."""
    stages = _stages(materials, days, kind)
    bare = np.array([RADAR[one.radar][0] for one in materials])[:, None, :]
    full = np.array([RADAR[one.radar][1] for one in materials])[:, None, :]
    damp = np.array([DAMP.get(one.radar, 0.0) for one in materials])[:, None]
    height = np.stack([stage.height for stage in stages])
    flood = np.stack([stage.flood for stage in stages])[..., None]
    offset = np.array([one.radar_offset for one in materials])[:, None, None]
    wet = (damp * (1 - 0.6 * height) * (4.5 * weather.moisture - 1.8))[..., None]
    level = bare + wet + offset
    level = level + flood * (np.array(PADDY_RADAR) - level)
    power = _linear(level) * (1 - height[..., None]) + _linear(full + 0.4 * wet + offset) * height[..., None]
    return power


def _linear(decibel: Array) -> Array:
    return 10 ** (decibel / 10)


def soil_spectrum(mix: Array, rng: Generator) -> Array:
    """Reflectance ``(10,)`` of a soil mixed from `SOILS`, brighter or darker by its own luck."""
    return (mix @ SOILS) * rng.uniform(0.78, 1.22) * np.linspace(rng.uniform(0.94, 1.06), 1.0, 10)
