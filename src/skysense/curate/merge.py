"""One frame per pass: granules that overlap, slices that follow each other, products that were processed again.

A place on the edge of tiles is in up to four granules of one Sentinel-2 datatake, and a newly processed product may lie
in a catalogue beside the one it replaces. Series of such duplicates would show a model the same moment several times.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from skysense.curate.acquisition import Acquisition
from skysense.curate.frame import Frame
from skysense.curate.grid import PlaceGrid
from skysense.curate.sentinel2 import baseline_number
from skysense.sensors import Modality

_SAME_PASS = {"s2": timedelta(minutes=5), "s1": timedelta(minutes=5), "hr": timedelta(hours=12)}
"""How far apart two looks of one satellite may be. A Sentinel is back after 99 minutes at the earliest; the number of
its relative orbit tells nothing more, and changes at the equator in the middle of a pass. An aeroplane flies all day.
"""

_TILE = re.compile(r"(?:^|_)T?(\d{1,2}[C-HJ-NP-X][A-HJ-NP-Z]{2})(?:_|$)")


@dataclass(frozen=True)
class Pass:
    """Acquisitions of one sensor within minutes; see `see_pass` for how they become one frame.

    Attributes:
        acquisitions: in the order in which their pixels are taken: first those in the reference system of the place,
            which need no resampling; among them those of newer baselines.
    """

    acquisitions: tuple[Acquisition, ...]

    @property
    def time(self) -> datetime:
        """The earliest of their times."""
        return min(acquisition.time for acquisition in self.acquisitions)


@dataclass(frozen=True)
class Passes:
    """What a search found over a place, in order.

    Attributes:
        passes: by time.
        repeated: acquisitions that were in the list more than once, beyond the first.
        replaced: acquisitions left out because a newer baseline of the same tile and time is there.
    """

    passes: tuple[Pass, ...]
    repeated: int
    replaced: int

    @property
    def merged(self) -> int:
        """Acquisitions that do not become a frame of their own but fill another one."""
        return sum(len(one.acquisitions) - 1 for one in self.passes)


def find_passes(acquisitions: Iterable[Acquisition], grid: PlaceGrid) -> Passes:
    """Put the acquisitions of one modality together, pass by pass.

    Args:
        acquisitions: in any order; the result does not depend on it.
        grid: of the place.
    """
    found = list(acquisitions)
    single = {acquisition.item: acquisition for acquisition in sorted(found, key=_identity, reverse=True)}
    groups: list[list[Acquisition]] = []
    for acquisition in sorted(single.values(), key=lambda one: (_seen_by(one), one.time, one.item)):
        if groups and _same_pass(groups[-1][0], acquisition):
            groups[-1].append(acquisition)
        else:
            groups.append([acquisition])
    newest = [_newest(group) for group in groups]
    passes = [Pass(tuple(sorted(group, key=lambda one: _preference(one, grid)))) for group in newest]
    passes.sort(key=lambda one: (one.time, one.acquisitions[0].item))
    kept = sum(len(group) for group in newest)
    return Passes(tuple(passes), len(found) - len(single), len(single) - kept)


def _identity(acquisition: Acquisition) -> tuple[str, str, str]:
    return acquisition.catalogue, acquisition.collection, acquisition.item


def _seen_by(acquisition: Acquisition) -> tuple[Modality, str, str]:
    """What two acquisitions of one pass have in common; images of other units cannot fill each other."""
    kind = f"{acquisition.collection} {acquisition.unit}" if acquisition.modality == "hr" else ""
    return acquisition.modality, acquisition.platform or "", kind


def _same_pass(first: Acquisition, other: Acquisition) -> bool:
    return _seen_by(first) == _seen_by(other) and other.time - first.time <= _SAME_PASS[first.modality]


def _newest(group: Sequence[Acquisition]) -> list[Acquisition]:
    """Without those of which a newer baseline of the same tile is there."""
    best: dict[str, float] = {}
    for acquisition in group:
        tile = _tile(acquisition)
        best[tile] = max(best.get(tile, 0.0), _baseline(acquisition))
    return [one for one in group if _baseline(one) == best[_tile(one)]]


def _baseline(acquisition: Acquisition) -> float:
    return baseline_number(acquisition) or 0.0


def _tile(acquisition: Acquisition) -> str:
    """The tile of the Sentinel-2 grid that an item is named after; the item itself if it is named otherwise."""
    found = _TILE.search(acquisition.item)
    return found[1].zfill(5) if found and acquisition.modality == "s2" else acquisition.item


def _preference(acquisition: Acquisition, grid: PlaceGrid) -> tuple[bool, float, list[int]]:
    """Smallest first. Of equals the last by name: names end with the time or the number of processing."""
    elsewhere = any(asset.crs != grid.crs for asset in acquisition.assets.values())
    return elsewhere, -_baseline(acquisition), [-ord(letter) for letter in acquisition.item]


def thin(passes: Sequence[Pass], most: int | None) -> list[Pass]:
    """At most so many passes, evenly over their order: first and last stay, and the choice is always the same.

    Args:
        passes: by time.
        most: None for all.
    """
    if most is None or len(passes) <= most:
        return list(passes)
    index = np.linspace(0, len(passes) - 1, most).round().astype(int) if most > 1 else [(len(passes) - 1) // 2]
    return [passes[at] for at in index]


def combine(first: Frame, other: Frame) -> Frame:
    """The first frame, with its holes filled from another one of the same pass.

    Cloud is known in the result only where both know of it, and a frame that fills nothing leaves no trace.
    """
    holes = other.valid & ~first.valid
    if not holes.any():
        return first
    clear = None
    if first.clear is not None and other.clear is not None:
        clear = np.where(holes, other.clear, first.clear)
    return replace(
        first,
        time=min(first.time, other.time),
        sources=(*first.sources, *other.sources),
        values=np.where(holes, other.values, first.values),
        valid=first.valid | other.valid,
        clear=clear,
    )
