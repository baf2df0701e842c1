"""What a curation costs before it is started: requests, bytes, time, machines. Pure arithmetic on figures.

A window is read by whole tiles, so that what is received is many times what is wanted: of a tile of 1,024 x 1,024 px a
place uses 64 x 64. A window of ``w`` pixels that begins anywhere meets ``1 + (w - 1) / T`` tiles of side ``T`` along
each axis in the mean. Tiles of one row follow each other in a file and come with one request, after one for the head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skysense.curate.cost_figures import Estimate, Uncertain
from skysense.curate.remote import AHEAD
from skysense.curate.search import PAGE
from skysense.errors import ConfigError
from skysense.geo import CELL_METRES
from skysense.sensors import MODALITIES, Modality

DAY = 86400.0
PUBLISHED_PLACES, PUBLISHED_BYTES = 21_500_000, 300e12
"""Of the published corpus; the bytes are said to be about so many."""
LAND_KM2 = 135_000_000
"""Land of the Earth without Antarctica."""
_CELLS_OF_FIGURES = 64


@dataclass(frozen=True)
class Files:
    """Files of one kind in an archive.

    Attributes:
        name: in the figures.
        modality: that they are read for.
        count: for one acquisition.
        metres: of a pixel.
        tile: its side in pixels.
        spare: pixels that are read beyond the window along each axis, for resampling.
        pixel_bytes: of a pixel, as far as it is used, before compression.
    """

    name: str
    modality: Modality
    count: int
    metres: float
    tile: int
    spare: int
    pixel_bytes: int

    def window(self, cells: int) -> float:
        """Side of the window of a place in pixels."""
        return cells * CELL_METRES / self.metres

    def rows(self, cells: int) -> float:
        """Rows of tiles that the window of a place meets in the mean, and columns as well."""
        return 1 + (self.window(cells) + self.spare - 1) / self.tile

    def tiles(self, cells: int) -> float:
        """Tiles that it meets in the mean."""
        return self.rows(cells) ** 2

    def wanted(self, cells: int) -> float:
        """Bytes of the window itself before compression."""
        return self.window(cells) ** 2 * self.pixel_bytes


FILES = (
    Files("s2_10m", "s2", 4, 10, 1024, 0, 2),
    Files("s2_20m", "s2", 6, 20, 1024, 2, 2),
    Files("s2_classes", "s2", 1, 20, 1024, 2, 1),
    Files("s1", "s1", 2, 10, 512, 0, 4),
    Files("hr", "hr", 1, 0.6, 512, 11, 3),
)
"""Sentinel-2 as in Earth Search, Sentinel-1 as in Planetary Computer, images as of NAIP."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a place shall hold; the published corpus by default.

    Attributes:
        years: that series span.
        most_s2, most_s1: frames of a series at most, as of a curation; the published means are 65 and 13.
        hr: share of places that have a high-resolution image. All of the published ones do; the open archive of images,
            NAIP, has the United States only: 0.06 of the land.
        cells: side of a place in cells of 10 m.
        km2: area that places are spread over: only for how many share a tile.

    Raises:
        ConfigError: numbers out of range.
    """

    years: int = 3
    most_s2: int = 65
    most_s1: int = 13
    hr: float = 1.0
    cells: int = 64
    km2: float = LAND_KM2

    def __post_init__(self) -> None:
        for name in ("years", "cells", "km2"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be more than 0; got {getattr(self, name)}")
        if min(self.most_s2, self.most_s1) < 0 or not 0 <= self.hr <= 1:
            raise ConfigError("most_s2 and most_s1 must not be negative, and hr a share of 0 .. 1")
        if not self.most_s2 + self.most_s1 + self.hr:
            raise ConfigError("places without any image: most_s2, most_s1 or hr must be more than 0")


@dataclass(frozen=True)
class PerPlace:
    """What a stored place costs, with its part of what places cost that were drawn and not kept.

    Attributes:
        requests: for files, by modality; "all" where nobody counted them apart. Those that were sent again included.
        received: bytes, likewise.
        stored: bytes, likewise.
        searches: requests to a catalogue.
        processor: seconds of a core.
        kept: share of drawn places that are stored.
        retries: share of requests that were sent again.
    """

    requests: Mapping[str, Uncertain]
    received: Mapping[str, Uncertain]
    stored: Mapping[str, Uncertain]
    searches: Uncertain
    processor: Uncertain
    kept: Uncertain
    retries: Uncertain


def per_place(drawn: Mapping[str, Uncertain], wanted: Wanted) -> PerPlace:
    """From figures of the archives.

    Places that are not kept are taken to cost a search only: most of them have too few images, which is known then.

    Args:
        drawn: of `skysense.curate.cost_figures.draw_all`.
        wanted: what a place shall hold.
    """
    found = {key: drawn[f"frames_{key}"] * wanted.years for key in ("s2", "s1")}
    most = {"s2": wanted.most_s2, "s1": wanted.most_s1}
    frames = {key: np.minimum(found[key], most[key]) for key in found}
    read = {key: frames[key] * drawn["reads"] for key in found} | {"hr": drawn["images"] * wanted.hr}
    again, cells = 1 + drawn["retries"], wanted.cells
    requests: dict[str, Uncertain] = {key: np.zeros_like(again) for key in MODALITIES if read[key].any()}
    received = {key: np.zeros_like(again) for key in requests}
    for one in FILES:
        if one.modality in requests:
            count = read[one.modality] * one.count
            requests[one.modality] += count * (1 + one.rows(cells)) * again
            received[one.modality] += count * (AHEAD + one.tiles(cells) * drawn[f"tile_{one.name}"])
    searches = sum((np.maximum(found[key] / PAGE, 1) for key in found if most[key]), np.zeros_like(again))
    searches = (searches + (wanted.hr > 0)) * again / drawn["kept"]
    area = (cells / _CELLS_OF_FIGURES) ** 2
    stored = {key: (frames | {"hr": wanted.hr})[key] * drawn[f"stored_{key}"] * area for key in requests}
    return PerPlace(
        requests=requests,
        received=received,
        stored=stored,
        searches=searches,
        processor=seconds_of_core(drawn, frames, read, wanted.hr, sum(received.values())),
        kept=drawn["kept"],
        retries=drawn["retries"],
    )


def seconds_of_core(
    drawn: Mapping[str, Uncertain],
    frames: Mapping[str, Any],
    read: Mapping[str, Any],
    images: Any,
    received: Any,
) -> Uncertain:
    """What a place takes of a processor.

    Args:
        drawn: of `skysense.curate.cost_figures.draw_all`.
        frames: of each series.
        read: acquisitions that are read of each modality.
        images: that are stored.
        received: bytes.
    """
    files = sum(read[one.modality] * one.count * drawn[f"read_{one.name}"] for one in FILES)
    made = sum(frames[key] for key in ("s2", "s1")) * drawn["made_frame"] + images * drawn["made_image"]
    return np.asarray(files + made + received * drawn["secure"])


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine that curates.

    Attributes:
        cores: of it.
        connections: that it keeps open.
        bandwidth: of its line in MB/s; None for the figure.
        latency: seconds to the first byte; None for the figure.
        archive_rate: MB/s that the archive gives to all machines together; None for the figure.
        search_rate: searches a second that the catalogue answers all machines together; None for the figure.

    Raises:
        ConfigError: numbers out of range.
    """

    cores: int = 16
    connections: int = 64
    bandwidth: float | None = None
    latency: float | None = None
    archive_rate: float | None = None
    search_rate: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be more than 0; got {value}")


BOUNDS = {
    "line": "the line of a machine",
    "waiting": "waiting for answers",
    "processor": "the processors",
    "archive": "what the archive gives",
    "catalogue": "searches of the catalogue",
}
"""What decides how long a curation takes; more machines help against the first three."""
SHARED = ("archive", "catalogue")


@dataclass(frozen=True)
class DataPlan:
    """What a curation costs.

    Attributes:
        places: that shall be stored.
        each: what one of them costs.
        machine: of which kind.
        drawn: figures of speeds, of `skysense.curate.cost_figures.draw_all`.
        days: in which it shall be done.
    """

    places: int
    each: PerPlace
    machine: Machine
    drawn: Mapping[str, Uncertain]
    days: float = 30.0

    def __post_init__(self) -> None:
        if self.places < 1 or not self.days > 0:
            raise ConfigError(f"places and days must be more than 0; got {self.places} and {self.days:g}")

    @cached_property
    def requests(self) -> Uncertain:
        """For files, in all."""
        return self.places * np.asarray(sum(self.each.requests.values()))

    @cached_property
    def searches(self) -> Uncertain:
        """Of catalogues, in all."""
        return self.places * self.each.searches

    @cached_property
    def received(self) -> Uncertain:
        """Bytes, in all."""
        return self.places * np.asarray(sum(self.each.received.values()))

    @cached_property
    def stored(self) -> Uncertain:
        """Bytes, in all."""
        return self.places * np.asarray(sum(self.each.stored.values()))

    @cached_property
    def bounds(self) -> dict[str, Uncertain]:
        """Seconds that each of `BOUNDS` takes at least: of one machine, or of the archive whoever asks."""
        machine, drawn = self.machine, self.drawn
        line = drawn["line"] if machine.bandwidth is None else machine.bandwidth * 1e6
        latency = drawn["latency"] if machine.latency is None else machine.latency
        archive = drawn["archive"] if machine.archive_rate is None else machine.archive_rate * 1e6
        catalogue = drawn["catalogue"] if machine.search_rate is None else machine.search_rate
        busy = (self.requests + self.searches) * latency + self.received / drawn["stream"]
        return {
            "line": self.received / line,
            "waiting": busy / machine.connections,
            "processor": self.places * self.each.processor / machine.cores,
            "archive": self.received / archive,
            "catalogue": self.searches / catalogue,
        }

    @cached_property
    def one_machine(self) -> Uncertain:
        """Seconds that one machine takes for what machines can share, however much the archive gives."""
        return np.max([self.bounds[name] for name in BOUNDS if name not in SHARED], axis=0)

    @cached_property
    def at_least(self) -> Uncertain:
        """Seconds below which no number of machines gets."""
        return np.max([self.bounds[name] for name in SHARED], axis=0)

    @cached_property
    def machines(self) -> Uncertain:
        """How many are needed, as far as machines help."""
        return np.ceil(self.one_machine / (self.days * DAY))

    def seconds(self, machines: float) -> Uncertain:
        """By the clock, on so many machines."""
        return np.maximum(self.one_machine / machines, self.at_least)

    def decides(self, machines: float) -> str:
        """Which of `BOUNDS` takes longest on so many machines."""
        taken = {name: one[0] if name in SHARED else one[0] / machines for name, one in self.bounds.items()}
        return max(taken, key=lambda name: taken[name])

    @property
    def engine(self) -> str:
        """How it is to be run."""
        return "one machine" if self.machines[0] == 1 else "Ray"

    def to_json(self) -> dict[str, Any]:
        """Numbers as ``{"value", "low", "high"}``: bytes, seconds."""
        machines = float(self.machines[0])
        return {
            "places": self.places,
            "days": self.days,
            "each": {
                **{name: _told(getattr(self.each, name)) for name in ("searches", "processor", "kept", "retries")},
                **{
                    name: {key: _told(one) for key, one in getattr(self.each, name).items()}
                    for name in ("requests", "received", "stored")
                },
            },
            **{name: _told(getattr(self, name)) for name in ("requests", "searches", "received", "stored", "machines")},
            "seconds_of_each_bound": {name: _told(one) for name, one in self.bounds.items()},
            "seconds": _told(self.seconds(machines)),
            "decided_by": self.decides(machines),
            "engine": self.engine,
        }


def _told(uncertain: Uncertain) -> dict[str, float]:
    return vars(Estimate.of(uncertain))


@dataclass(frozen=True)
class Amplification:
    """How many bytes come for one that is wanted.

    Attributes:
        wanted: bytes of the windows of a place before compression.
        received: bytes that come, every place by itself.
        shared: bytes that would come for a place if every tile were fetched once for all places.
    """

    wanted: float
    received: float
    shared: float


def amplification(places: float, drawn: Mapping[str, Uncertain], wanted: Wanted) -> dict[Modality, Amplification]:
    """Of each modality, for values without their intervals.

    A place meets some of the tiles of the area at random; ``n`` tiles that are met ``m`` times in all are met at least
    once in ``n (1 - exp(-m / n))`` cases.

    Args:
        places: that are read.
        drawn: of `skysense.curate.cost_figures.draw_all`.
        wanted: what a place shall hold, and the area.
    """
    read = {key: min(drawn[f"frames_{key}"][0] * wanted.years, getattr(wanted, f"most_{key}")) for key in ("s2", "s1")}
    read = {key: count * drawn["reads"][0] for key, count in read.items()} | {"hr": drawn["images"][0]}
    found: dict[Modality, Amplification] = {}
    for key in MODALITIES:
        sums = np.zeros(3)
        for one in FILES:
            if one.modality == key:
                count, bytes_of_tile = read[key] * one.count, float(drawn[f"tile_{one.name}"][0])
                met = one.tiles(wanted.cells)
                there = wanted.km2 * 1e6 / (one.tile * one.metres) ** 2
                share = (places if key != "hr" else places * wanted.hr) * met / there
                once = met * -np.expm1(-share) / share if share else met
                sums += count * np.array([one.wanted(wanted.cells), met * bytes_of_tile, once * bytes_of_tile])
        if sums[0] and (key != "hr" or wanted.hr):
            found[key] = Amplification(*(float(one) for one in sums))
    return found
