"""The places of a map that are most like a query: cells apart from one another, best first.

Letters: P positions of a query, M candidates, N places, K bands, h w cells of a block.

A cell beside the best one is nearly as good, so that the best cells of a map would be one place many times. Places are
picked one after the other: the best cell of all, then the best of those at least so many metres from every place picked
before, and so on. That is done exactly, in memory that does not grow with the map: the best cells of all blocks are
kept, some ten thousand, and picked from; should they be used up before there are places enough, the map is looked at
again without the surroundings of what was picked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from skysense.errors import ConfigError
from skysense.maps.blocks import blocks, features_of, windows_of
from skysense.maps.ground import Ground, metres_between
from skysense.maps.product.read import Product
from skysense.maps.similarity import cosine

APART_CELLS = 16
"""How far apart places are if nothing else is said: the side of a window, within which the model looks around."""
_KEPT = 1 << 16  # candidates

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Query:
    """What is looked for.

    Attributes:
        vector_K: of length one.
        words: what it is, for people.
        lonlat_P2: where it is, degrees; none of an image from elsewhere. Distances are those to the nearest.
        cells: numbers of the cells it was made of (row times width plus column); they are no answers.
        around: whether the surroundings of its positions are no answers either.
    """

    vector_K: NDArray[np.float32]
    words: str
    lonlat_P2: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    cells: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    around: bool = False


@dataclass(frozen=True)
class Hit:
    """A place that is like the query.

    Attributes:
        similarity: cosine, -1 .. 1.
        lon, lat: of the middle of its cell, or of the place, degrees.
        metres: from the nearest position of the query; None if it has none.
        number: of its cell (row times width plus column), or of the place in its collection.
    """

    similarity: float
    lon: float
    lat: float
    metres: float | None
    number: int


@dataclass(frozen=True)
class Candidates:
    """Cells or places to pick from.

    Attributes:
        similarity_M: finite.
        number_M: of the cell, or of the place in its collection.
    """

    similarity_M: NDArray[np.float32]
    number_M: NDArray[np.int64]

    def best(self, count: int) -> Candidates:
        """The best of them, best first; of equals the lower number."""
        some = self
        if len(self.number_M) > count:
            some = self.take(self.similarity_M >= np.partition(self.similarity_M, -count)[-count])
        return some.take(np.lexsort((some.number_M, -some.similarity_M))[:count])

    def take(self, chosen: NDArray) -> Candidates:
        """Some of them, by mask or index."""
        return Candidates(self.similarity_M[chosen], self.number_M[chosen])

    def __add__(self, other: Candidates) -> Candidates:
        """Both."""
        return Candidates(
            np.concatenate([self.similarity_M, other.similarity_M]), np.concatenate([self.number_M, other.number_M])
        )


NOBODY = Candidates(np.empty(0, np.float32), np.empty(0, np.int64))
"""No candidate."""


class Picker:
    """Picks places that are apart from one another.

    Args:
        query: what is looked for.
        positions: longitudes and latitudes ``(M, 2)`` of numbers.
        apart: metres.

    Attributes:
        hits: what was picked, best first.

    Raises:
        ConfigError: a distance that is none.
    """

    def __init__(
        self, query: Query, positions: Callable[[NDArray[np.int64]], NDArray[np.float64]], apart: float
    ) -> None:
        if not apart >= 0:
            raise ConfigError(f"{apart:g} m apart: it must be at least 0")
        self.hits: list[Hit] = []
        self._query, self._positions, self._apart = query, positions, apart
        self._taken = list(query.lonlat_P2) if query.around else []

    def allowed(self, some: Candidates) -> Candidates:
        """Those that are neither the query nor too near to what was picked."""
        picked = np.array([hit.number for hit in self.hits], np.int64)
        some = some.take(~np.isin(some.number_M, np.concatenate([self._query.cells, picked])))
        if not self._taken or not len(some.number_M):
            return some
        lonlat_M2 = self._positions(some.number_M)
        far_M = np.ones(len(lonlat_M2), np.bool_)
        for taken_2 in self._taken:
            far_M &= ~(metres_between(lonlat_M2, taken_2) < self._apart)
        return some.take(far_M)

    def pick(self, best: Candidates, count: int) -> None:
        """Go on picking until there are so many places, or no candidate is left.

        Args:
            best: candidates, best first, all of them allowed.
            count: places wanted in all.
        """
        lonlat_M2 = self._positions(best.number_M)
        left_M = np.ones(len(lonlat_M2), np.bool_)
        while len(self.hits) < count and left_M.any():
            at = int(left_M.argmax())
            here_2 = lonlat_M2[at]
            away = [metres_between(here_2[None], query_2)[0] for query_2 in self._query.lonlat_P2]
            lon, lat = here_2.tolist()
            metres = float(min(away)) if away and not np.isnan(away).any() else None
            self.hits.append(Hit(float(best.similarity_M[at]), lon, lat, metres, int(best.number_M[at])))
            self._taken.append(here_2)
            left_M &= ~(metres_between(lonlat_M2, here_2) < self._apart)  # NaN is nowhere, and near to nothing
            left_M[at] = False


def cell_positions(product: Product) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    """Longitudes and latitudes of the cells of a map by their numbers."""
    ground = Ground(product.grid)
    return lambda number_M: ground.lonlat(*np.divmod(number_M, product.grid.width))


def nearest_cells(
    product: Product, query: Query, count: int, apart: float, progress: Progress | None = None
) -> list[Hit]:
    """The places of a map that are most like a query, of all its cells.

    Args:
        product: a map of features.
        query: of the same features.
        count: places wanted; there may be fewer.
        apart: metres between any two of them, and between them and the positions of a query whose surroundings are no
            answers.
        progress: called with blocks done and blocks in all.

    Raises:
        InputError: no map of features, or a query of others.
        ConfigError: a distance that is none.
    """
    layer = features_of(product)
    windows = windows_of(product.grid, layer)
    picker = Picker(query, cell_positions(product), apart)
    while len(picker.hits) < count:
        best = NOBODY
        for done, (window, block_Khw) in enumerate(blocks(product, layer, windows), 1):
            similarity_hw = cosine(query.vector_K, block_Khw, scale=layer.scale, offset=layer.offset)
            least = best.similarity_M[-1] if len(best.number_M) == _KEPT else -np.inf
            row_M, col_M = np.nonzero(similarity_hw > least)  # NaN is not
            number_M = (row_M + window.row) * product.grid.width + col_M + window.col
            some = Candidates(similarity_hw[row_M, col_M], number_M)
            best = (best + picker.allowed(some)).best(_KEPT)
            if progress is not None:
                progress(done, len(windows))
        picker.pick(best, count)
        if len(best.number_M) < _KEPT:
            break
    return picker.hits


def nearest_places(
    vectors_NK: NDArray, lonlat_N2: NDArray[np.float64], query: Query, count: int, apart: float
) -> list[Hit]:
    """The same of a collection of places, each with one vector.

    Args:
        vectors_NK: one per place, in their own unit.
        lonlat_N2: degrees; NaN of a place without a position, which is near to no other.
        query: its cells are numbers of places.
        count: places wanted.
        apart: metres between any two of them.
    """
    similarity_N = cosine(query.vector_K, vectors_NK.T[:, None])[0]
    picker = Picker(query, lambda number_M: lonlat_N2[number_M], apart)
    known = np.flatnonzero(~np.isnan(similarity_N))
    everyone = picker.allowed(Candidates(similarity_N[known], known))
    picker.pick(everyone.best(len(known)), count)
    return picker.hits
