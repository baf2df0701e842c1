"""Which sensor a cube is of: its bands, unit, days and place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from skysense.data.geotiff import acquisition_day, check_unit, choose_sensor, pixel_metres
from skysense.errors import InputError
from skysense.maps.sources.cube import CubeStack, Layers, opened_cube
from skysense.maps.sources.cube_axes import Axes, axes_of, ground_of
from skysense.maps.sources.dates import day_in_name
from skysense.maps.sources.files import CLASSES
from skysense.maps.sources.named import Entry
from skysense.maps.sources.numbers import Numbers
from skysense.sensors import Modality, Sensor, Unit

_MASKS = ("valid", "clear", CLASSES.lower())
_FRACTIONS = ("1", "reflectance", "dimensionless")
"""Units in which reflectance is a number between 0 and 1."""


@dataclass(frozen=True)
class _Found:
    """A variable with pixels and the names of its bands."""

    variable: str
    axes: Axes
    names: tuple[str, ...]


def is_cube(path: Path) -> bool:
    """Whether a path is that of a Zarr group or a NetCDF file."""
    if path.suffix.lower() in (".zarr", ".nc", ".nc4"):
        return True
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zmetadata"))


def cube_stack(path: Path, said: Entry, reads: Mapping[Modality, Sensor]) -> CubeStack:
    """Understand a cube: dimensions of time, band, rows and columns in any order, or a variable per band.

    Args:
        path: of a Zarr group or a NetCDF file.
        said: sensor, unit and date, where the cube does not say them.
        reads: sensors that the model reads.

    Raises:
        InputError: no readable cube, no CRS or coordinates, bands of no sensor, a unit that is missing or another one,
            frames without dates.
        MissingExtra: xarray or zarr is not installed.
    """
    with opened_cube(path) as dataset:
        return understood(dataset, path, said, reads)


def understood(dataset: Any, path: Path, said: Entry, reads: Mapping[Modality, Sensor]) -> CubeStack:
    """The same of a cube that is open; ``path`` is what messages call it."""
    found, masks = _variables(dataset)
    names = [name for one in found for name in one.names]
    if not names:
        raise InputError(
            f"holds no image or series with named bands (variables: {', '.join(map(str, dataset.data_vars))})",
            file=path,
            fix="Name the bands by the coordinate of the band dimension, or keep one variable per band",
        )
    wanted = said.sensor or dataset.attrs.get("SKYSENSE_SENSOR") or dataset.attrs.get("sensor")
    chosen = choose_sensor(wanted, list(dict.fromkeys(names)), tuple(reads.values()), path)
    sensor = reads.get(chosen.modality)
    if sensor is None:
        raise InputError(f"is {chosen.name}; this model reads {', '.join(reads) or 'nothing'}", file=path)
    layers = _layers(dataset, found, sensor, said, path)
    time = next((one.axes.time for one in layers if one.axes.time is not None), None)
    days, note = _days(dataset, time, said.date, sensor, path)
    order = np.argsort(days, kind="stable")
    mask_layers = {key: _mask(dataset, masks[key], time, path) for key in _MASKS if key in masks}
    return CubeStack(
        path=path,
        sensor=sensor,
        days=tuple(days[order]),
        order=tuple(order.tolist()),
        layers=layers,
        valid=mask_layers.get("valid"),
        clear=mask_layers.get("clear"),
        classes=mask_layers.get(CLASSES.lower()),
        notes=(note,),
        simulated=str(dataset.attrs.get("SKYSENSE_SIMULATED", dataset.attrs.get("simulated"))) in ("yes", "1", "True"),
    )


def _variables(dataset: Any) -> tuple[list[_Found], dict[str, str]]:
    """Variables with pixels, and those that are masks."""
    found, masks = [], {}
    for name, variable in dataset.data_vars.items():
        axes = axes_of(variable.dims)
        if axes is None or variable.dtype.kind not in "uifb":
            continue
        if axes.band is None and str(name).lower() in _MASKS:
            masks[str(name).lower()] = str(name)
        else:
            found.append(_Found(str(name), axes, _names(str(name), variable, axes)))
    return found, masks


def _names(name: str, variable: Any, axes: Axes) -> tuple[str, ...]:
    """Band names of a variable: its own, or those along its band dimension."""
    if axes.band is None:
        return (name,)
    if axes.band in variable.coords:
        labels = variable.coords[axes.band].values
        if labels.dtype.kind in "UOT":
            return tuple(map(str, labels))
    said = variable.attrs.get("band_names") or variable.attrs.get("long_name")
    return tuple(map(str, said)) if isinstance(said, list | tuple) else ()


def _layers(dataset: Any, found: Sequence[_Found], sensor: Sensor, said: Entry, path: Path) -> tuple[Layers, ...]:
    """The bands of a sensor out of the variables that hold them; of a band kept in several sizes, the finest."""
    every: list[Layers] = []
    for one in found:
        plain = sensor.plain_names(one.names)
        bands = tuple(band for band in sensor.bands if plain.count(band) == 1)
        if bands:
            variable = dataset[one.variable]
            ground = ground_of(dataset, variable, one.axes, path)
            numbers = _numbers(dataset, variable, sensor, said, path)
            indexes = tuple(plain.index(band) for band in bands)
            every.append(Layers(one.variable, one.axes, ground, bands, indexes, numbers, str(variable.dtype)))
    every.sort(key=lambda layers: pixel_metres(layers.ground.grid))
    taken: set[str] = set()
    chosen = []
    for layers in every:
        fresh = [at for at, band in enumerate(layers.bands) if band not in taken]
        if fresh:
            bands = tuple(layers.bands[at] for at in fresh)
            chosen.append(replace(layers, bands=bands, indexes=tuple(layers.indexes[at] for at in fresh)))
            taken |= set(bands)
    if taken != set(sensor.bands):
        names = [name for one in found for name in one.names]
        sensor.select(np.arange(len(names)), names, axis=0, file=path)  # says what is missing
    return tuple(chosen)


def _numbers(dataset: Any, variable: Any, sensor: Sensor, said: Entry, path: Path) -> Numbers:
    attrs = variable.attrs
    unit = said.unit or next(
        (
            source[key]
            for source in (attrs, dataset.attrs)
            for key in ("SKYSENSE_UNIT", "unit", "units")
            if key in source
        ),
        None,
    )
    scale, shift = float(attrs.get("scale_factor", 1)), float(attrs.get("add_offset", 0))
    if sensor.unit is Unit.REFLECTANCE_1E4 and str(unit) in _FRACTIONS:
        unit, scale, shift = sensor.unit, scale * 1e4, shift * 1e4
    check_unit(sensor, unit, {str(variable.dtype)}, path)
    if np.isclose(scale, 1, rtol=1e-9, atol=0) and shift == 0:
        scale = 1.0
    nodata = next((attrs[key] for key in ("_FillValue", "missing_value", "nodata") if key in attrs), None)
    return Numbers(
        scale=scale,
        shift=shift,
        nodata=None if nodata is None else float(np.ravel(nodata)[0]),
        dark=sensor.modality == "hr",
    )


def _mask(dataset: Any, name: str, time: str | None, path: Path) -> Layers:
    variable = dataset[name]
    axes = axes_of(variable.dims)
    assert axes is not None
    if axes.time != time:
        raise InputError(f"{name} has other dimensions ({', '.join(variable.dims)}) than the bands", file=path)
    return Layers(name, axes, ground_of(dataset, variable, axes, path))


def _days(dataset: Any, time: str | None, date: str | None, sensor: Sensor, path: Path) -> tuple[Any, str]:
    """Days of the frames along the time axis, and a note."""
    if time is None:
        said = str(dataset.coords["time"].values)[:10] if "time" in dataset.coords else None
        tags = {key.upper(): str(value) for key, value in dataset.attrs.items()}
        if not date and said is None and "SKYSENSE_DATE" not in tags:
            day = day_in_name(path.stem, sensor.modality)
            if not np.isnat(day):
                return np.array([day]), f"date {day} (name {path.stem})"
        day, note = acquisition_day(date or said, tags, path)
        return np.array([day]), note
    values = dataset.coords[time].values if time in dataset.coords else None
    if values is None or values.dtype.kind != "M" or np.isnat(values).any():
        raise InputError(
            f"does not say the dates of its {dataset.sizes[time]} frames",
            file=path,
            fix=f"Give the dimension {time} a coordinate of dates",
        )
    days = values.astype("datetime64[D]")
    return days, f"{sensor.name}: {len(days)} dates, {days.min()} .. {days.max()}"
