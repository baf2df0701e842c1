"""Reading the imagery of a place: only the pixels and frames that were asked for; see docs/places.md.

Every error of the libraries below becomes an `InputError` that names the file.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.places_layout import grid_factor
from skysense.errors import InputError
from skysense.geo import CELL_HR_PX, Window
from skysense.observation import Series
from skysense.sensors import SENSORS, Modality, Sensor

ChooseFrames = Callable[[NDArray[np.datetime64]], Sequence[int] | NDArray[np.integer]]
"""Picks frames of a series by their dates."""

NETCDF_LOCK = threading.Lock()
"""The NetCDF library crashes when two threads use it at once."""

EPOCH = "days since 1970-01-01"
"""Unit of the time coordinate."""


@contextmanager
def opened_geotiff(path: Path) -> Iterator[Any]:
    """An open GeoTIFF; whatever goes wrong with it is an `InputError`."""
    import rasterio
    from rasterio.errors import RasterioError

    _check_exists(path)
    try:
        with rasterio.open(path) as file:
            yield file
    except (OSError, RasterioError) as error:
        raise InputError("is truncated or not a GeoTIFF", file=path, fix="Fetch or write it again") from error


@contextmanager
def opened_netcdf(path: Path) -> Iterator[Any]:
    """An open NetCDF file; whatever goes wrong with it is an `InputError`."""
    from netCDF4 import Dataset as File

    _check_exists(path)
    try:
        with NETCDF_LOCK, File(path) as file:
            file.set_auto_maskandscale(False)
            yield file
    except (OSError, RuntimeError) as error:
        raise InputError("is truncated or not a NetCDF file", file=path, fix="Fetch or write it again") from error


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise InputError("is missing", file=path)


def declared_sensor(name: str | None, unit: str | None, modality: Modality, path: Path) -> Sensor:
    """The sensor a file declares.

    Raises:
        InputError: sensor or unit are not declared, not known, contradict each other, or belong to another modality.
    """
    for what, value in (("sensor", name), ("unit", unit)):
        if not value:
            raise InputError(f"does not declare its {what}; units are declared, never guessed", file=path)
    sensor = SENSORS.get(str(name))
    if sensor is None:
        raise InputError(f"sensor {name!r} is not known", file=path, fix=f"Known: {', '.join(SENSORS)}")
    if sensor.modality != modality:
        raise InputError(f"holds {sensor.name}, which does not belong under {path.name}", file=path)
    if unit != sensor.unit:
        raise InputError(f"unit {unit!r} is not that of {sensor.name}, {str(sensor.unit)!r}", file=path)
    return sensor


def _band_indices(sensor: Sensor, names: Sequence[str], path: Path) -> list[int]:
    picked = sensor.select(np.arange(len(names)), names, axis=0, file=path)
    return [int(index) for index in picked]


def read_hr(path: Path, cells: tuple[int, int], window: Window | None) -> Series:
    """The high-resolution image, ``(1, C, H, W)``, whole or a window given in cells.

    Raises:
        InputError: truncated, foreign, undeclared, of other bands, or not 32 px a cell.
    """
    from rasterio.enums import MaskFlags
    from rasterio.windows import Window as Pixels

    with opened_geotiff(path) as file:
        tags = file.tags()
        sensor = declared_sensor(tags.get("SKYSENSE_SENSOR"), tags.get("SKYSENSE_UNIT"), "hr", path)
        names = [name or "" for name in file.descriptions]
        bands = [index + 1 for index in _band_indices(sensor, names, path)]
        _check_grid((file.height, file.width), cells, CELL_HR_PX, path)
        part = window and window.scaled(CELL_HR_PX)
        pixels = part and Pixels(part.col, part.row, part.width, part.height)
        clear_bands = [names.index("clear") + 1] if "clear" in names else []
        values = file.read([*bands, *clear_bands], window=pixels)
        if file.mask_flag_enums[0] == [MaskFlags.all_valid]:
            valid = np.ones(values.shape[1:], np.bool_)
        else:
            valid = file.read_masks(bands, window=pixels).any(axis=0)
    clear = values[-1:] > 0 if clear_bands else None
    date = _hr_date(tags.get("SKYSENSE_DATE"), path)
    return _series(path, sensor, values[None, : len(bands)], date, valid[None], clear)


def _series(path: Path, *parts: Any) -> Series:
    try:
        return Series(*parts)
    except InputError as error:
        raise InputError(error.what, file=path, fix=error.fix) from None


def _hr_date(text: str | None, path: Path) -> NDArray[np.datetime64]:
    try:
        return np.array([text or "NaT"], "datetime64[D]")
    except ValueError as error:
        raise InputError(f"date {text!r} is not of the form 2021-06-30", file=path) from error


def read_cube(
    path: Path, modality: Modality, cells: tuple[int, int], window: Window | None, choose: ChooseFrames | None
) -> Series:
    """A Sentinel series, ``(T, C, H, W)``: some or all frames, whole or a window given in cells.

    Raises:
        InputError: truncated, foreign, undeclared, of other bands or another grid, or dates out of order.
    """
    with opened_netcdf(path) as file:
        attributes = {name: file.getncattr(name) for name in file.ncattrs()}
        sensor = declared_sensor(attributes.get("sensor"), attributes.get("unit"), modality, path)
        values, valid = _variable(file, "values", 4, path), _variable(file, "valid", 3, path)
        if values.dtype.kind not in "uif" or {"scale_factor", "add_offset"} & set(values.ncattrs()):
            raise InputError("values must be plain numbers in the declared unit, not scaled or shifted", file=path)
        clear = _variable(file, "clear", 3, path) if "clear" in file.variables else None
        bands = _band_indices(sensor, [str(name) for name in _variable(file, "band", 1, path)[:]], path)
        _check_grid(values.shape[2:], cells, 1, path)
        for mask in (valid, clear):
            if mask is not None and mask.shape != (values.shape[0], *values.shape[2:]):
                raise InputError(f"{mask.name} is {mask.shape}, values are {values.shape}", file=path)
        dates = _dates(file, path)
        chosen = np.arange(len(dates)) if choose is None else _chosen(choose(dates), len(dates), path)
        rows, cols = (window or Window(0, 0, *cells)).slices()
        every = bands == list(range(values.shape[1]))
        cube = _frames(values, chosen, (slice(None) if every else bands, rows, cols))
        masks = [None if mask is None else _frames(mask, chosen, (rows, cols)) != 0 for mask in (valid, clear)]
    return _series(path, sensor, cube, dates[chosen], *masks)


def read_cube_dates(path: Path) -> NDArray[np.datetime64]:
    """Dates ``(T,)`` of a Sentinel series.

    Raises:
        InputError: truncated, foreign, or another calendar than days since 1970-01-01.
    """
    with opened_netcdf(path) as file:
        return _dates(file, path)


def read_hr_date(path: Path) -> NDArray[np.datetime64]:
    """Date ``(1,)`` of the high-resolution image, NaT if it is not known."""
    with opened_geotiff(path) as file:
        return _hr_date(file.tags().get("SKYSENSE_DATE"), path)


def read_mask_pixels(path: Path, cells: tuple[int, int], window: Window | None) -> NDArray[np.uint8]:
    """A mask ``(H, W)``, whole or a window given in cells, on the grid it was stored on.

    Raises:
        InputError: truncated, foreign, not one band of uint8, or neither 1 nor 32 px a cell.
    """
    from rasterio.windows import Window as Pixels

    with opened_geotiff(path) as file:
        if file.count != 1 or file.dtypes[0] != "uint8":
            raise InputError(f"a mask is one band of uint8; got {file.count} of {file.dtypes[0]}", file=path)
        factor = grid_factor((file.height, file.width), cells)
        if factor is None:
            raise InputError(
                f"is {file.height} x {file.width} px on a place of {cells[0]} x {cells[1]} cells; a mask has 1 px "
                "(Sentinel grid) or 32 px (high-resolution grid) per cell",
                file=path,
            )
        part = window and window.scaled(factor)
        return file.read(1, window=part and Pixels(part.col, part.row, part.width, part.height))


def _check_grid(shape: tuple[int, ...], cells: tuple[int, int], factor: int, path: Path) -> None:
    wanted = (cells[0] * factor, cells[1] * factor)
    if tuple(shape) != wanted:
        raise InputError(
            f"is {shape[0]} x {shape[1]} px; a place of {cells[0]} x {cells[1]} cells needs "
            f"{wanted[0]} x {wanted[1]} px ({factor} per cell)",
            file=path,
            fix="All sensors of a place must cover the same ground on the lattice",
        )


def _variable(file: Any, name: str, dimensions: int, path: Path) -> Any:
    variable = file.variables.get(name)
    if variable is None or variable.ndim != dimensions:
        raise InputError(f"holds no variable {name!r} of {dimensions} dimensions", file=path)
    return variable


def _dates(file: Any, path: Path) -> NDArray[np.datetime64]:
    time = _variable(file, "time", 1, path)
    units = time.getncattr("units") if "units" in time.ncattrs() else None
    if units != EPOCH:
        raise InputError(f"time is in {units!r}", file=path, fix=f"Write it in {EPOCH!r}")
    days = time[:].astype(np.float64)
    missing = np.isnan(days)
    if "_FillValue" in time.ncattrs():
        missing |= days == time.getncattr("_FillValue")
    dates = np.where(missing, 0, np.floor(days)).astype(np.int64).astype("datetime64[D]")
    dates[missing] = np.datetime64("NaT")
    return dates


def _chosen(frames: Sequence[int] | NDArray[np.integer], count: int, path: Path) -> NDArray[np.int64]:
    index = np.asarray(frames, np.int64)
    if index.ndim != 1 or not len(index) or index.min() < 0 or index.max() >= count or (np.diff(index) <= 0).any():
        raise InputError(f"frames {list(frames)} must ascend within 0 .. {count - 1}", file=path)
    return index


def _frames(variable: Any, frames: NDArray[np.int64], rest: tuple[Any, ...]) -> NDArray:
    """Some frames of a variable, read in runs of neighbours."""
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    parts = [variable[(slice(int(run[0]), int(run[-1]) + 1), *rest)] for run in runs]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
