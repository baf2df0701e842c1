"""The verbs ``skysense shards make | show | check | card``: parse, call, print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape
from rich.table import Table

from skysense.terminal import bar, console

if TYPE_CHECKING:
    from skysense.data.shards.show import Summary


def parser() -> ArgumentParser:
    """corpora of shards: skysense shards make | show | check | card"""
    return ArgumentParser(description="Corpora of shards: what is streamed while a model learns without labels.")


def make_parser() -> ArgumentParser:
    """Write folders of places, or tar files of them, as a corpus of shards"""
    from skysense.data.shards.layout import PLACES_PER_SHARD

    parser = ArgumentParser(
        description="Places as a corpus of shards, without labels; the same command goes on with one that was cut off. "
        "Tar files are those of WebDataset: a path, or a pattern of braces or stars in quotes."
    )
    parser.add_argument("sources", type=str, nargs="+", help="folders of places, tar files of places")
    parser.add_argument("--out", type=str, required=True, help="a new folder, s3://bucket/path or gs://bucket/path")
    parser.add_argument("--title", type=str, default=None, help="of the corpus; that of the sources by default")
    parser.add_argument("--places_per_shard", type=int, default=PLACES_PER_SHARD, help="places that share a shard")
    return parser


def show_parser() -> ArgumentParser:
    """Say and draw what a corpus holds"""
    parser = ArgumentParser(description="What a corpus holds, in numbers and as a picture of some of its places.")
    _add_corpus(parser)
    parser.add_argument("--picture", type=Path, default=None, help="a PNG; CORPUS.png beside the corpus by default")
    return parser


def check_parser() -> ArgumentParser:
    """List what is wrong in a corpus"""
    parser = ArgumentParser(description="Read every value of a corpus and list what is wrong, one problem a line.")
    _add_corpus(parser)
    parser.add_argument("--deep", type=bool, default=True, help="read every value, not only what is said about them")
    return parser


def card_parser() -> ArgumentParser:
    """Write the card of a corpus: what it is, where it comes from, how well it covers the Earth"""
    parser = ArgumentParser(description="Write the card of a corpus, one page that needs nothing else.")
    _add_corpus(parser)
    parser.add_argument("--out", type=str, default=None, help="an HTML file; CORPUS.html beside it by default")
    return parser


def _add_corpus(parser: ArgumentParser) -> None:
    parser.add_argument("corpus", type=str, help="a folder, s3://bucket/path or gs://bucket/path")


def run(options: Namespace) -> int:
    """Do what was asked for; returns the exit status."""
    actions = {"make": _make, "show": _show, "check": _check, "card": _card}
    return actions[options.action](options[options.action])


def _make(options: Namespace) -> int:
    from skysense.data.shards.convert import convert

    with bar("packing places") as progress:
        done = convert(
            options.sources,
            options.out,
            title=options.title,
            places_per_shard=options.places_per_shard,
            progress=progress,
        )
    for failure in done.failures:
        console.print(f"[yellow]left out {escape(failure.place)}: {escape(failure.message)}[/yellow]", soft_wrap=True)
    before = f", {done.before:,} of them before" if done.before else ""
    stored = sum(shard.bytes for shard in done.manifest.shards)
    shards = f"{len(done.manifest.shards):,} shards, {_size(stored)}"
    console.print(f"{escape(options.out)}: {done.places:,} places in {shards}{before}", soft_wrap=True)
    if done.labelled:
        console.print(
            f"labels of {done.labelled:,} places were left out: shards are for learning without labels", soft_wrap=True
        )
    return 1 if done.failures else 0


def _show(options: Namespace) -> int:
    from skysense.data.shards.read import Shards
    from skysense.data.shards.show import draw, summary
    from skysense.errors import MissingExtra, OutputError

    corpus = Shards(options.corpus)
    with bar("reading", late=True) as progress:
        found = summary(corpus, progress)
    about = corpus.manifest
    table = Table(show_header=False, title=escape(about.title))
    for name, value in (("source", about.source), ("licence", about.licence)):
        table.add_row(name, escape(value or "not said"))
    table.add_row("pixels", "simulated" if about.simulated else "real")
    table.add_row("places", f"{found.places:,}: " + _amounts({key: one for key, one in found.splits.items() if one}))
    for modality, count in found.modalities.items():
        least, median, most = found.frames.get(modality, (0, 0, 0))
        frames = f"; frames {least} to {most}, median {median}" if count and modality != "hr" else ""
        table.add_row(modality, f"{count:,} places{frames}")
    sizes = {f"{height} x {width} cells": count for (height, width), count in found.sizes.items()}
    table.add_row("sizes", _amounts(sizes))
    per_place = f", {_size(found.bytes / found.places)} a place" if found.places else ""
    table.add_row("stored", f"{found.shards:,} shards, {_size(found.bytes)}{per_place}")
    console.print(table)
    _print_months(found)
    arrays = Table("array", "stored", "values", "ratio", title="compression")
    for name, one in found.arrays.items():
        if name.endswith(("_date", "_observed")):  # nothing beside the others
            continue
        arrays.add_row(name, _size(one.stored), _size(one.raw), f"{one.ratio:.2f}")
    console.print(arrays)
    for name, why in found.unreadable.items():
        console.print(f"[red]shard {escape(name)}: {escape(why)}[/red]", soft_wrap=True)
    picture = options.picture or _beside(options.corpus, ".png")
    try:
        draw(corpus, picture)
        console.print(f"{escape(str(picture))}: some of the places", soft_wrap=True)
    except (OutputError, MissingExtra) as error:
        if options.picture is not None:
            raise
        console.print(f"[yellow]no picture: {escape(str(error))}[/yellow]", soft_wrap=True)
    return 1 if found.unreadable else 0


def _beside(corpus: str, ending: str) -> Path:
    """A file beside the folder of a corpus, of the same name, or in the current folder if that is a bucket."""
    from skysense.data.shards.store import is_remote

    folder = Path(Path(corpus).name) if is_remote(corpus) else Path(corpus).resolve()
    return folder.with_name(f"{folder.name}{ending}")


def _print_months(found: Summary) -> None:
    """Frames by sensor, year and month."""
    table = Table("", "year", *map(str, range(1, 13)), title="frames by month")
    for modality, year in sorted({(modality, year) for year, _, modality in found.months}):
        counts = [found.months.get((year, month, modality), 0) for month in range(1, 13)]
        table.add_row(modality, str(year), *(f"{count:,}" if count else "" for count in counts))
    if table.rows:
        console.print(table)


def _check(options: Namespace) -> int:
    from skysense.data.shards.check import check

    with bar("checking shards") as progress:
        report = check(options.corpus, deep=options.deep, progress=progress)
    for problem in report.problems:
        console.print(f"[red]{escape(str(problem))}[/red]", soft_wrap=True)
    console.print(f"{report.ok:,} of {report.places:,} places are good")
    return 1 if report.problems else 0


def _card(options: Namespace) -> int:
    from skysense.curate.card.page import write_card
    from skysense.data.shards.read import Shards

    with bar("looking at places") as progress:
        path = write_card(Shards(options.corpus), options.out or _beside(options.corpus, ".html"), progress=progress)
    console.print(f"written: {escape(str(path))}", soft_wrap=True)
    return 0


def _amounts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} TB"
