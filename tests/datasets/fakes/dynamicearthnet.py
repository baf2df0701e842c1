"""A small DynamicEarthNet: Planet images, monthly labels, Sentinel-1 and Sentinel-2, lists of the splits.

A key is a month of an area, ``1311_3077_13_10N/2018-01``, always with the underscore before the zone. Its pixels are
``planet`` ``(T, 4, H, W)`` of the days that were asked for, ``sentinel2`` ``(12, H, W)`` and ``sentinel1``
``(8, H, W)`` where the file of that month is there, all on one grid of 3 m. Its label is a mask of indexes into
``CLASSES``; snow and ice, which nobody trains on, keeps its index; a pixel without any band is 255.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import transform as reproject

from tests.datasets.fakes.smooth import regions, smooth, write_lines, write_tiff
from tests.datasets.truth import Truth

CLASSES = (
    "impervious surface",
    "agriculture",
    "forest & other vegetation",
    "wetlands",
    "soil",
    "water",
    "snow & ice",
)
PIXEL = 3.0  # metres
_VECTOR = "Impervious_Surfaces"
# Low and high of B, G, R, NIR as stored; there are values below zero.
_PLANET = ((-60, -40, -60, 200), (1500, 1800, 2200, 5000))


@dataclass(frozen=True)
class Area:
    """An area of interest with what is peculiar about its files.

    Attributes:
        cube: ``<x>_<y>_13``. That these are numbers of web map tiles is not verified; the ground is made from them.
        zone: of UTM with its hemisphere.
        cell: of the grid of Planet Fusion.
        scene: as in names of labels; it can be wrong about the ground.
        split: official.
        folder_mark: between cube and zone in the name of the folder of labels.
        date_mark: between year, month and day in the names of labels.
        below: folders between the area and Raster.
        vector: spelling of the folder of outlines.
        listed: whether the list of its split names it, as first published.
        snow: snow and ice occur.
    """

    cube: str
    zone: str
    cell: str
    scene: str
    split: str
    folder_mark: str = "_"
    date_mark: str = "_"
    below: str = "Labels/"
    vector: str = "Vector"
    listed: bool = True
    snow: bool = False

    @property
    def crs(self) -> str:
        return f"EPSG:{(32700 if self.zone.endswith('S') else 32600) + int(self.zone[:-1])}"

    def label(self, folder_mark: str, below: str, month: str) -> str:
        """The path of a label below the root, in the official tree."""
        date = f"{month}-01".replace("-", self.date_mark)
        return f"labels/{self.cube}{folder_mark}{self.zone}/{below}Raster/{self.scene}/{self.scene}-{date}.tif"


# Cells and scenes of the first and the last two are real, and the scene of 2470_5030_13; the others have their form.
AREAS = (
    Area("1311_3077_13", "10N", "23E-188N", "10N-122W-40N-L3H-SR", "train"),
    Area("1417_3281_13", "11N", "24E-165N", "11N-117W-33N-L3H-SR", "train", below="", vector="vector", listed=False),
    Area("5111_4560_13", "38S", "12E-214N", "38S-44E-20S-L3H-SR", "train", folder_mark="-"),
    Area("2470_5030_13", "19S", "18E-158N", "19S-5E-34N-L3H-SR", "train", snow=True),
    Area("1973_3709_13", "15N", "20E-78N", "15N-93W-16N-L3H-SR", "val", vector="vector"),
    Area("1330_3107_13", "10N", "26E-183N", "10N-121W-39N-L3H-SR", "test"),
    Area("2196_3885_13", "17N", "9E-42N", "17N-83W-9N-L3H-SR", "test", date_mark="-"),
)


def months_from_2018(count: int) -> list[str]:
    return [f"{2018 + k // 12}-{k % 12 + 1:02d}" for k in range(count)]


def write(
    root: Path,
    *,
    seed: int = 0,
    areas: Sequence[Area] = AREAS,
    months: int = 3,
    days: Sequence[int] = (1,),
    size: int = 32,
    lists: str | None = "txt",
    nested: bool = False,
) -> Truth:
    """All parts in one root.

    Args:
        root: folder to write into.
        seed: of the content.
        areas: which; every class occurs in each but snow.
        months: from January 2018, 24 in truth. Files of Sentinel-2 (the second area) and Sentinel-1 (the first) are
            missing in the second month.
        days: of each month that have Planet images, all in truth; the first is the monthly series.
        size: pixels on the side, 1024 in truth.
        lists: ``txt``: the authors' dynnet_training_splits/, without the area that they left out; ``csv``: splits.csv
            of the copy on Hugging Face, where folders of labels have the underscore; None: no list.
        nested: every archive was unpacked in a folder of its own name.
    """
    rng = np.random.default_rng(seed)
    truth = Truth(classes=CLASSES)
    for at, area in enumerate(areas):
        cover_HW = regions(rng, size, size, range(7 if area.snow else 6))
        for k, month in enumerate(months_from_2018(months)):
            key = f"{area.cube}_{area.zone}/{month}"
            absent = {"sentinel2"} if (at, k) == (1, 1) else {"sentinel1"} if (at, k) == (0, 1) else set()
            truth.pixels[key] = _write_images(rng, root, area, month, days, size, absent, nested)
            cover_HW = _changed(rng, cover_HW)
            truth.labels[key] = _write_label(root, area, month, cover_HW, lists == "csv", nested)
            truth.splits[key] = area.split
        _write_extras(root, area, lists == "csv", nested)
    if lists == "txt":
        _write_txt(root, areas, months)
    elif lists == "csv":
        _write_csv(root, areas, months, truth)
    return truth


def _place(root: Path, path: str, area: Area, nested: bool) -> Path:
    top = path.split("/", 1)[0]
    return root / (f"planet.{area.zone}" if top == "planet" else top) / path if nested else root / path


def _grid(area: Area, size: int) -> Affine:
    """In the UTM zone of the area, near the north-west of its web map tile."""
    x, y, zoom = (int(part) for part in area.cube.split("_"))
    longitude = x / 2**zoom * 360 - 180
    latitude = math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * y / 2**zoom))))
    (east,), (north,) = reproject("EPSG:4326", area.crs, [longitude], [latitude])
    return Affine(PIXEL, 0, round(east / PIXEL) * PIXEL, 0, -PIXEL, round(north / PIXEL) * PIXEL)


def _write_images(
    rng: np.random.Generator,
    root: Path,
    area: Area,
    month: str,
    days: Sequence[int],
    size: int,
    absent: set[str],
    nested: bool,
) -> dict[str, NDArray]:
    grid = _grid(area, size)
    planet = []
    for day in days:
        planet.append(smooth(rng, (4, size, size), *_PLANET, np.int16))
        folder = f"planet/{area.zone}/{area.cell}/{area.cube}"
        name = f"{month}-{day:02d}.tif"
        write_tiff(_place(root, f"{folder}/PF-SR/{name}", area, nested), planet[-1], area.crs, grid)
        # Signed distance in days of what filled a gap. Number of bands and type are not verified.
        filled = np.full((1, size, size), -(day % 3), np.int16)
        write_tiff(_place(root, f"{folder}/PF-QA/{name}", area, nested), filled, area.crs, grid)
    made = {"planet": np.stack(planet)}
    # Types of both are not verified, nor the order of the bands, nor the unit of Sentinel-1 (here dB).
    monthly = {
        "sentinel2": smooth(rng, (12, size, size), 200, 4000, np.uint16),
        "sentinel1": smooth(rng, (8, size, size), -25, -5, np.float32),
    }
    for sensor, values in monthly.items():
        if sensor not in absent:
            path = f"{sensor}/{area.cube}/{area.cube}_{month.replace('-', '_')}.tif"
            write_tiff(_place(root, path, area, nested), values, area.crs, grid)
            made[sensor] = values
    return made


def _changed(rng: np.random.Generator, cover_HW: NDArray) -> NDArray:
    """A square becomes soil; the corner has no label, a few pixels in every map."""
    changed_HW = np.where(cover_HW == 255, 0, cover_HW)
    side = max(1, len(cover_HW) // 8)
    top, left = rng.integers(2, len(cover_HW) - side, 2)
    changed_HW[top : top + side, left : left + side] = 4
    changed_HW[0, :2] = 255
    return changed_HW


def _label_path(area: Area, month: str, corrected: bool) -> str:
    return area.label("_" if corrected else area.folder_mark, area.below, month)


def _write_label(root: Path, area: Area, month: str, cover_HW: NDArray, corrected: bool, nested: bool) -> NDArray:
    """Seven bands of 0 and 255."""
    bands = (cover_HW[None] == np.arange(7)[:, None, None]).astype(np.uint8) * 255
    path = _place(root, _label_path(area, month, corrected), area, nested)
    write_tiff(path, bands, area.crs, _grid(area, len(cover_HW)))
    return cover_HW.astype(np.uint8)


def _write_extras(root: Path, area: Area, corrected: bool, nested: bool) -> None:
    """What lies beside the rasters and is none: statistics of one, outlines."""
    raster = _place(root, _label_path(area, "2018-01", corrected), area, nested)
    raster.with_name(f"{raster.name}.aux.xml").write_text("<PAMDataset>\n</PAMDataset>\n", "utf-8")
    outlines = raster.parents[2] / area.vector / _VECTOR / area.scene / f"{raster.stem}.geojson"
    outlines.parent.mkdir(parents=True)
    outlines.write_text(json.dumps({"type": "FeatureCollection", "features": []}), "utf-8")


def _write_txt(root: Path, areas: Sequence[Area], months: int) -> None:
    """Folders that do not exist on disk in the first field, the underscore before every zone in the second."""
    for split in ("train", "val", "test"):
        lines = [
            f"/reprocess-cropped/UTM-24000/{area.zone}/{area.cell}/{area.cube}/PF-SR "
            f"/{area.label('_', area.below, month)} {month}"
            for area in areas
            if area.split == split and area.listed
            for month in months_from_2018(months)
        ]
        write_lines(root / "dynnet_training_splits" / f"{split}.txt", lines)


def _write_csv(root: Path, areas: Sequence[Area], months: int, truth: Truth) -> None:
    """Paths stand there also for files that are missing. (That they do is not verified.)"""
    rows = []
    for area in areas:
        for month in months_from_2018(months):
            found = truth.pixels[f"{area.cube}_{area.zone}/{month}"]
            name = f"{area.cube}/{area.cube}_{month.replace('-', '_')}.tif"
            row = {
                "split": area.split,
                "planet_path": f"planet/{area.zone}/{area.cell}/{area.cube}/PF-SR",
                "label_path": _label_path(area, month, corrected=True),
                "year_month": month,
                "missing_label": False,
                "s1_path": f"sentinel1/{name}",
                "missing_s1": "sentinel1" not in found,
                "s2_path": f"sentinel2/{name}",
                "missing_s2": "sentinel2" not in found,
            }
            rows.append(row)
    with (root / "splits.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
