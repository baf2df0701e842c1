"""Where an image lies, without reading its pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasterio.errors import RasterioError
from rasterio.warp import transform as reproject

from skysense.data.geotiff import opened
from skysense.geo import Footprint, Window


@dataclass(frozen=True)
class Head:
    """Size and place of an image.

    Attributes:
        height, width: pixels.
        crs: as rasterio gives it, None if the image does not say where it lies.
        transform: affine from pixels (column, row) to the CRS.
    """

    height: int
    width: int
    crs: Any
    transform: Any

    @property
    def whole(self) -> Window:
        """All of it."""
        return Window(0, 0, self.height, self.width)

    def position(self, area: Window) -> tuple[float | None, float | None]:
        """Longitude and latitude (WGS 84 degrees) of the middle of a part, both None if nobody knows."""
        if self.crs is None:
            return None, None
        x, y = self._at(area.col + area.width / 2, area.row + area.height / 2)
        try:
            (lon,), (lat,) = reproject(self.crs, "EPSG:4326", [x], [y])
        except RasterioError:
            return None, None
        return (lon, lat) if math.isfinite(lon) and abs(lon) <= 180 and abs(lat) <= 90 else (None, None)

    def footprint(self, area: Window) -> Footprint | None:
        """The ground of a part; None if nobody knows, or if the image is not north up."""
        a, b, _, d, e, _ = self.transform[:6]
        if self.crs is None or b or d or a <= 0 or e >= 0:
            return None
        left, top = self._at(area.col, area.row)
        right, bottom = self._at(area.col + area.width, area.row + area.height)
        return Footprint((left, bottom, right, top), self.crs.to_string())

    def _at(self, x: float, y: float) -> tuple[float, float]:
        """Coordinates of a point given in pixels."""
        a, b, c, d, e, f = self.transform[:6]
        return a * x + b * y + c, d * x + e * y + f


def head_of(dataset: Any) -> Head:
    """The head of an open raster."""
    crs = None if dataset.transform.is_identity else dataset.crs
    return Head(dataset.height, dataset.width, crs, dataset.transform)


def read_head(path: Path) -> Head:
    """The head of an image.

    Raises:
        InputError: it is missing, foreign or truncated so early that it cannot be opened.
    """
    with opened(path) as dataset:
        return head_of(dataset)
