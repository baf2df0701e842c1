"""An archive of the real rasters of the kit of small data: their pixels, grids and dates, put as products.

What the kit does not tell is chosen and no more than form: orbits, cloud-free shares where there is no scene
classification, and the day of what has none (`UNDATED`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.curate.rehearsal.footprints import geographic
from skysense.curate.rehearsal.orbits import absolute_orbit, baseline_on, compact, zulu
from skysense.curate.rehearsal.scenes import (
    BANDS_10M,
    BANDS_20M,
    Grid,
    Layer,
    Scene,
    new_archive,
    write_archive,
    write_cog,
    write_layer,
    write_sentinel2,
)
from skysense.curate.rehearsal.sky import BANDS, shares_of
from skysense.errors import InputError
from skysense.files import read_json

UNDATED = datetime(2022, 6, 15, 10, 30, 31, tzinfo=UTC)
"""Of places whose date the kit does not know."""
S1_NODATA = -32768.0
COLOURS = ("Red", "Green", "Blue", "NIR")


def kit_archive(kit: str | Path, folder: str | Path, *, every: int = 1) -> Path:
    """Make the archive; one that is there already is left as it is.

    Args:
        kit: folder of the kit (what SKYSENSE_DATA names).
        folder: a new or empty folder.
        every: take every so many dates of the long series.

    Returns:
        The folder.

    Raises:
        InputError: no kit there.
    """
    kit, folder = Path(kit), Path(folder)
    if not (kit / "crop_patches").is_dir():
        raise InputError("is no kit of small data", file=kit)
    with new_archive(folder) as unfinished:
        if unfinished is None:
            return folder
        scenes = [
            *_crops(kit / "crop_patches" / "be_2018_424a", unfinished, every),
            *_terramesh(kit / "terramesh", unfinished),
            *_bigearthnet(kit / "bigearthnet", unfinished),
            *_naip(kit / "naip_series", unfinished),
        ]
        write_archive(unfinished, scenes, source="pixels of the kit of small data")
    return folder


def _optical(
    folder: Path,
    tile: str,
    when: datetime,
    bands: dict[str, NDArray],
    grid: Grid,
    *,
    satellite: str,
    orbit: int,
    part: int = 0,
) -> Scene:
    """Write one product of Sentinel-2; several parts of one are told as versions of it, so that each has its name."""
    made = when + timedelta(hours=5, minutes=part)
    name = f"{satellite}_{tile}_{compact(when)}_{grid.west:.0f}_{grid.north:.0f}"
    baseline = baseline_on(made)
    layers, harmonised = write_sentinel2(folder, name, bands, grid, baseline=baseline)
    clear = np.full((2, 2), 5, np.uint8)
    return Scene(
        sensor="s2", name=name, satellite=satellite, start=zulu(when), seen=zulu(when), made=zulu(made), tile=tile,
        ring=geographic(grid.crs, grid.ring), layers=layers, harmonised=harmonised, baseline=baseline,
        relative_orbit=orbit, absolute_orbit=absolute_orbit(satellite, when, orbit), orbit_state="descending",
        sequence=part, shares=shares_of(bands.get("SCL", clear)),
    )  # fmt: skip


def _radar(folder: Path, when: datetime, decibel_CHW: NDArray, grid: Grid, *, orbit: int, ascending: bool) -> Scene:
    """Write one pass of Sentinel-1 as linear power."""
    name = f"S1A_{compact(when)}_{grid.west:.0f}_{grid.north:.0f}"
    power = np.where(np.isfinite(decibel_CHW), 10 ** (decibel_CHW / 10), S1_NODATA).astype(np.float32)
    layers = {
        band: write_layer(folder, f"{name}/{band}.tif", power[i], grid, nodata=S1_NODATA)
        for i, band in enumerate(("VV", "VH"))
    }
    return Scene(
        sensor="s1", name=name, satellite="S1A", start=zulu(when), seen=zulu(when), made=zulu(when), tile="",
        ring=geographic(grid.crs, grid.ring), layers=layers, relative_orbit=orbit,
        absolute_orbit=absolute_orbit("S1A", when, orbit), orbit_state="ascending" if ascending else "descending",
    )  # fmt: skip


def _crops(place: Path, folder: Path, every: int) -> Iterator[Scene]:
    """The series of a Belgian patch: bands of 10 m and 20 m, scene classification, Sentinel-1 at 20 m."""
    import netCDF4

    about = read_json(place / "info.json")
    west, _, _, north = about["bounds"]
    crs = f"EPSG:{about['epsg']}"
    with netCDF4.Dataset(place / "s2.nc") as file:
        times = _times(file["time"])
        for index in range(0, len(times), every):
            bands = dict(zip(_names(file["band_10m"]), np.asarray(file["s2_10m"][index]), strict=True))
            bands |= dict(zip(_names(file["band_20m"]), np.asarray(file["s2_20m"][index]), strict=True))
            bands["SCL"] = np.asarray(file["scl"][index])
            # Real passes of 2A and 2B over one orbit lie five days apart; by which one the kit does not tell.
            satellite = ("S2A", "S2B")[(times[index].toordinal() // 5) % 2]
            grid = Grid(crs, west, north, 10.0, (64, 64))
            yield _optical(folder, about["mgrs_tile"], times[index], bands, grid, satellite=satellite, orbit=51)
    with netCDF4.Dataset(place / "s1.nc") as file:
        times = _times(file["time"])
        for index in range(0, len(times), every):
            values = np.ma.filled(file["s1"][index], np.nan)
            yield _radar(
                folder, times[index], values, Grid(crs, west, north, 20.0, (32, 32)), orbit=161, ascending=True
            )


def _times(variable: Any) -> list[datetime]:
    """Times of a variable in seconds since some moment."""
    begin = datetime.fromisoformat(variable.units.removeprefix("seconds since ")).replace(tzinfo=UTC)
    return [begin + timedelta(seconds=int(value)) for value in variable[:]]


def _names(variable: Any) -> list[str]:
    """``B02`` is B2."""
    return [_plain(str(name)) for name in variable[:]]


def _plain(name: str) -> str:
    return name[0] + name[1:].lstrip("0")


def _read(file: Path) -> tuple[NDArray, Grid, list[str]]:
    """A GeoTIFF: values, grid and names of bands."""
    import rasterio

    with rasterio.open(file) as opened:
        at = opened.transform
        grid = Grid(f"EPSG:{opened.crs.to_epsg()}", at.c, at.f, at.a, (opened.height, opened.width))
        return opened.read(), grid, [_plain(name or "") for name in opened.descriptions]


def _terramesh(places: Path, folder: Path) -> Iterator[Scene]:
    """Four places on grids off the multiples of 10 m, with all bands at 10 m; one carries the offset in its pixels."""
    for number, place in enumerate(sorted(path for path in places.iterdir() if path.is_dir())):
        values, grid, names = _read(place / "s2l2a.tif")
        bands = {name: values[names.index(name)].astype(np.uint16) for name in BANDS}
        when = UNDATED + timedelta(days=number)
        if not read_json(place / "info.json")["s2_radiometric_offset_seen"]:
            when -= timedelta(days=1000)  # before processing baseline 04.00
        yield _optical(folder, _no_tile(grid), when, bands, grid, satellite="S2A", orbit=8)
        echoes, grid, _ = _read(place / "s1rtc.tif")
        yield _radar(folder, when, echoes, grid, orbit=54, ascending=False)


def _no_tile(grid: Grid) -> str:
    """A tile name with the right zone; its letters mean nothing."""
    zone, south = int(grid.crs[-2:]), grid.crs[-3] == "7"
    return f"{zone:02d}{'H' if south else 'U'}XX"


def _bigearthnet(places: Path, folder: Path) -> Iterator[Scene]:
    """Patches whose 20 m bands the kit repeated on the 10 m grid: here they have their own size again."""
    parts: Counter[tuple[str, datetime]] = Counter()
    for about in sorted(places.glob("*/*/labels.json")):
        told = read_json(about)
        if not told.get("date_s2"):
            continue
        values, grid, names = _read(about.parent / "s2.tif")
        bands: dict[str, NDArray] = {name: values[names.index(name)] for name in BANDS_10M}
        if not _is_repeated(values[[names.index(name) for name in BANDS_20M]]):
            continue
        bands |= {name: values[names.index(name)][::2, ::2] for name in BANDS_20M}
        title = about.parent.name.upper().split("_")
        when = datetime.strptime(title[2], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        tile = told.get("mgrs_tile") or _no_tile(grid)
        orbit = next((int(part[1:]) for part in title if part[0] == "R" and part[1:].isdigit()), 51)
        part = parts[tile, when]
        parts[tile, when] += 1
        yield _optical(folder, tile, when, bands, grid, satellite=title[0], orbit=orbit, part=part)


def _is_repeated(values_CHW: NDArray) -> bool:
    fine = values_CHW[:, ::2, ::2].repeat(2, 1).repeat(2, 2)
    return bool(fine.shape == values_CHW.shape and np.array_equal(fine, values_CHW))


def _naip(place: Path, folder: Path) -> Iterator[Scene]:
    """Four years of one place in North Dakota, reduced to 5 m by who published it."""
    for file in sorted(place.glob("naip_*.tif")):
        values, grid, _ = _read(file)
        when = datetime.strptime(file.stem.removeprefix("naip_"), "%Y%m%d").replace(hour=16, tzinfo=UTC)
        name = f"nd_m_4709963_se_14_500_{when:%Y%m%d}"
        write_cog(folder / f"{name}/RGBN.tif", values, grid, nodata=None, names=COLOURS)
        yield Scene(
            sensor="naip", name=name, satellite="", start=zulu(when), seen=zulu(when), made=zulu(when),
            tile="4709963_se", ring=geographic(grid.crs, grid.ring),
            layers={"RGBN": Layer(f"{name}/RGBN.tif", grid, "uint8", None)},
        )  # fmt: skip
