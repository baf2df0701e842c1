"""What an archive on disk is: scenes with their rasters, and the list of them.

A scene is told once, in words that belong to no catalogue; `skysense.curate.rehearsal.earth_search` and
`skysense.curate.rehearsal.planetary` say it as their catalogues would. Letters: C bands, H W pixels.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.files import make_folder, output_error, read_json, write_json

ARCHIVE_FILE = "archive.json"
OFFSET = 1000
"""What products of processing baseline 04.00 and later add to reflectance x 10^4."""
BANDS_10M = ("B2", "B3", "B4", "B8")
BANDS_20M = ("B5", "B6", "B7", "B8A", "B11", "B12")


@dataclass(frozen=True)
class Grid:
    """Pixels of a raster on the ground; north is up.

    Attributes:
        crs: e.g. ``"EPSG:32616"``.
        west, north: upper left corner, in the unit of ``crs``.
        size: side of a pixel.
        shape: rows and columns.
    """

    crs: str
    west: float
    north: float
    size: float
    shape: tuple[int, int]

    @property
    def transform(self) -> list[float]:
        """Six numbers as the STAC projection extension orders them."""
        return [self.size, 0.0, self.west, 0.0, -self.size, self.north]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north."""
        rows, cols = self.shape
        return (self.west, self.north - rows * self.size, self.west + cols * self.size, self.north)

    @property
    def ring(self) -> list[tuple[float, float]]:
        """The four corners, clockwise from the upper left."""
        west, south, east, north = self.bounds
        return [(west, north), (east, north), (east, south), (west, south)]


@dataclass(frozen=True)
class Layer:
    """One raster file.

    Attributes:
        file: path in the archive's folder.
        grid: where its pixels lie.
        dtype: of the numbers.
        nodata: what stands where nothing was observed.
    """

    file: str
    grid: Grid
    dtype: str
    nodata: float | None


@dataclass(frozen=True)
class Scene:
    """One product of one sensor.

    Attributes:
        sensor: "s2", "s1" or "naip".
        name: unique in the archive.
        satellite: "S2A", "S1A"; "" for an aircraft.
        start: begin of the datatake, ISO 8601 with Z; products of one datatake share it.
        seen: when this part of the ground was seen.
        made: when the product was made.
        tile: MGRS tile of Sentinel-2, quarter quadrangle of NAIP.
        baseline: processing baseline of Sentinel-2, e.g. "05.09".
        relative_orbit, absolute_orbit: of the satellite.
        orbit_state: "ascending" or "descending".
        ring: footprint of what was observed, longitude and latitude, closed.
        shares: percentages of cloud and of the classes of the scene classification.
        sun: azimuth and elevation in degrees.
        sequence: 1 for the second version of a product, else 0.
        layers: by band, as the agency distributes them.
        harmonised: the same without `OFFSET`; empty where it never was in the pixels.
    """

    sensor: Literal["s2", "s1", "naip"]
    name: str
    satellite: str
    start: str
    seen: str
    made: str
    tile: str
    ring: list[list[float]]
    layers: Mapping[str, Layer]
    baseline: str = ""
    relative_orbit: int = 0
    absolute_orbit: int = 0
    orbit_state: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)
    sun: tuple[float, float] = (0.0, 0.0)
    sequence: int = 0
    harmonised: Mapping[str, Layer] = field(default_factory=dict)

    @property
    def bbox(self) -> list[float]:
        """West, south, east, north in degrees."""
        lons, lats = zip(*self.ring, strict=True)
        return [min(lons), min(lats), max(lons), max(lats)]

    @property
    def has_offset(self) -> bool:
        """Whether the agency's pixels carry `OFFSET`."""
        return self.baseline >= "04.00"


def instant(text: str) -> datetime:
    """A time of a scene."""
    return datetime.fromisoformat(text)


def write_cog(path: Path, values_CHW: NDArray, grid: Grid, *, nodata: float | None, names: Sequence[str] = ()) -> None:
    """Write a Cloud Optimized GeoTIFF: tiles of 256 pixels, overviews, deflate.

    Args:
        path: of the file.
        values_CHW: ``(C, H, W)``.
        grid: where they lie.
        nodata: what stands where nothing was observed.
        names: of the bands.
    """
    import rasterio
    from rasterio.transform import Affine

    count, height, width = values_CHW.shape
    kind = values_CHW.dtype
    profile = {
        "driver": "COG", "count": count, "height": height, "width": width, "dtype": str(kind), "crs": grid.crs,
        "transform": Affine(*grid.transform), "nodata": nodata, "blocksize": 256, "compress": "deflate", "level": 2,
        "predictor": "floating_point" if kind.kind == "f" else "standard",
        "overview_resampling": "average" if kind.kind == "f" or kind == np.uint16 else "nearest", "bigtiff": "no",
    }  # fmt: skip
    make_folder(path.parent)
    with rasterio.open(path, "w", **profile) as file:
        file.write(values_CHW)
        for index, name in enumerate(names, 1):
            file.set_band_description(index, name)


def write_layer(folder: Path, file: str, values_HW: NDArray, grid: Grid, *, nodata: float | None) -> Layer:
    """Write one band and say what it is."""
    write_cog(folder / file, values_HW[None], grid, nodata=nodata)
    return Layer(file, grid, str(values_HW.dtype), nodata)


def write_sentinel2(
    folder: Path, name: str, bands: Mapping[str, NDArray], grid: Grid, *, baseline: str
) -> tuple[dict[str, Layer], dict[str, Layer]]:
    """Write a Sentinel-2 product as the agency distributes it and, where its pixels carry an offset, without.

    Args:
        folder: of the archive.
        name: of the scene.
        bands: as the agency distributes them, uint16, 0 for no data, by band; "SCL" uint8.
        grid: of the 10 m bands; others lie on its multiples by their size.
        baseline: processing baseline.

    Returns:
        `Scene.layers` and `Scene.harmonised`.
    """
    layers: dict[str, Layer] = {}
    harmonised: dict[str, Layer] = {}
    for band, values in bands.items():
        step = grid.shape[0] / values.shape[0]
        here = Grid(grid.crs, grid.west, grid.north, grid.size * step, (values.shape[0], values.shape[1]))
        layers[band] = write_layer(folder, f"{name}/{band}.tif", values, here, nodata=0)
        if baseline < "04.00":
            continue
        harmonised[band] = layers[band]
        if band != "SCL":
            without = np.where(values > 0, np.maximum(values.astype(np.int32) - OFFSET, 1), 0).astype(np.uint16)
            harmonised[band] = write_layer(folder, f"{name}/{band}_harmonised.tif", without, here, nodata=0)
    return layers, harmonised


@contextmanager
def new_archive(folder: Path) -> Iterator[Path | None]:
    """Give a folder beside ``folder`` that takes its place when the block ends well; None where an archive is already.

    Raises:
        InputError: ``folder`` holds something else.
        OutputError: it cannot be written.
    """
    if (folder / ARCHIVE_FILE).exists():
        yield None
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("holds something else than an archive", file=folder, fix="Choose an empty folder")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_folder(unfinished)
    yield unfinished
    try:
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    except OSError as error:
        raise output_error(error, folder) from error


def write_archive(folder: Path, scenes: Iterable[Scene], *, source: str) -> None:
    """Write the list of scenes."""
    listed = [asdict(scene) for scene in scenes]
    names = [scene["name"] for scene in listed]
    if len(set(names)) != len(names):
        raise InputError("two scenes of the archive have one name", file=folder)
    write_json(folder / ARCHIVE_FILE, {"source": source, "scenes": listed})


def read_archive(folder: str | Path) -> list[Scene]:
    """Read the list of scenes.

    Raises:
        InputError: if the folder holds no archive.
    """
    file = Path(folder) / ARCHIVE_FILE
    if not file.is_file():
        raise InputError(
            "holds no archive", file=folder, fix="Make one: python -m skysense.curate.rehearsal NEW_FOLDER"
        )
    return [_scene(one) for one in read_json(file)["scenes"]]


def _scene(told: dict[str, Any]) -> Scene:
    layers = {key: {band: _layer(one) for band, one in told[key].items()} for key in ("layers", "harmonised")}
    return Scene(**{**told, **layers, "sun": tuple(told["sun"])})


def _layer(told: dict[str, Any]) -> Layer:
    grid = told["grid"]
    return Layer(told["file"], Grid(**{**grid, "shape": tuple(grid["shape"])}), told["dtype"], told["nodata"])
