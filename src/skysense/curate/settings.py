"""What a curation shall do: where, when, from which archives, and what a place must have."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skysense.curate.avoid import AVOID_KM
from skysense.curate.catalogue import Catalogue, open_catalogue
from skysense.curate.http import public
from skysense.curate.listing import digest_of_items, digest_of_rasters
from skysense.curate.sample import Settings
from skysense.data.shards.layout import PLACES_PER_SHARD
from skysense.errors import ConfigError
from skysense.sensors import MODALITIES, Modality

YEARS_AROUND = 2
"""Years before and after those of the series that the high-resolution image may be of: the United States are flown
over every two to three years."""
FIRST_YEAR = 1972


@dataclass(frozen=True, kw_only=True)
class Curation:
    """All that decides what a corpus holds; the same settings give the same corpus, bit by bit.

    Attributes:
        years: first and last year of the series.
        places: a list of positions, see `skysense.curate.listed.read_listed`; instead of a number of places.
        number: places to be drawn, of the area or, without one, of the land of the Earth.
        area: see `skysense.curate.area.parse_area`.
        catalogues: presets or files of catalogues; a modality is taken from the first that offers it.
        hr_catalogue: where high-resolution images come from, before the others.
        most_cloud: percent of a whole Sentinel-2 image.
        avoid: evaluation sets, see `skysense.curate.avoid.read_avoid`.
        avoid_km: kept from them.
        seed: of the draw.
        sample: what a place must have.
        places_per_shard: places whose numbers follow each other and that share a shard, however many of them remain.

    Raises:
        ConfigError: settings that contradict each other.
    """

    years: tuple[int, int]
    places: Path | None = None
    number: int | None = None
    area: str | None = None
    catalogues: tuple[str, ...] = ("planetary-computer",)
    hr_catalogue: str | None = None
    most_cloud: float = 20.0
    avoid: tuple[Path, ...] = ()
    avoid_km: float = AVOID_KM
    seed: int = 0
    sample: Settings = field(default_factory=Settings)
    places_per_shard: int = PLACES_PER_SHARD

    def __post_init__(self) -> None:
        if self.years[0] > self.years[1] or self.years[0] < FIRST_YEAR:
            raise ConfigError(f"years {self.years[0]}-{self.years[1]} must ascend and begin in {FIRST_YEAR} or later")
        if (self.places is None) == (self.number is None):
            raise ConfigError("give either a list of places or how many to draw")
        if self.places is not None and self.area is not None:
            raise ConfigError("give either an area to draw places in or a list of places")
        if not self.catalogues:
            raise ConfigError("no catalogue to search in")
        if not 0 <= self.most_cloud <= 100:
            raise ConfigError(f"most_cloud must be 0 .. 100 percent; got {self.most_cloud:g}")
        if self.places_per_shard < 1:
            raise ConfigError(f"a shard holds at least one place; got {self.places_per_shard}")

    def span(self, modality: Modality) -> tuple[datetime, datetime]:
        """The first instant that images of a modality may be of, and the first after the last one."""
        around = YEARS_AROUND if modality == "hr" else 0
        first, last = self.years
        return datetime(first - around, 1, 1, tzinfo=UTC), datetime(last + around + 1, 1, 1, tzinfo=UTC)


def parse_years(text: str) -> tuple[int, int]:
    """``2019-2021``, or one year.

    Raises:
        ConfigError: something else.
    """
    match = re.fullmatch(r"\s*(\d{4})\s*(?:-\s*(\d{4})\s*)?", text)
    if match is None:
        raise ConfigError(f"years are given as 2021 or 2019-2021; got {text!r}")
    return int(match[1]), int(match[2] or match[1])


def open_archives(curation: Curation) -> dict[Modality, Catalogue]:
    """The catalogue of each modality that is to be looked for: what is required, and what else is offered.

    Raises:
        ConfigError: nobody offers what is required, or a catalogue breaks a rule.
        InputError: a catalogue's file cannot be read.
    """
    opened = {name: open_catalogue(name) for name in curation.catalogues}
    found: dict[Modality, Catalogue] = {}
    for modality in MODALITIES:
        order = list(opened.values())
        if modality == "hr" and curation.hr_catalogue is not None:
            order = [open_catalogue(curation.hr_catalogue)]
        offers = [one for one in order if any(collection.modality == modality for collection in one.collections)]
        if offers:
            found[modality] = offers[0]
        elif modality in curation.sample.required or (modality == "hr" and curation.hr_catalogue is not None):
            order[0].of(modality)  # says why not
    if not found:
        raise ConfigError(f"{', '.join(curation.catalogues)}: no images that could be used")
    return found


def identity(curation: Curation, archives: Mapping[Modality, Catalogue], positions: Mapping[str, Any]) -> Any:
    """What a corpus is recorded to be made with, ready for JSON.

    Args:
        curation: the settings.
        archives: of `open_archives`; recorded with all they say, since a mended file of a catalogue is another one,
            and with what local ones hold. Addresses are without their query, for settings are published.
        positions: of `skysense.curate.plan.Plan.identity`: what the files hold that settings only name.

    Raises:
        InputError: a local catalogue whose items or rasters cannot be read.
    """
    told = asdict(curation)
    for name in ("places", "area", "avoid", "number", "catalogues", "hr_catalogue"):
        told.pop(name)
    catalogues = {one.name: _described(one) for one in archives.values()}
    sources = {modality: one.name for modality, one in archives.items()}
    whole = {**told, "positions": positions, "sources": sources, "catalogues": catalogues}
    return json.loads(json.dumps(whole, default=str))


def _described(catalogue: Catalogue) -> dict[str, Any]:
    told = asdict(catalogue)
    if catalogue.url is not None:
        told["url"] = public(catalogue.url)
    if catalogue.signing is not None:
        told["signing"]["token_url"] = public(catalogue.signing.token_url)
    if catalogue.items is not None:
        told["holds"] = digest_of_items(catalogue.items)
    if catalogue.files is not None:
        told["holds"] = digest_of_rasters(catalogue.files)
    return told
