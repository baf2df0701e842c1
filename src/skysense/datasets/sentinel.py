"""Sentinel imagery as data sets of patches store it: a file per band, each on its own grid.

Letters: C bands, H W pixels of 10 m.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from skysense.data.geotiff import STRICT, check_unit, opened
from skysense.data.labelled.head import Head, head_of
from skysense.errors import InputError
from skysense.geo import Window
from skysense.observation import Series
from skysense.sensors import Sensor

_SETTINGS = {**STRICT, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}  # nothing lies beside a band that belongs to it


def read_bands(
    files: Sequence[Path],
    sensor: Sensor,
    day: np.datetime64,
    window: Window | None = None,
    *,
    one_grid: bool = False,
) -> tuple[Series, Head]:
    """A frame whose bands lie in files of one band each; coarser ones are brought to the finest by repeating pixels.

    What is zero in every band was not observed: an atmosphere without any light does not exist, and no radar measures
    exactly 0 dB twice. Neither are numbers that are not finite.

    Args:
        files: of the sensor's bands, in its order, in its unit.
        sensor: what they are of.
        day: when it was taken.
        window: the part to read, in pixels of the finest band; all of it if None or if nothing of it lies on the image.
        one_grid: refuse coarser bands, where all are said to have the same pixels.

    Returns:
        A series of one frame, and where the whole image lies.

    Raises:
        InputError: a file is missing, damaged, of several bands, of another area, or holds what the sensor cannot
            measure; the message names it.
    """
    with rasterio.Env(**_SETTINGS), ExitStack() as stack:
        datasets = [_opened_band(file, sensor, stack) for file in files]
        heads = [head_of(dataset) for dataset in datasets]
        finest = heads[0] if one_grid else max(heads, key=lambda head: head.height)
        factors = [_factor(head, finest, file, one_grid) for head, file in zip(heads, files, strict=True)]
        area = (window and window.intersect(finest.whole)) or finest.whole
        bands = [_read_band(*one, area) for one in zip(datasets, factors, files, strict=True)]
    values_CHW = np.stack(bands)
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


def _opened_band(file: Path, sensor: Sensor, stack: ExitStack) -> Any:
    dataset = stack.enter_context(opened(file))
    if dataset.count != 1:
        raise InputError(f"has {dataset.count} bands; it should have one", file=file)
    check_unit(sensor, sensor.unit, set(dataset.dtypes), file)
    return dataset


def _factor(head: Head, finest: Head, file: Path, one_grid: bool) -> int:
    """How many pixels of the finest band lie on the side of a pixel."""
    factor = 1 if one_grid else finest.height // head.height
    if (head.height * factor, head.width * factor) == (finest.height, finest.width):
        return factor
    what, of = ("are not", "first") if one_grid else ("do not divide", "finest")
    raise InputError(
        f"is {head.height} x {head.width} px, which {what} the {finest.height} x {finest.width} px of the {of} band",
        file=file,
    )


def _read_band(dataset: Any, factor: int, file: Path, area: Window) -> NDArray:
    """A part of a band ``(H, W)``, given in pixels of the finest band, on whose grid it is returned."""
    top, left = area.row // factor, area.col // factor
    bottom, right = -(-(area.row + area.height) // factor), -(-(area.col + area.width) // factor)
    try:
        values_HW = dataset.read(1, window=RasterWindow(left, top, right - left, bottom - top))
    except (RasterioError, MemoryError) as error:
        raise InputError("is truncated or damaged", file=file, fix="Get it again") from error
    if factor == 1:
        return values_HW
    inner = Window(area.row - top * factor, area.col - left * factor, area.height, area.width)
    return values_HW.repeat(factor, axis=0).repeat(factor, axis=1)[inner.slices()]
