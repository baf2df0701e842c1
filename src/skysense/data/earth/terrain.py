"""From a layout to grids: what each high-resolution pixel is made of, how high it stands, where shadows fall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skysense.data.earth.layout import MARGIN, Building, Crown, Layout
from skysense.data.earth.noise import Field, enlarge_to, smooth_noise
from skysense.data.earth.polygons import paint
from skysense.sensors import OPTICAL_HR

PIXEL = OPTICAL_HR.gsd
PAD = round(MARGIN / PIXEL)


@dataclass(frozen=True)
class Terrain:
    """Grids ``(H, W)`` of the high-resolution image, `PAD` pixels wider than it on every side.

    Attributes:
        material: index into the palette's materials.
        height: metres above the ground.
        tint: brightness of single trees and roofs among their kind; 1 elsewhere.
    """

    material: NDArray[np.int16]
    height: Field
    tint: Field

    def crop(self) -> Terrain:
        """Without the padding."""
        inner = (slice(PAD, -PAD), slice(PAD, -PAD))
        return Terrain(self.material[inner], self.height[inner], self.tint[inner])


Placed = tuple[Building, float, float]
"""A building, and the row and column of the padded grid that its centre comes to lie on."""


@dataclass(frozen=True)
class Ground:
    """A layout on its grid before anything stands on it.

    Attributes:
        bare: parcels, roads and water, of no height.
        buildings: those that do not stand in water.
        crowns: likewise, each with row and column.
    """

    bare: Terrain
    buildings: list[Placed]
    crowns: list[tuple[Crown, float, float]]


@dataclass(frozen=True)
class Sun:
    """Where the light comes from: azimuth clockwise from north and elevation, radians."""

    azimuth: float
    elevation: float

    @property
    def toward(self) -> tuple[float, float]:
        """Unit step (row, column) towards the sun."""
        return -float(np.cos(self.azimuth)), float(np.sin(self.azimuth))


def sun(lat: float, day: float, hour: float) -> Sun:
    """Position of the sun at a latitude (degrees), day of the year and local solar hour.

    Declination after Cooper (1969); the equation of time is left out since the hour is solar.
    """
    declination = np.radians(23.44) * np.sin(2 * np.pi * (284 + day) / 365)
    phi, hour_angle = np.radians(lat), np.radians(15 * (hour - 12))
    up = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour_angle)
    north = np.cos(phi) * np.sin(declination) - np.sin(phi) * np.cos(declination) * np.cos(hour_angle)
    east = -np.cos(declination) * np.sin(hour_angle)
    return Sun(float(np.arctan2(east, north)), float(np.arcsin(up)))


def build(rng: Generator, layout: Layout, shape: tuple[int, int]) -> Terrain:
    """Draw a layout on a grid of ``shape`` (H, W) pixels, padding excluded."""
    ground = lay(rng, layout, shape)
    return erect(ground, ground.buildings)


def lay(rng: Generator, layout: Layout, shape: tuple[int, int]) -> Ground:
    """Draw the flat part of a layout, and say where the rest of it will stand; arguments as for `build`."""
    padded = (shape[0] + 2 * PAD, shape[1] + 2 * PAD)
    raw = np.zeros(padded, np.int16)
    paint([*layout.parcels, *layout.margins, *layout.roads], raw, PIXEL, -MARGIN)
    bend = [smooth_noise(rng, padded, 170) * np.float32(2.2 / PIXEL) for _ in range(2)]
    rows = np.clip(np.arange(padded[0])[:, None] + bend[0], 0, padded[0] - 1).astype(np.int32)
    cols = np.clip(np.arange(padded[1])[None, :] + bend[1], 0, padded[1] - 1).astype(np.int32)
    bare = Terrain(raw[rows, cols], np.zeros(padded, np.float32), np.ones(padded, np.float32))
    wet = np.zeros(padded, np.bool_)
    if layout.water is not None:
        wet = _water(rng, layout, padded)
        bare.material[wet] = layout.water
    buildings = [(one, *_bent(one.x, one.y, bend)) for one in layout.buildings]
    crowns = [(one, *_bent(one.x, one.y, bend)) for one in layout.crowns]
    return Ground(
        bare,
        [placed for placed in buildings if not wet[int(placed[1]), int(placed[2])]],
        [placed for placed in crowns if not wet[int(placed[1]), int(placed[2])]],
    )


def erect(ground: Ground, buildings: Sequence[Placed]) -> Terrain:
    """Let buildings stand on the ground, in their order, and its trees around and above them."""
    bare = ground.bare
    terrain = Terrain(bare.material.copy(), bare.height.copy(), bare.tint.copy())
    for building, row, col in buildings:
        window, covers, top = roof(terrain, building, row, col)
        terrain.height[window][covers] = top[covers]
        terrain.tint[window][covers] = building.tint
        terrain.material[window][covers] = building.material
    for crown, row, col in ground.crowns:
        _raise_crown(terrain, crown, row, col)
    return terrain


def _bent(x: float, y: float, bend: list[Field]) -> tuple[float, float]:
    """Where a point of the layout comes to lie on the bent grid, in pixels."""
    height, width = bend[0].shape
    row, col = np.clip((y + MARGIN) / PIXEL, 0, height - 1), np.clip((x + MARGIN) / PIXEL, 0, width - 1)
    here = int(row), int(col)
    return float(np.clip(row - bend[0][here], 0, height - 1)), float(np.clip(col - bend[1][here], 0, width - 1))


def _water(rng: Generator, layout: Layout, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Where the layout's river, stream (a narrow river down the middle), lake or pond lies."""
    rows = (np.arange(shape[0], dtype=np.float32) * np.float32(PIXEL) - np.float32(MARGIN))[:, None]
    cols = (np.arange(shape[1], dtype=np.float32) * np.float32(PIXEL) - np.float32(MARGIN))[None, :]
    width, height = layout.size
    x0, y0 = width * rng.uniform(0.3, 0.7), height * rng.uniform(0.3, 0.7)
    stream = layout.shape == "stream"
    angle = rng.normal(np.pi / 2, 0.25) if stream else rng.uniform(0, np.pi)
    along = (cols - x0) * np.float32(np.cos(angle)) + (rows - y0) * np.float32(np.sin(angle))
    across = (rows - y0) * np.float32(np.cos(angle)) - (cols - x0) * np.float32(np.sin(angle))
    shore = smooth_noise(rng, shape, 90, octaves=3)
    if layout.shape in ("river", "stream"):
        half = 13.0 if stream else rng.uniform(9, 30)
        period = rng.uniform(180, 320)
        meander = rng.uniform(8, 22) * np.sin(along * np.float32(2 * np.pi / period) + rng.uniform(0, 6))
        return np.abs(across + meander.astype(np.float32)) < half + 2.5 * shore
    radius = rng.uniform(10, 17) if layout.shape == "pond" else min(width, height) * rng.uniform(0.22, 0.38)
    stretch = rng.uniform(1.0, 1.5)
    return np.hypot(along / np.float32(stretch), across) < radius * (1 + np.float32(0.13) * shore)


def _raise_crown(terrain: Terrain, crown: Crown, row: float, col: float) -> None:
    """A dome with a rough surface; it covers what is lower."""
    radius = crown.radius / PIXEL
    window, down, right = _window(terrain, row, col, radius)
    if down.size == 0 or right.size == 0:
        return
    distance = (down * down)[:, None] + (right * right)[None, :]
    distance /= np.float32(radius * radius)
    top = np.float32(crown.height) * np.sqrt(np.maximum(1 - np.float32(0.85) * distance, 0))
    covers = (distance < 1) & (top > terrain.height[window])
    terrain.height[window][covers] = top[covers]
    terrain.tint[window][covers] = crown.tint
    terrain.material[window][covers] = crown.material


def roof(
    terrain: Terrain, building: Building, row: float, col: float
) -> tuple[tuple[slice, slice], NDArray[np.bool_], Field]:
    """A part of the grid, which of its pixels a building covers, and the height of its roof there.

    The roof has a ridge along the building's longer axis.
    """
    window, down, right = _window(terrain, row, col, float(np.hypot(*building.half)) / PIXEL)
    cos, sin = np.float32(np.cos(building.angle) * PIXEL), np.float32(np.sin(building.angle) * PIXEL)
    along = np.abs(right[None, :] * cos + down[:, None] * sin)
    across = np.abs(down[:, None] * cos - right[None, :] * sin)
    covers = (along < building.half[0]) & (across < building.half[1])
    if building.half[0] < building.half[1]:
        along, across = across, along
    slope = np.float32(building.rise / min(building.half))
    return window, covers, np.float32(building.height + building.rise) - slope * across


def _window(terrain: Terrain, row: float, col: float, reach: float) -> tuple[tuple[slice, slice], Field, Field]:
    """The part of the grid within ``reach`` pixels, and its offsets from the centre."""
    height, width = terrain.height.shape
    top, bottom = max(int(row - reach), 0), min(int(row + reach) + 2, height)
    left, right = max(int(col - reach), 0), min(int(col + reach) + 2, width)
    down = np.arange(top, bottom, dtype=np.float32) - np.float32(row)
    across = np.arange(left, right, dtype=np.float32) - np.float32(col)
    return (slice(top, bottom), slice(left, right)), down, across


def shadow(height: Field, light: Sun) -> Field:
    """How much of the direct sun each pixel is denied, 0 .. 1, by what stands towards the sun; half the resolution."""
    rows, cols = height.shape[0] // 2 * 2, height.shape[1] // 2 * 2
    coarse = height[:rows, :cols].reshape(rows // 2, 2, cols // 2, 2).max((1, 3))
    reach = float(coarse.max()) / np.tan(light.elevation)
    above = np.full(coarse.shape, -1, np.float32)
    step = 2 * PIXEL
    for k in range(1, int(reach / step) + 1):
        down, right = round(light.toward[0] * k), round(light.toward[1] * k)
        target, source = _shifted(coarse.shape, down, right)
        drop = np.float32(k * step * np.tan(light.elevation))
        np.maximum(above[target], coarse[source] - drop, out=above[target])
    fine = np.zeros_like(height)
    fine[:rows, :cols] = enlarge_to(above, (rows, cols))
    return np.clip((fine - height - np.float32(0.2)) / np.float32(0.8), 0, 1)


def _shifted(shape: tuple[int, ...], down: int, right: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices that pair every pixel with the one ``(down, right)`` away."""

    def pair(length: int, step: int) -> tuple[slice, slice]:
        size = max(length - abs(step), 0)
        return slice(max(-step, 0), max(-step, 0) + size), slice(max(step, 0), max(step, 0) + size)

    (row_target, row_source), (col_target, col_source) = pair(shape[0], down), pair(shape[1], right)
    return (row_target, col_target), (row_source, col_source)


def relief(terrain: Terrain, light: Sun) -> Field:
    """Brightness of slopes: above 1 where they face the sun, below 1 where they turn away; walls are no slopes."""
    height, material = terrain.height, terrain.material
    rise_rows = np.zeros_like(height)
    rise_cols = np.zeros_like(height)
    rise_rows[1:-1] = (height[2:] - height[:-2]) * (material[2:] == material[:-2]) * np.float32(0.5 / PIXEL)
    rise_cols[:, 1:-1] = (
        (height[:, 2:] - height[:, :-2]) * (material[:, 2:] == material[:, :-2]) * np.float32(0.5 / PIXEL)
    )
    down, right = light.toward
    facing = -(rise_rows * np.float32(down) + rise_cols * np.float32(right))
    return 1 + np.clip(np.float32(0.28 / np.tan(light.elevation)) * facing, -0.5, 0.4)
