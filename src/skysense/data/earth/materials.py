"""The palette of one place: makes its fields, stands, roofs and roads, all a little different from the next place's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skysense.data.earth.growth import sow
from skysense.data.earth.spectra import CANOPIES, SOILS, SURFACES, Material
from skysense.data.earth.world import CROPS, LAND_COVERS, RegionType


class Palette:
    """Creates materials and keeps them; everything it hands out is an index into `materials`.

    Args:
        rng: random numbers.
        kind: the region's type.
        soil: reflectance ``(10,)`` of the place's soil.
    """

    def __init__(self, rng: Generator, kind: RegionType, soil: NDArray[np.float64]) -> None:
        self.materials: list[Material] = []
        self.conifers = kind.conifers
        self._rng, self._soil = rng, soil
        # A farm grows few crops: two or three stand out at any one place.
        self._crop_shares = rng.dirichlet(4 * np.array(kind.crops))
        self._shift = float(rng.normal(0, 7))  # an early or late year at an early or late place
        self._fixed: dict[str, int] = {}

    def _add(self, material: Material) -> int:
        self.materials.append(material)
        return len(self.materials) - 1

    def _varied(self, spectrum: Sequence[float] | NDArray[np.float64], amount: float) -> NDArray[np.float64]:
        """A spectrum, brighter or darker as a whole and bent a little from blue to infrared."""
        rng = self._rng
        bend = np.linspace(1 + rng.normal(0, amount / 3), 1 + rng.normal(0, amount / 3), 10)
        return np.array(spectrum) * rng.uniform(1 - amount, 1 + amount) * bend

    def field(self, direction: float) -> int:
        """An arable field with rows along ``direction``."""
        rng = self._rng
        crop = CROPS[1 + int(rng.choice(6, p=self._crop_shares))]
        canopy = CANOPIES.get(crop, CANOPIES["crop"])
        return self._add(
            Material(
                cover=LAND_COVERS.index("cropland"),
                crop=CROPS.index(crop),
                ground=self._varied(0.6 * self._soil + 0.4 * rng.dirichlet(np.full(4, 0.7)) @ SOILS, 0.16),
                canopy=self._varied(canopy, 0.08),
                growth=sow(rng, crop, self._shift),
                radar="rice" if crop == "rice" else "field",
                radar_offset=float(rng.normal(0, 0.7)),
                rows=(direction + float(rng.normal(0, 0.02)), float(rng.uniform(1.6, 3.4))),
                grain=float(rng.uniform(0.04, 0.09)),
            )
        )

    def grass(self, *, garden: bool = False) -> int:
        """A meadow, pasture, verge or lawn."""
        rng = self._rng
        key = f"garden {rng.integers(4)}"
        if garden and key in self._fixed:
            return self._fixed[key]
        made = self._add(
            Material(
                cover=LAND_COVERS.index("grassland"),
                crop=0,
                ground=self._soil * rng.uniform(0.85, 1.1),
                canopy=self._varied(CANOPIES["grass"], 0.15),
                growth=sow(rng, "grass", self._shift * 1.2),
                radar="grass",
                radar_offset=float(rng.normal(0, 0.9)),
                grain=float(rng.uniform(0.05, 0.12)),
            )
        )
        if garden:
            self._fixed[key] = made
        return made

    def trees(self, kind: str) -> int:
        """A stand of "broadleaf" or "conifer" trees; a few species per place."""
        rng = self._rng
        key = f"{kind} {rng.integers(3)}"
        if key not in self._fixed:
            self._fixed[key] = self._add(
                Material(
                    cover=LAND_COVERS.index("trees"),
                    crop=0,
                    ground=self._soil * 0.5,
                    canopy=self._varied(CANOPIES[kind], 0.15),
                    growth=sow(rng, "leaves" if kind == "broadleaf" else "conifers", self._shift * 1.2),
                    radar="forest",
                    radar_offset=float(rng.normal(0, 0.6)),
                    grain=0.14,
                )
            )
        return self._fixed[key]

    def orchard(self) -> tuple[int, int]:
        """Trees in rows, and the ground between them (grass or bare soil)."""
        rng = self._rng
        trees = Material(
            cover=LAND_COVERS.index("orchard"),
            crop=CROPS.index("orchard"),
            ground=self._soil * 0.7,
            canopy=self._varied(CANOPIES["orchard"], 0.12),
            growth=sow(rng, "leaves", self._shift * 1.2),
            radar="orchard",
            radar_offset=float(rng.normal(0, 0.7)),
            grain=0.12,
        )
        sown = sow(rng, "grass", self._shift * 1.2) if rng.random() < 0.6 else None
        floor = replace(
            trees,
            ground=self._soil * rng.uniform(0.85, 1.1),
            canopy=self._varied(CANOPIES["grass"], 0.12),
            growth=sown,
            radar="grass" if sown else "bare",
            grain=0.07,
        )
        return self._add(trees), self._add(floor)

    def surface(self, name: str) -> int:
        """A road or yard; all of one kind look alike at one place."""
        if name not in self._fixed:
            paved = LAND_COVERS.index("paved")
            spectrum = self._varied(SURFACES[name], 0.18)
            self._fixed[name] = self._add(Material(paved, 0, spectrum, spectrum, None, "paved", grain=0.05))
        return self._fixed[name]

    def roof(self, name: str) -> int:
        """A roof of tile, slate, metal or concrete."""
        key = f"roof {name} {self._rng.integers(2)}"
        if key not in self._fixed:
            spectrum = self._varied(SURFACES[name], 0.2)
            level = float(self._rng.normal(-1.0, 1.6))
            building = LAND_COVERS.index("building")
            self._fixed[key] = self._add(Material(building, 0, spectrum, spectrum, None, "building", level, grain=0.04))
        return self._fixed[key]

    def bare(self) -> int:
        """Ground on which nothing grows: a quarry, a building site, a gravel bank."""
        rng = self._rng
        base = np.array(SURFACES["gravel"]) if rng.random() < 0.5 else self._soil * 1.15
        spectrum = self._varied(base, 0.15)
        cover = LAND_COVERS.index("bare")
        return self._add(Material(cover, 0, spectrum, spectrum, None, "bare", float(rng.normal(0, 0.8)), grain=0.10))

    def water(self) -> int:
        """A lake or river, anywhere between clear and turbid."""
        share = self._rng.random()
        mixed = (1 - share) * np.array(SURFACES["clear water"]) + share * np.array(SURFACES["turbid water"])
        spectrum = self._varied(mixed, 0.15)
        cover = LAND_COVERS.index("water")
        return self._add(
            Material(cover, 0, spectrum, spectrum, None, "water", float(self._rng.normal(0, 1.2)), grain=0.02)
        )
