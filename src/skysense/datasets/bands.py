"""Rasters of which the description of a data set, and often not the file, says what their bands are.

Letters: C bands, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from skysense.data.geotiff import STRICT, band_names, check_unit, observed, opened
from skysense.data.labelled.head import Head, head_of
from skysense.errors import InputError
from skysense.geo import Window
from skysense.sensors import Sensor


@dataclass(frozen=True)
class Named:
    """A raster file whose bands are known.

    Attributes:
        file: the raster.
        names: of its bands in their order; where the file itself names any of them so, the file is believed.
        sensor: what to read of it: bands, unit, plausible values.
        dtypes: number types that it may have, any that the unit allows if empty.
    """

    file: Path
    names: Sequence[str]
    sensor: Sensor
    dtypes: Sequence[str] = ()

    def read(self, window: Window) -> tuple[NDArray, NDArray[np.bool_]]:
        """The bands of the sensor ``(C, H, W)`` in its order, as stored, and what was observed ``(H, W)``.

        Args:
            window: in pixels.

        Raises:
            InputError: missing, damaged, another number of bands, another number type or values that the unit cannot
                hold.
        """
        box = RasterWindow(window.col, window.row, window.width, window.height)
        with rasterio.Env(**STRICT), opened(self.file) as dataset:
            indexes = self._indexes(dataset)
            self._check_numbers({dataset.dtypes[index - 1] for index in indexes})
            try:
                values_CHW = dataset.read(indexes, window=box)
                seen_HW = observed(dataset, indexes, self.sensor, box, ignore_alpha=True)
            except (RasterioError, MemoryError) as error:
                raise InputError("is truncated or damaged", file=self.file, fix="Get it again") from error
        if values_CHW.dtype.kind == "f":
            seen_HW = seen_HW & np.isfinite(values_CHW).all(axis=0)
            values_CHW = np.where(seen_HW, values_CHW, 0)
        if seen_HW.any():
            self.sensor.check(values_CHW[None], seen_HW[None], file=self.file)
        return values_CHW, seen_HW

    def head(self) -> Head:
        """Size and place.

        Raises:
            InputError: missing or damaged.
        """
        with opened(self.file) as dataset:
            return head_of(dataset)

    def _indexes(self, dataset: Any) -> list[int]:
        """1-based positions of the bands of the sensor."""
        names = [name.upper() for name in band_names(dataset)] if any(dataset.descriptions) else []
        if not set(names) & {name.upper() for name in self.names}:
            names = list(self.names)
            if dataset.count != len(names):
                raise InputError(
                    f"has {dataset.count} bands; expected are {len(names)}: {', '.join(names)}",
                    file=self.file,
                    fix="Is this another version of the data set?",
                )
        positions = self.sensor.select(np.arange(1, len(names) + 1), names, axis=0, file=self.file)
        return [int(index) for index in positions]

    def _check_numbers(self, dtypes: set[str]) -> None:
        if self.dtypes and dtypes - set(self.dtypes):
            raise InputError(
                f"holds {', '.join(sorted(dtypes))}; {self.sensor.name} is {' or '.join(self.dtypes)}",
                file=self.file,
                fix="Is this another version of the data set?",
            )
        check_unit(self.sensor, self.sensor.unit, dtypes, self.file)
