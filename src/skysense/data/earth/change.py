"""The second look at a place, a few years later: other light, season, camera and aim; only buildings have changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from skysense.data.earth.noise import enlarge_to
from skysense.data.earth.picture import plant_vigour, survey
from skysense.data.earth.spectra import Material
from skysense.data.earth.terrain import Terrain
from skysense.data.earth.world import Identity
from skysense.geo import CELL_HR_PX
from skysense.observation import Series

MOST_YEARS = 3
"""The later image is taken one to this many years after the first."""
REGISTRATION = 2
"""Pixels by which it lies off the first, at most, in each direction."""


def look_again(
    rng: Generator, terrain: Terrain, materials: Sequence[Material], identity: Identity, cells: tuple[int, int]
) -> Series:
    """Take the later image of a place; its fields grow what they grew.

    Args:
        rng: random numbers.
        terrain: padded, with the buildings of the later date.
        materials: what it is made of.
        identity: gives year, latitude and calendar.
        cells: height and width of the place.

    Returns:
        One frame ``(1, 3, 32 h, 32 w)``.
    """
    off = rng.integers(-REGISTRATION, REGISTRATION + 1, 2)
    moved = Terrain(
        np.roll(terrain.material, off, (0, 1)), np.roll(terrain.height, off, (0, 1)), np.roll(terrain.tint, off, (0, 1))
    )
    vigour = enlarge_to(plant_vigour(rng, cells), (cells[0] * CELL_HR_PX, cells[1] * CELL_HR_PX))
    year = identity.year + int(rng.integers(1, MOST_YEARS + 1))
    return survey(rng, moved, materials, vigour, identity, year)
