"""Sentinel imagery as data sets of patches store it: a file per band, each on its own grid.

Letters: C bands, H W pixels of 10 m.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from skysense.data.geotiff import STRICT, check_unit, opened
from skysense.data.labelled.head import Head, head_of
from skysense.errors import InputError
from skysense.observation import Series
from skysense.sensors import Sensor

_SETTINGS = {**STRICT, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}  # nothing lies beside a band that belongs to it


def read_bands(files: Sequence[Path], sensor: Sensor, day: np.datetime64) -> tuple[Series, Head]:
    """A frame whose bands lie in files of one band each; coarser ones are brought to the finest by repeating pixels.

    What is zero in every band was not observed: an atmosphere without any light does not exist, and no radar measures
    exactly 0 dB twice. Neither are numbers that are not finite.

    Args:
        files: of the sensor's bands, in its order, in its unit.
        sensor: what they are of.
        day: when it was taken.

    Returns:
        A series of one frame, and where it lies.

    Raises:
        InputError: a file is missing, damaged, of several bands, of another area, or holds what the sensor cannot
            measure; the message names it.
    """
    bands: list[NDArray] = []
    heads: list[Head] = []
    with rasterio.Env(**_SETTINGS):
        for file in files:
            values_HW, head = _read_band(file, sensor)
            bands.append(values_HW)
            heads.append(head)
    finest = max(heads, key=lambda head: head.height)
    values_CHW = np.empty((len(files), finest.height, finest.width), np.result_type(*bands))
    for band, (file, values_HW) in enumerate(zip(files, bands, strict=True)):
        values_CHW[band] = _repeated(values_HW, (finest.height, finest.width), file)
    if values_CHW.dtype == np.float64:
        values_CHW = values_CHW.astype(np.float32)
    return frame(values_CHW, sensor, day, files[0]), finest


def frame(values_CHW: NDArray, sensor: Sensor, day: np.datetime64, file: Path) -> Series:
    """A series of one frame, in which what was not observed is zero and not valid; see `read_bands`.

    Raises:
        InputError: nothing was observed, or what the sensor cannot measure.
    """
    seen_HW: NDArray[np.bool_] = (values_CHW != 0).any(axis=0)
    if values_CHW.dtype.kind == "f":
        seen_HW &= np.isfinite(values_CHW).all(axis=0)
        if not seen_HW.all():
            values_CHW = np.where(seen_HW, values_CHW, 0)
    if not seen_HW.any():
        raise InputError("holds no observed pixel (all no-data)", file=file, fix="Leave it out")
    series = Series(sensor, values_CHW[None], np.array([day], "datetime64[D]"), seen_HW[None])
    series.check(str(file))
    return series


def _read_band(file: Path, sensor: Sensor) -> tuple[NDArray, Head]:
    with opened(file) as dataset:
        if dataset.count != 1:
            raise InputError(f"has {dataset.count} bands; it should have one", file=file)
        check_unit(sensor, sensor.unit, set(dataset.dtypes), file)
        try:
            return dataset.read(1), head_of(dataset)
        except (RasterioError, MemoryError) as error:
            raise InputError("is truncated or damaged", file=file, fix="Get it again") from error


def _repeated(values_HW: NDArray, size: tuple[int, int], file: Path) -> NDArray:
    rows, cols = values_HW.shape
    factor = size[0] // rows
    if (rows * factor, cols * factor) != size:
        raise InputError(
            f"is {rows} x {cols} px, which do not divide the {size[0]} x {size[1]} px of the finest band", file=file
        )
    return values_HW if factor == 1 else values_HW.repeat(factor, axis=0).repeat(factor, axis=1)
