"""The simulated Earth's geography: region types, sites, calendars, what grows where, and where each place lies.

Three crops (wheat, maize, soybean) share one canopy and differ only in when they grow. The calendar of each region type
is that of the one before it, `STEP_DAYS` later: what is maize in a Mediterranean region has the same curve, on the same
days of the year, as wheat in a temperate one. Spectra and dates alone cannot tell them apart; knowing the region can.
The calendars are chosen for that ambiguity and not to be agronomic truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence

from skysense.data.places_layout import Split
from skysense.errors import InputError
from skysense.geo import region_cell

LAND_COVERS = ("cropland", "grassland", "trees", "orchard", "water", "paved", "building", "bare")
"""Classes of the mask "land_cover" and of the label "multilabel", in order of their mask value."""

CROPS = ("none", "wheat", "maize", "soybean", "rapeseed", "rice", "alfalfa", "orchard")
"""Classes of the mask "crop_type"; 0 is ignored."""

SCENES = ("cropland", "forest", "grassland", "orchard", "residential", "industrial", "water")
"""Classes of the label "scene"."""

STEP_DAYS = 50
FIRST_PEAK = 90
SHIFTING_CROPS = ("wheat", "maize", "soybean")
"""The crops whose calendars coincide across region types, in the order in which they peak within one type."""

PLACES_PER_REGION = 1000
"""Place ``index`` lies in region ``index // PLACES_PER_REGION``: more places never change the ones that were there."""
BLOCK = 16
"""Places come in blocks of this many; each block holds the scenes of its region type in the same numbers."""


@dataclass(frozen=True)
class Cycle:
    """Yearly greenness of wild plants: 1 between ``start`` and ``end`` (days; may pass 365), else ``floor``."""

    start: float
    end: float
    floor: float


@dataclass(frozen=True)
class RegionType:
    """What regions of one kind have in common.

    Attributes:
        name: of the type.
        shift: how many `STEP_DAYS` its calendar of wheat, maize and soybean lies after the first type's.
        crops: share of each annual crop, in the order of `CROPS` without "none" and "orchard".
        scenes: how many of `BLOCK` places show each of `SCENES`.
        soil: preference for brown, red, dark and pale soil.
        grass: cycle of grassland.
        leaves: cycle of broad-leaved trees.
        conifers: share of evergreen forest stands.
        cloud: mean cloudiness, and by how much it rises towards ``cloudiest`` (day).
        cloudiest: day of the year.
    """

    name: str
    shift: int
    crops: tuple[float, ...]
    scenes: tuple[int, ...]
    soil: tuple[float, float, float, float]
    grass: Cycle
    leaves: Cycle
    conifers: float
    cloud: tuple[float, float]
    cloudiest: float

    def peak(self, crop: str) -> float:
        """Day on which the canopy of ``crop`` is densest."""
        if crop in SHIFTING_CROPS:
            return FIRST_PEAK + STEP_DAYS * (self.shift + SHIFTING_CROPS.index(crop))
        if crop == "rapeseed":
            return FIRST_PEAK + STEP_DAYS * self.shift - 22
        if crop == "rice":
            return FIRST_PEAK + STEP_DAYS * self.shift + 95
        raise InputError(f"{crop!r} has no peak: it grows all year")

    @property
    def ambiguous_crops(self) -> list[str]:
        """Crops whose curve is that of another crop in another region type."""
        return [
            crop
            for crop in SHIFTING_CROPS
            if any(
                other.shift != self.shift and other.peak(twin) == self.peak(crop)
                for other in REGION_TYPES
                for twin in SHIFTING_CROPS
            )
        ]


REGION_TYPES = (
    RegionType("mediterranean", 0, (0.05, 0.26, 0.26, 0.12, 0.18, 0.13), (6, 1, 1, 3, 2, 1, 2),
               (0.8, 0.8, 0.6, 1.8), Cycle(-40, 140, 0.12), Cycle(75, 325, 0.45), 0.5, (0.30, 0.20), 15),
    RegionType("temperate", 1, (0.23, 0.23, 0.23, 0.16, 0.05, 0.10), (6, 2, 2, 1, 2, 1, 2),
               (1.8, 0.6, 0.8, 0.8), Cycle(80, 325, 0.40), Cycle(108, 298, 0.10), 0.3, (0.42, 0.08), 350),
    RegionType("continental", 2, (0.23, 0.23, 0.23, 0.17, 0.05, 0.09), (6, 2, 3, 1, 1, 1, 2),
               (0.8, 0.6, 1.8, 0.8), Cycle(122, 268, 0.12), Cycle(134, 264, 0.10), 0.6, (0.36, 0.10), 190),
    RegionType("southern", 3, (0.26, 0.26, 0.05, 0.12, 0.14, 0.17), (6, 2, 2, 1, 2, 1, 2),
               (0.6, 1.8, 0.8, 0.8), Cycle(262, 490, 0.28), Cycle(250, 505, 0.35), 0.2, (0.34, 0.14), 20),
)  # fmt: skip


@dataclass(frozen=True)
class Site:
    """Roughly where a region lies."""

    name: str
    lon: float
    lat: float


SITES = (
    Site("Guadalquivir", -5.4, 37.5), Site("Illinois", -88.9, 40.3),
    Site("Kostanay", 63.6, 52.6), Site("Pampas", -61.5, -33.9),
    Site("Central Valley", -120.1, 36.6), Site("Beauce", 1.6, 48.2),
    Site("Saskatchewan", -106.5, 51.6), Site("Free State", 27.2, -27.9),
    Site("Gharb", -6.1, 34.5), Site("Henan", 114.6, 34.2),
    Site("Heilongjiang", 126.6, 47.3), Site("New South Wales", 148.1, -33.7),
    Site("Cukurova", 35.4, 37.0), Site("Podolia", 26.9, 49.2),
    Site("Altai", 82.4, 52.7), Site("Parana", -53.1, -24.6),
)  # fmt: skip
"""Regions, by region index; the type of region ``r`` is ``REGION_TYPES[r % 4]``."""


@dataclass(frozen=True)
class Identity:
    """What is decided about a place before anything is drawn.

    Attributes:
        index: of the place; region and number follow from it.
        region_index: index into `SITES`.
        number: of the place within its region.
        kind: the region's type.
        scene: one of `SCENES`.
        year: in which it is observed.
        lon, lat: of its centre.
    """

    index: int
    region_index: int
    number: int
    kind: RegionType
    scene: str
    year: int
    lon: float
    lat: float

    @property
    def name(self) -> str:
        """Folder name."""
        return f"region{self.region_index:02d}-place{self.number:03d}"


def place_index(region: int, number: int) -> int:
    """The index of place ``number`` of region ``region``."""
    return region * PLACES_PER_REGION + number


def place_generator(seed: int, index: int, purpose: int) -> Generator:
    """Random numbers of one place for one purpose.

    Purposes: position, layout, terrain, picture, Sentinel-2, Sentinel-1, buildings, later image.
    """
    return Generator(PCG64(SeedSequence([seed, index, purpose])))


def region_generator(seed: int, region: int, purpose: int) -> Generator:
    """Random numbers that all places of a region share (soil colour, order of scenes)."""
    return Generator(PCG64(SeedSequence([seed, region, purpose, 1])))


def identify(seed: int, index: int) -> Identity:
    """Decide region, scene, year and position of a place from ``(seed, index)`` alone.

    Raises:
        InputError: if there is no such region.
    """
    region, number = divmod(index, PLACES_PER_REGION)
    if not (0 <= region < len(SITES) and seed >= 0):
        raise InputError(f"there are {len(SITES)} simulated regions and seeds from 0; got region {region}, seed {seed}")
    kind = REGION_TYPES[region % len(REGION_TYPES)]
    rng = place_generator(seed, index, 0)
    lon, lat = _position(rng, SITES[region])
    return Identity(
        index=index,
        region_index=region,
        number=number,
        kind=kind,
        scene=block_scenes(seed, region, number // BLOCK)[number % BLOCK],
        year=int(rng.integers(2018, 2025)),
        lon=lon,
        lat=lat,
    )


def block_scenes(seed: int, region: int, block: int) -> list[str]:
    """The scenes of one block of places, in place order."""
    counts = REGION_TYPES[region % len(REGION_TYPES)].scenes
    scenes = [scene for scene, count in zip(SCENES, counts, strict=True) for _ in range(count)]
    order = region_generator(seed, region, 2 + block).permutation(BLOCK)
    return [scenes[i] for i in order]


def block_splits(seed: int, region: int, block: int, shares: Mapping[Split, float]) -> list[Split]:
    """The split of each place of one block: every scene is dealt out by the shares as evenly as counts allow.

    Args:
        seed: of the Earth.
        region: its index.
        block: which sixteen places.
        shares: fraction per split, e.g. ``{"train": 0.5, "test": 0.5}``.
    """
    scenes = block_scenes(seed, region, block)
    total = sum(shares.values())
    given = dict.fromkeys(shares, 0)
    result = [next(iter(shares))] * BLOCK
    # The first of a scene goes to another split in every other block and region, or rare scenes would miss one.
    turn = (region // len(REGION_TYPES) + block) % 2
    names = list(shares)[::-1] if turn else list(shares)
    for done, place in enumerate(sorted(range(BLOCK), key=lambda i: (SCENES.index(scenes[i]), i)), start=1):
        split = max(names, key=lambda name: shares[name] / total * done - given[name])
        given[split] += 1
        result[place] = split
    return result


def _position(rng: Generator, site: Site) -> tuple[float, float]:
    """A position anywhere in the equal-area cell that the site lies in."""
    cell = region_cell(site.lon, site.lat)
    while True:
        lon = round(site.lon + rng.uniform(-0.7, 0.7), 6)
        lat = round(site.lat + rng.uniform(-0.9, 0.9), 6)
        if region_cell(lon, lat) == cell:
            return lon, lat


def soil_mix(seed: int, identity: Identity, rng: Generator) -> np.ndarray:
    """Shares (4,) of brown, red, dark and pale soil at a place: its type's preference, its region's, and its own luck.

    Places of one region differ more than regions do, so that one window says little about the region and sixteen say a
    lot.
    """
    preference = np.array(identity.kind.soil)
    regional = region_generator(seed, identity.region_index, 0).dirichlet(2 * preference)
    return rng.dirichlet(0.5 * preference + 1.2 * regional + 0.3)
