"""Turn the small real-data kit into folders of places: OUT/<folder> for every folder that fits the lattice.

    python examples/kit_to_places.py OUT --data KIT

``KIT`` is the folder that holds treesat/, flair/ and so on; the environment variable SKYSENSE_DATA names it otherwise.
Ground: a place keeps every whole 10 m cell of its image, centred (treesat 6 x 6 cells, flair 10 x 10, chesapeake
25 x 25). Loaders that need sides of a multiple of four cells read windows.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from netCDF4 import Dataset as NetCDF
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window as Pixels

from skysense.data.places import Legend, write_dataset, write_place
from skysense.errors import InputError
from skysense.geo import CELL_HR_PX, CELL_METRES, Footprint
from skysense.observation import Sample, Series
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A, Sensor

Masks = dict[str, NDArray[np.uint8]]
NO_DATE = np.array(["NaT"], "datetime64[D]")
CLEAR_PERCENT = 10  # the source takes the brightest clouds over these forests for snow, so both must be low
TREE_SHARE = 0.07  # a genus that covers less is not a label of a TreeSatAI image
BAD_SCENE_CLASSES = (0, 1, 3, 8, 9, 10)  # Sentinel-2 SCL: no data, saturated, cloud shadow, cloud, cloud, cirrus

GENERA = (
    *("Abies", "Acer", "Alnus", "Betula", "Cleared", "Fagus", "Fraxinus", "Larix"),
    *("Picea", "Pinus", "Populus", "Prunus", "Pseudotsuga", "Quercus", "Tilia"),
)
BIGEARTHNET_CLASSES = (
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
TERRAMESH_CLASSES = (
    *("no label", "water", "trees", "flooded vegetation", "crops"),
    *("built-up", "bare", "snow or ice", "cloud", "rangeland"),
)
FLAIR_CLASSES = (
    *(
        "no label",
        "building",
        "pervious surface",
        "impervious surface",
        "bare soil",
        "water",
        "coniferous",
        "deciduous",
    ),
    *("brushwood", "vineyard", "herbaceous", "agricultural", "plowed", "other"),
)
CHESAPEAKE_CLASSES = ("no label", "water", "tree canopy", "low vegetation", "barren", "impervious other", "road")

COMMON = Legend("mask", ("no label", "water", "trees", "low vegetation", "bare", "impervious"), ignore=0)
"""What the land cover of flair and chesapeake has in common, written by both as ``land_cover_common``.

Buildings and roads are impervious; brushwood, vines and fields (also ploughed ones) are low vegetation, as they are by
the definition of chesapeake; unsealed surfaces are bare; "other" has no counterpart.
"""
FLAIR_TO_COMMON = np.array([0, 5, 4, 5, 4, 1, 2, 2, 3, 3, 3, 3, 3, 0], np.uint8)
CHESAPEAKE_TO_COMMON = np.array([0, 1, 2, 3, 4, 5, 5], np.uint8)

SKIPPED_FOLDERS = {
    "naip_series": "5 m is too coarse for a lattice of 0.3125 m and too fine for 10 m",
    "points": "pixel series without an image, and without band B8A",
    "fields": "Sentinel-2 with three of ten bands",
    "floods": "8-bit quick-looks, neither reflectance nor dB",
    "nzcattle": "labels are boxes, which places do not hold",
    "trees": "labels are boxes, which places do not hold",
    "buildings": "labels are polygons and boxes, which places do not hold",
}


@dataclass(frozen=True)
class Made:
    """One place to write."""

    sample: Sample
    split: str | None
    labels: dict[str, Any] = field(default_factory=dict)
    masks: Masks = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """One place that does not fit, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Recipe:
    """How a folder of the kit becomes places."""

    title: str
    source: str
    licence: str
    legends: Mapping[str, Legend]
    places: Callable[[Path], Iterator[Made | Skipped]]


@dataclass
class Row:
    """What became of one folder of the kit."""

    folder: str
    places: int = 0
    skipped: list[Skipped] = field(default_factory=list)


def main() -> None:
    """Parse the command line, convert, print a table."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("out", type=Path, help="where the folders of places go")
    parser.add_argument("--data", type=Path, default=os.environ.get("SKYSENSE_DATA"), help="the kit")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the kit with --data or SKYSENSE_DATA")
    for name in RECIPES:
        (row,) = convert(options.data, options.out, (name,))
        print(f"{row.folder:<14}{row.places:>4} places", flush=True)
        for skipped in row.skipped:
            print(f"{'':<14}  without {skipped.name}: {skipped.reason}")
    for name, reason in SKIPPED_FOLDERS.items():
        print(f"{name:<14}   - {reason}")


def convert(data: Path, out: Path, folders: tuple[str, ...] | None = None) -> list[Row]:
    """Convert folders of the kit (all that fit by default).

    Args:
        data: the kit.
        out: gets one folder of places for each folder of the kit.
        folders: names of the folders to convert.

    Raises:
        InputError: a folder is missing or holds what it should not.
        OutputError: a place exists already, or cannot be written.
    """
    rows = []
    for name in folders or tuple(RECIPES):
        recipe = RECIPES[name]
        if not (data / name).is_dir():
            raise InputError("is not there", file=data / name, fix="Name the folder of the kit")
        row = Row(name)
        write_dataset(
            out / name,
            title=recipe.title,
            simulated=False,
            legends=recipe.legends,
            source=recipe.source,
            licence=recipe.licence,
        )
        for place in recipe.places(data / name):
            if isinstance(place, Skipped):
                row.skipped.append(place)
                continue
            write_place(
                out / name,
                place.sample,
                labels=place.labels,
                masks=place.masks,
                split=place.split,
                attributes=place.attributes,
            )
            row.places += 1
        rows.append(row)
    return rows


def read_info(folder: Path) -> dict[str, Any]:
    """The JSON beside the imagery."""
    file = folder / ("labels.json" if (folder / "labels.json").is_file() else "info.json")
    return json.loads(file.read_text())


def keep(info: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Some of what is known, where it is known."""
    return {key: info[key] for key in keys if info.get(key) is not None}


def place_name(info_name: str) -> str:
    """A name that is a file name everywhere."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", info_name)


def day(text: str | None) -> NDArray[np.datetime64]:
    """``(1,)`` date, NaT if it was not recorded."""
    return NO_DATE if text is None else np.array([text], "datetime64[D]")


def series(
    sensor: Sensor,
    values: NDArray,
    names: tuple[str, ...],
    dates: NDArray[np.datetime64] = NO_DATE,
    *,
    valid: NDArray[np.bool_] | None = None,
    clear: NDArray[np.bool_] | None = None,
) -> Series:
    """A series out of a stack ``(T, C, H, W)`` of named bands, sorted by date; NaN in any band is not valid."""
    values = sensor.select(values, names, axis=1)
    seen = np.isfinite(values).all(axis=1) if valid is None else valid
    order = np.argsort(dates, kind="stable")
    return Series(sensor, values[order], dates[order], seen[order], None if clear is None else clear[order])


def read_tif(file: Path, sensor: Sensor, dates: NDArray[np.datetime64] = NO_DATE) -> Series:
    """One frame of Sentinel imagery; pixels that are zero in every band of Sentinel-2 are not valid."""
    with rasterio.open(file) as tif:
        values = tif.read()[None]
        made = series(sensor, values, tif.descriptions, dates)
    seen = made.valid & (made.values != 0).any(axis=1) if sensor is SENTINEL2_L2A else made.valid
    return Series(sensor, made.values, made.dates, seen)


def read_days(file: NetCDF) -> NDArray[np.datetime64]:
    """Days of a time axis in seconds since some moment."""
    seconds, start = file["time"][:].data, file["time"].units.removeprefix("seconds since ").replace(" ", "T")
    return (np.datetime64(start) + seconds.astype("timedelta64[s]")).astype("datetime64[D]")


def whole_cells(tif: rasterio.DatasetReader, metres: float) -> tuple[Pixels, int]:
    """The centred square of whole 10 m cells in an image of square pixels, and its side in cells."""
    cells = int(min(tif.width, tif.height) * metres / CELL_METRES)
    side = cells * CELL_METRES / metres
    return Pixels((tif.width - side) / 2, (tif.height - side) / 2, side, side), cells


def read_hr(file: Path, metres: float, dates: NDArray[np.datetime64] = NO_DATE) -> tuple[Series, Footprint | None]:
    """An aerial image on the lattice: averaged to 0.3125 m if it is finer, cubic if it is coarser."""
    with rasterio.open(file) as tif:
        window, cells = whole_cells(tif, metres)
        side = cells * CELL_HR_PX
        way = Resampling.average if metres < OPTICAL_HR.gsd else Resampling.cubic
        values = tif.read(out_shape=(tif.count, side, side), window=window, resampling=way)
        footprint = None
        if tif.crs is not None:
            code = tif.crs.to_epsg(confidence_threshold=20)  # treesat spells EPSG:25832 out without its code
            footprint = Footprint(tif.window_bounds(window), f"EPSG:{code}")
        return series(OPTICAL_HR, values[None], tif.descriptions, dates), footprint


def read_hr_mask(file: Path, metres: float) -> NDArray[np.uint8]:
    """A mask of an aerial image on the lattice, by the nearest pixel."""
    with rasterio.open(file) as tif:
        window, cells = whole_cells(tif, metres)
        shape = (cells * CELL_HR_PX, cells * CELL_HR_PX)
        return tif.read(1, out_shape=shape, window=window, resampling=Resampling.nearest)


def treesat(folder: Path) -> Iterator[Made | Skipped]:
    """Forest places: aerial image, Sentinel-2 and Sentinel-1 (both orbits, merged by date) of 60 m."""
    for labels in sorted(folder.glob("*/*/labels.json")):
        place, info = labels.parent, read_info(labels.parent)
        hr, footprint = read_hr(place / "hr.tif", 0.2)
        assert footprint is not None
        attributes = keep(
            info, "species_fraction", "hr_year", "sentinel_year", "s1_precision", "s1_pixel_order_repaired"
        )
        attributes["kit_folder"] = place.parent.name
        if (place / "s2.nc").is_file():
            s2, s1 = treesat_series(place)
        else:
            away = max(offset(place / name, footprint) for name in ("s2.tif", "s1.tif"))
            if away > CELL_METRES:
                yield Skipped(place.name, f"its Sentinel pixels lie {away:.0f} m beside the aerial image")
                continue
            s2, s1 = read_tif(place / "s2.tif", SENTINEL2_L2A), read_tif(place / "s1.tif", SENTINEL1)
        genera = [genus for genus, share in info["species_fraction"].items() if share > TREE_SHARE]
        sample = Sample(place.name, {"hr": hr, "s2": s2, "s1": s1}, info["lon"], info["lat"], footprint)
        yield Made(sample, info["split"], labels={"genus": sorted(genera)}, attributes=attributes)


def treesat_series(place: Path) -> tuple[Series, Series]:
    """A year of Sentinel-2 and of Sentinel-1."""
    with NetCDF(place / "s2.nc") as file:
        clear = np.maximum(file["cloud_prob"][:].data, file["snow_prob"][:].data) < CLEAR_PERCENT
        s2 = series(SENTINEL2_L2A, file["s2"][:].data, tuple(file["band"][:]), read_days(file), clear=clear)
    values, days = [], []
    for orbit in ("asc", "desc"):
        with NetCDF(place / f"s1_{orbit}.nc") as file:
            values.append(SENTINEL1.select(np.ma.filled(file["s1"][:], np.nan), tuple(file["band"][:]), axis=1))
            days.append(read_days(file))
    return s2, series(SENTINEL1, np.concatenate(values), SENTINEL1.bands, np.concatenate(days))


def offset(file: Path, footprint: Footprint) -> float:
    """How far the corner of a file is from that of a footprint, in metres along the worse axis."""
    with rasterio.open(file) as tif:
        return max(abs(tif.bounds.left - footprint.bounds[0]), abs(tif.bounds.top - footprint.bounds[3]))


def crop_legends(folder: Path) -> dict[str, dict[int, str]]:
    """Names by code for the masks of crop_patches, without the codes that mean no label."""
    legend = json.loads((folder / "legend.json").read_text())
    return {
        label: {int(code): name for code, name in legend[label].items() if int(code) not in (0, 99)}
        for label in ("crop_type", "land_cover")
    }


CROP_CLASSES = (
    *("no label", "Winter wheat", "Maize", "Sorghum", "Barley", "Winter barley", "Winter cereal"),
    *("Vegetables and melons", "Cabages", "Potatoes", "Other Leguminous crops", "Sugar beet"),
    *("Permanent grass crops", "mixed cropping"),
)
CROP_LAND_CLASSES = ("no label", "annual cropland", "grassland / perennial grass crops", "built-up")


def crop_patches(folder: Path) -> Iterator[Made | Skipped]:
    """Crop series, 64 x 64 cells; 20 m pixels are repeated."""
    codes = crop_legends(folder)
    for place in sorted(path.parent for path in folder.glob("*/info.json")):
        info = read_info(place)
        with NetCDF(place / "s2.nc") as file:
            if "s2_10m" not in file.variables:
                yield Skipped(place.name, "the 10 m bands B2, B3, B4 and B8 are missing")
                continue
            s2 = crop_s2(file)
        with NetCDF(place / "s1.nc") as file:
            values = twice(np.ma.filled(file["s1"][:], np.nan))
            s1 = series(SENTINEL1, values, tuple(file["band"][:]), read_days(file))
        masks: Masks = {}
        with rasterio.open(place / "labels.tif") as tif:
            for label, classes in (("crop_type", CROP_CLASSES), ("land_cover", CROP_LAND_CLASSES)):
                stored = tif.read(tif.descriptions.index(label) + 1)
                masks[label] = np.zeros(stored.shape, np.uint8)
                for code, name in codes[label].items():
                    masks[label][stored == code] = classes.index(name)
        footprint = Footprint(tuple(info["bounds"]), f"EPSG:{info['epsg']}")
        sample = Sample(place.name, {"s2": s2, "s1": s1}, info["lon"], info["lat"], footprint)
        yield Made(sample, info["split"], masks=masks, attributes=keep(info, "reference", "mgrs_tile"))


def twice(values: NDArray) -> NDArray:
    """20 m pixels as 10 m pixels."""
    return values.repeat(2, axis=-2).repeat(2, axis=-1)


def crop_s2(file: NetCDF) -> Series:
    """Ten bands out of four of 10 m and six of 20 m, cloud-free by the scene classification."""
    fine, coarse = file["s2_10m"][:].data, file["s2_20m"][:].data
    scene = twice(file["scl"][:].data)
    values = np.concatenate([fine, twice(coarse)], axis=1)
    names = (*file["band_10m"][:], *file["band_20m"][:])
    valid = (values != file["s2_10m"].nodata).all(axis=1)
    clear = ~np.isin(scene, BAD_SCENE_CLASSES)
    return series(SENTINEL2_L2A, values, names, read_days(file), valid=valid, clear=clear)


def bigearthnet(folder: Path) -> Iterator[Made | Skipped]:
    """Pairs of one date, 120 x 120 cells, with any of 19 classes."""
    for place in sorted(path.parent for path in folder.glob("*/*/labels.json")):
        info = read_info(place)
        s2 = read_tif(place / "s2.tif", SENTINEL2_L2A, day(info["date_s2"]))
        s1 = read_tif(place / "s1.tif", SENTINEL1, day(info["date_s1"]))
        sample = Sample(place.name, {"s2": s2, "s1": s1}, info["lon"], info["lat"], read_footprint(place / "s2.tif"))
        attributes = keep(info, "country", "version", "s2_state", "s1_precision", "seasonal_snow", "cloud_or_shadow")
        yield Made(sample, info["split"], labels={"classes_19": info["labels_19"]}, attributes=attributes)


def terramesh(folder: Path) -> Iterator[Made | Skipped]:
    """Undated pairs with land cover, 224 x 224 cells; an offset that the kit has found is subtracted."""
    for place in sorted(path.parent for path in folder.glob("*/info.json")):
        info = read_info(place)
        stored = read_tif(place / "s2l2a.tif", SENTINEL2_L2A)
        s2 = Series(stored.sensor, stored.values - np.int16(info["s2_radiometric_offset_seen"]), NO_DATE, stored.valid)
        s1 = read_tif(place / "s1rtc.tif", SENTINEL1)
        with rasterio.open(place / "lulc.tif") as tif:
            masks = {"land_cover": tif.read(1)}
        footprint = read_footprint(place / "s2l2a.tif")
        sample = Sample(place.name, {"s2": s2, "s1": s1}, info["lon"], info["lat"], footprint)
        yield Made(sample, info["split"], masks=masks, attributes=keep(info, "s2_radiometric_offset_seen"))


def read_footprint(file: Path) -> Footprint:
    """Bounds and CRS of a file."""
    with rasterio.open(file) as tif:
        return Footprint(tuple(tif.bounds), f"EPSG:{tif.crs.to_epsg()}")


def flair(folder: Path) -> Iterator[Made | Skipped]:
    """Aerial tiles of 102.4 m with land cover."""
    for place in sorted(path.parent for path in folder.glob("*/info.json")):
        info = read_info(place)
        hr, footprint = read_hr(place / "image.tif", 0.2, day(info["date"]))
        native = read_hr_mask(place / "mask.tif", 0.2)
        masks = {"land_cover": native, "land_cover_common": FLAIR_TO_COMMON[native]}
        sample = Sample(place.name, {"hr": hr}, info["lon"], info["lat"], footprint)
        yield Made(sample, info["split"], masks=masks, attributes=keep(info, "domain", "zone", "camera"))


def chesapeake(folder: Path) -> Iterator[Made | Skipped]:
    """NAIP tiles of 256 m with land cover, without position or date."""
    for place in sorted(path.parent for path in folder.glob("*/info.json")):
        hr, _ = read_hr(place / "image.tif", 1.0)
        native = read_hr_mask(place / "mask.tif", 1.0)
        masks = {"land_cover": native, "land_cover_common": CHESAPEAKE_TO_COMMON[native]}
        yield Made(Sample(place.name, {"hr": hr}), read_info(place)["split"], masks=masks)


RECIPES = {
    "treesat": Recipe(
        title="TreeSatAI: forest places in Lower Saxony",
        source="TreeSatAI (Ahlswede et al. 2023), TreeSatAI-Time-Series (Astruc et al. 2024); contains modified "
        "Copernicus Sentinel data",
        licence="CC BY 4.0",
        legends={"genus": Legend("multilabel", GENERA)},
        places=treesat,
    ),
    "crop_patches": Recipe(
        title="WorldCereal: crop patches",
        source="ESA WorldCereal, VITO; Flanders LPIS; contains modified Copernicus Sentinel data",
        licence="CC BY 4.0",
        legends={
            "crop_type": Legend("mask", CROP_CLASSES, ignore=0),
            "land_cover": Legend("mask", CROP_LAND_CLASSES, ignore=0),
        },
        places=crop_patches,
    ),
    "bigearthnet": Recipe(
        title="BigEarthNet: Sentinel-1 and -2 pairs in Europe",
        source="BigEarthNet (Sumbul et al. 2019, 2021; Clasen et al. 2024); contains modified Copernicus Sentinel data",
        licence="CDLA-Permissive-1.0",
        legends={"classes_19": Legend("multilabel", BIGEARTHNET_CLASSES)},
        places=bigearthnet,
    ),
    "terramesh": Recipe(
        title="TerraMesh: four places with land cover",
        source="TerraMesh (IBM, FAST-EO); contains modified Copernicus Sentinel data",
        licence="CC BY-SA 4.0",
        legends={"land_cover": Legend("mask", TERRAMESH_CLASSES, ignore=0)},
        places=terramesh,
    ),
    "flair": Recipe(
        title="FLAIR: aerial land cover in France",
        source="FLAIR #2 (c) IGN",
        licence="Licence Ouverte 2.0",
        legends={"land_cover": Legend("mask", FLAIR_CLASSES, ignore=0), "land_cover_common": COMMON},
        places=flair,
    ),
    "chesapeake": Recipe(
        title="Chesapeake: aerial land cover in the eastern United States",
        source="Chesapeake Conservancy land cover; USDA NAIP",
        licence="NAIP: public domain; labels: open",
        legends={"land_cover": Legend("mask", CHESAPEAKE_CLASSES, ignore=0), "land_cover_common": COMMON},
        places=chesapeake,
    ),
}


if __name__ == "__main__":
    main()
