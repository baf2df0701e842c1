"""A farm whose truth is known: four kinds of fields in a chequered pattern, as a map of ours and as a series of images.

Letters: D features, H W cells.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import transform

from skysense.maps.fit import steps
from skysense.maps.grid import Grid
from skysense.maps.parts import Parting
from skysense.maps.product.layer import Layer
from skysense.maps.product.work import Work

HEIGHT, WIDTH, FIELD, DIMENSIONS = 640, 500, 50, 8
GRID = Grid(rasterio.CRS.from_epsg(32632), Affine(10, 0, 560_000, 0, -10, 5_990_000), HEIGHT, WIDTH)
NAMES = ("water", "wheat", "<img src=x onerror=alert(1)>", "wood")
COLOURS = ("#2563eb", "#eab308", "#dc2626", "#15803d")
UNSEEN = 40  # cells without data along both sides of the north-west corner
DAYS = ("2023-04-01", "2023-06-15", "2023-09-30")
UNIT = 1 / 254


def kinds() -> NDArray[np.int64]:
    """Which kind of field a cell lies in ``(H, W)``."""
    row_HW, col_HW = np.mgrid[:HEIGHT, :WIDTH] // FIELD
    return (row_HW + 2 * col_HW) % 4


def features() -> NDArray[np.float32]:
    """Four directions at right angles and a little noise ``(D, H, W)``; NaN in the corner."""
    random = np.random.default_rng(3)
    directions_DK = np.linalg.qr(random.normal(size=(DIMENSIONS, 4)))[0]
    values_DHW = 3 * directions_DK[:, kinds()] + 0.1 * random.normal(size=(DIMENSIONS, HEIGHT, WIDTH))
    values_DHW[:, :UNSEEN, :UNSEEN] = np.nan
    return values_DHW.astype(np.float32)


def write_map(out: Path, stored: str = "int8", grid: Grid = GRID) -> Path:
    """All layers, as a file of ours."""
    values_DHW = features()
    scale = offset = None
    if stored == "int8":
        seen_ND = values_DHW[:, ~np.isnan(values_DHW[0])].T
        scale, offset = (tuple(each.tolist()) for each in steps(seen_ND))
    names = tuple(f"fused {at}" for at in range(DIMENSIONS))
    kind_HW = np.where(np.isnan(values_DHW[0]), np.nan, kinds())
    share_KHW = np.stack([np.where(np.isnan(kind_HW), np.nan, 0.1 + 0.6 * (kind_HW == at)) for at in range(4)])
    layers = [
        (Layer("features", "features", names, stored, 1, scale, offset), values_DHW),  # type: ignore[arg-type]
        (Layer("classes", "classes", ("class",), "uint8", classes=NAMES, colours=COLOURS), kind_HW[None]),
        (Layer("probability", "probability", NAMES, "uint8", scale=(UNIT,) * 4), share_KHW),
        (Layer("uncertainty", "uncertainty", ("doubt",), "uint8", scale=(UNIT,)), 1 - share_KHW.max(axis=0)[None]),
    ]
    parting = Parting(HEIGHT, WIDTH, HEIGHT, WIDTH)
    work = Work.begin(out, grid, [layer for layer, _ in layers], parting, {})
    with work.open(parting.parts[0]) as part:
        for layer, values in layers:
            part.put(layer.name, 0, layer.encode(values.astype(np.float32)))
    work.finish({})
    return out


def write_series(folder: Path) -> Path:
    """An image per day: grey, brighter from day to day, with the kinds of fields in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for at, day in enumerate(DAYS):
        grey_HW = 40 + 60 * at + 10 * kinds()
        write_image(folder / f"farm_{day.replace('-', '')}.tif", np.stack([grey_HW] * 3).astype(np.uint8))
    return folder


def write_image(path: Path, values_CHW: NDArray, grid: Grid = GRID, names: tuple[str, ...] = (), **profile) -> Path:
    """A plain GeoTIFF."""
    count, height, width = values_CHW.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values_CHW.dtype, crs=grid.crs,
        transform=grid.transform, **profile,
    ) as dataset:  # fmt: skip
        dataset.write(values_CHW)
        if names:
            dataset.descriptions = names
    return path


def lonlat(row: float, col: float, grid: Grid = GRID) -> tuple[float, float]:
    """The position of a place on the grid; halves are centres of cells."""
    lon, lat = transform(grid.crs, "EPSG:4326", *([one] for one in grid.at(col, row)))
    return lon[0], lat[0]


def pixels_of(picture: bytes) -> NDArray:
    """Bands of a PNG, which has no place on Earth and need not be warned of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(io.BytesIO(picture)) as dataset:
            return dataset.read()
