"""Positions in blocks: every block is a piece of work that depends on no other, and becomes one shard at most.

A block is a range of numbers. Which positions have these numbers can be said of each block alone (a place drawn in an
area has the same number whoever asks), so that any process on any machine may do any block.

Letters: C region cells, N positions.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from skysense.curate.area import earth, parse_area
from skysense.curate.avoid import Avoid, AvoidSet, read_avoid
from skysense.curate.geojson import shapely
from skysense.curate.land import land
from skysense.curate.listed import listed_positions
from skysense.curate.position import Position
from skysense.curate.sampling import CellPlaces, Sampling, least_apart
from skysense.curate.settings import Curation
from skysense.errors import ConfigError


@dataclass(frozen=True)
class Planned:
    """A place of a block.

    Attributes:
        position: where it is.
        avoided: why it is left out before anything is looked for; None if it is not.
    """

    position: Position
    avoided: str | None


class Plan:
    """All positions of a curation, block by block.

    Args:
        curation: the settings.

    Attributes:
        places: how many positions there are; of drawn ones at most, since some region cells cannot hold their share.
        blocks: how many blocks.
        identity: what decides the positions, ready for JSON: files by what they hold.

    Raises:
        InputError: a file that cannot be read, or no land in the area.
        ConfigError: a number that makes no sense.
    """

    def __init__(self, curation: Curation) -> None:
        self._per_block = curation.places_per_shard
        self._listed: list[Position] | None = None
        self._sampling: Sampling | None = None
        self._last: CellPlaces | None = None
        if curation.places is not None:
            self._listed = listed_positions(curation.places, curation.sample.cells)
            self.places = len(self._listed)
            told = [(one.name, one.lon, one.lat) for one in self._listed]
            self.identity: dict[str, Any] = {"places": _digest(repr(told).encode())}
        else:
            assert curation.number is not None
            area = earth() if curation.area is None else parse_area(curation.area)
            apart = least_apart(curation.sample.cells)
            self._sampling = Sampling(area, curation.number, land=land(), seed=curation.seed, apart=apart)
            self._end_C = np.cumsum(self._sampling.share_C)
            self.places = curation.number
            polygons = None if area.polygons is None else _digest(shapely().to_wkb(area.polygons))
            self.identity = {"number": curation.number, "boxes": area.boxes, "polygons": polygons}
        sets = [read_avoid(source) for source in curation.avoid]
        for one in sets:
            if one.unplaced:
                warnings.warn(
                    f"{one.name}: {one.unplaced:,} examples have no position, and nothing is kept away from them",
                    stacklevel=2,
                )
        self._avoid = Avoid(sets, curation.avoid_km) if sets else None
        self.identity["avoid"] = [_digest(one.lonlat_V2.tobytes() + _polygons(one)) for one in sets]
        self.blocks = -(-self.places // self._per_block)

    def size(self, number: int) -> int:
        """How many places a block has at most.

        Raises:
            ConfigError: there is no such block.
        """
        if not 0 <= number < self.blocks:
            raise ConfigError(f"there is no block {number}; blocks are 0 .. {self.blocks - 1}")
        return min(self._per_block, self.places - number * self._per_block)

    def block(self, number: int) -> list[Planned]:
        """The places of a block, in ascending order of numbers."""
        first, end = number * self._per_block, (number + 1) * self._per_block
        if self._listed is not None:
            positions = self._listed[first:end]
        else:
            positions = [one for one in self._drawn(first, end) if first <= one.number < end]
        if self._avoid is None or not positions:
            return [Planned(one, None) for one in positions]
        near_N = self._avoid.find(np.array([(one.lon, one.lat) for one in positions]))
        reasons = [None if at < 0 else self._avoid.reason(at) for at in near_N.tolist()]
        return [Planned(one, reason) for one, reason in zip(positions, reasons, strict=True)]

    def _drawn(self, first: int, end: int) -> list[Position]:
        """The places of all region cells that share numbers with a range."""
        assert self._sampling is not None
        cells = self._sampling.cell_C
        start, stop = self._end_C.searchsorted([first, end - 1], "right")
        found: list[Position] = []
        for at in range(int(start), min(int(stop) + 1, len(cells))):
            if self._last is None or self._last.cell != cells[at]:  # a cell may reach over several blocks
                self._last = self._sampling.draw(int(cells[at]))
            found += self._last.positions()
        return found


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _polygons(one: AvoidSet) -> bytes:
    return b"" if one.polygons is None else bytes(shapely().to_wkb(one.polygons))
