"""Where land is, without a network: the mask of the package ``global_land_mask``, kept in 3 MB instead of 933.

The mask is that of the GLOBE elevation model (NOAA, 1999, public domain; the package is MIT): 30 arc seconds, one pixel
about 0.9 km of latitude. A pixel is sea where GLOBE has no elevation. So inland water counts as land, the Caspian Sea
too, which suits the archive: Sentinel-2 acquires inland waters and closed seas as it does land. Atolls that are
smaller than a pixel are sea.

Letters: N positions, E edges.
"""

from __future__ import annotations

import importlib.util
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError, MissingExtra

_PER_DEGREE = 120
_ROWS, _COLUMNS = 180 * _PER_DEGREE, 360 * _PER_DEGREE
_ROWS_AT_ONCE = 240
_PACKAGE, _FILE, _MEMBER = "global_land_mask", "globe_combined_mask_compressed.npz", "mask.npy"


@dataclass(frozen=True, eq=False)
class Land:
    """Land and sea of the whole Earth as runs of pixels.

    Attributes:
        edge_E: int32, ascending: pixels of the mask, row by row from the north-west corner, at which sea turns into
            land or land into sea. The first run is sea.
    """

    edge_E: NDArray[np.int32]

    def holds(self, lonlat_N2: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether positions ``(N, 2)`` in degrees lie on land: ``(N,)``."""
        lon_N, lat_N = lonlat_N2.T
        row_N = np.clip(np.floor((90 - lat_N) * _PER_DEGREE), 0, _ROWS - 1).astype(np.int32)
        col_N = np.clip(np.floor((lon_N + 180) * _PER_DEGREE), 0, _COLUMNS - 1).astype(np.int32)
        pixel_N = row_N * np.int32(_COLUMNS) + col_N  # at most 9.3e8: int64 keys would copy the edges in every call
        return (self.edge_E.searchsorted(pixel_N, "right") & 1).astype(np.bool_)

    def touches(self, west: float, south: float, east: float, north: float) -> bool:
        """Whether any pixel of land reaches into a box in degrees (west < east)."""
        rows = np.arange(_row(north), _row(south) + 1, dtype=np.int32)
        first = rows * np.int32(_COLUMNS) + np.int32(_column(west))
        before = self.edge_E.searchsorted(first, "right")
        after = self.edge_E.searchsorted(first + np.int32(_column(east) - _column(west)), "right")
        return bool(((before & 1) | (after - before)).any())


def _row(lat: float) -> int:
    return min(max(int((90 - lat) * _PER_DEGREE), 0), _ROWS - 1)


def _column(lon: float) -> int:
    return min(max(int((lon + 180) * _PER_DEGREE), 0), _COLUMNS - 1)


@lru_cache(maxsize=1)
def land() -> Land:
    """The land of the Earth; the first call takes some seconds.

    Raises:
        MissingExtra: ``global_land_mask`` is not installed.
        InputError: its file is not the one that is known.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingExtra(f"this needs {_PACKAGE!r}: pip install 'skysense[curate]'")
    # Its own functions unpack the whole mask at import, 934 MB; reading it in strips needs 60.
    return Land(_edges(Path(found.submodule_search_locations[0]) / _FILE))


def _edges(file: Path) -> NDArray[np.int32]:
    parts: list[NDArray[np.int32]] = []
    last = True  # True is sea in this mask
    try:
        with zipfile.ZipFile(file) as archive, archive.open(_MEMBER) as stream:
            header = np.lib.format.read_array_header_1_0 if np.lib.format.read_magic(stream) == (1, 0) else None
            if header is None or header(stream) != ((_ROWS, _COLUMNS), False, np.dtype(np.bool_)):
                raise InputError("holds another mask than that of global_land_mask 1.0", file=file)
            for row in range(0, _ROWS, _ROWS_AT_ONCE):
                sea = np.frombuffer(stream.read(_ROWS_AT_ONCE * _COLUMNS), np.bool_)
                changes = np.flatnonzero(sea[1:] != sea[:-1]) + 1
                if sea[0] != last:
                    changes = np.concatenate([[0], changes])
                parts.append((changes + row * _COLUMNS).astype(np.int32))
                last = bool(sea[-1])
    except (OSError, KeyError, IndexError, ValueError, zipfile.BadZipFile) as error:
        raise InputError("the mask of land cannot be read", file=file, fix="Install global_land_mask again") from error
    return np.concatenate(parts)
