"""Buildings on two dates: those a place has, more of them on open ground, some gone and some new a few years later.

Lengths are metres; rows and columns are pixels of the padded grid of `skysense.data.earth.terrain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skysense.data.earth.layout import MARGIN, Building, Layout
from skysense.data.earth.materials import Palette
from skysense.data.earth.polygons import Polygon
from skysense.data.earth.spectra import Material
from skysense.data.earth.terrain import PAD, PIXEL, Ground, Placed, Terrain, erect, roof
from skysense.data.earth.world import LAND_COVERS
from skysense.data.places_boxes import Boxes

BUILDINGS = ("house", "hall")
"""Classes of the labels "buildings" and "buildings_after"."""
ADDED = {"cropland": 4.0, "forest": 0.0, "grassland": 4.0, "orchard": 3.0, "residential": 2.0, "industrial": 2.0,
         "water": 2.5}  # fmt: skip
"""Mean number of buildings beyond those of the layout, on each `REFERENCE_AREA`, by scene."""
BUILT = {"cropland": 1.5, "forest": 0.0, "grassland": 1.5, "orchard": 1.0, "residential": 3.0, "industrial": 2.0,
         "water": 1.0}  # fmt: skip
"""Mean number of buildings that are new on the later date, likewise."""
HOUSES = {"cropland": 0.5, "forest": 1.0, "grassland": 0.6, "orchard": 0.5, "residential": 0.9, "industrial": 0.2,
          "water": 0.7}  # fmt: skip
"""Share of houses among them; the others are halls."""
GONE = 0.15
"""Share of the buildings that are gone on the later date."""
REFERENCE_AREA = 160.0**2
CLEARANCE = 1.5
"""Metres of one kind of open ground, with nothing on it, around a building that is added."""
OPEN = [LAND_COVERS.index(name) for name in ("cropland", "grassland", "bare")]
CANDIDATES = 24
"""Sites looked at for each building; where none of them has room there is one building less."""
TRACK_LEAN = 0.2
"""Radians by which Sentinel-1's tracks lean from north."""
FACING_DECIBEL = 2.5
"""Walls along the track send more back to the radar than walls that stand askew, by twice this."""


@dataclass(frozen=True)
class History:
    """The buildings of a place on two dates.

    Attributes:
        before: on the first, in the order in which they are drawn.
        after: on the second.
        materials: those of the place, followed by the roofs of buildings that were added.
    """

    before: list[Placed]
    after: list[Placed]
    materials: list[Material]


def settle(
    rng: Generator, layout: Layout, ground: Ground, materials: Sequence[Material], palette: Palette, scene: str
) -> History:
    """Decide which buildings stand on either date.

    Args:
        rng: random numbers of their own: whatever else a place has does not depend on its buildings.
        layout: gives the direction of roads and boundaries.
        ground: what they stand on.
        materials: of the place.
        palette: makes their roofs; another one than the place's.
        scene: of the place.
    """
    site = _Site(rng, layout, ground, materials)
    scale = layout.size[0] * layout.size[1] / REFERENCE_AREA
    roofs: list[Material] = []

    def add(count: int) -> list[Placed]:
        found = []
        for _ in range(count):
            building = _building(rng, palette, HOUSES[scene])
            placed = site.place(building)
            if placed is not None:
                look = _faced(rng, palette.materials[building.material], placed[0].angle)
                roofs.append(look)
                found.append((replace(placed[0], material=len(materials) + len(roofs) - 1), *placed[1:]))
        return found

    before = [*ground.buildings, *add(int(rng.poisson(ADDED[scene] * scale)))]
    stays = rng.random(len(before)) >= GONE
    kept = [placed for placed, is_kept in zip(before, stays, strict=True) if is_kept]
    after = [*kept, *add(int(rng.poisson(BUILT[scene] * scale)))]
    return History(before, after, [*materials, *roofs])


def outlines(buildings: Sequence[Placed], terrain: Terrain) -> Boxes:
    """The boxes of the buildings that are seen on a place, in pixels of its image.

    Args:
        buildings: that stand on it.
        terrain: padded, with all of them.
    """
    corners, classes, visible = [], [], []
    for building, row, col in buildings:
        share = _seen(building, row, col, terrain)
        if share > 0:
            centre = np.array([col, row]) + 0.5 - PAD  # pixel i of the grid lies at i + 0.5 of the image's coordinates
            corners.append(centre + _rectangle(building.half, building.angle) / PIXEL)
            classes.append(BUILDINGS.index(building.kind))
            visible.append(share)
    if not corners:
        return Boxes.none()
    return Boxes(np.array(corners), np.array(classes, np.int64), np.array(visible))


def _seen(building: Building, row: float, col: float, terrain: Terrain) -> float:
    """Share of a roof that lies within the image and has nothing above it."""
    window, covers, top = roof(terrain, building, row, col)
    height, width = terrain.height.shape
    shown = covers & (terrain.height[window] == top) & (terrain.material[window] == building.material)
    rows = np.arange(window[0].start, window[0].stop)
    cols = np.arange(window[1].start, window[1].stop)
    inside = ((rows >= PAD) & (rows < height - PAD))[:, None] & ((cols >= PAD) & (cols < width - PAD))[None, :]
    return min(1.0, float((shown & inside).sum()) * PIXEL**2 / (4 * building.half[0] * building.half[1]))


def _rectangle(half: tuple[float, float], angle: float) -> Polygon:
    """Corners ``(4, 2)`` around the origin, clockwise as the image is seen, the first sides along ``angle``."""
    along = np.array([np.cos(angle), np.sin(angle)]) * half[0]
    across = np.array([-np.sin(angle), np.cos(angle)]) * half[1]
    return np.array([-along - across, along - across, along + across, -along + across])


def _building(rng: Generator, palette: Palette, houses: float) -> Building:
    """A house with a pitched roof or a hall with a flat one, of no place and direction yet."""
    if rng.random() < houses:
        half = (rng.uniform(4.5, 8.5), rng.uniform(3.3, 5.2))
        material = palette.roof(str(rng.choice(["tile roof", "tile roof", "slate roof", "metal roof"])))
        return Building(
            0, 0, half, 0, rng.uniform(2.8, 5.5), rng.uniform(1.8, 3.2), material, rng.uniform(0.8, 1.15), "house"
        )
    half = (rng.uniform(8, 20), rng.uniform(5, 10))
    material = palette.roof(str(rng.choice(["metal roof", "metal roof", "concrete", "blue roof"])))
    return Building(0, 0, half, 0, rng.uniform(5, 10), 0.35, material, rng.uniform(0.8, 1.15), "hall")


def _faced(rng: Generator, material: Material, angle: float) -> Material:
    """A roof whose corner reflectors answer the radar by how its walls lie to the track."""
    facing = FACING_DECIBEL * np.cos(4 * (angle - TRACK_LEAN))  # walls come at right angles: four times a turn
    return replace(material, radar_offset=float(facing + rng.normal(-1.0, 1.0)))


class _Site:
    """Finds room for one building after the other.

    Args:
        rng: random numbers.
        layout: roads and parcels.
        ground: what is built on.
        materials: of the place.
    """

    def __init__(self, rng: Generator, layout: Layout, ground: Ground, materials: Sequence[Material]) -> None:
        terrain = erect(ground, ground.buildings)
        self._rng = rng
        self._terrain = terrain
        self._free = np.isin([one.cover for one in materials], OPEN)[terrain.material] & (terrain.height == 0)
        self._starts, self._sides = _boundaries(layout)
        self._others = [(row, col) for _, row, col in ground.buildings]
        inner = self._free[PAD:-PAD, PAD:-PAD]
        self._open = np.flatnonzero(inner)
        self._width = inner.shape[1]

    def place(self, building: Building) -> Placed | None:
        """Put a building along a road or boundary where there is room, rather near others; None where there is none."""
        if not len(self._open):
            return None
        rows, cols = np.divmod(self._rng.choice(self._open, CANDIDATES), self._width)
        points = np.stack([rows, cols], 1) + PAD
        away, direction = self._nearest_boundary(points[:, ::-1] * PIXEL - MARGIN)
        score = np.abs(away - building.half[1] - 2 * CLEARANCE)
        if self._others:
            score += 0.2 * PIXEL * np.hypot(*(points[:, None] - np.array(self._others)).transpose(2, 0, 1)).min(1)
        turns = direction + self._rng.normal(0, 0.05, CANDIDATES)
        for at in np.argsort(score, kind="stable"):
            row, col = float(points[at, 0]), float(points[at, 1])
            turned = replace(building, angle=float(turns[at]))
            if self._has_room(turned, row, col):
                self._others.append((row, col))
                return turned, row, col
        return None

    def _nearest_boundary(self, points: Polygon) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Distance in metres from each point ``(n, 2)`` to the nearest boundary, and the direction of that."""
        offset = points[:, None] - self._starts
        length = (self._sides**2).sum(-1)
        part = np.clip((offset * self._sides).sum(-1) / length, 0, 1)
        distance = np.hypot(*(offset - part[..., None] * self._sides).transpose(2, 0, 1))
        nearest = distance.argmin(1)
        x, y = self._sides[nearest].T
        return distance.min(1), np.arctan2(y, x)

    def _has_room(self, building: Building, row: float, col: float) -> bool:
        """Whether there is nothing but one free parcel; if so it is no longer free."""
        wide = replace(building, half=(building.half[0] + CLEARANCE, building.half[1] + CLEARANCE))
        window, covers, _ = roof(self._terrain, wide, row, col)
        parcel = self._terrain.material[int(row), int(col)]
        if not (self._free[window] & (self._terrain.material[window] == parcel))[covers].all():
            return False
        self._free[window][covers] = False
        return True


def _boundaries(layout: Layout) -> tuple[Polygon, Polygon]:
    """Sides of parcels and roads: where they start and how they run, ``(n, 2)`` each, in metres."""
    polygons = [polygon for polygon, _ in (*layout.parcels, *layout.roads)]
    starts = np.concatenate(polygons)
    sides = np.concatenate([np.roll(polygon, -1, axis=0) - polygon for polygon in polygons])
    long = np.hypot(*sides.T) > 5  # ends of strips and slivers give no direction
    return starts[long], sides[long]
