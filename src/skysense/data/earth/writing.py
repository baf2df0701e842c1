"""Writing the simulated Earth: a folder of places, or one wide scene."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

import numpy as np

from skysense.data.earth.buildings import BUILDINGS
from skysense.data.earth.layout import plan_landscape
from skysense.data.earth.materials import Palette
from skysense.data.earth.noise import enlarge_to
from skysense.data.earth.picture import plant_vigour, survey
from skysense.data.earth.place import SIMULATOR_VERSION, check_footprint_cells, simulate_place
from skysense.data.earth.spectra import soil_spectrum
from skysense.data.earth.terrain import build
from skysense.data.earth.world import (
    BLOCK,
    CROPS,
    LAND_COVERS,
    PLACES_PER_REGION,
    SCENES,
    SITES,
    block_splits,
    identify,
    place_generator,
    place_index,
    soil_mix,
)
from skysense.data.places_layout import DATASET_FILE, Legend, Split, read_dataset
from skysense.data.places_rules import utm_footprint
from skysense.data.places_write import write_dataset, write_place
from skysense.errors import InputError
from skysense.files import atomic_path
from skysense.geo import CELL_HR_PX, CELL_METRES
from skysense.sensors import OPTICAL_HR

TITLE = "Simulated Earth"
LICENCE = "CC0-1.0"
LEGENDS = {
    "scene": Legend("scene", SCENES),
    "multilabel": Legend("multilabel", LAND_COVERS),
    "land_cover": Legend("mask", LAND_COVERS),
    "crop_type": Legend("mask", CROPS, ignore=0),
}
BUILDING_LEGENDS = {
    "buildings": Legend("boxes", BUILDINGS),
    "buildings_after": Legend("boxes", BUILDINGS, after=True),
    "land_cover_after": Legend("mask", LAND_COVERS, after=True),
    "change": Legend("mask", ("unchanged", "changed"), after=True),
}
"""Legends of a simulated Earth with buildings, beside `LEGENDS`."""
HALVES: Mapping[Split, float] = {"train": 0.5, "test": 0.5}


def simulate(
    root: str | Path,
    *,
    regions: int = 8,
    places_per_region: int = 16,
    seed: int = 0,
    footprint_cells: int = 16,
    split: Mapping[Split, float] | None = None,
    buildings: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write a simulated Earth as a folder of places; places that are there already are kept.

    Every pixel is made up: ``dataset.json`` and each ``place.json`` say so.

    Args:
        root: a new or empty folder, or one that this function has begun with the same arguments; more regions or places
            may be asked for later, and none of the earlier ones changes.
        regions: number of regions, each one cell of 65.536 km; types take turns.
        places_per_region: places in each.
        seed: of the Earth.
        footprint_cells: side of each place in cells of 10 m, a multiple of 4.
        split: share of each split, of every block of sixteen places; half train and half test if None.
        buildings: draw more buildings, with boxes, and a second image of a later date with what changed; see
            `simulate_place`.
        progress: called with (places done, places in all) after each place.

    Returns:
        How many places were written by this call.

    Raises:
        InputError: arguments out of range, or a folder that holds something else.
        OutputError: no space, no permission; what was finished before stays, and calling again goes on from there.
    """
    check_footprint_cells(footprint_cells)
    if not (1 <= regions <= len(SITES) and 1 <= places_per_region <= PLACES_PER_REGION):
        raise InputError(
            f"simulate regions=1..{len(SITES)} with places_per_region=1..{PLACES_PER_REGION}; "
            f"got {regions} and {places_per_region}"
        )
    shares = HALVES if split is None else _check_split(split)
    root = Path(root)
    legends = LEGENDS | BUILDING_LEGENDS if buildings else LEGENDS
    asked = f"seed {seed}, {footprint_cells} cells a side, split {_dealt(shares)}{', buildings' if buildings else ''}"
    _open_folder(root, asked, legends)
    written, total = 0, regions * places_per_region
    for done in range(total):
        region, number = divmod(done, places_per_region)
        index = place_index(region, number)
        if not (root / identify(seed, index).name).exists():
            place = simulate_place(seed, index, footprint_cells=footprint_cells, buildings=buildings)
            kept = block_splits(seed, region, number // BLOCK, shares)[number % BLOCK]
            write_place(
                root,
                place.sample,
                labels=place.labels,
                masks=place.masks,
                boxes=place.boxes,
                after=place.after,
                split=kept,
                attributes=place.attributes,
            )
            written += 1
        if progress is not None:
            progress(done + 1, total)
    return written


def _check_split(split: Mapping[Split, float]) -> Mapping[Split, float]:
    known = get_args(Split)
    if not split or not set(split) <= set(known) or min(split.values()) < 0 or sum(split.values()) <= 0:
        raise InputError(f"split gives each of {', '.join(known)} a share of at least 0; got {dict(split)}")
    return {name: split[name] for name in known if name in split}


def _dealt(shares: Mapping[Split, float]) -> str:
    return ", ".join(f"{name} {share:g}" for name, share in shares.items())


def _open_folder(root: Path, asked: str, legends: Mapping[str, Legend]) -> None:
    """Begin a folder, or make sure that it is one we began alike."""
    source = f"simulated by skysense (simulator {SIMULATOR_VERSION}): {asked}"
    if (root / DATASET_FILE).exists():
        found = read_dataset(root).source
        if found != source:
            raise InputError(
                f"holds another data set ({found or 'source unknown'!s}); asked for: {source}",
                file=root,
                fix="Choose an empty folder",
            )
        return
    if root.exists() and (not root.is_dir() or os.listdir(root)):
        raise InputError("holds something else than a simulated Earth", file=root, fix="Choose an empty folder")
    write_dataset(root, title=TITLE, simulated=True, legends=legends, source=source, licence=LICENCE)


def simulate_scene(path: str | Path, *, seed: int = 0, height: int = 1024, width: int = 2048, region: int = 1) -> Path:
    """Write one wide high-resolution image with fields, a village, woods, works and a river, as a GeoTIFF with CRS.

    Args:
        path: of the file.
        seed: of the Earth.
        height: in pixels of 0.3125 m, a multiple of 128 (four cells).
        width: likewise.
        region: index of the region it lies in.

    Returns:
        The path.

    Raises:
        InputError: a size that is no multiple of 128, or no such region.
        OutputError: no space, no permission.
    """
    for side in (height, width):
        if side % CELL_HR_PX:
            raise InputError(f"the scene is {height} x {width} px; both must be multiples of {4 * CELL_HR_PX} px")
        check_footprint_cells(side // CELL_HR_PX)
    index = place_index(region, PLACES_PER_REGION - 1)
    identity = identify(seed, index)
    streams = [place_generator(seed, index, 10 + purpose) for purpose in range(3)]
    cells = (height // CELL_HR_PX, width // CELL_HR_PX)
    soil = soil_spectrum(soil_mix(seed, identity, streams[0]), streams[0])
    palette = Palette(streams[0], identity.kind, soil)
    layout = plan_landscape(streams[0], palette, (cells[1] * CELL_METRES, cells[0] * CELL_METRES))
    terrain = build(streams[1], layout, (height, width))
    vigour = enlarge_to(plant_vigour(streams[1], cells), (height, width))
    image = survey(streams[2], terrain, palette.materials, vigour, identity, identity.year)
    return _write_scene(Path(path), image.values[0], identity.lon, identity.lat, cells, image.dates[0])


def _write_scene(
    path: Path, picture: np.ndarray, lon: float, lat: float, cells: tuple[int, int], date: np.datetime64
) -> Path:
    import rasterio
    from rasterio.transform import from_bounds

    footprint = utm_footprint(lon, lat, cells)
    if footprint is None:
        raise InputError("a scene needs a position")
    count, height, width = picture.shape
    profile = {
        "driver": "GTiff", "count": count, "height": height, "width": width, "dtype": "uint8", "crs": footprint.crs,
        "transform": from_bounds(*footprint.bounds, width, height), "compress": "deflate", "predictor": 2,
        "tiled": True, "blockxsize": 256, "blockysize": 256, "photometric": "RGB", "interleave": "pixel",
    }  # fmt: skip
    with atomic_path(path) as temporary, rasterio.open(temporary, "w", **profile) as file:
        file.write(picture)
        file.descriptions = OPTICAL_HR.bands
        file.update_tags(
            SKYSENSE_SENSOR=OPTICAL_HR.name, SKYSENSE_UNIT=str(OPTICAL_HR.unit), SKYSENSE_DATE=str(date),
            SKYSENSE_SIMULATED="yes", TIFFTAG_IMAGEDESCRIPTION="Simulated scene: every pixel is made up",
        )  # fmt: skip
    return path
