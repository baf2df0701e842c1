"""The verbs ``skysense weights inspect | convert | verify``: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape
from rich.table import Table

from skysense.model.config import PRESETS
from skysense.terminal import bar, console

if TYPE_CHECKING:
    from skysense.model.weights import About


def parser() -> ArgumentParser:
    """released weights: skysense weights inspect | convert | verify FILE"""
    return ArgumentParser(
        description="Released weights of SkySense and SkySense++: what a file holds, and whether it is whole."
    )


def _released_parser(description: str) -> ArgumentParser:
    """A parser with what `recognise` needs to be told at times."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--dimensions", type=str, default=None, help=f"to compare with: {', '.join(PRESETS)}")
    parts = Literal["hr", "s2", "s1", "head_s2", "head_s1", "fusion"]
    parser.add_argument("--part", type=parts, default=None, help="which module it is, if that cannot be told")
    return parser


def inspect_parser() -> ArgumentParser:
    """Say what a file of weights holds"""
    parser = _released_parser("Which modules a file holds, how many of their tensors fit, what is left over.")
    parser.add_argument("file", type=Path, help="of torch.save or safetensors")
    return parser


def convert_parser() -> ArgumentParser:
    """Write released weights as one safetensors file with a card"""
    parser = _released_parser("Put released files together into one safetensors file; refused unless all of it fits.")
    parser.add_argument("files", type=Path, nargs="+", help="one of the whole model, or several of its modules")
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--dtype", type=Literal["float32", "bfloat16"], default=None, help="of the tensors")
    parser.add_argument("--four_bands", type=list[Literal["hr", "s2"]], default=[], help="encoders to give four bands")
    parser.add_argument("--fine_tuned", type=bool, default=False, help="accept norms that are not the published ones")
    return parser


def verify_parser() -> ArgumentParser:
    """Check every number of a file of weights"""
    parser = _released_parser("Names, shapes, finite numbers, published norms, and the hash on the card.")
    parser.add_argument("file", type=Path, help="a released file or a converted one")
    return parser


def run(options: Namespace) -> int:
    """Do what was asked for; returns the exit status."""
    action = {"inspect": _inspect, "convert": _convert, "verify": _verify}[options.action]
    return action(options[options.action])


def _inspect(options: Namespace) -> int:
    from skysense.model.convert import unfit
    from skysense.model.recognise import recognise
    from skysense.model.released import some
    from skysense.model.weights import is_ours, read_about

    if is_ours(options.file):
        about = read_about(options.file)
        _print_card(options.file, about)
        wrong = unfit(options.file, about)
        if wrong:
            console.print(f"[red]{escape(wrong)}[/red]", soft_wrap=True)
        return 1 if wrong else 0
    found = recognise(options.file, dimensions=options.dimensions, part=options.part)
    table = Table("module", "tensors that fit", "parameters", "type", "verdict", title=escape(found.path.name))
    for one in found.parts:
        parameters = sum(tensor.numel() for tensor in one.tensors.values())
        types = ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in one.tensors.values()}))
        verdict = ", ".join(f"{len(names)} {kind}" for kind, names in one.kinds.items()) or "whole"
        table.add_row(one.part, f"{len(one.tensors)} of {one.expected}", f"{parameters:,}", types, verdict)
    console.print(table)
    for one in found.parts:
        for kind, names in one.kinds.items():
            console.print(f"[yellow]{one.part}, {kind}: {escape(some(names))}[/yellow]", soft_wrap=True)
    console.print(f"layout {escape(found.layout)}; compared with {found.preset}", soft_wrap=True)
    ignored = [*found.ignored, *(name for one in found.parts for name in one.ignored)]
    if found.dates is not None:
        console.print("with a date table: ctpe")
    if ignored:
        console.print(f"left over: {escape(some(ignored))}", soft_wrap=True)
    if found.unknown:
        console.print(f"[yellow]of no module: {escape(some(found.unknown))}[/yellow]", soft_wrap=True)
    return 0 if found.whole else 1


def _print_card(path: Path, about: About) -> None:
    """What the header of a file of ours says."""
    table = Table(show_header=False, title=escape(path.name))
    table.add_row("pieces", ", ".join(about.pieces))
    card = dict(about.card)
    for number, source in enumerate(card.pop("sources", []), 1):
        table.add_row(
            f"source {number}", f"{escape(source.get('file', '?'))}, sha256 {source.get('sha256', '?')[:16]}…"
        )
    for key, sensor in card.pop("preprocessing", {}).items():
        table.add_row(key, f"{sensor['sensor']} in {sensor['unit']}: {', '.join(sensor['bands'])}")
    for key, value in card.items():
        table.add_row(key.replace("_", " "), escape(str(value)))
    console.print(table)


def _convert(options: Namespace) -> int:
    import torch

    from skysense.model.convert import convert

    with bar("converting") as progress:
        done = convert(
            options.files,
            options.out,
            dimensions=options.dimensions,
            part=options.part,
            dtype=None if options.dtype is None else getattr(torch, options.dtype),
            four_bands=options.four_bands,
            fine_tuned=options.fine_tuned,
            progress=progress,
        )
    console.print(f"{escape(str(done.path))}: {', '.join(done.pieces)}; {done.parameters:,} parameters")
    if done.ignored:
        console.print(f"left over and not written: {escape(', '.join(done.ignored))}")
    for note in done.notes:
        console.print(escape(note), soft_wrap=True)
    return 0


def _verify(options: Namespace) -> int:
    from skysense.model.convert import verify

    problems = verify(options.file, dimensions=options.dimensions, part=options.part)
    for problem in problems:
        console.print(f"[red]{escape(problem)}[/red]")
    if not problems:
        console.print(f"{escape(str(options.file))} is whole")
    return 1 if problems else 0
