"""Places spread over the land of an area: so many in every region cell as its land deserves, and none on another.

Every cell draws alone. Its candidates come one after the other from a generator seeded by the seed and the cell, evenly
by area; a candidate becomes a place unless it is at sea, outside of the area, within half the least distance of the
border of its cell, or within the least distance of an earlier place of the cell (random sequential addition). Two
places of different cells are then apart too, since any way from one to the other leaves one cell and enters another,
and each has half the distance to the border of its own. So a cell can be drawn again without any other, and it begins
with the same places however many it is to hold.

The price: no centre lies within some 470 m of the border of a cell, which is 3 % of the ground, and 4 % at 70 degrees
of latitude (a place of 640 m still shows two thirds of that strip).

Letters: C cells, M candidates, N places of one cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.curate.area import Area, Piece
from skysense.curate.grid import SNAP_METRES
from skysense.curate.land import Land
from skysense.curate.position import Position, name_at
from skysense.curate.sphere import RADIUS_METRES, chord, search_tree, unit_vectors
from skysense.curate.split import VALIDATION_SHARE, split_of
from skysense.data.places_layout import Split
from skysense.errors import ConfigError, InputError
from skysense.geo import CELL_METRES, lonlat_of, region_box

_NEAREST, _FARTHEST = 20.0, 10_000.0  # names differ from 16 m on; a border strip must leave most of a cell
_LEAST_SCALE = 0.994  # metres on the map to a metre on the ground: of the polar projection, at the pole
_LATTICE = 32  # positions along the side of the part of an area in one cell, by which its land is measured
_SPARE = 1.3  # candidates per place wanted, since about a quarter of 21.5 million places would lie on an earlier one
_TRIES = 50  # candidates per place wanted before a cell counts as full
_DECIMALS = 6  # of degrees: 0.1 m


def least_apart(cells: int) -> float:
    """Least distance of centres, metres, at which no two places share ground however they are turned.

    It is their diagonal, and what the snapping of corners may move each of the two, on the ground.

    Args:
        cells: of one side of a place.

    Raises:
        ConfigError: places so large that they cannot be drawn.
    """
    apart = math.ceil((cells * CELL_METRES + SNAP_METRES) * math.sqrt(2) / _LEAST_SCALE)
    if apart > _FARTHEST:
        most = math.floor((_FARTHEST * _LEAST_SCALE / math.sqrt(2) - SNAP_METRES) / CELL_METRES)
        raise ConfigError(f"cells {cells}: places that are drawn have at most {most} cells a side; list larger ones")
    return float(apart)


APART_METRES = least_apart(64)
"""Of places of the published size."""


@dataclass(frozen=True, eq=False)
class CellPlaces:
    """The places of one region cell.

    Attributes:
        cell: of `skysense.geo.region_cell`.
        first: number of the first place.
        lonlat_N2: where they are, degrees, in the order of their numbers.
        split: what the cell is for.
    """

    cell: int
    first: int
    lonlat_N2: NDArray[np.float64]
    split: Split

    def __len__(self) -> int:
        return len(self.lonlat_N2)

    def positions(self) -> Iterator[Position]:
        """The places one by one."""
        for number, (lon, lat) in enumerate(self.lonlat_N2.tolist(), self.first):
            yield Position(number, name_at(lon, lat), lon, lat, self.cell, self.split)


class Sampling:
    """So many places over the land of an area; iterating draws them cell by cell, in ascending order of cells.

    Only shares of cells are kept, so memory does not grow with the number of places. Numbers begin anew nowhere: a cell
    that cannot hold its share leaves a gap, and the numbers of other cells do not depend on it.

    Args:
        area: where.
        number: how many places in all.
        land: of the Earth.
        seed: of the draw.
        apart: least distance of two centres, metres.
        validation: share of cells that are for validation.

    Attributes:
        cell_C: ids of the cells that hold at least one place, ascending.
        share_C: how many places each is to hold; they add up to ``number``.
        square_km: of land that places can lie on.

    Raises:
        InputError: no land in the area.
        ConfigError: a number or a distance that makes no sense.
    """

    def __init__(
        self,
        area: Area,
        number: int,
        *,
        land: Land,
        seed: int = 0,
        apart: float = APART_METRES,
        validation: float = VALIDATION_SHARE,
    ) -> None:
        if number < 1:
            raise ConfigError(f"the number of places must be at least 1; got {number}")
        if not _NEAREST <= apart <= _FARTHEST:
            raise ConfigError(f"places must be {_NEAREST:g} .. {_FARTHEST:g} m apart; got {apart:g}")
        self.seed, self.apart, self.validation = seed, apart, validation
        self._land = land
        pieces = [piece for piece in area.pieces() if land.touches(*piece.box)]
        square_km_C = np.array([self._ground(piece) for piece in pieces])
        self.square_km = float(square_km_C.sum())
        if self.square_km == 0:
            raise InputError(f"area {area.name} holds no land that a place could lie on", fix="Is it at sea?")
        share_C = _shares(square_km_C, number, seed)
        self._pieces = [piece for piece, share in zip(pieces, share_C, strict=True) if share]
        self.cell_C = np.array([piece.cell for piece in self._pieces])
        self._square_km_C, self.share_C = square_km_C[share_C > 0], share_C[share_C > 0]
        self._first_C = np.cumsum(self.share_C) - self.share_C

    def __iter__(self) -> Iterator[CellPlaces]:
        return (self._draw(at) for at in range(len(self.cell_C)))

    def draw(self, cell: int) -> CellPlaces:
        """The places of one cell, the same that iterating gives.

        Raises:
            KeyError: no place lies in it.
        """
        at = int(self.cell_C.searchsorted(cell))
        if at == len(self.cell_C) or self.cell_C[at] != cell:
            raise KeyError(cell)
        return self._draw(at)

    def _draw(self, at: int) -> CellPlaces:
        piece, share = self._pieces[at], int(self.share_C[at])
        lonlat_N2 = self._scatter(piece, share, self._square_km_C[at])
        split = split_of(piece.cell, self.validation)
        return CellPlaces(piece.cell, int(self._first_C[at]), lonlat_N2, split)

    def _ground(self, piece: Piece) -> float:
        """Square kilometres that centres may lie on, by a lattice of positions."""
        west, south, east, north = piece.extent
        step_S = (np.arange(_LATTICE) + 0.5) / _LATTICE
        along_S2 = lonlat_of(np.stack([west + step_S * (east - west), south + step_S * (north - south)], axis=1))
        lon_M, lat_M = np.meshgrid(*along_S2.T)  # meridians and parallels are straight on this map
        lonlat_M2 = np.stack([lon_M.ravel(), lat_M.ravel()], axis=1)
        return float(self._fit(piece, lonlat_M2).mean()) * (east - west) * (north - south) / 1e6

    def _scatter(self, piece: Piece, number: int, square_km: float) -> NDArray[np.float64]:
        west, south, east, north = piece.extent
        box_km2 = (east - west) * (north - south) / 1e6
        rng = np.random.default_rng([self.seed, piece.cell])
        wanted = number * box_km2 / square_km  # candidates per place grow as land in the box gets rare
        block = 16 + math.ceil(_SPARE * wanted)
        place_N2, point_N3 = np.empty((0, 2)), np.empty((0, 3))
        for _ in range(math.ceil(_TRIES / _SPARE)):
            unit_M2 = rng.random((block, 2))
            lonlat_M2 = lonlat_of(unit_M2 * [east - west, north - south] + [west, south]).round(_DECIMALS)
            lonlat_M2 = lonlat_M2[self._fit(piece, lonlat_M2)]
            point_M3 = unit_vectors(lonlat_M2)
            new = _apart(point_M3, point_N3, chord(self.apart))
            place_N2 = np.concatenate([place_N2, lonlat_M2[new]])[:number]
            point_N3 = np.concatenate([point_N3, point_M3[new]])[:number]
            if len(place_N2) == number:
                break
        return place_N2

    def _fit(self, piece: Piece, lonlat_M2: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which candidates may be a centre: far enough from the border of the cell, on land and in the area."""
        fit_M = _inside(piece.cell, lonlat_M2, self.apart / 2)
        fit_M[fit_M] = self._land.holds(lonlat_M2[fit_M])
        fit_M[fit_M] = piece.area.contains(lonlat_M2[fit_M])
        return fit_M


def _shares(square_km_C: NDArray[np.float64], number: int, seed: int) -> NDArray[np.int64]:
    """Places per cell in proportion to land, each rounded down or up so that the sum is right (systematic sampling).

    Rounding up the largest remainders instead would give everything to cells without coast as soon as there are fewer
    places than cells, and among those to the ones with the lowest ids.
    """
    start = np.random.default_rng([seed, 0]).random()
    upto_C = np.cumsum(square_km_C) / square_km_C.sum() * number
    upto_C[square_km_C.cumsum() == square_km_C.sum()] = number  # free of rounding
    return np.diff(np.floor(upto_C + start).astype(np.int64), prepend=0)


def _inside(cell: int, lonlat_M2: NDArray[np.float64], metres: float) -> NDArray[np.bool_]:
    """Which positions have at least a distance to the meridians and parallels round a cell."""
    lon_w, lat_s, lon_e, lat_n = map(math.radians, region_box(cell))
    lon_M, lat_M = np.radians(lonlat_M2).T
    angle = metres / RADIUS_METRES
    across_M = np.minimum(np.sin(lon_M - lon_w), np.sin(lon_e - lon_M)) * np.cos(lat_M)  # sine of the arc to a meridian
    return (across_M >= math.sin(angle)) & (lat_M - lat_s >= angle) & (lat_n - lat_M >= angle)


def _apart(point_M3: NDArray, point_N3: NDArray, least: float) -> NDArray[np.int64]:
    """Which candidates are places, given those that came before: in order, unless too near to one that is."""
    free = np.arange(len(point_M3))
    if len(point_N3) and len(free):
        free = np.flatnonzero(np.isinf(search_tree(point_N3).query(point_M3, distance_upper_bound=least)[0]))
    if not len(free):
        return free
    pairs_P2 = search_tree(point_M3[free]).query_pairs(least, output_type="ndarray")
    place = [True] * len(free)
    for early, late in pairs_P2[np.lexsort(pairs_P2.T[::-1])].tolist():
        if place[early]:
            place[late] = False
    return free[place]
