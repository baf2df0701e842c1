"""A small PASTIS, PASTIS-R or PASTIS-HD: series of Sentinel-2 and Sentinel-1 as arrays, SPOT images, crops.

A key is the number of a patch. Its pixels are ``S2`` ``(T, 10, H, W)``, ``S1A`` and ``S1D`` ``(T, 3, H, W)``, each with
its own dates, and ``SPOT`` ``(3, 10 H, 10 W)``. Its label is the map of crops as stored: indexes into ``CLASSES``, of
which the last is void. Its split is its fold, "1" to "5".
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import transform as reproject

from tests.datasets.fakes.smooth import regions, smooth, write_tiff
from tests.datasets.truth import Truth

CLASSES = (
    "Background", "Meadow", "Soft winter wheat", "Corn", "Winter barley", "Winter rapeseed", "Spring barley",
    "Sunflower", "Grapevine", "Beet", "Winter triticale", "Winter durum wheat", "Fruits,  vegetables, flowers",
    "Potatoes", "Leguminous fodder", "Soybeans", "Orchard", "Mixed cereal", "Sorghum", "Void label",
)  # fmt: skip
_METRES = 1280
_LAMBERT_93 = "EPSG:2154"
_S1_LIMITS = ((-18, -25, 3), (-5, -11, 10))  # low and high of VV, VH, VV - VH in dB
_FORMS = {  # of the tree: sensors that it holds
    "PASTIS": ("S2",),
    "PASTIS-R": ("S2", "S1A", "S1D"),
    "PASTIS-HD": ("S2", "S1A", "S1D", "SPOT"),
}
_FIRST_DAY = {"S2": (2018, 9, 24), "S1A": (2018, 9, 2), "S1D": (2018, 9, 3)}


@dataclass(frozen=True)
class _Tile:
    name: str
    zone: int
    corner: tuple[int, int]  # north-west in UTM

    @property
    def crs(self) -> str:
        return f"EPSG:{32600 + self.zone}"


# Which tile a number of a patch belongs to is not verified.
_TILES = (
    _Tile("t30uxv", 30, (600_000, 5_500_020)),
    _Tile("t31tfj", 31, (600_000, 4_900_020)),
    _Tile("t31tfm", 31, (600_000, 5_200_020)),
    _Tile("t32ulu", 32, (300_000, 5_400_000)),
)


def write(
    root: Path, *, seed: int = 0, form: str = "PASTIS-HD", patches: int = 5, size: int = 16, dates: int = 11
) -> Truth:
    """One folder of the name of the form.

    Args:
        root: folder to write into.
        seed: of the content.
        form: ``PASTIS``, ``PASTIS-R`` (with Sentinel-1) or ``PASTIS-HD`` (with SPOT, too).
        patches: how many; from 5 on every fold, every tile and every class occurs.
        size: pixels of 10 m on the side, 128 in truth.
        dates: of Sentinel-2 at least, 38 to 61 in truth; every third patch has one more. The series of Sentinel-1 have
            two and three more than that, about 70 in truth.
    """
    rng = np.random.default_rng(seed)
    truth = Truth(classes=CLASSES)
    folder = root / form
    features = []
    for k in range(patches):
        tile = _TILES[k % len(_TILES)]
        number = 10_000 * (k % len(_TILES) + 1) + 7 * (k // len(_TILES))  # numbers have gaps
        name = str(number)
        of_sensor = {"S2": dates + (k % 3 == 0), "S1A": dates + 2 + (k % 3 == 0), "S1D": dates + 3 + (k % 3 == 0)}
        days = {sensor: _days(rng, sensor, count) for sensor, count in of_sensor.items() if sensor in _FORMS[form]}
        truth.pixels[name] = {sensor: _series(rng, sensor, len(of), size) for sensor, of in days.items()}
        for sensor, values in truth.pixels[name].items():
            _save(folder / f"DATA_{sensor}" / f"{sensor}_{name}.npy", values)
        corner = (tile.corner[0] + _METRES * (3 + k), tile.corner[1] - _METRES * (5 + k))
        if "SPOT" in _FORMS[form]:
            truth.pixels[name]["SPOT"] = _write_spot(rng, folder, name, tile, corner, size)
        truth.labels[name] = _write_annotations(rng, folder, name, k, size)
        truth.splits[name] = str(k % 5 + 1)
        features.append(_feature(number, k % 5 + 1, tile, corner, days))
    _write_metadata(folder / "metadata.geojson", features)
    for sensor in _FORMS[form]:
        if sensor != "SPOT":
            _write_norm(folder / f"NORM_{sensor}_patch.json", sensor, truth)
    return truth


def _days(rng: np.random.Generator, sensor: str, count: int) -> list[int]:
    """Dates as whole numbers, every five days and some left out."""
    first = datetime.date(*_FIRST_DAY[sensor])
    steps = 5 * np.cumsum(rng.integers(1, 3, count)) - 5
    return [int((first + datetime.timedelta(days=int(step))).strftime("%Y%m%d")) for step in steps]


def _series(rng: np.random.Generator, sensor: str, count: int, size: int) -> NDArray:
    """Sentinel-2: reflectance x 10^4 with a corner of no data in the second image; Sentinel-1: dB."""
    if sensor == "S2":
        series = np.stack([smooth(rng, (10, size, size), 200, 5000, np.int16) for _ in range(count)])
        series[1, :, :2, :2] = -10_000
        return series
    return np.stack([smooth(rng, (3, size, size), *_S1_LIMITS, np.float16) for _ in range(count)])


def _save(path: Path, values: NDArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def _write_spot(
    rng: np.random.Generator, folder: Path, name: str, tile: _Tile, corner: tuple[int, int], size: int
) -> NDArray[np.uint8]:
    """Red, green, blue of 1 m. The projection of the files is not verified: here that of the patch, which it covers."""
    side = 10 * size
    values = smooth(rng, (3, side, side), 0, 255, np.uint8)
    grid = Affine(_METRES / side, 0, corner[0], 0, -_METRES / side, corner[1])
    kind = "SPOT6_RVB_1M00_2019"
    write_tiff(folder / "DATA_SPOT" / f"PASTIS_{kind}" / f"{kind}_{name}.tif", values, tile.crs, grid)
    return values


def _write_annotations(rng: np.random.Generator, folder: Path, name: str, k: int, size: int) -> NDArray[np.uint8]:
    """Parcels with a crop each, among them background and void; one file a kind of annotation.

    Not verified: the second and third channel of the target (here instance and zone), and the types of HEATMAP, ZONES
    and ParcelIDs.
    """
    crops = np.concatenate([[0], 1 + np.arange(4 * k, 4 * k + 5) % 19])
    zones_HW = regions(rng, size, size, range(len(crops)))
    semantic_HW = crops[zones_HW]
    instances_HW = np.where((semantic_HW > 0) & (semantic_HW < 19), zones_HW, 0)
    target = np.stack([semantic_HW, instances_HW, zones_HW]).astype(np.uint8)
    _save(folder / "ANNOTATIONS" / f"TARGET_{name}.npy", target)
    parcels = np.where(zones_HW > 0, 1000 * k + zones_HW, 0).astype(np.int32)
    _save(folder / "ANNOTATIONS" / f"ParcelIDs_{name}.npy", parcels)
    instances = folder / "INSTANCE_ANNOTATIONS"
    _save(instances / f"INSTANCES_{name}.npy", instances_HW.astype(np.int64))
    _save(instances / f"HEATMAP_{name}.npy", (instances_HW > 0).astype(np.float32))
    _save(instances / f"ZONES_{name}.npy", zones_HW.astype(np.int64))
    return target[0]


def _feature(number: int, fold: int, tile: _Tile, corner: tuple[int, int], days: dict[str, list[int]]) -> dict:
    """The outline is a square in UTM, hence a little turned in Lambert-93."""
    left, top = corner
    xs = [left, left + _METRES, left + _METRES, left, left]
    ys = [top, top, top - _METRES, top - _METRES, top]
    ring = [[float(x), float(y)] for x, y in zip(*reproject(tile.crs, _LAMBERT_93, xs, ys), strict=True)]
    dates = {f"dates-{sensor}": {str(at): day for at, day in enumerate(of)} for sensor, of in days.items()}
    known = {"Fold": fold, "ID_PATCH": number, "N_Parcel": 4, "Parcel_Cover": 0.83, "TILE": tile.name}
    geometry = {"type": "MultiPolygon", "coordinates": [[ring]]}
    return {"id": str(number), "type": "Feature", "properties": known | dates, "geometry": geometry}


def _write_metadata(path: Path, features: list[dict]) -> None:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}), "utf-8")


def _write_norm(path: Path, sensor: str, truth: Truth) -> None:
    """Mean and deviation of every band by fold; zeros and ones for a fold without patches."""
    norm = {}
    for fold in range(1, 6):
        inside = [name for name, of in truth.splits.items() if of == str(fold)]
        bands = 10 if sensor == "S2" else 3
        mean, std = np.zeros(bands), np.ones(bands)
        if inside:
            values = np.concatenate([truth.pixels[name][sensor] for name in inside]).astype(np.float64)
            mean, std = values.mean((0, 2, 3)), values.std((0, 2, 3))
        norm[f"Fold_{fold}"] = {"mean": mean.tolist(), "std": std.tolist()}
    path.write_text(json.dumps(norm), "utf-8")
