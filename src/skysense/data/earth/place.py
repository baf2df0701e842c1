"""One simulated place: imagery of three sensors, labels and masks, from ``(seed, index)`` alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.earth.buildings import History, outlines, settle
from skysense.data.earth.change import look_again
from skysense.data.earth.layout import plan
from skysense.data.earth.materials import Palette
from skysense.data.earth.noise import enlarge_to
from skysense.data.earth.picture import plant_vigour, survey
from skysense.data.earth.sentinel import fractions, sentinel1, sentinel2
from skysense.data.earth.spectra import Material, soil_spectrum
from skysense.data.earth.terrain import erect, lay
from skysense.data.earth.world import CROPS, LAND_COVERS, SITES, Identity, identify, place_generator, soil_mix
from skysense.data.places_boxes import Boxes
from skysense.data.places_rules import utm_footprint
from skysense.errors import InputError
from skysense.geo import CELL_HR_PX, CELL_METRES, WINDOW_CELLS
from skysense.observation import Sample, Series

PRESENT = 0.05
"""Share of a place that a land cover needs to count as present."""
PURE = 0.6
"""Share of a cell that one crop needs for the cell to be labelled with it."""

SIMULATOR_VERSION = 1
"""Raised when the same seed begins to give other pixels."""


@dataclass(frozen=True)
class SimulatedPlace:
    """A place as `skysense.data.places` stores it.

    Attributes:
        sample: HR image ``(1, 3, 32 h, 32 w)``, Sentinel-2 ``(T, 10, h, w)``, Sentinel-1 ``(T, 2, h, w)``.
        labels: "scene" and "multilabel".
        masks: "land_cover" ``(32 h, 32 w)`` and "crop_type" ``(h, w)``, uint8; with buildings also "land_cover_after"
            and "change" ``(32 h, 32 w)``.
        attributes: simulated, seed, index, region_index, region_type, region_name, ambiguous_crops, year.
        boxes: with buildings, "buildings" and "buildings_after".
        after: with buildings, the HR image of a later date ``(1, 3, 32 h, 32 w)``, else None.
    """

    sample: Sample
    labels: Mapping[str, Any]
    masks: Mapping[str, NDArray[np.uint8]]
    attributes: Mapping[str, Any]
    boxes: Mapping[str, Boxes]
    after: Series | None


def check_footprint_cells(cells: int) -> None:
    """Refuse a side that is no positive multiple of four cells.

    Raises:
        InputError: if so.
    """
    if cells <= 0 or cells % WINDOW_CELLS:
        raise InputError(f"footprint_cells={cells} must be a positive multiple of {WINDOW_CELLS} cells")


def simulate_place(seed: int, index: int, *, footprint_cells: int = 16, buildings: bool = False) -> SimulatedPlace:
    """Make up one place.

    Args:
        seed: of the Earth.
        index: of the place, see `skysense.data.earth.world.place_index`.
        footprint_cells: side in cells of 10 m, a multiple of 4.
        buildings: draw more buildings than the place has without, give boxes of all of them, and look at the place
            again on a later date when some are gone and some are new. Beyond the shadows of what is added, all else
            stays as it is without (but where one is higher than anything else, tips of other shadows may grow darker).

    Raises:
        InputError: an index without region, or a side that is no multiple of 4.
    """
    check_footprint_cells(footprint_cells)
    identity = identify(seed, index)
    streams = [place_generator(seed, index, purpose) for purpose in range(1, 8)]
    side = footprint_cells * CELL_METRES
    soil = soil_spectrum(soil_mix(seed, identity, streams[0]), streams[0])
    palette = Palette(streams[0], identity.kind, soil)
    layout = plan(streams[0], palette, identity.scene, (side, side))
    pixels, grid = (footprint_cells * CELL_HR_PX,) * 2, (footprint_cells,) * 2
    ground = lay(streams[1], layout, pixels)
    vigour = plant_vigour(streams[1], grid)
    history = History(ground.buildings, ground.buildings, palette.materials)
    if buildings:
        roofs = Palette(streams[5], identity.kind, soil)
        history = settle(streams[5], layout, ground, palette.materials, roofs, identity.scene)
    materials = history.materials
    terrain = erect(ground, history.before)
    share = fractions(terrain.crop().material, len(materials))
    hr = survey(streams[2], terrain, materials, enlarge_to(vigour, pixels), identity, identity.year)
    s2 = sentinel2(streams[3], share, materials, vigour, identity.year, identity.kind)
    s1 = sentinel1(streams[4], share, materials, identity.year, identity.kind)
    footprint = utm_footprint(identity.lon, identity.lat, grid)
    sample = Sample(identity.name, {"hr": hr, "s2": s2, "s1": s1}, identity.lon, identity.lat, footprint)
    cover = land_cover(terrain.crop().material, materials)
    present = np.bincount(cover.ravel(), minlength=len(LAND_COVERS)) >= PRESENT * cover.size
    labels = {
        "scene": identity.scene,
        "multilabel": [name for name, is_there in zip(LAND_COVERS, present, strict=True) if is_there],
    }
    masks = {"land_cover": cover, "crop_type": crop_type(share, materials)}
    place = SimulatedPlace(sample, labels, masks, _attributes(seed, identity), boxes={}, after=None)
    if not buildings:
        return place
    later = erect(ground, history.after)
    return replace(
        place,
        masks={**masks, **_changes(cover, land_cover(later.crop().material, materials))},
        boxes={"buildings": outlines(history.before, terrain), "buildings_after": outlines(history.after, later)},
        after=look_again(streams[6], later, materials, identity, grid),
    )


def _attributes(seed: int, identity: Identity) -> dict[str, Any]:
    return {
        "simulated": True,
        "simulator_version": SIMULATOR_VERSION,
        "seed": seed,
        "index": identity.index,
        "region_index": identity.region_index,
        "region_name": SITES[identity.region_index].name,
        "region_type": identity.kind.name,
        "ambiguous_crops": identity.kind.ambiguous_crops,
        "year": identity.year,
    }


def _changes(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """Masks of the later date, from the land cover of both."""
    return {"land_cover_after": after, "change": (before != after).astype(np.uint8)}


def land_cover(material: NDArray[np.int16], materials: list[Material]) -> NDArray[np.uint8]:
    """Class of `LAND_COVERS` of each pixel ``(H, W)``."""
    return np.array([one.cover for one in materials], np.uint8)[material]


def crop_type(share: NDArray[np.float64], materials: list[Material]) -> NDArray[np.uint8]:
    """Class of `CROPS` of each cell ``(h, w)``; 0 where no crop covers `PURE` of it."""
    crops = np.array([one.crop for one in materials])
    per_crop = np.stack([share[crops == crop].sum(0) for crop in range(len(CROPS))])
    per_crop[0] = 0
    best = per_crop.argmax(0)
    return np.where(per_crop.max(0) >= PURE, best, 0).astype(np.uint8)
