"""The verb ``skysense curate``: parse, call, print."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape
from rich.table import Table

from skysense.errors import ConfigError
from skysense.sensors import Modality
from skysense.terminal import bar, console
from skysense.train.stopping import StopSignals

if TYPE_CHECKING:
    from skysense.curate.finish import Summary
    from skysense.curate.flow import Progress
    from skysense.curate.run import Pace
    from skysense.curate.settings import Curation

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parser() -> ArgumentParser:
    """places from public archives, as shards to learn from"""
    parser = ArgumentParser(
        description="Look for places, fetch what archives hold of them, and write a corpus of shards. The same command "
        "goes on with a curation that was cut off. See docs/curation.md."
    )
    parser.add_argument("--config", action="config", help="a YAML file with any of these settings")
    parser.add_argument("--out", type=str, required=True, help="a folder, s3://bucket/path or gs://bucket/path")
    parser.add_argument("--years", type=str, required=True, help="of the series: 2021 or 2019-2021")
    parser.add_argument("--area", type=str, default=None, help="west,south,east,north in degrees, or a GeoJSON file")
    parser.add_argument("--number", type=int, default=None, help="places to draw in the area")
    parser.add_argument("--places", type=Path, default=None, help="a CSV (lon, lat, name) or GeoJSON file of positions")
    parser.add_argument("--global", type=int, default=None, help="places to draw on the land of the Earth")
    parser.add_argument(
        "--catalogue",
        type=str,
        default="planetary-computer",
        help="earth-search, planetary-computer, or a YAML file; of several, with commas, the first that has the sensor",
    )
    parser.add_argument("--hr_catalogue", type=str, default=None, help="where the high-resolution images come from")
    parser.add_argument("--cells", type=int, default=64, help="side of a place in cells of 10 m")
    parser.add_argument("--required", type=str, default="s2,s1", help="sensors that a place must have, of hr,s2,s1")
    parser.add_argument("--fewest_s2", type=int, default=10, help="dates that a Sentinel-2 series must have")
    parser.add_argument("--fewest_s1", type=int, default=5, help="dates that a Sentinel-1 series must have")
    parser.add_argument("--most_s2", type=int, default=None, help="dates of Sentinel-2 that are read; all by default")
    parser.add_argument("--most_s1", type=int, default=None, help="dates of Sentinel-1 that are read; all by default")
    parser.add_argument("--most_cloud", type=float, default=20.0, help="percent of a whole Sentinel-2 image")
    parser.add_argument("--avoid", type=list[Path], default=[], help="evaluation sets to keep away from")
    parser.add_argument("--avoid_km", type=float, default=10.0, help="how far")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--budget", type=str, default=None, help="of bytes to receive in all, e.g. 50GB")
    parser.add_argument("--workers", type=int, default=8, help="places at once, in each process")
    parser.add_argument("--connections", type=int, default=32, help="files at once, in each process")
    parser.add_argument("--scratch", type=Path, default=None, help="folder for what is not in a shard yet")
    parser.add_argument("--engine", type=Literal["local", "ray"], default="local", help="one process, or many with Ray")
    parser.add_argument("--processes", type=int, default=None, help="of Ray; one for every CPU by default")
    parser.add_argument(
        "--ray_address", type=str, default=None, help="of a Ray cluster, e.g. auto; begins one here by default"
    )
    return parser


def run(options: Namespace) -> int:
    """Curate, and print the account; returns the exit status."""
    make, curation, pace = _engine(options), _curation(options), _pace(options)
    with StopSignals() as signals, bar("curating", late=True) as progress:
        summary = make(
            curation,
            options.out,
            pace,
            begin=_announce,
            progress=lambda told: progress(told.done, told.places, _pace_words(told)),
            signal=lambda: signals.received,
        )
    assert summary is not None  # since all blocks were asked for
    _print_account(summary)
    console.print(f"the corpus is {escape(options.out)}", soft_wrap=True)
    return 0


def _engine(options: Namespace) -> Callable[..., Summary | None]:
    if options.engine == "ray":
        from skysense.curate.many import Cluster, curate_many

        return partial(curate_many, cluster=Cluster(options.ray_address, options.processes))
    if options.processes is not None or options.ray_address is not None:
        raise ConfigError("--processes and --ray_address are for --engine ray")
    from skysense.curate.run import curate

    return curate


def _curation(options: Namespace) -> Curation:
    from skysense.curate.sample import Settings
    from skysense.curate.settings import Curation, parse_years

    number = options["global"]
    if [options.area, options.places, number].count(None) != 2:
        raise ConfigError("say where: one of --area, --places and --global")
    if (options.area is None) != (options.number is None):
        raise ConfigError("--area needs --number, the places to draw in it, and nothing else does")
    return Curation(
        years=parse_years(options.years),
        places=options.places,
        number=options.number if number is None else number,
        area=options.area,
        catalogues=tuple(name.strip() for name in options.catalogue.split(",")),
        hr_catalogue=options.hr_catalogue,
        most_cloud=options.most_cloud,
        avoid=tuple(options.avoid),
        avoid_km=options.avoid_km,
        seed=options.seed,
        sample=Settings(
            cells=options.cells,
            required=_required(options.required),
            fewest_s2=options.fewest_s2,
            fewest_s1=options.fewest_s1,
            most_s2=options.most_s2,
            most_s1=options.most_s1,
        ),
    )


def _pace(options: Namespace) -> Pace:
    from skysense.curate.run import Pace

    budget = None if options.budget is None else parse_bytes(options.budget)
    return Pace(workers=options.workers, connections=options.connections, budget=budget, scratch=options.scratch)


def _required(text: str) -> tuple[Modality, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())  # type: ignore[misc] # `Settings` looks


def parse_bytes(text: str) -> int:
    """``50GB``, ``1.5 TB`` or a plain number of bytes.

    Raises:
        ConfigError: something else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)?\s*", text, re.IGNORECASE)
    if match is None:
        raise ConfigError(f"{text!r} is no number of bytes; give e.g. 500MB or 50GB")
    unit = (match[2] or "").upper()
    return int(float(match[1]) * (1 if unit == "B" else _UNITS[unit]))


def _announce(told: Progress) -> None:
    planned = f"places: {told.places:,}, in blocks (shards at most): {told.blocks:,}"
    console.print(f"{planned}; done before: {told.places_before:,} in {told.blocks_before:,}")


def _pace_words(told: Progress) -> str:
    if told.listed:
        return f"index: {told.listed:,} of {told.blocks:,} blocks"
    speed = told.traffic.bytes / max(told.seconds, 1e-9) / 1e6
    return f"{told.stored:,} stored, {told.traffic.bytes / 1e6:,.0f} MB, {speed:.1f} MB/s"


def _print_account(summary: Summary) -> None:
    from skysense.curate.outcome import COUNTED, UNEXPECTED

    table = Table("places", "", title="account")
    for reason, count in summary.tally.places.most_common():
        table.add_row(escape(reason), f"{count:,}", style="red" if reason == UNEXPECTED else "")
    if summary.no_room:
        table.add_row("not drawn for want of room", f"{summary.no_room:,}")
    console.print(table)
    _print_sums("images", list(COUNTED), summary.tally.counts)
    if summary.tally.dropped:
        reasons = sorted({reason for one in summary.tally.dropped.values() for reason in one})
        _print_sums("images that could not be used", reasons, summary.tally.dropped)
    took = summary.tally.took
    console.print(
        f"{took['bytes'] / 1e6:,.1f} MB received in {took['requests']:,} requests, {took['retries']:,} of them again; "
        f"{summary.bytes / 1e6:,.1f} MB stored in {summary.shards:,} shards"
    )


def _print_sums(title: str, rows: list[str], sums: Mapping[str, Mapping[str, int]]) -> None:
    table = Table(title, *sums)
    for row in rows:
        table.add_row(escape(row), *(f"{one.get(row, 0):,}" for one in sums.values()))
    console.print(table)
