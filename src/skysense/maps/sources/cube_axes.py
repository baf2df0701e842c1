"""What the axes of a cube mean: time, band, rows and columns, and where these lie on the ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from skysense.errors import InputError
from skysense.maps.grid import Grid

_TIME = ("time", "t", "date", "datetime")
_BAND = ("band", "channel", "variable")
_ROWS = ("y", "lat", "north")
_COLUMNS = ("x", "lon", "east")
_CRS_KEYS = ("crs_wkt", "spatial_ref", "proj:code", "proj:epsg", "proj:wkt2", "crs", "epsg", "epsg_code")
_MOVED = 0.01  # pixels by which a coordinate may miss its place in an even row of them


@dataclass(frozen=True)
class Axes:
    """Names of the dimensions of a variable; None for one that it does not have."""

    time: str | None
    band: str | None
    y: str
    x: str

    @property
    def order(self) -> tuple[str, ...]:
        """Time, band, rows, columns, as far as they are there."""
        return tuple(name for name in (self.time, self.band, self.y, self.x) if name is not None)


def axes_of(dims: tuple[Any, ...]) -> Axes | None:
    """What dimensions mean, in whatever order; None if these are not those of an image or a series."""
    names = [str(name) for name in dims]

    def one(*beginnings: str) -> str | None:
        found = [name for name in names if name.lower().startswith(beginnings)]
        return found[0] if len(found) == 1 else None

    time = next((name for name in names if name.lower() in _TIME), None)
    y, x = one(*_ROWS), one(*_COLUMNS)
    band = one(*_BAND)
    if y is None or x is None or set(names) - {time, band, y, x}:
        return None
    return Axes(time, band, y, x)


@dataclass(frozen=True)
class Ground:
    """Where the rows and columns of a variable lie.

    Attributes:
        grid: of its pixels, north up.
        flip_y, flip_x: rows are kept from south to north, columns from east to west.
    """

    grid: Grid
    flip_y: bool
    flip_x: bool


def ground_of(dataset: Any, variable: Any, axes: Axes, path: Path) -> Ground:
    """The grid of a variable by its coordinates, or by the affine beside its CRS.

    Raises:
        InputError: no CRS, no coordinates, or uneven ones.
    """
    transform = _transform(dataset, variable)
    with_coordinates = axes.y in variable.coords and axes.x in variable.coords
    crs = _crs(dataset, variable, path)
    if crs is None:
        if with_coordinates or transform is not None:
            fix = "Write it: dataset.rio.write_crs('EPSG:32632'), or the attribute proj:code"
            raise InputError("has no CRS, and a map needs one", file=path, fix=fix)
        raise InputError(
            f"says nothing of where its pixels lie (no CRS, no coordinates {axes.y} and {axes.x}, no GeoTransform), "
            "and a map needs that",
            file=path,
            fix="If you know it, write it: "
            f"dataset.assign_coords({axes.y}=middles_of_rows, {axes.x}=middles_of_columns)"
            ".assign_attrs({'proj:code': 'EPSG:32632'}). If nobody knows it, no map can be made of it",
        )
    height, width = variable.sizes[axes.y], variable.sizes[axes.x]
    if with_coordinates:
        north, down = _even(np.asarray(variable.coords[axes.y].values, float), axes.y, path)
        west, right = _even(np.asarray(variable.coords[axes.x].values, float), axes.x, path)
        flip_y, flip_x = down > 0, right < 0
        top = north + (height - 1) * down if flip_y else north
        left = west + (width - 1) * right if flip_x else west
        down, right = -abs(down), abs(right)
        return Ground(
            Grid(crs, Affine(right, 0, left - right / 2, 0, down, top - down / 2), height, width), flip_y, flip_x
        )
    if transform is None:
        raise InputError(
            f"variable {variable.name} has no coordinates {axes.y} and {axes.x} and no GeoTransform, so nobody knows "
            "where its pixels lie",
            file=path,
            fix="Write the coordinates of pixel centres beside it",
        )
    return Ground(Grid(crs, transform, height, width), flip_y=False, flip_x=False)


def _even(values: NDArray[np.float64], name: str, path: Path) -> tuple[float, float]:
    """First value and step of coordinates."""
    if len(values) < 2:
        raise InputError(f"has a single coordinate {name}, from which no pixel size follows", file=path)
    step = (values[-1] - values[0]) / (len(values) - 1)
    if (
        not np.isfinite(step)
        or step == 0
        or np.abs(values - values[0] - step * np.arange(len(values))).max() > (_MOVED * abs(step))
    ):
        raise InputError(f"coordinates {name} are not evenly spaced", file=path, fix="Resample it to an even grid")
    return float(values[0]), float(step)


def _crs(dataset: Any, variable: Any, path: Path) -> CRS | None:
    for source in _mappings(dataset, variable):
        for key in _CRS_KEYS:
            said = source.get(key)
            if said is None or (isinstance(said, str) and not said.strip()):
                continue
            try:
                return (
                    CRS.from_epsg(int(said))
                    if not isinstance(said, str) or said.isdigit()
                    else CRS.from_user_input(said)
                )
            except (CRSError, ValueError, TypeError) as error:
                raise InputError(f"says {key} {str(said)[:60]!r}, which is no CRS", file=path) from error
    return None


def _mappings(dataset: Any, variable: Any) -> list[Mapping[str, Any]]:
    """Where a CRS may be said, the nearest first."""
    named = variable.attrs.get("grid_mapping") or variable.encoding.get("grid_mapping")
    grid_variables = [name for name in (named, "spatial_ref", "crs") if name and name in dataset.variables]
    scalars = {
        name: dataset.variables[name].values.item()
        for name in ("proj:code", "proj:epsg", "epsg")
        if name in dataset.variables and dataset.variables[name].ndim == 0
    }
    return [*(dataset.variables[name].attrs for name in grid_variables), variable.attrs, scalars, dataset.attrs]


def _transform(dataset: Any, variable: Any) -> Affine | None:
    for source in _mappings(dataset, variable):
        if "GeoTransform" in source:
            words = source["GeoTransform"]
            return Affine.from_gdal(*map(float, words.split() if isinstance(words, str) else words))
        for key in ("spatial:transform", "proj:transform"):
            if key in source:
                return Affine(*map(float, source[key][:6]))
    return None
