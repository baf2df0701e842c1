"""Places near evaluation sets, so that nothing is trained on what is tested with.

Letters: N positions, V positions of all sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.curate.geojson import SUFFIXES, areas_on_earth, read_features, shapely
from skysense.curate.listed import read_listed
from skysense.curate.sphere import chord, search_tree, unit_vectors
from skysense.data.places import Places
from skysense.data.places_layout import DATASET_FILE
from skysense.errors import ConfigError, InputError

AVOID_KM = 10.0
_STEPS = 10  # positions on the outline of a polygon per distance that is kept from it
_METRES_PER_DEGREE = 111_700.0  # of the longest degree on the ellipsoid


@dataclass(frozen=True, eq=False)
class AvoidSet:
    """Where an evaluation set lies.

    Attributes:
        name: what a reason calls it.
        lonlat_V2: its positions, degrees.
        polygons: of shapely, its areas; None without.
        unplaced: examples whose position is not known; nothing can be kept away from them.
    """

    name: str
    lonlat_V2: NDArray[np.float64]
    polygons: Any = None
    unplaced: int = 0


def read_avoid(source: Path) -> AvoidSet:
    """An evaluation set out of a CSV or GeoJSON file of positions, a GeoJSON file of polygons, or a folder of places.

    Raises:
        InputError: none of these, a position off the Earth, or places of which none has a position.
    """
    if source.is_dir():
        if not (source / DATASET_FILE).is_file():
            raise InputError("is no folder of places", file=source, fix="Give a CSV or GeoJSON file of its positions")
        places = Places(source)
        placed = [(place.lon, place.lat) for place in places if place.lon is not None]
        return _placed(str(source), np.array(placed, np.float64).reshape(-1, 2), len(places))
    if source.suffix.lower() in SUFFIXES:
        features = read_features(source)
        if features[0].geometry.geom_type != "Point":
            return AvoidSet(str(source), np.empty((0, 2)), areas_on_earth(features, source))
    return AvoidSet(str(source), np.array([(entry.lon, entry.lat) for entry in read_listed(source)]))


def _placed(name: str, lonlat_V2: NDArray[np.float64], count: int) -> AvoidSet:
    if not len(lonlat_V2):
        raise InputError(f"{name}: none of its {count} examples has a position, so that nothing can be kept from them")
    return AvoidSet(name, np.unique(lonlat_V2, axis=0), unplaced=count - len(lonlat_V2))


class Avoid:
    """Answers which places lie too near to evaluation sets.

    Distances are never overstated (see `skysense.curate.sphere`); from polygons they are measured to positions along
    their outlines, so that up to 6 % more than the distance may be kept.

    Args:
        sets: to keep from; the first of them that is near is named.
        kilometres: to be kept between the centre of a place and positions or polygons of the sets.

    Raises:
        ConfigError: a distance that is not above zero.
    """

    def __init__(self, sets: Sequence[AvoidSet], kilometres: float = AVOID_KM) -> None:
        if not kilometres > 0:
            raise ConfigError(f"the distance to evaluation sets must be above 0 km; got {kilometres:g}")
        self.sets, self.kilometres = tuple(sets), kilometres
        metres = kilometres * 1000
        self._points = [search_tree(unit_vectors(one.lonlat_V2)) if len(one.lonlat_V2) else None for one in self.sets]
        step = metres / _STEPS
        self._outlines = [None if one.polygons is None else _outline(one.polygons, step) for one in self.sets]
        self._near, self._near_outline = chord(metres), chord(metres + step / 2)

    def find(self, lonlat_N2: NDArray[np.float64]) -> NDArray[np.int64]:
        """Which set each position is too near to, by its place in ``sets``, -1 for none: ``(N,)``."""
        found_N = np.full(len(lonlat_N2), -1)
        point_N3 = unit_vectors(lonlat_N2)
        for at, (one, points, outline) in enumerate(zip(self.sets, self._points, self._outlines, strict=True)):
            near_N = np.zeros(len(lonlat_N2), np.bool_)
            if points is not None:
                near_N |= _within(points, point_N3, self._near)
            if outline is not None:
                near_N |= shapely().intersects_xy(one.polygons, *lonlat_N2.T)
                near_N |= _within(outline, point_N3, self._near_outline)
            found_N[near_N & (found_N < 0)] = at
        return found_N

    def reason(self, index: int) -> str:
        """Why a place is left out, for the account."""
        return f"within {self.kilometres:g} km of {self.sets[index].name}"


def _within(tree: Any, point_N3: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
    return np.isfinite(tree.query(point_N3, distance_upper_bound=least)[0])


def _outline(polygons: Any, step: float) -> Any:
    geo = shapely()
    geo.prepare(polygons)
    dense = geo.segmentize(geo.boundary(polygons), step / _METRES_PER_DEGREE)  # no metre is longer than at the equator
    return search_tree(unit_vectors(geo.get_coordinates(dense)))
