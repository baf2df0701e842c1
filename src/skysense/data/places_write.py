"""Writing places: one folder per place, complete or not there at all; see docs/places.md."""

from __future__ import annotations

import json
import os
import shutil
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from skysense.data.places_boxes import Boxes, boxes_to_json
from skysense.data.places_encode import geotiff_image, geotiff_mask, write_netcdf
from skysense.data.places_layout import (
    AFTER_FILE,
    DATASET_FILE,
    IMAGERY,
    PLACE_FILE,
    REPLACED,
    UNFINISHED,
    Dataset,
    Legend,
    Place,
    Split,
    check_name,
    dataset_to_json,
    legend_to_json,
    parse_legend,
    place_to_json,
    read_dataset,
)
from skysense.data.places_rules import check_boxes, check_footprint, check_later, check_mask, utm_footprint
from skysense.errors import InputError, OutputError
from skysense.files import make_folder, output_error, write_json
from skysense.observation import Sample, Series
from skysense.sensors import SENSORS, SENTINEL2_L2A, looks_offset


def write_dataset(
    root: str | Path,
    *,
    title: str,
    simulated: bool,
    legends: Mapping[str, Legend | Mapping[str, Any]],
    source: str = "",
    licence: str = "",
) -> None:
    """Write ``dataset.json``, which a folder needs before its first place.

    Args:
        root: the folder; made if it is not there.
        title: a name for people.
        simulated: whether the pixels are made up.
        legends: of every label the places carry, as `Legend` or as its JSON form.
        source: where the data come from.
        licence: under which terms.

    Raises:
        InputError: a legend that contradicts itself or a label name that cannot be a file name.
        OutputError: no space, no permission.
    """
    parsed = {
        label: parse_legend(label, legend_to_json(legend) if isinstance(legend, Legend) else legend)
        for label, legend in legends.items()
    }
    dataset = Dataset(title=title, simulated=simulated, source=source, licence=licence, legends=parsed)
    write_json(make_folder(root) / DATASET_FILE, dataset_to_json(dataset))


def write_place(
    root: str | Path,
    sample: Sample,
    *,
    labels: Mapping[str, Any] | None = None,
    masks: Mapping[str, NDArray[np.uint8]] | None = None,
    boxes: Mapping[str, Boxes] | None = None,
    after: Series | None = None,
    split: Split | None = None,
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write one place; the folder appears complete or not at all.

    A sample with a position but no footprint gets one: a square around the position in its UTM zone.

    Args:
        root: a folder that `write_dataset` has prepared.
        sample: the imagery; ``sample.name`` becomes the folder's name.
        labels: ``{label: class name}`` (scene) or ``{label: [class names]}`` (multilabel).
        masks: ``{label: (H, W) uint8}`` on the high-resolution grid (32 px a cell) or the Sentinel grid (1 px a cell).
        boxes: ``{label: Boxes}`` with corners in pixels of the high-resolution image.
        after: a second high-resolution image of the same ground at a later date, ``(1, C, H, W)``.
        split: ``train``, ``val``, ``test`` or None.
        attributes: anything else that is known and JSON can hold.
        overwrite: replace a place of the same name.

    Returns:
        The folder of the place.

    Raises:
        InputError: values the unit cannot hold, labels, mask values or boxes outside their legend, a mask on neither
            grid, boxes off the place, a footprint whose cells are not 10 m, an image "after" that is earlier or of
            another size, a sensor or name that cannot be stored.
        OutputError: the place exists and ``overwrite`` is False; no space; no permission. Nothing half written stays.
    """
    root = Path(root)
    legends = read_dataset(root).legends
    check_name(sample.name, "place")
    folder = root / sample.name
    if folder.exists() and not overwrite:
        raise OutputError("exists already", file=folder, fix="Choose another name, or overwrite=True to replace it")
    masks, boxes = masks or {}, boxes or {}
    place = Place(
        folder=folder,
        name=sample.name,
        lon=sample.lon,
        lat=sample.lat,
        cells=sample.grid,
        footprint=sample.footprint or utm_footprint(sample.lon, sample.lat, sample.grid),
        labels=labels or {},
        split=split,
        attributes=attributes or {},
        modalities=tuple(sample.series),
        masks=tuple(masks),
        boxes=tuple(boxes),
        after=after is not None,
    )
    _check(place, sample, legends)
    _check_files(place, masks, boxes, legends)
    if after is not None:
        _check_after(place, sample, after)
    with _whole_folder(folder) as temporary:
        _write_bytes(temporary / PLACE_FILE, json.dumps(place_to_json(place), indent=1, ensure_ascii=False).encode())
        for modality, series in sample.series.items():
            if modality == "hr":
                _write_bytes(temporary / IMAGERY[modality], geotiff_image(series, place))
            else:
                write_netcdf(temporary / IMAGERY[modality], series, place)
        for label, mask in masks.items():
            _write_bytes(temporary / f"{label}.tif", geotiff_mask(mask, label, place))
        for label, found in boxes.items():
            content = json.dumps(boxes_to_json(found, legends[label]), ensure_ascii=False)
            _write_bytes(temporary / f"{label}.json", content.encode())
        if after is not None:
            _write_bytes(temporary / AFTER_FILE, geotiff_image(after, place))
    return folder


def _check(place: Place, sample: Sample, legends: Mapping[str, Legend]) -> None:
    for series in sample.series.values():
        _check_series(place, series)
        if series.sensor is SENTINEL2_L2A and looks_offset(series.values, series.valid):
            warnings.warn(
                f"{place.name}: every Sentinel-2 band lies above 900; subtract 1000 if the +1000 offset of processing "
                "baseline 04.00 is still in",
                stacklevel=3,
            )
    if place.split is not None and place.split not in get_args(Split):
        raise InputError(f"split {place.split!r} is none of {', '.join(get_args(Split))}", file=place.name)
    for label in (*place.labels, *place.masks, *place.boxes):
        if label not in legends:
            raise InputError(f"label {label!r} has no legend in {DATASET_FILE}", file=place.name)
    for label, value in place.labels.items():
        legends[label].check(label, value, file=Path(place.name))
    try:
        json.dumps(dict(place.attributes), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"attributes hold what JSON cannot: {error}", file=place.name) from error
    if place.footprint is not None:
        check_footprint(place.footprint, place.cells, place.lon, place.lat, file=place.name)


def _check_series(place: Place, series: Series) -> None:
    if SENSORS.get(series.sensor.name) != series.sensor:
        raise InputError(
            f"sensor {series.sensor.name!r} is not one that files know: {', '.join(SENSORS)}", file=place.name
        )
    series.check(file=place.name)


def _check_files(
    place: Place, masks: Mapping[str, NDArray[np.uint8]], boxes: Mapping[str, Boxes], legends: Mapping[str, Legend]
) -> None:
    for label, mask in masks.items():
        check_mask(mask, label, legends[label], place.cells, file=place.name)
    for label, found in boxes.items():
        check_boxes(found, label, legends[label], place.cells, file=place.name)


def _check_after(place: Place, sample: Sample, after: Series) -> None:
    """The later image must be one, of the same ground, and not earlier than the first."""
    _check_series(place, after)
    if after.sensor.modality != "hr" or after.values.shape[0] != 1:
        raise InputError(f"the later image is one of high resolution; got {after.sensor.name}", file=place.name)
    first = sample.series.get("hr")
    check_later(None if first is None else first.dates, after.dates, file=place.name)
    if first is not None and after.values.shape[2:] != first.values.shape[2:]:
        raise InputError(
            f"the later image is {after.values.shape[2]} x {after.values.shape[3]} px, the first one "
            f"{first.values.shape[2]} x {first.values.shape[3]}",
            file=place.name,
        )


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``folder`` when the block ends well and vanishes when it does not."""
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}{UNFINISHED}")
    try:
        temporary.mkdir()
        yield temporary
        if folder.exists():
            _replace(folder, temporary)
        else:
            temporary.rename(folder)
    except OSError as error:
        raise output_error(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(folder: Path, temporary: Path) -> None:
    replaced = temporary.with_suffix(REPLACED)
    folder.rename(replaced)
    try:
        temporary.rename(folder)
    except OSError:
        replaced.rename(folder)
        raise
    shutil.rmtree(replaced)


def _write_bytes(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
