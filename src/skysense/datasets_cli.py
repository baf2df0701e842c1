"""The verbs ``skysense datasets list | show | check | tile | scoreboard``: parse, call, print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape
from rich.table import Table

from skysense.terminal import bar, console


def parser() -> ArgumentParser:
    """published data sets: skysense datasets list | show NAME | check NAME DIR"""
    return ArgumentParser(description="Published benchmark data sets: what they are, and whether a folder is one.")


def list_parser() -> ArgumentParser:
    """List the data sets"""
    return ArgumentParser(description="The data sets whose published layout can be read.")


def show_parser() -> ArgumentParser:
    """Say what a data set is, how to get it, how it lies on disk, and what is wrong with it"""
    parser = ArgumentParser(description="The card of a data set, with the sources of every fact.")
    parser.add_argument("name", type=str, help="of the data set, see skysense datasets list")
    return parser


def check_parser() -> ArgumentParser:
    """Is a folder really this data set, whole, readable, in the right units"""
    parser = ArgumentParser(description="Look at a copy of a data set: layout, numbers, images, units, classes.")
    parser.add_argument("name", type=str, help="of the data set, see skysense datasets list")
    parser.add_argument("folder", type=Path, help="as its archives unpack")
    parser.add_argument("--share", type=float, default=None, help="of the images to learn from, where it is drawn")
    parser.add_argument("--tile", type=int, default=None, help="side in px of the tiles that large images are cut into")
    parser.add_argument("--deep", type=bool, default=False, help="read every image, not only some")
    return parser


def tile_parser() -> ArgumentParser:
    """Copy a data set with its large images in blocks, to read parts of them quickly"""
    parser = ArgumentParser(
        description="Copy a folder: PNG, JPEG and striped TIFF of more than 2000 px as GeoTIFF in blocks without loss, "
        "all else as it is. The same command goes on with a copy that was cut off."
    )
    parser.add_argument("folder", type=Path, help="a data set, as its archives unpack")
    parser.add_argument("out", type=Path, help="folder of the copy")
    return parser


def scoreboard_parser() -> ArgumentParser:
    """Published results beside those of this package"""
    parser = ArgumentParser(description="Write the table of published results, with the source of every number.")
    parser.add_argument("--out", type=Path, default=None, help="a Markdown file; printed by default")
    return parser


def run(options: Namespace) -> int:
    """Do what was asked for; returns the exit status."""
    actions = {"list": _list, "show": _show, "check": _check, "tile": _tile, "scoreboard": _scoreboard}
    return actions[options.action](options[options.action])


def _list(_options: Namespace) -> int:
    from skysense.datasets.card import card, card_names

    table = Table("name", "data set", "task", "images", "metric")
    for name in card_names():
        about = card(name)
        table.add_row(name, about.title, about.task, f"{about.examples:,}", about.metric.split(",")[0])
    console.print(table)
    return 0


def _show(options: Namespace) -> int:
    from skysense.datasets.card import card

    about = card(options.name)
    table = Table(show_header=False, title=escape(about.title), show_lines=True)
    table.add_row("what", escape(f"{about.what} {about.paper}"))
    table.add_row("task", f"{about.task}, {len(about.classes)} classes; {escape(about.metric)}")
    for one in about.imagery:
        table.add_row(
            "imagery", escape(f"{one.sensor}: {one.bands}; {one.unit}; {one.gsd}; {one.size}; read as {one.read_as}")
        )
    table.add_row("images", _amounts(about.amounts))
    for version, amounts in about.versions.items():
        table.add_row(f"images, {version}", _amounts(amounts))
    if about.objects:
        table.add_row("objects", _amounts(about.objects))
    table.add_row("classes", escape(", ".join(about.classes)))
    table.add_row("layout", escape(about.layout.rstrip()))
    table.add_row("splits", escape(about.splits.strip()))
    table.add_row("licence", escape(about.licence.strip()))
    table.add_row("obtain", escape(about.obtain.strip()))
    table.add_row("known faults", escape("\n".join(f"- {one}" for one in about.faults) or "none known"))
    table.add_row("sources", escape("\n".join(f"{one.where}: {one.tells}" for one in about.sources)))
    console.print(table)
    return 0


def _amounts(by_split: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in by_split.items())


def _check(options: Namespace) -> int:
    from skysense.datasets.card import card
    from skysense.datasets.check import check_dataset

    about = card(options.name)
    with bar("reading") as progress:
        found = check_dataset(
            options.name,
            options.folder,
            deep=options.deep,
            progress=progress,
            share=options.share,
            tile=options.tile,
        )
    table = Table("", "", "", show_header=False, title=escape(f"{options.folder} as {about.title}"))
    signs = {"good": "[green]ok[/green]", "bad": "[red]wrong[/red]", "unsure": "[yellow]look[/yellow]"}
    for one in found:
        table.add_row(signs[one.state], escape(one.about), escape(one.says))
    console.print(table)
    console.print(f"licence: {escape(about.licence.strip())}", soft_wrap=True)
    return 1 if any(one.state == "bad" for one in found) else 0


def _tile(options: Namespace) -> int:
    from skysense.datasets.tiled import make_tiled

    with bar("copying") as progress:
        copied = make_tiled(options.folder, options.out, progress)
    done = f"{copied.tiled:,} images in blocks, {copied.as_they_are:,} other files"
    before = f", {copied.before:,} were there before" if copied.before else ""
    console.print(escape(f"{options.out}: {done}{before}"), soft_wrap=True)
    for file in copied.damaged:
        console.print(f"[yellow]damaged, copied as it is:[/yellow] {escape(str(file))}", soft_wrap=True)
    return 0


def _scoreboard(options: Namespace) -> int:
    from skysense.datasets.scoreboard import page
    from skysense.files import write_text

    if options.out is None:
        console.print(page(), markup=False, soft_wrap=True)
    else:
        write_text(options.out, page())
        console.print(f"written: {escape(str(options.out))}", soft_wrap=True)
    return 0
