"""The high-resolution image: colour, rows, texture, light and shadow of a terrain on one day."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skysense.data.earth.noise import Field, smooth_noise
from skysense.data.earth.spectra import Material, Weather, optical
from skysense.data.earth.terrain import PIXEL, Sun, Terrain, relief, shadow, sun
from skysense.data.earth.world import LAND_COVERS, Identity, RegionType
from skysense.observation import Series
from skysense.sensors import OPTICAL_HR

RGB = [2, 1, 0]  # B4, B3, B2
LOWEST_SUN = 32.0
"""Degrees: aerial surveys fly when shadows are short."""


def survey(
    rng: Generator, terrain: Terrain, materials: Sequence[Material], vigour: Field, identity: Identity, year: int
) -> Series:
    """Fly over a place on some day of a year; arguments as for `render`.

    Returns:
        One frame ``(1, 3, H, W)``.
    """
    day, light = _flight(rng, identity.lat)
    picture = render(rng, terrain, materials, vigour, day, identity.kind, light)
    date = np.datetime64(f"{year}-01-01", "D") + np.timedelta64(int(day) - 1, "D")
    return Series(OPTICAL_HR, picture[None], np.array([date]), np.ones((1, *picture.shape[1:]), bool))


def _flight(rng: Generator, lat: float) -> tuple[float, Sun]:
    """Day of the year and sun of the aerial survey: any day and hour with the sun high enough."""
    while True:
        day, hour = float(rng.integers(1, 366)), float(rng.uniform(9.5, 14.5))
        light = sun(lat, day, hour)
        if light.elevation > np.radians(LOWEST_SUN):
            return day, light


def plant_vigour(rng: Generator, grid: tuple[int, int]) -> Field:
    """How well plants grow in each cell ``(h, w)``, about 1."""
    return np.clip(1 + np.float32(0.06) * smooth_noise(rng, grid, 4.0, octaves=2), 0.75, 1.15)


def render(
    rng: Generator,
    terrain: Terrain,
    materials: Sequence[Material],
    vigour: Field,
    day: float,
    kind: RegionType,
    light: Sun,
) -> NDArray[np.uint8]:
    """Take the picture.

    Args:
        rng: random numbers.
        terrain: padded grids ``(H + 2 PAD, W + 2 PAD)``.
        materials: what they are made of.
        vigour: ``(H, W)`` how well plants grow, about 1.
        day: of the year.
        kind: the region's type.
        light: the sun.

    Returns:
        ``(3, H, W)`` red, green, blue, 0 .. 255.
    """
    dark = Terrain(terrain.material, shadow(terrain.height, light), relief(terrain, light)).crop()
    shade, slope = dark.height, dark.tint
    inner = terrain.crop()
    weather = Weather(np.array([rng.uniform(0.1, 0.7)]))
    look = optical(materials, np.array([day]), kind, weather)
    ground, canopy = (part[:, 0][:, RGB].astype(np.float32) for part in (look.ground, look.canopy))
    green = look.green[:, 0].astype(np.float32)[inner.material]
    rows = _rows(rng, inner, materials)
    green *= vigour * rows
    fine = smooth_noise(rng, green.shape, 9, octaves=2)
    green = np.clip(green * (1 + np.float32(0.07) * fine), 0, 1)
    texture = _texture(rng, inner, materials, fine) * inner.tint * slope
    texture *= 1 + np.float32(0.2) * (rows - 1)  # furrows are left when nothing grows
    lit = (1 - shade * np.float32(0.72)) * texture
    blue_sky = np.array([0.94, 1.0, 1.16], np.float32)
    image = np.empty((3, *green.shape), np.float32)
    for band in range(3):
        image[band] = ground[:, band][inner.material]
        image[band] += (canopy[:, band] - ground[:, band])[inner.material] * green
        image[band] *= lit * (1 + shade * np.float32(blue_sky[band] - 1))
    return _develop(rng, image)


def _rows(rng: Generator, terrain: Terrain, materials: Sequence[Material]) -> Field:
    """Planted rows and tramlines as a factor on greenness ``(H, W)``."""
    angle = np.array([one.rows[0] for one in materials])
    spacing = np.array([one.rows[1] or 1.0 for one in materials])
    strength = np.array([0.22 if one.rows[1] else 0.0 for one in materials], np.float32) * rng.uniform(0.6, 1.2)
    y = (np.arange(terrain.material.shape[0]) * PIXEL).astype(np.float32)[:, None]
    x = (np.arange(terrain.material.shape[1]) * PIXEL).astype(np.float32)[None, :]
    across = (
        -np.sin(angle).astype(np.float32)[terrain.material] * x + np.cos(angle).astype(np.float32)[terrain.material] * y
    )
    part = across / spacing.astype(np.float32)[terrain.material]
    part -= np.floor(part)
    wave = 1 - 8 * part * (1 - part) + np.float32(0.33)  # a parabola in place of a cosine: zero mean, cheap
    tram = (across * np.float32(1 / 15.0)) % 1 < 0.05
    depth = strength.astype(np.float32)[terrain.material]
    return 1 + depth * (wave * np.float32(0.8) - 2.2 * tram)


def _texture(rng: Generator, terrain: Terrain, materials: Sequence[Material], fine: Field) -> Field:
    """Grain of each material, broad stains, and rough canopies."""
    grain = np.array([one.grain for one in materials], np.float32)
    trees = np.array([one.cover == LAND_COVERS.index("trees") for one in materials])
    white = rng.standard_normal(terrain.material.shape, np.float32)
    broad = smooth_noise(rng, terrain.material.shape, 60, octaves=2)
    depth = grain[terrain.material]
    floor = np.where(trees[terrain.material] & (terrain.height < 1), np.float32(0.55), np.float32(1))
    return (1 + depth * (np.float32(0.55) * white + np.float32(0.6) * fine + np.float32(0.6) * broad)) * floor


def _develop(rng: Generator, image: Field) -> NDArray[np.uint8]:
    """Camera, air and print: haze, colour balance, contrast, noise; another for every flight."""
    haze = rng.gamma(1.2, 0.005) * np.array([0.85, 1.0, 1.25])
    balance = np.array([1.04, 1.0, 0.94]) * rng.uniform(0.93, 1.07, 3) * rng.uniform(0.82, 1.18)
    gamma = rng.uniform(0.52, 0.68)
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0.8, 2.5))
    scale = (balance / 0.34).astype(np.float32)[:, None, None]
    image = np.maximum((image + haze.astype(np.float32)[:, None, None]) * scale, 0) ** np.float32(gamma)
    return np.clip(image * 225 + noise, 0, 255).astype(np.uint8)
