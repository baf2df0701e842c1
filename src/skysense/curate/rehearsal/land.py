"""A stretch of the simulated Earth on one 10 m grid, as it looks on any day to each sensor.

It is laid out of plots of 320 m that are places of `skysense.data.earth`; a plot may occur again elsewhere, since a
rehearsal needs many hectares and no more than a few seconds. Letters: K plots, M materials, C bands, H W cells of
10 m, h w cells of one plot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skysense.data.earth.layout import plan
from skysense.data.earth.materials import Palette
from skysense.data.earth.noise import Field, enlarge_to
from skysense.data.earth.picture import plant_vigour, render
from skysense.data.earth.sentinel import fractions
from skysense.data.earth.spectra import Material, Weather, optical, radar, soil_spectrum
from skysense.data.earth.terrain import Terrain, build, sun
from skysense.data.earth.world import BLOCK, identify, place_generator, place_index, soil_mix
from skysense.geo import CELL_HR_PX, CELL_METRES

PLOT = 32
"""Cells along the side of a plot."""
NIR = 7
"""Index of B8 among the bands of Sentinel-2."""

Cube = NDArray[np.float32]


@dataclass(frozen=True)
class Plot:
    """Ground of 320 m x 320 m.

    Attributes:
        share: ``(M, h, w)`` of each material in each cell.
        materials: what there is.
        vigour: ``(h, w)`` how well plants grow.
        terrain: the high-resolution grids.
    """

    share: NDArray[np.float64]
    materials: Sequence[Material]
    vigour: Field
    terrain: Terrain


class Land:
    """Ground of ``shape`` plots (rows, columns) somewhere in a region of the simulated Earth.

    Args:
        seed: of the Earth.
        region: index of the region; its type gives calendar, crops and soil.
        shape: plots down and across.
        lat: for the sun.
    """

    def __init__(self, seed: int, region: int, shape: tuple[int, int], lat: float) -> None:
        count = min(BLOCK, shape[0] * shape[1])
        self.kind = identify(seed, place_index(region, 0)).kind
        self.lat = lat
        self._plots = [_plot(seed, place_index(region, number)) for number in range(count)]
        places = place_generator(seed, place_index(region, 0), 31).permutation(shape[0] * shape[1]) % count
        self._where = places.reshape(shape)

    @property
    def shape(self) -> tuple[int, int]:
        """Cells down and across."""
        return self._where.shape[0] * PLOT, self._where.shape[1] * PLOT

    def reflectance(self, rng: Generator, day: int) -> Cube:
        """Reflectance of the ground ``(10, H, W)`` on a day of the year (1 .. 365), before air and clouds."""
        weather = Weather(np.array([rng.uniform(0.1, 0.6)]))
        return self._lay([self._bands(plot, day, weather) for plot in self._plots])

    def _bands(self, plot: Plot, day: int, weather: Weather) -> NDArray[np.float64]:
        look = optical(plot.materials, np.array([float(day)]), self.kind, weather)
        green = look.green[:, 0, None] * (look.canopy - look.ground)[:, 0]
        clean = np.einsum("mc,mhw->chw", look.ground[:, 0], plot.share)
        return clean + np.einsum("mc,mhw->chw", green, plot.share) * plot.vigour

    def backscatter(self, rng: Generator, day: int) -> Cube:
        """Linear power of VV and VH ``(2, H, W)`` on a day of the year, before speckle."""
        weather = Weather(np.array([rng.uniform(0.1, 0.6)]))
        days = np.array([float(day)])
        power = [radar(plot.materials, days, self.kind, weather)[:, 0] for plot in self._plots]
        return self._lay([np.einsum("mc,mhw->chw", p, plot.share) for p, plot in zip(power, self._plots, strict=True)])

    def picture(self, seed: int, day: int, rows: slice, cols: slice) -> NDArray[np.uint8]:
        """Red, green, blue and near infrared ``(4, 32 H, 32 W)`` of some plots, taken from the air on one day.

        Args:
            seed: of the flight: its light, haze and grain.
            day: of the year.
            rows: plots from north to south.
            cols: plots from west to east.
        """
        here = self._where[rows, cols]
        light = sun(self.lat, day, 11.0)
        weather = Weather(np.array([0.3]))
        taken = {}
        for number in np.unique(here):
            plot = self._plots[number]
            size = (PLOT * CELL_HR_PX,) * 2
            vigour = enlarge_to(plot.vigour, size)
            # One generator for all plots: a flight has one sky and one camera.
            rng = np.random.default_rng([seed, day])
            colour = render(rng, plot.terrain, plot.materials, vigour, float(day), self.kind, light)
            taken[int(number)] = np.concatenate([colour, self._near_infrared(plot, colour, day, weather)[None]])
        return np.concatenate([np.concatenate([taken[int(one)] for one in row], 2) for row in here], 1)

    def _near_infrared(self, plot: Plot, colour: NDArray[np.uint8], day: int, weather: Weather) -> NDArray[np.uint8]:
        """Near infrared of the cells, with light and grain of the visible picture ``(H, W)``."""
        visible = colour.mean(0, dtype=np.float32)
        cells = visible.reshape(PLOT, CELL_HR_PX, PLOT, CELL_HR_PX).mean((1, 3))
        relief = visible / np.maximum(enlarge_to(cells, visible.shape), 1)
        bright = enlarge_to(self._bands(plot, day, weather)[NIR].astype(np.float32), visible.shape)
        return np.clip(330 * bright * relief, 0, 255).astype(np.uint8)

    def _lay(self, plots_CHW: Sequence[NDArray]) -> Cube:
        """Lay plots ``(C, h, w)`` on the land ``(C, H, W)``."""
        laid = np.stack(plots_CHW).astype(np.float32)[self._where]
        rows, cols, count = laid.shape[:3]
        return laid.transpose(2, 0, 3, 1, 4).reshape(count, rows * PLOT, cols * PLOT)


def _plot(seed: int, index: int) -> Plot:
    """The ground of one place of the simulated Earth."""
    identity = identify(seed, index)
    streams = [place_generator(seed, index, purpose) for purpose in (1, 2, 3)]
    soil = soil_spectrum(soil_mix(seed, identity, streams[0]), streams[0])
    palette = Palette(streams[0], identity.kind, soil)
    layout = plan(streams[0], palette, identity.scene, (PLOT * CELL_METRES,) * 2)
    terrain = build(streams[1], layout, (PLOT * CELL_HR_PX,) * 2)
    share = fractions(terrain.crop().material, len(palette.materials))
    return Plot(share, palette.materials, plant_vigour(streams[2], (PLOT, PLOT)), terrain)
