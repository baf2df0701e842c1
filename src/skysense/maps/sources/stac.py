"""Images by their STAC items: a file of one item or of many, whose assets lie on this computer.

What the assets of a collection are is known for the archives that `skysense.curate` reads (``catalogues.yaml``): bands,
unit, and whether the offset of Sentinel-2's processing baseline is in the numbers. Items of other collections are
understood if their assets are called as bands are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from skysense.curate.acquisition import Acquisition, Asset, StoredUnit
from skysense.curate.catalogue import PRESETS, BandSource, Catalogue, Collection, read_catalogues
from skysense.curate.cog import web_address
from skysense.curate.listing import items_of_file
from skysense.curate.search import Unusable, acquisition_of
from skysense.curate.sentinel2 import stated_offset
from skysense.data.geotiff import check_unit
from skysense.errors import InputError
from skysense.maps.sources.files import CLASSES, FileStack, frames_of
from skysense.maps.sources.named import Entry
from skysense.maps.sources.numbers import Numbers
from skysense.maps.sources.raster import Raster, read_header
from skysense.sensors import BASELINE_OFFSET, MODALITIES, Modality, Sensor

_STORED: dict[Modality, StoredUnit] = {"hr": "uint8", "s2": "dn", "s1": "dB"}
"""What numbers are, as the archives' table calls it, that need no conversion but the offset of Sentinel-2."""


def stac_stacks(path: Path, said: Entry, reads: Mapping[Modality, Sensor]) -> dict[Modality, FileStack]:
    """Understand items: a stack for every sensor that they are of and the model reads.

    Args:
        path: of a STAC item, an item collection, or a static catalogue.
        said: the unit, for items of collections that are not known.
        reads: sensors that the model reads.

    Raises:
        InputError: no items, none that can be used, assets that lie on the web or cannot be read, an offset of
            Sentinel-2 that the item does not settle.
    """
    found: dict[Modality, list[Acquisition]] = defaultdict(list)
    dropped: list[str] = []
    for item in items_of_file(path):
        try:
            acquisition = _understood(item, said, reads, path)
        except Unusable as reason:
            dropped.append(f"{item.get('id') if isinstance(item, Mapping) else 'an entry'} {reason}")
        else:
            found[acquisition.modality].append(acquisition)
    if not found:
        why = f"; the first: {dropped[0]}" if dropped else ""
        raise InputError(f"holds no item that can be used{why}", file=path)
    notes = [f"{len(dropped)} items are left out; the first: {dropped[0]}"] if dropped else []
    return {key: _stack(found[key], reads[key], path, notes) for key in MODALITIES if key in found}


def _stack(acquisitions: Sequence[Acquisition], sensor: Sensor, path: Path, notes: Sequence[str]) -> FileStack:
    in_order = sorted(acquisitions, key=lambda one: (one.time, one.item))
    rasters = [raster for acquisition in in_order for raster in _rasters(acquisition, sensor, path)]
    frames, left_out = frames_of(rasters, sensor)
    first, last = frames[0].date, frames[-1].date
    summary = f"{sensor.name}: {len(acquisitions)} items, {len(frames)} dates, {first} .. {last}"
    return FileStack(str(path), sensor, tuple(frames), path, (summary, *notes, *left_out))


def _understood(item: Any, said: Entry, reads: Mapping[Modality, Sensor], path: Path) -> Acquisition:
    """An item by the collection it is of, or by the names of its assets.

    Raises:
        Unusable: neither does.
    """
    here = Catalogue(name="file", title=path.name, collections=(), items=path)
    assets = item.get("assets") if isinstance(item, Mapping) else None
    if not isinstance(assets, Mapping):
        raise Unusable("is no item")
    named = [one for one in _known() if one.id == item.get("collection") and one.modality in reads]
    for collection in named:
        if {source.asset for source in collection.bands.values()} <= set(assets):
            return acquisition_of(item, collection, here)
    if said.unit is None and named:
        return acquisition_of(item, named[0], here)  # says what is missing
    if said.unit is None:
        raise Unusable(f"is of the collection {item.get('collection')!r}, whose unit is not known; declare the unit")
    for key, sensor in reads.items():
        bands = _by_name(assets, sensor)
        if said.unit == sensor.unit and set(bands) >= set(sensor.bands):
            masks = {CLASSES: BandSource(name, 1) for name in assets if name.upper() == CLASSES}  # noqa: B035
            unit = _STORED[key]
            plain = Collection(str(item.get("collection")), key, unit, bands, masks, "", "", offset_applied=True)
            return acquisition_of(item, plain, here)
    raise Unusable(f"has assets ({', '.join(map(str, assets))}) that are no bands of {', '.join(reads)} in {said.unit}")


def _known() -> Iterator[Collection]:
    for catalogue in read_catalogues(PRESETS).values():
        yield from catalogue.collections


def _by_name(assets: Mapping[str, Any], sensor: Sensor) -> dict[str, BandSource]:
    """Bands of a sensor by the keys of assets, or by the names that these give to their bands."""
    found: dict[str, BandSource] = {}
    for key, asset in assets.items():
        inner = (asset.get("bands") or asset.get("eo:bands") or []) if isinstance(asset, Mapping) else []
        names = [str(band.get("name")) for band in inner if isinstance(band, Mapping)]
        for at, name in enumerate(sensor.plain_names(names), 1):
            if name in sensor.bands:
                found.setdefault(name, BandSource(key, at))
        own = sensor.plain_names([key])[0]
        if own in sensor.bands:
            found[own] = BandSource(key, 1)
    return found


def _rasters(acquisition: Acquisition, sensor: Sensor, path: Path) -> Iterator[Raster]:
    """The files of an acquisition; bands of one file are read together."""
    by_file: dict[str, list[str]] = defaultdict(list)
    for band in (*sensor.bands, CLASSES):
        if band in acquisition.assets:
            by_file[acquisition.assets[band].href].append(band)
    for href, bands in by_file.items():
        header = read_header(_local(href, acquisition, path))
        assets = [acquisition.assets[band] for band in bands]
        raster = Raster(
            path=header.path,
            sensor=sensor,
            bands=tuple(bands),
            indexes=tuple(asset.band for asset in assets),
            grid=header.grid,
            tiling=header.tiling,
            stored=str(np.result_type(*(header.dtypes[asset.band - 1] for asset in assets))),
            date=np.datetime64(acquisition.time.date(), "D"),
            alpha_is_data=header.alpha_is_data,
        )
        if tuple(bands) != (CLASSES,):
            raster = replace(raster, numbers=_numbers(acquisition, assets[0], sensor, raster.stored, path))
        yield raster


def _local(href: str, acquisition: Acquisition, path: Path) -> Path:
    if web_address(href) is not None:
        raise InputError(
            f"item {acquisition.item} keeps its pixels on the web ({href[:80]})",
            file=path,
            fix="Fetch them first, and let the assets name the files, relative to the items",
        )
    return Path(href.removeprefix("file://"))


def _numbers(acquisition: Acquisition, asset: Asset, sensor: Sensor, stored: str, path: Path) -> Numbers:
    """How an archive's numbers become those of the sensor's unit.

    Raises:
        InputError: numbers of another unit, or an offset that the item does not settle.
    """
    if acquisition.unit == "power":
        return Numbers(power=True, nodata=asset.nodata)
    if acquisition.unit != _STORED[sensor.modality]:
        raise InputError(
            f"item {acquisition.item} holds {acquisition.unit}; {sensor.name} must be {sensor.unit.value!r}",
            file=path,
            fix="Convert it first",
        )
    check_unit(sensor, sensor.unit, {stored}, path)
    if sensor.modality != "s2":
        return Numbers(nodata=asset.nodata, dark=sensor.modality == "hr")
    offset = stated_offset(acquisition)
    if offset is None:
        raise InputError(
            f"item {acquisition.item} does not settle whether the +{BASELINE_OFFSET} offset of Sentinel-2's processing "
            "baseline is in its numbers",
            file=path,
            fix="State s2:processing_baseline, or name the files themselves with the unit, once it is subtracted",
        )
    if np.dtype(stored).kind == "f":
        return Numbers(shift=-offset, nodata=asset.nodata)
    return Numbers(offset=offset, nodata=asset.nodata)
