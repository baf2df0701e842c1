"""A small BigEarthNet, version 1 and version 2 (reBEN), with Sentinel-1 and Sentinel-2, lists and metadata.

Every patch is a key by its Sentinel-2 name. Its pixels are a dict by file: ``B01`` ... ``B12``, ``VV``, ``VH``, in
version 2 also ``reference_map`` (codes of CORINE Land Cover), each ``(1, H, W)``. Its labels are names of the 19
classes in the order of ``CLASSES``. Of the patches the last two are one with seasonal snow, one with clouds; in
version 1 the one before them has no label that is left among the 19.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from tests.datasets.fakes.smooth import regions, smooth, write_lines, write_tiff
from tests.datasets.truth import Truth

CLASSES = (
    "Urban fabric",
    "Industrial or commercial units",
    "Arable land",
    "Permanent crops",
    "Pastures",
    "Complex cultivation patterns",
    "Land principally occupied by agriculture, with significant areas of natural vegetation",
    "Agro-forestry areas",
    "Broad-leaved forest",
    "Coniferous forest",
    "Mixed forest",
    "Natural grassland and sparsely vegetated areas",
    "Moors, heathland and sclerophyllous vegetation",
    "Transitional woodland, shrub",
    "Beaches, dunes, sands",
    "Inland wetlands",
    "Coastal wetlands",
    "Inland waters",
    "Marine waters",
)
# The 43 classes in the order of label_indices.json: code of CORINE Land Cover, index of the 19 (None: left out), name.
_FINE = (
    (111, 0, "Continuous urban fabric"),
    (112, 0, "Discontinuous urban fabric"),
    (121, 1, "Industrial or commercial units"),
    (122, None, "Road and rail networks and associated land"),
    (123, None, "Port areas"),
    (124, None, "Airports"),
    (131, None, "Mineral extraction sites"),
    (132, None, "Dump sites"),
    (133, None, "Construction sites"),
    (141, None, "Green urban areas"),
    (142, None, "Sport and leisure facilities"),
    (211, 2, "Non-irrigated arable land"),
    (212, 2, "Permanently irrigated land"),
    (213, 2, "Rice fields"),
    (221, 3, "Vineyards"),
    (222, 3, "Fruit trees and berry plantations"),
    (223, 3, "Olive groves"),
    (231, 4, "Pastures"),
    (241, 3, "Annual crops associated with permanent crops"),
    (242, 5, "Complex cultivation patterns"),
    (243, 6, "Land principally occupied by agriculture, with significant areas of natural vegetation"),
    (244, 7, "Agro-forestry areas"),
    (311, 8, "Broad-leaved forest"),
    (312, 9, "Coniferous forest"),
    (313, 10, "Mixed forest"),
    (321, 11, "Natural grassland"),
    (322, 12, "Moors and heathland"),
    (323, 12, "Sclerophyllous vegetation"),
    (324, 13, "Transitional woodland/shrub"),
    (331, 14, "Beaches, dunes, sands"),
    (332, None, "Bare rock"),
    (333, 11, "Sparsely vegetated areas"),
    (334, None, "Burnt areas"),
    (411, 15, "Inland marshes"),
    (412, 15, "Peatbogs"),
    (421, 16, "Salt marshes"),
    (422, 16, "Salines"),
    (423, None, "Intertidal flats"),
    (511, 17, "Water courses"),
    (512, 17, "Water bodies"),
    (521, 18, "Coastal lagoons"),
    (522, 18, "Estuaries"),
    (523, 18, "Sea and ocean"),
)
CLASSES_43 = tuple(name for _, _, name in _FINE)
_NO_CODE = {335: None, 999: None}  # glaciers and unlabelled: in the maps of version 2 only
_COARSE_OF_CODE = {code: coarse for code, coarse, _ in _FINE} | _NO_CODE
_LEFT_OUT = [index for index, (_, coarse, _) in enumerate(_FINE) if coarse is None]
# Pixels on the side of a patch where the bands of 10 m have 120.
_SIDE_OF_120 = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 120),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 60),
    **dict.fromkeys(("B01", "B09"), 20),
}
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
_PATCH = 1200  # metres
_SNOW, _CLOUD = "patches_with_seasonal_snow.csv", "patches_with_cloud_and_shadow.csv"


@dataclass(frozen=True)
class _Scene:
    """A Sentinel-2 scene and the Sentinel-1 scene that goes with it."""

    s2: str  # S2A_MSIL2A_<date>T<time>
    orbit: str
    tile: str
    zone: int
    corner: tuple[int, int]  # north-west, of the square of 100 km
    country: str
    s1: str  # S1A_IW_GRDH_1SDV_<date>T<time>

    @property
    def crs(self) -> str:
        return f"EPSG:{32600 + self.zone}"


_SCENES = (
    _Scene("S2A_MSIL2A_20170613T101031", "R022", "33UUP", 33, (300_000, 5_400_000), "Austria",
           "S1A_IW_GRDH_1SDV_20170613T165043"),
    _Scene("S2A_MSIL2A_20171221T112501", "R037", "29SND", 29, (500_000, 4_400_000), "Portugal",
           "S1B_IW_GRDH_1SDV_20171221T064224"),
    _Scene("S2B_MSIL2A_20170924T093020", "R136", "34UEG", 34, (500_000, 6_200_000), "Lithuania",
           "S1A_IW_GRDH_1SDV_20170924T045608"),
    _Scene("S2B_MSIL2A_20180421T100031", "R122", "35VMH", 35, (400_000, 6_800_000), "Finland",
           "S1B_IW_GRDH_1SDV_20180421T043721"),
)  # fmt: skip


@dataclass(frozen=True)
class _Place:
    """One patch: column and row of the grid of its tile, counted from the north-west."""

    scene: _Scene
    column: int
    row: int

    @property
    def s1(self) -> str:
        return f"{self.scene.s1}_{self.scene.tile}_{self.column}_{self.row}"

    @property
    def v1(self) -> str:
        """Version 1 writes an hour below ten without its zero."""
        date, time = self.scene.s2.rsplit("T", 1)
        hour = time[1:] if time.startswith("0") else time
        return f"{date}T{hour}_{self.column}_{self.row}"

    @property
    def v2(self) -> str:
        return f"{self.scene.s2}_N9999_{self.scene.orbit}_T{self.scene.tile}_{self.column}_{self.row}"

    @property
    def corner(self) -> tuple[int, int]:
        """North-west, in metres: tiles begin at multiples of 60 m that enclose the square of 100 km."""
        left, top = math.floor(self.scene.corner[0] / 60) * 60, math.ceil(self.scene.corner[1] / 60) * 60
        return left + self.column * _PATCH, top - self.row * _PATCH


def _places(count: int) -> list[_Place]:
    """Neighbours in pairs, in every scene by turns; some with a column or row of one digit."""
    return [
        _Place(_SCENES[k % len(_SCENES)], column=(5 + 7 * (k // 8) + k // 4) % 91, row=(9 + 31 * (k % 4)) % 91)
        for k in range(count)
    ]


def _split_of(k: int, validation: str) -> str:
    return ("train", "train", validation, "test")[(k + k // 4) % 4]


def _write_pixels(rng: np.random.Generator, s2: Path, s1: Path, place: _Place, size: int) -> dict[str, NDArray]:
    """The single-band files of both sensors, plain strips. (That the release compresses nothing is not verified.)"""
    made = {}
    for band in BANDS:
        side = _SIDE_OF_120[band] * size // 120
        made[band] = smooth(rng, (1, side, side), 100, 4000, np.uint16)
    for band, (low, high) in {"VH": (-30.0, -10.0), "VV": (-20.0, 0.0)}.items():
        made[band] = smooth(rng, (1, size, size), low, high, np.float32)  # dB
    for band, values in made.items():
        folder = s1 if band in ("VV", "VH") else s2
        write_tiff(folder / f"{folder.name}_{band}.tif", values, place.scene.crs, _grid(place, values.shape[-1]))
    return made


def _grid(place: _Place, side: int) -> Affine:
    left, top = place.corner
    return Affine(_PATCH / side, 0, left, 0, -_PATCH / side, top)


def _coarse(indices: list[int]) -> tuple[str, ...]:
    found = {_FINE[index][1] for index in indices}
    return tuple(name for c, name in enumerate(CLASSES) if c in found)


def write_v1(
    root: Path, *, seed: int = 0, patches: int = 15, size: int = 120, lists: str = "mm", updated: bool = False
) -> Truth:
    """``BigEarthNet-v1.0/`` and ``BigEarthNet-S1-v1.0/``, lists beside them.

    Args:
        root: folder to write into.
        seed: of the content.
        patches: how many, at least 4; from 14 on every one of the 43 classes occurs.
        size: pixels of 10 m on the side of a patch, a multiple of 6.
        lists: ``mm``: train.csv, val.csv, test.csv of pairs; ``s2``: the same of Sentinel-2 names alone; ``torchgeo``:
            the pairs in bigearthnet-train.csv ...; ``google``: train.txt, val.txt, test.txt of all patches.
        updated: the 19 names stand in the JSON files, as the authors' script writes them when it is told to.
    """
    rng = np.random.default_rng(seed)
    truth = Truth(classes=CLASSES)
    order = rng.permutation(len(_FINE))
    places = _places(patches)
    unlabelled = len(places) - 3
    for k, place in enumerate(places):
        fine = sorted(int(i) for i in order[np.arange(4 * k, 4 * k + 4) % len(order)])
        if k == unlabelled:
            fine = _LEFT_OUT[:2]
        truth.labels[place.v1] = _coarse(fine)
        names = list(truth.labels[place.v1]) if updated else [CLASSES_43[i] for i in fine]
        s2, s1 = root / "BigEarthNet-v1.0" / place.v1, root / "BigEarthNet-S1-v1.0" / place.s1
        truth.pixels[place.v1] = _write_pixels(rng, s2, s1, place, size)
        (s2 / f"{s2.name}_labels_metadata.json").write_text(json.dumps(_s2_metadata(place, names)), "utf-8")
        (s1 / f"{s1.name}_labels_metadata.json").write_text(json.dumps(_s1_metadata(place, names)), "utf-8")
    left_out = {} if lists == "google" else {unlabelled, len(places) - 2, len(places) - 1}
    truth.splits = {place.v1: _split_of(k, "val") for k, place in enumerate(places) if k not in left_out}
    _write_lists(root, places, truth.splits, lists)
    write_lines(root / _SNOW, [places[-2].v1])
    write_lines(root / _CLOUD, [places[-1].v1])
    write_lines(root / "s1s2_mapping.csv", [f"{place.v1},{place.s1}" for place in places])
    return truth


def _write_lists(root: Path, places: list[_Place], splits: dict[str, str], lists: str) -> None:
    form = {"mm": "{}.csv", "s2": "{}.csv", "torchgeo": "bigearthnet-{}.csv", "google": "{}.txt"}[lists]
    for split in ("train", "val", "test"):
        chosen = [place for place in places if splits.get(place.v1) == split]
        pairs = lists in ("mm", "torchgeo")
        write_lines(root / form.format(split), [f"{p.v1},{p.s1}" if pairs else p.v1 for p in chosen])


def _s2_metadata(place: _Place, names: list[str]) -> dict:
    left, top = place.corner
    sensor, _, time = place.scene.s2.split("_")
    source = f"{sensor}_MSIL1C_{time}_N0206_{place.scene.orbit}_T{place.scene.tile}_{time}.SAFE"
    return {
        "labels": names,
        "coordinates": {"ulx": left, "uly": top, "lrx": left + _PATCH, "lry": top - _PATCH},
        "projection": _projection(place.scene.zone),
        "tile_source": source,
        "acquisition_date": _date(time, " "),
    }


def _s1_metadata(place: _Place, names: list[str]) -> dict:
    """As the release has it: ``lly``, where ``lry`` is meant."""
    left, top = place.corner
    time = place.scene.s1.rsplit("_", 1)[1]
    return {
        "labels": names,
        "coordinates": {"ulx": left, "uly": top, "lrx": left + _PATCH, "lly": top - _PATCH},
        "projection": _projection(place.scene.zone),
        "corresponding_s2_patch": place.v1,
        "scene_source": f"{place.scene.s1}_{time}_017018_01C55B_0B3F",
        "acquisition_time": _date(time, "T"),
    }


def _date(time: str, between: str) -> str:
    return f"{time[:4]}-{time[4:6]}-{time[6:8]}{between}{time[9:11]}:{time[11:13]}:{time[13:15]}"


def _projection(zone: int) -> str:
    return (
        f'PROJCS["WGS 84 / UTM zone {zone}N",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,'
        'AUTHORITY["EPSG","7030"]],AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],'
        'UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],AXIS["Latitude",NORTH],AXIS["Longitude",EAST],'
        'AUTHORITY["EPSG","4326"]],PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],'
        f'PARAMETER["central_meridian",{6 * zone - 183}],PARAMETER["scale_factor",0.9996],'
        'PARAMETER["false_easting",500000],PARAMETER["false_northing",0],UNIT["metre",1,AUTHORITY["EPSG","9001"]],'
        f'AXIS["Easting",EAST],AXIS["Northing",NORTH],AUTHORITY["EPSG","{32600 + zone}"]]'
    )


def write_v2(root: Path, *, seed: int = 0, patches: int = 14, size: int = 120) -> Truth:
    """``BigEarthNet-S2/``, ``BigEarthNet-S1/``, ``Reference_Maps/`` and the two tables; needs pyarrow.

    Args:
        root: folder to write into.
        seed: of the content.
        patches: how many, at least 3; from 12 on every class occurs. The last two are in the second table.
        size: pixels of 10 m on the side of a patch, a multiple of 6.
    """
    rng = np.random.default_rng(seed)
    truth = Truth(classes=CLASSES)
    codes = rng.permutation(list(_COARSE_OF_CODE))
    places = _places(patches)
    rows = []
    for k, place in enumerate(places):
        # 999 (unlabelled) beside the others; 211 so that no patch is without a label
        map_HW = regions(
            rng, size, size, [*codes[np.arange(4 * k, 4 * k + 4) % len(codes)], 999, 211][: 4 + 2 * (k % 2)]
        )
        present = sorted({c for code in np.unique(map_HW) if (c := _COARSE_OF_CODE[int(code)]) is not None})
        if not present:
            map_HW[0, 0], present = 211, [2]
        truth.labels[place.v2] = tuple(CLASSES[c] for c in present)
        truth.splits[place.v2] = _split_of(k, "validation")
        tile = place.v2.rsplit("_", 2)[0]
        truth.pixels[place.v2] = _write_pixels(
            rng,
            root / "BigEarthNet-S2" / tile / place.v2,
            root / "BigEarthNet-S1" / place.scene.s1 / place.s1,
            place,
            size,
        )
        reference = map_HW[None].astype(np.uint16)
        truth.pixels[place.v2]["reference_map"] = reference
        path = root / "Reference_Maps" / tile / place.v2 / f"{place.v2}_reference_map.tif"
        write_tiff(path, reference, place.scene.crs, _grid(place, size))
        rows.append(_row(place, truth, snow=k == patches - 2, cloud=k == patches - 1))
    _write_table(root / "metadata.parquet", rows[:-2])
    _write_table(root / "metadata_for_patches_with_snow_cloud_or_shadow.parquet", rows[-2:])
    return truth


def _row(place: _Place, truth: Truth, *, snow: bool, cloud: bool) -> dict:
    return {
        "patch_id": place.v2,
        "labels": sorted(truth.labels[place.v2]),
        "split": truth.splits[place.v2],
        "country": place.scene.country,
        "s1_name": place.s1,
        "s2v1_name": place.v1,
        "contains_seasonal_snow": snow,
        "contains_cloud_or_shadow": cloud,
    }


def _write_table(path: Path, rows: list[dict]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    text = {name: pa.string() for name in ("split", "country", "s1_name", "s2v1_name")}
    schema = pa.schema(
        {"patch_id": pa.string(), "labels": pa.list_(pa.string()), **text}
        | {"contains_seasonal_snow": pa.bool_(), "contains_cloud_or_shadow": pa.bool_()}
    )
    rows = sorted(rows, key=lambda row: row["patch_id"])
    parquet.write_table(pa.Table.from_pylist(rows, schema), path, compression="zstd")
