"""What the numbers of a raster file are: bands by name, unit, date, what was observed.

Nothing is guessed: bands go by their descriptions or colours, the unit is 8-bit or declared, no-data comes from the
file's own mask, nodata value or alpha band. Letters: C bands, H W pixels.
"""

from __future__ import annotations

import datetime
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from skysense.errors import InputError
from skysense.sensors import SENSORS, Sensor, Unit

DTYPES = ("uint8", "int16", "uint16", "int32", "float32", "float64")
"""Number types that imagery may be stored in."""
STRICT: Mapping[str, bool] = {"GDAL_ERROR_ON_LIBJPEG_WARNING": True, "GDAL_PNG_WHOLE_IMAGE_OPTIM": False}
"""Settings of GDAL without which the missing end of a JPEG or PNG is filled in silence; from before it is opened."""
_COLOURS = {"RED": "R", "GREEN": "G", "BLUE": "B"}
_METRES_PER_DEGREE = 111_320.0


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An open raster; that it cannot be opened is an `InputError`, errors while reading are not caught."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # who needs a place on Earth looks for it
            dataset = rasterio.open(path)
    except RasterioError as error:
        what = "is not a raster that can be read (foreign or truncated)" if path.is_file() else "does not exist"
        raise InputError(what, file=path, fix="Get it again, or give another file") from error
    with dataset:
        yield dataset


def band_names(dataset: Any) -> list[str]:
    """Description of each band, else its colour, else a name that no sensor knows."""
    colours = {ColorInterp.red: "R", ColorInterp.green: "G", ColorInterp.blue: "B"}
    names = []
    for index, (description, colour) in enumerate(zip(dataset.descriptions, dataset.colorinterp, strict=True), 1):
        plain = (description or "").strip()
        names.append(_COLOURS.get(plain.upper(), plain) or colours.get(colour, f"(band {index} has no name)"))
    return names


def alpha_is_data(dataset: Any) -> tuple[bool, tuple[str, ...]]:
    """Whether what is marked as alpha is something else: writers mark the fourth band of 8-bit images so by default.

    Returns:
        The answer, and notes on how an alpha band was understood.
    """
    for index, (description, colour) in enumerate(zip(dataset.descriptions, dataset.colorinterp, strict=True), 1):
        if colour == ColorInterp.alpha:
            if description and description.strip().lower() not in ("alpha", "a"):
                return True, (f"band {index} is marked as alpha but called {description}: it is not used as a mask",)
            return False, (f"band {index} (alpha) marks what is no-data",)
    return False, ()


def observed(
    dataset: Any, indexes: Sequence[int], sensor: Sensor, box: RasterWindow, *, ignore_alpha: bool
) -> NDArray[np.bool_]:
    """Which pixels the file's own mask says were observed.

    In high-resolution imagery any of the bands is enough (a dark pixel may well hold the nodata value in one of them),
    otherwise all of them must be.

    Args:
        dataset: an open raster.
        indexes: 1-based positions of the sensor's bands.
        sensor: what they are of.
        box: the window to read.
        ignore_alpha: a band that is marked as alpha is none.

    Returns:
        ``(H, W)`` of the window.
    """
    no_mask = MaskFlags.alpha if ignore_alpha else MaskFlags.all_valid
    every = dataset.mask_flag_enums  # worked out anew for all bands whenever it is asked for
    flags = [every[index - 1] for index in indexes]
    if all(MaskFlags.all_valid in one or no_mask in one for one in flags):
        return np.ones((int(box.height), int(box.width)), bool)
    mask_CHW = dataset.read_masks(list(indexes), window=box) > 0
    return mask_CHW.any(axis=0) if sensor.modality == "hr" else mask_CHW.all(axis=0)


def known_sensor(wanted: Sensor | str, path: Path) -> Sensor:
    """A sensor, given itself or by name.

    Raises:
        InputError: no sensor has this name.
    """
    if isinstance(wanted, Sensor):
        return wanted
    if wanted not in SENSORS:
        raise InputError(f"sensor {wanted!r} is unknown; known are {', '.join(SENSORS)}", file=path)
    return SENSORS[wanted]


def suits(sensor: Sensor, names: Sequence[str]) -> bool:
    """Whether bands of these names hold those of a sensor."""
    try:
        sensor.select(np.arange(len(names)), names, axis=0)
    except InputError:
        return False
    return True


def choose_sensor(wanted: Sensor | str | None, names: list[str], among: Sequence[Sensor], path: Path) -> Sensor:
    """The sensor that was asked for, or the only one whose bands have these names.

    Raises:
        InputError: an unknown sensor, or names that suit none or several.
    """
    if wanted is not None:
        return known_sensor(wanted, path)
    fitting = [sensor for sensor in among if suits(sensor, names)]
    if len(fitting) == 1:
        return fitting[0]
    needed = "; ".join(f"{sensor.name}: {', '.join(sensor.bands)}" for sensor in among)
    kinds = {sensor.modality for sensor in among}
    others = [sensor for sensor in SENSORS.values() if sensor.modality not in kinds and suits(sensor, names)]
    if others and not fitting:
        other = max(others, key=lambda sensor: len(sensor.bands))
        raise InputError(
            f"its bands ({', '.join(names)}) are those of {other.name}; needed here are those of {needed}",
            file=path,
            fix=f"Give imagery with these bands; what is of {other.name} goes by {other.modality}, to a model that "
            "reads it",
        )
    found = "suit several sensors" if fitting else f"are those of no known sensor{_lacking(names, among)}"
    raise InputError(
        f"its bands ({', '.join(names)}) {found} ({needed})",
        file=path,
        fix="Name the bands in their descriptions (gdal_edit.py, or rasterio set_band_description), or name the sensor",
    )


def _lacking(names: Sequence[str], among: Sequence[Sensor]) -> str:
    """What bands are missing of the sensor that most of them are of."""
    missing = {sensor: [band for band in sensor.bands if band not in sensor.plain_names(names)] for sensor in among}
    begun = [sensor for sensor, bands in missing.items() if 0 < len(bands) < len(sensor.bands)]
    if not begun:
        return ""
    nearest = min(begun, key=lambda sensor: len(missing[sensor]) / len(sensor.bands))
    return f": {nearest.name} also needs {', '.join(missing[nearest])}"


def check_unit(sensor: Sensor, unit: Unit | str | None, dtypes: set[str], path: Path) -> None:
    """Refuse numbers that are not in the sensor's unit, or do not say their unit.

    Args:
        sensor: what they are said to be of.
        unit: the declared one, None if nobody declared it.
        dtypes: number types of the bands.
        path: for the message.

    Raises:
        InputError: another unit or none, or a number type that does not fit.
    """
    if sensor.unit is Unit.UINT8:
        if dtypes != {"uint8"}:
            raise InputError(
                f"{sensor.name} is 8-bit; found {', '.join(sorted(dtypes))}",
                file=path,
                fix="Stretch it to uint8 as the imagery provider does (gdal_translate -ot Byte -scale)",
            )
        if unit is not None and unit != Unit.UINT8:
            raise InputError(f"declares the unit {unit!r}; {sensor.name} is {Unit.UINT8.value!r}", file=path)
        return
    if unit is None:
        raise InputError(
            f"does not say its unit; {sensor.name} must be {sensor.unit.value!r}",
            file=path,
            fix=f"If that is what it holds, set the tag SKYSENSE_UNIT={sensor.unit.value} or pass the unit",
        )
    if unit != sensor.unit:
        raise InputError(
            f"is in {str(unit)!r}; {sensor.name} must be {sensor.unit.value!r}",
            file=path,
            fix="Convert it first; if it is that under another name, pass the unit",
        )
    foreign = dtypes - set(DTYPES)
    if foreign:
        raise InputError(f"holds {', '.join(sorted(foreign))}; known are {', '.join(DTYPES)}", file=path)


def acquisition_day(given: str | None, tags: dict[str, str], path: Path) -> tuple[np.datetime64, str]:
    """The day an image was taken, NaT if nobody knows, and a note that says where that comes from.

    Raises:
        InputError: a date that is none.
    """
    for source, text in (("argument", given), ("tag SKYSENSE_DATE", tags.get("SKYSENSE_DATE"))):
        if text:
            return _day(text, source, path), f"date {text[:10]} ({source})"
    stamp = tags.get("TIFFTAG_DATETIME")
    if stamp:  # YYYY:MM:DD HH:MM:SS
        text = stamp[:10].replace(":", "-")
        return _day(text, "tag TIFFTAG_DATETIME", path), f"date {text} (tag TIFFTAG_DATETIME)"
    return np.datetime64("NaT", "D"), "no date: the date embedding is left out"


def _day(text: str, source: str, path: Path) -> np.datetime64:
    try:
        return np.datetime64(datetime.date.fromisoformat(text[:10]), "D")
    except ValueError as error:
        raise InputError(f"{source} says {text!r}, which is no date", file=path, fix="Write YYYY-MM-DD") from error


def pixel_metres(raster: Any) -> float:
    """Side of a pixel on the ground.

    Args:
        raster: anything with a CRS, an affine, a height and a width: an open dataset, the grid of a map.
    """
    transform = raster.transform
    size = math.sqrt(abs(transform.determinant))
    if raster.crs.is_geographic:
        latitude = transform.f + transform.d * raster.width / 2 + transform.e * raster.height / 2
        size *= _METRES_PER_DEGREE * math.sqrt(max(math.cos(math.radians(latitude)), 0.0))
    elif raster.crs.is_projected:
        size *= raster.crs.linear_units_factor[1]
    return size


def scale_note(raster: Any, sensor: Sensor) -> tuple[str, ...]:
    """Compare the pixel size with the one the model was trained on; other scales are read as they are."""
    size = pixel_metres(raster)
    if 0.8 <= size / sensor.gsd <= 1.25:
        return ()
    cell = size * sensor.cell_px
    return (
        f"pixels are {size:.3g} m, the model was trained at {sensor.gsd:g} m: the ground scale differs from training; "
        f"pixels are used as they are, one output cell is {cell:.3g} m",
    )
