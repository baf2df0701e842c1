"""Maps read back: layers, levels and windows, whatever the format.

Letters: K bands, h w pixels of a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.product.layer import Layer

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes


class Raster(Protocol):
    """One layer of a map on disk."""

    @property
    def levels(self) -> int: ...  # noqa: D102

    def read(self, window: Window, level: int, bands: Sequence[int]) -> NDArray:
        """Stored numbers of a window that lies within the level."""

    def close(self) -> None:
        """Close files."""


@dataclass(frozen=True)
class Product:
    """A map; several threads may read.

    Attributes:
        path: its file or folder.
        grid: of its cells.
        layers: by name.
        metadata: what it says of itself.
    """

    path: Path
    grid: Grid
    layers: dict[str, Layer]
    metadata: dict[str, Any]
    _rasters: dict[str, Raster] = field(repr=False)

    def pixels(self, layer: str, level: int = 0) -> Grid:
        """The grid of the pixels of a layer.

        Args:
            layer: its name.
            level: 0 is full resolution, every further one has pixels twice as large.
        """
        return self.grid.finer(self._layer(layer).per_cell).coarser(2**level)

    def levels(self, layer: str) -> int:
        """How many levels a layer has, full resolution included."""
        self._layer(layer)
        return self._rasters[layer].levels

    def read(self, layer: str, window: Window, level: int = 0, *, bands: Sequence[int] | None = None) -> NDArray:
        """Stored numbers of a window.

        Args:
            layer: its name.
            window: in pixels of the level; what lies outside is no-data.
            level: 0 is full resolution.
            bands: which, from 0, in the order wanted; all if None.

        Returns:
            ``(K, h, w)`` of the number type of the layer.

        Raises:
            InputError: no such layer, level or band; the file is damaged.
        """
        what = self._layer(layer)
        if not 0 <= level < self.levels(layer):
            raise InputError(f"has levels 0 .. {self.levels(layer) - 1} of {layer}, not {level}", file=self.path)
        wanted = list(range(len(what.bands))) if bands is None else list(bands)
        if any(not 0 <= band < len(what.bands) for band in wanted):
            raise InputError(f"has bands 0 .. {len(what.bands) - 1} of {layer}, not all of {wanted}", file=self.path)
        grid = self.pixels(layer, level)
        values_Khw = np.full((len(wanted), window.height, window.width), what.nodata, what.dtype)
        inside = window.intersect(Window(0, 0, grid.height, grid.width))
        if inside is not None and wanted:
            rows, cols = Window(inside.row - window.row, inside.col - window.col, inside.height, inside.width).slices()
            values_Khw[:, rows, cols] = self._rasters[layer].read(inside, level, wanted)
        return values_Khw

    def read_values(
        self, layer: str, window: Window, level: int = 0, *, bands: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """The same in their own unit: stored numbers times their scale plus offset, NaN for no-data; see `read`."""
        stored_Khw = self.read(layer, window, level, bands=bands)
        what = self._layer(layer)
        return (what if bands is None else what.of_bands(bands)).decode(stored_Khw)

    @overload
    def to_xarray(self, layer: None = None, level: int = 0, window: Window | None = None) -> xarray.Dataset: ...
    @overload
    def to_xarray(self, layer: str, level: int = 0, window: Window | None = None) -> xarray.DataArray: ...
    def to_xarray(
        self, layer: str | None = None, level: int = 0, window: Window | None = None
    ) -> xarray.Dataset | xarray.DataArray:
        """Read layers into memory: float32 in their own unit, NaN for no-data.

        Dimensions are ``band``, ``y`` and ``x``, with the names of bands and the middles of pixels as coordinates. A
        further layer with other bands has ``<layer>_band``, one of a single band that is no feature ``y`` and ``x``
        only. The CRS and the affine are in ``spatial_ref``, which alone says where the pixels of a rotated map lie. The
        metadata are in the attribute ``skysense``, as JSON.

        Args:
            layer: its name; all of them, as a data set, if None.
            level: 0 is full resolution, every further one has pixels twice as large.
            window: in pixels of the level; all if None.

        Raises:
            InputError: no such layer or level, more than 4 GiB, or the file is damaged.
            MissingExtra: xarray is not installed.
        """
        from skysense.maps.product.memory import dataset_of

        found = dataset_of(self, list(self.layers) if layer is None else [layer], level, window)
        return found if layer is None else found[layer]

    def plot(self, layer: str | None = None, *, band: str | int = 0, ax: Axes | None = None) -> Axes:
        """Draw a layer with matplotlib, see `skysense.maps.draw.plot`."""
        from skysense.maps.draw import plot

        return plot(self, layer, band=band, ax=ax)

    def __repr__(self) -> str:
        size = f"{self.grid.height} x {self.grid.width} cells"
        return f"Product({str(self.path)!r}: {size}, {', '.join(self.layers)})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from skysense.maps.draw import product_html

        return product_html(self)

    def close(self) -> None:
        """Close its files."""
        for raster in self._rasters.values():
            raster.close()

    def __enter__(self) -> Product:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _layer(self, name: str) -> Layer:
        if name not in self.layers:
            raise InputError(f"has no layer {name!r}; it has {', '.join(self.layers)}", file=self.path)
        return self.layers[name]


def open_product(path: str | Path) -> Product:
    """Open a map that this package wrote.

    Args:
        path: ``name.tif``, whose further layers lie beside it as ``name_layer.tif``, or ``name.zarr``.

    Raises:
        InputError: anything else, a map of a newer release, or one that another program changed.
        MissingExtra: a Zarr needs TensorStore.
    """
    from skysense.maps.product.read_cog import read_cog
    from skysense.maps.product.read_zarr import read_zarr

    path = Path(path)
    if not path.exists():
        raise InputError("is not there", file=path)
    grid, layers, metadata, rasters = (read_zarr if path.is_dir() else read_cog)(path)
    return Product(path, grid, layers, metadata, rasters)
