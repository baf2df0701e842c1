"""An archive of made-up scenes with the troubles of the real ones.

It lies where two UTM zones and two MGRS tiles meet (Illinois, 90 W, 40.6 N), over about 6 km x 8 km:

- three Sentinel-2 granules 16TBL, 16TBK and, in the other zone, 15TYF, which overlap; a datatake is in all of them;
- every third pass comes on the edge of its swath: half of a granule was not observed;
- processing baselines 03.01, 04.00 and 05.09 in one year; some products occur twice, made again with 05.10;
- clear, cloudy and overcast passes;
- Sentinel-1 ascending and descending, cut into two slices whose border crosses the land; one pass without VH;
- two aerial images of different years that overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.curate.rehearsal.footprints import cut, geographic, transformer
from skysense.curate.rehearsal.land import PLOT, Land
from skysense.curate.rehearsal.orbits import absolute_orbit, baseline_on, compact, zulu
from skysense.curate.rehearsal.scenes import (
    BANDS_20M,
    OFFSET,
    Grid,
    Layer,
    Scene,
    new_archive,
    write_archive,
    write_cog,
    write_layer,
    write_sentinel2,
)
from skysense.curate.rehearsal.sky import BANDS, View, echo, halve, look_down, shares_of
from skysense.data.earth.terrain import sun
from skysense.errors import InputError
from skysense.geo import CELL_HR_PX

REGION = 1
"""Of the simulated Earth: Illinois."""
YEAR = 2022
LAT, LON = 40.6, -90.0
HOME, NEXT_ZONE = "EPSG:32616", "EPSG:32615"
BORDER = 4_500_000
"""Northing at which the MGRS tiles 16TBK and 16TBL meet."""
WEST = 244_020
OVERLAP = 48
"""Cells that neighbouring granules share."""
COVER = (0.05, 0.0, 0.62, 0.12, 0.0, 0.97, 0.3, 0.02, 0.17, 0.0, 0.45, 0.08)
"""Clouds of the passes of Sentinel-2, in turn."""
AERIAL_PIXEL = 0.6
S1_NODATA = -32768.0


def simulated_archive(
    folder: str | Path,
    *,
    seed: int = 0,
    passes: int = 12,
    granule_px: int = 384,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Make the archive; one that is there already is left as it is.

    Args:
        folder: a new or empty folder.
        seed: of the simulated Earth.
        passes: of Sentinel-2 in the year; there are five of Sentinel-1 for every six, at least two.
        granule_px: side of a granule in pixels of 10 m, a multiple of 128.
        progress: called with (passes done, passes in all).

    Returns:
        The folder.

    Raises:
        InputError: numbers out of range, or a folder that holds something else.
    """
    folder = Path(folder)
    if granule_px < 128 or granule_px % 128 or not 1 <= passes <= 73:
        raise InputError(f"granule_px={granule_px} must be a multiple of 128, and passes={passes} 1 to 73")
    radar = max(2, passes * 5 // 6)
    with new_archive(folder) as unfinished:
        if unfinished is None:
            return folder
        maker = _Maker(unfinished, seed, granule_px)
        scenes: list[Scene] = []
        for done, made in enumerate([*maker.optical(passes), *maker.radar(radar), maker.aerial()], 1):
            scenes += made()
            if progress is not None:
                progress(done, passes + radar + 1)
        write_archive(unfinished, scenes, source=f"simulated by skysense: seed {seed}; every pixel is made up")
    return folder


class _Maker:
    """The land and where the granules lie on it."""

    def __init__(self, folder: Path, seed: int, side: int) -> None:
        self.folder, self.seed, self.side = folder, seed, side
        margin = PLOT + side // 8  # the zones are turned against each other by four degrees
        west_cells = -(-(side // 2 + margin) // PLOT) * PLOT
        north_cells = -(-margin // PLOT) * PLOT
        rows = -(-(north_cells + 2 * side - OVERLAP) // PLOT) * PLOT
        cols = -(-(west_cells + side) // PLOT) * PLOT
        top = BORDER + (side - OVERLAP // 2) * 10
        self.land = Land(seed, REGION, (rows // PLOT, cols // PLOT), LAT)
        self.grid = Grid(HOME, WEST - west_cells * 10, top + north_cells * 10, 10.0, (rows, cols))
        x, y = transformer(HOME, NEXT_ZONE).transform(WEST, top - side * 5)
        corner = (x - side * 5) // 20 * 20, (y + side * 5) // 20 * 20
        self.granules = {
            "16TBL": Grid(HOME, WEST, top, 10.0, (side, side)),
            "16TBK": Grid(HOME, WEST, BORDER + OVERLAP * 5, 10.0, (side, side)),
            "15TYF": Grid(NEXT_ZONE, *corner, 10.0, (side, side)),
        }

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, 977, *purpose])

    # Sentinel-2

    def optical(self, passes: int) -> Iterator[Callable[[], list[Scene]]]:
        """One call for each pass."""
        days = np.linspace(5, 360, passes).astype(int) // 5 * 5
        for turn, day in enumerate(dict.fromkeys(days.tolist())):
            yield lambda turn=turn, day=day: self._pass(turn, day)  # type: ignore[misc]

    def _pass(self, turn: int, day: int) -> list[Scene]:
        rng = self._rng(1, turn)
        view = look_down(rng, self.land.reflectance(rng, day), COVER[turn % len(COVER)])
        edge = turn % 3 == 1
        satellite, relative = ("S2A", "S2B")[day // 5 % 2], 83 if edge else 126
        start = datetime(YEAR, 1, 1, 16, 51, 9, 24_000, UTC) + timedelta(days=day - 1)
        made = start + timedelta(hours=4, minutes=11)
        scenes = []
        for number, (tile, grid) in enumerate(self.granules.items()):
            bands, ring = self._granule(view, grid, edge=edge)
            about = Scene(
                sensor="s2", name="", satellite=satellite, start=zulu(start),
                seen=zulu(start + timedelta(seconds=377 + 3 * number)), made="", tile=tile,
                ring=geographic(grid.crs, ring), layers={}, relative_orbit=relative,
                absolute_orbit=absolute_orbit(satellite, start, relative), orbit_state="descending",
                shares=shares_of(bands["SCL"]), sun=_sun(day, 10.7),
            )  # fmt: skip
            versions = [made, datetime(2024, 6, 2, 20, 15, 31, tzinfo=UTC)] if turn % 4 == 1 else [made]
            for sequence, when in enumerate(versions):
                name = f"{satellite}_{tile}_{start:%Y%m%d}_{sequence}"
                baseline = baseline_on(when)
                distributed = bands if baseline < "04.00" else _with_offset(bands)
                layers, harmonised = write_sentinel2(self.folder, name, distributed, grid, baseline=baseline)
                version = replace(about, name=name, made=zulu(when), baseline=baseline, sequence=sequence)
                scenes.append(replace(version, layers=layers, harmonised=harmonised))
        return scenes

    def _granule(self, view: View, grid: Grid, *, edge: bool) -> tuple[dict[str, NDArray], list[tuple[float, float]]]:
        """Bands of one granule, and the ring of what was observed of it."""
        coarse = halve(view.values[[BANDS.index(band) for band in BANDS_20M]]).round().astype(np.uint16)
        full = Grid(grid.crs, grid.west, grid.north, 20.0, (grid.shape[0] // 2, grid.shape[1] // 2))
        fine = self._crop(view.values[[0, 1, 2, 6]], grid)
        coarse, classes = self._crop(coarse, full), self._crop(view.classes[None], full)
        ring = [(float(x), float(y)) for x, y in grid.ring]
        if edge:
            ring, seen = self._swath(grid)
            fine = fine * seen
            seen_20m = seen[::2, ::2] & seen[1::2, 1::2]
            coarse, classes = coarse * seen_20m, classes * seen_20m
        bands = dict(zip(("B2", "B3", "B4", "B8"), fine, strict=True)) | dict(zip(BANDS_20M, coarse, strict=True))
        return bands | {"SCL": classes[0]}, ring

    def _swath(self, grid: Grid) -> tuple[list[tuple[float, float]], NDArray[np.bool_]]:
        """The track leans from north, and its edge runs through the middle of the first granule."""
        normal = (float(np.cos(0.23)), float(np.sin(-0.23)))
        middle = transformer(HOME, grid.crs).transform(WEST + self.side * 5, BORDER + self.side * 5)
        reach = float(np.dot(normal, middle))
        rows, cols = grid.shape
        x = grid.west + (np.arange(cols) + 0.5) * grid.size
        y = grid.north - (np.arange(rows) + 0.5) * grid.size
        seen = normal[0] * x[None, :] + normal[1] * y[:, None] <= reach
        return cut([(float(a), float(b)) for a, b in grid.ring], normal, reach), seen

    def _crop(self, values_CHW: NDArray, grid: Grid) -> NDArray:
        """The part of the land's grid (10 m or 20 m) that a granule covers; nearest pixel in the other zone."""
        if grid.crs == HOME:
            row = round((self.grid.north - grid.north) / grid.size)
            col = round((grid.west - self.grid.west) / grid.size)
            return values_CHW[:, row : row + grid.shape[0], col : col + grid.shape[1]]
        from rasterio.transform import Affine
        from rasterio.warp import Resampling, reproject

        target = np.zeros((len(values_CHW), *grid.shape), values_CHW.dtype)
        source = Grid(HOME, self.grid.west, self.grid.north, grid.size, (0, 0))
        reproject(
            values_CHW, target, src_transform=Affine(*source.transform), src_crs=HOME,
            dst_transform=Affine(*grid.transform), dst_crs=grid.crs, resampling=Resampling.nearest,
        )  # fmt: skip
        return target

    # Sentinel-1

    def radar(self, passes: int) -> Iterator[Callable[[], list[Scene]]]:
        """One call for each pass; ascending and descending take turns."""
        for turn in range(passes):
            yield lambda turn=turn: self._radar_pass(turn, 3 + 12 * (turn * 29 // passes) + 5 * (turn % 2))  # type: ignore[misc]

    def _radar_pass(self, turn: int, day: int) -> list[Scene]:
        rng = self._rng(2, turn)
        ascending = turn % 2 == 0
        power = echo(rng, self.land.backscatter(rng, day))
        hour, minute = (23, 56) if ascending else (11, 57)
        start = datetime(YEAR, 1, 1, hour, minute, 12, 887_000, UTC) + timedelta(days=day - 1)
        relative = 136 if ascending else 41
        lean = -0.2 if ascending else 0.2
        rows, cols = self.grid.shape
        border = rows / 2 + lean * (np.arange(cols) - cols / 2)
        above = np.arange(rows)[:, None] + 0.5 < border[None, :]
        y_middle = self.grid.north - rows * 5
        normal, reach = (-lean, -1.0), -lean * (self.grid.west + cols * 5) - y_middle
        scenes = []
        for part, (mask, sign) in enumerate([(above, 1.0), (~above, -1.0)]):
            hit = np.flatnonzero(mask.any(1))
            window = slice(int(hit[0]), int(hit[-1]) + 1)
            grid = Grid(HOME, self.grid.west, self.grid.north - window.start * 10, 10.0, (len(hit), cols))
            when = start + timedelta(seconds=25 * ((1 - part) if ascending else part))
            orbit = absolute_orbit("S1A", start, relative)
            name = f"S1A_{compact(when)}_{orbit:06d}"
            polarisations = ("VV",) if turn == 1 else ("VV", "VH")
            seen = np.where(mask[window], power[:, window], np.float32(S1_NODATA))
            layers = {
                band: write_layer(self.folder, f"{name}/{band}.tif", seen[i], grid, nodata=S1_NODATA)
                for i, band in enumerate(polarisations)
            }
            ring = cut([(float(a), float(b)) for a, b in grid.ring], (sign * normal[0], sign * normal[1]), sign * reach)
            scene = Scene(
                sensor="s1", name=name, satellite="S1A", start=zulu(when), seen=zulu(when),
                made=zulu(when + timedelta(hours=3)), tile="", ring=geographic(HOME, ring), layers=layers,
                relative_orbit=relative, absolute_orbit=orbit, orbit_state="ascending" if ascending else "descending",
            )  # fmt: skip
            scenes.append(scene)
        return scenes

    # from the air

    def aerial(self) -> Callable[[], list[Scene]]:
        """Two quarter quadrangles, side by side, that overlap by a plot."""
        return lambda: [self._flight(0, 2021, 212), self._flight(1, 2023, 188)]

    def _flight(self, number: int, year: int, day: int) -> Scene:
        side = max(1, self.side // 128)
        row = round((self.grid.north - BORDER) / (PLOT * 10)) - side // 2  # across the border of the granules
        col = round((WEST - self.grid.west) / (PLOT * 10)) + number * max(side - 1, 1)
        picture = self.land.picture(self.seed, day, slice(row, row + side), slice(col, col + side))
        source = Grid(
            HOME, self.grid.west + col * PLOT * 10, self.grid.north - row * PLOT * 10, 10 / CELL_HR_PX, (0, 0)
        )
        crs = "EPSG:26916"  # NAD83; apart from WGS 84 by less than this archive resolves
        west, north = round(source.west / 0.6) * 0.6, round(source.north / 0.6) * 0.6
        pixels = int(side * PLOT * 10 / AERIAL_PIXEL)
        grid = Grid(crs, round(west, 1), round(north, 1), AERIAL_PIXEL, (pixels, pixels))
        values = _shrink(picture, source, grid)
        when = datetime(year, 1, 1, 16, tzinfo=UTC) + timedelta(days=day - 1)
        tile = ("4009001_ne", "4009001_nw")[number]
        name = f"il_m_{tile}_16_060_{when:%Y%m%d}"
        write_cog(self.folder / f"{name}/RGBN.tif", values, grid, nodata=None, names=("Red", "Green", "Blue", "NIR"))
        return Scene(
            sensor="naip", name=name, satellite="", start=zulu(when), seen=zulu(when), made=zulu(when), tile=tile,
            ring=geographic(crs, grid.ring), layers={"RGBN": Layer(f"{name}/RGBN.tif", grid, "uint8", None)},
        )  # fmt: skip


def _shrink(picture_CHW: NDArray[np.uint8], source: Grid, grid: Grid) -> NDArray[np.uint8]:
    """Mean of the fine pixels within each coarse one."""
    from rasterio.transform import Affine
    from rasterio.warp import Resampling, reproject

    target = np.zeros((len(picture_CHW), *grid.shape), np.uint8)
    reproject(
        picture_CHW, target, src_transform=Affine(*source.transform), src_crs=grid.crs,
        dst_transform=Affine(*grid.transform), dst_crs=grid.crs, resampling=Resampling.average,
    )  # fmt: skip
    return target


def _with_offset(bands: dict[str, NDArray]) -> dict[str, NDArray]:
    """Bands as the agency distributes them from processing baseline 04.00 on; no data stays 0."""
    shifted = {name: np.where(band > 0, band + np.uint16(OFFSET), 0).astype(np.uint16) for name, band in bands.items()}
    return shifted | {"SCL": bands["SCL"]}


def _sun(day: int, hour: float) -> tuple[float, float]:
    """Azimuth and elevation in degrees."""
    light = sun(LAT, day, hour)
    return float(np.degrees(light.azimuth) % 360), float(np.degrees(light.elevation))
