"""The file formats of a place: GeoTIFF for image and masks, CF NetCDF for series; see docs/places.md.

A GeoTIFF is composed in memory, so that a full disk is noticed where the bytes are written. A NetCDF file composed in
memory could not be edited by other programs later, so it is written to disk by its library.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.places_layout import Place
from skysense.data.places_read import EPOCH, NETCDF_LOCK
from skysense.errors import OutputError
from skysense.observation import Series
from skysense.sensors import Unit

_CHUNK_BYTES = 65_536  # about this much is unpacked at once: a few frames of 32 x 32 cells, or many tiny ones
_CHUNK_SIDE = 32
_UDUNITS = {Unit.REFLECTANCE_1E4: "1e-4", Unit.DECIBEL: "dB"}


def geotiff_image(series: Series, place: Place) -> bytes:
    """A high-resolution image as GeoTIFF; pixels that are not valid go into its mask, ``clear`` becomes a band."""
    tags = {"SKYSENSE_SENSOR": series.sensor.name, "SKYSENSE_UNIT": str(series.sensor.unit)}
    if not np.isnat(series.dates[0]):
        tags["SKYSENSE_DATE"] = str(series.dates[0])
    bands, names = series.values[0], list(series.sensor.bands)
    if series.clear is not None:
        bands, names = np.concatenate([bands, series.clear.astype(np.uint8)]), [*names, "clear"]
    valid = None if series.valid.all() else series.valid[0]
    return _geotiff(bands, names, place, tags=tags, valid=valid)


def geotiff_mask(mask: NDArray[np.uint8], label: str, place: Place) -> bytes:
    """A label mask ``(H, W)`` as GeoTIFF."""
    return _geotiff(mask[None], [label], place, tags={"SKYSENSE_LABEL": label}, valid=None)


def _geotiff(
    bands: NDArray[np.uint8], names: list[str], place: Place, *, tags: dict[str, str], valid: NDArray[np.bool_] | None
) -> bytes:
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.transform import from_bounds

    count, height, width = bands.shape
    crs = None if place.footprint is None else rasterio.crs.CRS.from_user_input(place.footprint.crs)
    block = min(256, 16 * math.ceil(max(height, width) / 16))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=width,
            height=height,
            count=count,
            dtype="uint8",
            crs=crs,
            transform=from_bounds(*place.bounds, width, height),
            compress="deflate",
            predictor=2,
            tiled=True,
            blockxsize=block,
            blockysize=block,
            interleave="pixel",
            photometric="RGB" if count >= 3 else "MINISBLACK",
        ) as file:
            file.write(bands)
            file.descriptions = names
            file.update_tags(**tags)
            if count > 3:
                file.colorinterp = [*file.colorinterp[:3], *[rasterio.enums.ColorInterp.undefined] * (count - 3)]
            if valid is not None:
                file.write_mask(valid)
        return bytes(memory.getbuffer())


def write_netcdf(path: Path, series: Series, place: Place) -> None:
    """Write a Sentinel series as NetCDF by the CF conventions, in chunks that suit windows and single frames.

    Raises:
        OutputError: the library could not write; it does not say why.
    """
    from netCDF4 import Dataset as File

    try:
        with NETCDF_LOCK, File(path, "w", format="NETCDF4") as file:
            _compose(file, series, place)
    except RuntimeError as error:
        raise OutputError(
            f"could not be written: {path.name}: {error}",
            file=place.folder,
            fix="Is there space left? Free some or choose another folder; what was finished before is still there",
        ) from error


def _compose(file: Any, series: Series, place: Place) -> None:
    sensor = series.sensor
    head = {"Conventions": "CF-1.11", "title": f"{sensor.name} over {place.name}"}
    file.setncatts({**head, "sensor": sensor.name, "unit": str(sensor.unit)})
    count, bands, height, width = series.values.shape
    for name, size in (("time", count), ("band", bands), ("y", height), ("x", width)):
        file.createDimension(name, size)
    _coordinates(file, series, place)
    values = _variable(
        file, "values", series.values, ("time", "band", "y", "x"), np.nan if series.values.dtype.kind == "f" else False
    )
    values.units = _UDUNITS.get(sensor.unit, str(sensor.unit))
    values.long_name = f"{sensor.name} [{sensor.unit}]"
    values.ancillary_variables = "valid" if series.clear is None else "valid clear"
    variables = [values]
    for name, mask, meanings in (
        ("valid", series.valid, "not_observed observed"),
        ("clear", series.clear, "cloudy clear"),
    ):
        if mask is not None:
            variable = _variable(file, name, mask.astype(np.uint8), ("time", "y", "x"), False)
            variable.setncatts({"flag_values": np.array([0, 1], np.uint8), "flag_meanings": meanings})
            variables.append(variable)
    if place.footprint is not None:
        for variable in variables:
            variable.grid_mapping = "crs"


def _variable(file: Any, name: str, pixels: NDArray, dimensions: tuple[str, ...], fill: float | bool) -> Any:
    frame = (*pixels.shape[1:-2], *(min(side, _CHUNK_SIDE) for side in pixels.shape[-2:]))
    frames = _CHUNK_BYTES // (math.prod(frame) * pixels.itemsize)
    variable = file.createVariable(
        name,
        pixels.dtype,
        dimensions,
        zlib=True,
        complevel=4,
        shuffle=True,
        chunksizes=(max(1, min(frames, len(pixels))), *frame),
        fill_value=fill,
    )
    variable.set_auto_maskandscale(False)
    variable[:] = pixels
    return variable


def _coordinates(file: Any, series: Series, place: Place) -> None:
    """Time, band, y, x, and the grid mapping, by the CF conventions."""
    height, width = series.values.shape[-2:]
    time = file.createVariable("time", "i4", ("time",), fill_value=np.iinfo(np.int32).min)
    time.setncatts({"standard_name": "time", "axis": "T", "units": EPOCH, "calendar": "proleptic_gregorian"})
    time[:] = np.ma.masked_array(series.dates.astype("datetime64[D]").astype(np.int64), np.isnat(series.dates))
    band = file.createVariable("band", str, ("band",))
    band.long_name = "band name"
    band[:] = np.array(series.sensor.bands, object)
    left, bottom, right, top = place.bounds
    step_x, step_y = (right - left) / width, (top - bottom) / height
    centres = {"y": top - step_y * (np.arange(height) + 0.5), "x": left + step_x * (np.arange(width) + 0.5)}
    attributes: dict[str, dict[str, str]] = {"y": {"units": "m"}, "x": {"units": "m"}}
    if place.footprint is not None:
        import pyproj

        crs = pyproj.CRS.from_user_input(place.footprint.crs)
        mapping = file.createVariable("crs", "i4", ())
        mapping.setncatts(crs.to_cf())
        mapping.GeoTransform = f"{left!r} {step_x!r} 0.0 {top!r} 0.0 {-step_y!r}"
        for axis in crs.cs_to_cf():
            key = str(axis["axis"]).lower()
            attributes[key] = {name: str(value) for name, value in axis.items()}
    for name, values in centres.items():
        variable = file.createVariable(name, "f8", (name,))
        variable.setncatts({"axis": name.upper(), **attributes[name]})
        variable[:] = values
