"""A small fMoW-Sentinel: composites of 13 bands of any size, three tables, images that no table names.

A key is the path of an image, ``fmow-sentinel/<split>/<class>/<class>_<place>/<class>_<place>_<image>.tif``; the number
of a place is its own only within its class and split. Failed downloads, one band of nothing, are no keys.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import DTypeLike

from tests.datasets.fakes.smooth import smooth, write_tiff
from tests.datasets.truth import Truth

CLASSES = (
    "airport", "airport_hangar", "airport_terminal", "amusement_park", "aquaculture", "archaeological_site", "barn",
    "border_checkpoint", "burial_site", "car_dealership", "construction_site", "crop_field", "dam",
    "debris_or_rubble", "educational_institution", "electric_substation", "factory_or_powerplant", "fire_station",
    "flooded_road", "fountain", "gas_station", "golf_course", "ground_transportation_station", "helipad", "hospital",
    "impoverished_settlement", "interchange", "lake_or_pond", "lighthouse", "military_facility",
    "multi-unit_residential", "nuclear_powerplant", "office_building", "oil_or_gas_facility", "park",
    "parking_lot_or_garage", "place_of_worship", "police_station", "port", "prison", "race_track", "railway_bridge",
    "recreational_facility", "road_bridge", "runway", "shipyard", "shopping_mall", "single-unit_residential",
    "smokestack", "solar_farm", "space_facility", "stadium", "storage_tank", "surface_mine", "swimming_pool",
    "toll_booth", "tower", "tunnel_opening", "waste_disposal", "water_treatment_facility", "wind_farm", "zoo",
)  # fmt: skip
SPLITS = ("train", "val", "test_gt")
# B01, B02 ... B08, B8A, B09, B10, B11, B12: B10 (cirrus) is nearly nothing.
_LOW = [200] * 9 + [100, 2] + [200] * 2
_HIGH = [3500] * 9 + [1200, 30] + [3500] * 2
_DEGREE = 8.983152841195215e-05  # 10 m on the equator
# Of the images of a place: number and middle of the composite. Numbers below 100 are dates of fMoW itself.
_IMAGES = ((6, "2016-04-16T18:44:27.405Z"), (100, "2016-10-01T00:00:00Z"), (103, "2018-04-01T00:00:00Z"))


def write(
    root: Path,
    *,
    seed: int = 0,
    classes: Sequence[str] = CLASSES,
    places: int = 1,
    images: int = 2,
    side: int = 10,
    dtype: DTypeLike = np.uint16,
    inside: bool = False,
) -> Truth:
    """The tables beside ``fmow-sentinel/``, whose folders are named like the tables.

    Args:
        root: folder to write into.
        seed: of the content.
        classes: which occur in every split.
        places: of each class and split.
        images: of each place that a table names, at most 3.
        side: pixels of the smallest image; others have up to twice as many. The median is 51 x 44 in truth.
        dtype: of the files. The true one is not verified, and whole numbers are the likely one: reflectance x 10^4.
        inside: the tables lie in ``fmow-sentinel/``, as some people put them.
    """
    rng = np.random.default_rng(seed)
    truth = Truth(classes=CLASSES)
    for split in SPLITS:
        rows = []
        for name in classes:
            for place in range(places):
                grid, width, height = _box(rng, side)
                for at, (image, time) in enumerate(_IMAGES[:images]):
                    path = _path(split, name, place, image)
                    truth.pixels[path] = smooth(rng, (13, height, width), _LOW, _HIGH, dtype)
                    truth.labels[path], truth.splits[path] = name, split
                    write_tiff(root / path, truth.pixels[path], "EPSG:4326", grid, interleave="pixel")
                    known = {"category": name, "location_id": place, "image_id": image, "timestamp": time}
                    rows.append(known | {"polygon": _outline(grid, width, height)})
                    if at == 0 and place == 0 and name == classes[0]:
                        _write_failed(root / _path(split, name, place, 108), dtype)
        table = root / "fmow-sentinel" / f"{split}.csv" if inside else root / f"{split}.csv"
        _write_table(table, rows)
    return truth


def _path(split: str, name: str, place: int, image: int) -> str:
    return f"fmow-sentinel/{split}/{name}/{name}_{place}/{name}_{place}_{image}.tif"


def _box(rng: np.random.Generator, side: int) -> tuple[Affine, int, int]:
    """Somewhere on land or sea; width and height. (That the files are in longitude and latitude is not verified.)"""
    west, north = np.round(rng.uniform((-120, -50), (140, 60)), 6)
    width, height = (int(length) for length in rng.integers(side, 2 * side + 1, 2))
    return Affine(_DEGREE, 0, float(west), 0, -_DEGREE, float(north)), width, height


def _outline(grid: Affine, width: int, height: int) -> str:
    west, north = grid.c, grid.f
    east, south = west + width * grid.a, north + height * grid.e
    corners = [(west, north), (west, south), (east, south), (east, north), (west, north)]
    return f"POLYGON (({', '.join(f'{x:.8f} {y:.8f}' for x, y in corners)}))"


def _write_failed(path: Path, dtype: DTypeLike) -> None:
    """What a download that failed left: it is in no table."""
    write_tiff(path, np.zeros((1, 4, 4), dtype), "EPSG:4326", Affine(_DEGREE, 0, 0, 0, -_DEGREE, 0))


def _write_table(path: Path, rows: list[dict]) -> None:
    """The first column has no name and counts the rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["", *rows[0]])
        table.writerows([number, *row.values()] for number, row in enumerate(rows))
