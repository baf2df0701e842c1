"""The one command: parse, call, print. Everything it does is a function of the package."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import skysense
from skysense.errors import InputError, SkySenseError
from skysense.model.config import PRESETS
from skysense.pretrain.config import PretrainConfig
from skysense.sensors import SENSORS, Unit

if TYPE_CHECKING:
    from skysense.model.weights import About

console = Console(highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the name of the program; those of the process by default.

    Returns:
        The exit status: 0 if all went well, 1 if something was found wrong, 2 if it could not be done.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.verb is None:
        parser.print_help()
        return 0
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return VERBS[options.verb](options[options.verb])
    except SkySenseError as error:
        Console(stderr=True, highlight=False).print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped. What was finished is kept; the same command goes on from there.")
        return 130


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning without the line of code that raised it."""
    Console(stderr=True, highlight=False).print(f"[yellow]{escape(str(message))}[/yellow]", soft_wrap=True)


def build_parser() -> ArgumentParser:
    """The parser of all verbs."""
    parser = ArgumentParser(prog="skysense", description="Earth-observation foundation model: from imagery to a map.")
    parser.add_argument("--version", action="version", version=f"skysense {skysense.__version__}")
    verbs = parser.add_subcommands(dest="verb", required=False)
    for name, parse in PARSERS.items():
        verbs.add_subcommand(name, parse(), help=parse.__doc__)
    for name, parsers in ACTIONS.items():
        actions = verbs.choices[name].add_subcommands(dest="action", required=True)
        for action, parse in parsers.items():
            actions.add_subcommand(action, parse(), help=parse.__doc__)
    return parser


def _simulate_parser() -> ArgumentParser:
    """write a simulated Earth as a folder of places"""
    parser = ArgumentParser(description="Write a simulated Earth: every pixel is made up, and says so.")
    parser.add_argument("out", type=Path, help="a new folder, or one begun with the same settings")
    parser.add_argument("--regions", type=int, default=8, help="regions, each one cell of 65.536 km")
    parser.add_argument("--places_per_region", type=int, default=16, help="places in each region")
    parser.add_argument("--seed", type=int, default=0, help="of the Earth")
    parser.add_argument("--footprint_cells", type=int, default=16, help="side of a place in cells of 10 m (32 px each)")
    return parser


def _simulate(options: Namespace) -> int:
    from skysense.data.earth import simulate

    with bar("simulating places") as progress:
        written = simulate(
            options.out,
            regions=options.regions,
            places_per_region=options.places_per_region,
            seed=options.seed,
            footprint_cells=options.footprint_cells,
            progress=progress,
        )
    console.print(f"{written} simulated places written to {escape(str(options.out))}")
    return 0


def _places_parser() -> ArgumentParser:
    """look at folders of places: skysense places check DIR"""
    return ArgumentParser(description="Folders of co-located places.")


def _check_parser() -> ArgumentParser:
    """list what is wrong in a folder of places"""
    parser = ArgumentParser(description="Look at every file of a folder of places and list what is wrong.")
    parser.add_argument("folder", type=Path, help="a folder of places")
    return parser


def _places(options: Namespace) -> int:
    from skysense.data.places import check

    with bar("checking places") as progress:
        report = check(options.check.folder, progress=progress)
    if report.problems:
        table = Table("place", "file", "rule", title=f"{len(report.problems)} problems")
        for problem in report.problems:
            table.add_row(escape(problem.place), escape(str(problem.file)), escape(problem.rule))
        console.print(table)
    console.print(f"{report.ok} of {report.places} places are good")
    return 1 if report.problems else 0


def _pretrain_parser() -> ArgumentParser:
    """learn from places without labels"""
    parser = ArgumentParser(description="Pre-train on places; the same command goes on with a run that was cut off.")
    parser.add_argument("--config", action="config", help="a YAML file with any of these settings")
    parser.add_argument("data", type=Path, help="a folder of places")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--split", type=Literal["train", "all"], default="train", help="which places to learn from")
    parser.add_argument("--device", type=str, default=None, help="cpu, cuda, cuda:1; a GPU if there is one")
    parser.add_class_arguments(PretrainConfig)
    return parser


def _pretrain(options: Namespace) -> int:
    from skysense.data.places import Places
    from skysense.pretrain.loop import pretrain

    places = Places(options.data)
    if options.split == "train":
        chosen = places.select(where=lambda place: place.split in ("train", None))
        if not len(chosen):
            raise InputError("no place is marked for training", file=options.data, fix="Use --split all")
        places = chosen
    config = _config(options)
    with bar("pre-training") as progress:
        outcome = pretrain(
            config,
            places,
            options.out,
            device=options.device,
            on_step=lambda step, values: progress(step + 1, config.steps, f"loss {values['loss']:.2f}"),
        )
    for note in outcome.notes:
        console.print(f"[yellow]{escape(note)}[/yellow]")
    for place, reason in outcome.skipped.items():
        console.print(f"[yellow]skipped {escape(place)}: {escape(reason)}[/yellow]")
    if outcome.resumed_from:
        console.print(f"went on from step {outcome.resumed_from}")
    console.print(f"{outcome.steps} steps made; the model is {escape(str(outcome.model))}")
    return 0


def _config(options: Namespace) -> PretrainConfig:
    """The configuration among the options of ``pretrain``."""
    parser = ArgumentParser()
    parser.add_class_arguments(PretrainConfig, "run")
    ours = {key: value for key, value in vars(options).items() if key in PretrainConfig.__dataclass_fields__}
    return parser.instantiate(Namespace(run=Namespace(**ours))).run


def _probe_parser() -> ArgumentParser:
    """what frozen features are worth, beside random initialisation and raw pixels"""
    parser = ArgumentParser(description="Linear probe and kNN on frozen features, tested on held-out places.")
    parser.add_argument("model", type=Path, help="model.safetensors of a run")
    parser.add_argument("data", type=Path, help="a folder of places with labels")
    parser.add_argument("--out", type=Path, default=None, help="also write the table as JSON")
    parser.add_argument("--seed", type=int, default=0, help="of the random initialisation to compare with")
    return parser


def _probe(options: Namespace) -> int:
    from skysense.benchmark.probe import probe_model, without_context
    from skysense.data.places import Places
    from skysense.files import write_json
    from skysense.model.loading import load

    model = load(options.model)
    with bar("probing") as progress:
        places = Places(options.data).readable(lambda done, total: progress(done, total, "reading places"))
        results = probe_model(model, places, seed=options.seed, progress=progress)
    for header, body in (results.table.grid(), results.table.difference_grid()):
        table = Table(*header)
        for row in body:
            table.add_row(*row)
        console.print(table)
    if nowhere := without_context(model, places):
        console.print(f"[yellow]no geo-context: {nowhere} of {len(places)} places lie in no region it learned[/yellow]")
    for failure in places.failures:
        console.print(f"[yellow]skipped {escape(failure.place)}: {escape(failure.message)}[/yellow]")
    if options.out is not None:
        write_json(options.out, results.table.to_json())
    return 0


def _embed_parser() -> ArgumentParser:
    """turn a scene into a map of features"""
    parser = ArgumentParser(description="Write the features of a whole scene as a GeoTIFF on the scene's own grid.")
    parser.add_argument("scene", type=Path, help="a GeoTIFF of one sensor and one date")
    parser.add_argument("out", type=Path, help="the GeoTIFF to write; a picture goes beside it")
    parser.add_argument("--model", type=Path, required=True, help="model.safetensors of a run")
    parser.add_argument("--sensor", type=str, default=None, help=f"if the file does not say: {', '.join(SENSORS)}")
    parser.add_argument("--unit", type=Unit, default=None, help="of its numbers, if the file does not say")
    parser.add_argument("--date", type=str, default=None, help="YYYY-MM-DD, if the file does not say")
    parser.add_argument("--window_cells", type=int, default=16, help="side of a window in cells, a multiple of 4")
    parser.add_argument("--overlap_cells", type=int, default=None, help="shared by neighbours; an eighth by default")
    parser.add_argument("--batch_size", type=int, default=8, help="windows at once")
    parser.add_argument("--precision", type=Literal["float32", "float16"], default="float32", help="of the output")
    parser.add_argument("--device", type=str, default=None, help="cpu, cuda, cuda:1; a GPU if there is one")
    parser.add_argument("--overwrite", type=bool, default=False, help="replace existing outputs")
    return parser


def _embed(options: Namespace) -> int:
    import torch

    from skysense.maps.embed import embed
    from skysense.model.loading import load

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    names = ("sensor", "unit", "date", "window_cells", "overlap_cells", "batch_size", "precision", "overwrite")
    with bar("embedding") as progress:
        result = embed(
            load(options.model).to(device),
            options.scene,
            options.out,
            progress=progress,
            **{name: options[name] for name in names},
        )
    for note in result.notes:
        console.print(f"[yellow]{escape(note)}[/yellow]")
    for skipped in result.skipped:
        console.print(f"[yellow]no-data: {escape(str(skipped))}[/yellow]")
    dim, height, width = result.shape
    console.print(f"{escape(str(result.path))}: {dim} features on {height} x {width} cells of {result.sensor}")
    if result.quicklook is not None:
        console.print(f"{escape(str(result.quicklook))}: their three principal components")
    return 0


def _weights_parser() -> ArgumentParser:
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


def _inspect_parser() -> ArgumentParser:
    """say what a file of weights holds"""
    parser = _released_parser("Which modules a file holds, how many of their tensors fit, what is left over.")
    parser.add_argument("file", type=Path, help="of torch.save or safetensors")
    return parser


def _convert_parser() -> ArgumentParser:
    """write released weights as one safetensors file with a card"""
    parser = _released_parser("Put released files together into one safetensors file; refused unless all of it fits.")
    parser.add_argument("files", type=Path, nargs="+", help="one of the whole model, or several of its modules")
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--dtype", type=Literal["float32", "bfloat16"], default=None, help="of the tensors")
    parser.add_argument("--four_bands", type=list[Literal["hr", "s2"]], default=[], help="encoders to give four bands")
    parser.add_argument("--fine_tuned", type=bool, default=False, help="accept norms that are not the published ones")
    return parser


def _verify_parser() -> ArgumentParser:
    """check every number of a file of weights"""
    parser = _released_parser("Names, shapes, finite numbers, published norms, and the hash on the card.")
    parser.add_argument("file", type=Path, help="a released file or a converted one")
    return parser


def _weights(options: Namespace) -> int:
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


def _demo_parser() -> ArgumentParser:
    """the whole thread in minutes: places, pre-train, probe, map, report"""
    parser = ArgumentParser(description="From imagery to a map with a model of your own, on two CPU cores.")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the run")
    parser.add_argument(
        "--kit_places",
        type=Path,
        default=None,
        help="real places instead of simulated ones, see examples/kit_to_places.py",
    )
    parser.add_argument("--steps", type=int, default=None, help="of pre-training, instead of what fits a few minutes")
    return parser


def _demo(options: Namespace) -> int:
    from skysense.demo import demo

    with bar("demo") as progress:
        page = demo(options.out, kit_places=options.kit_places, steps=options.steps, progress=progress)
    console.print(f"open {escape(str(page))}")
    return 0


def _evidence_parser() -> ArgumentParser:
    """the tables of the README; resumable"""
    parser = ArgumentParser(description="Three seeds, held-out places, intervals: what pre-training is worth.")
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"), help="folder of the results")
    parser.add_argument("--kit_places", type=Path, default=None, help="real places, see examples/kit_to_places.py")
    return parser


def _evidence(options: Namespace) -> int:
    from skysense.benchmark.evidence import evidence

    with bar("evidence") as progress:
        page = evidence(options.out, kit_places=options.kit_places, progress=progress)
    console.print(f"open {escape(str(page))}")
    return 0


@contextmanager
def bar(title: str) -> Iterator[Callable[..., None]]:
    """A progress bar; yields ``progress(done, in_all, words="")``, and ``words`` alone renames the stage."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with Progress(*columns, console=console) as lines:
        task = lines.add_task(title, total=None, words="")

        def progress(done: int, total: int, words: str = "") -> None:
            lines.update(task, completed=done, total=total, words=escape(words))

        yield progress


PARSERS: dict[str, Callable[[], ArgumentParser]] = {
    "simulate": _simulate_parser,
    "places": _places_parser,
    "pretrain": _pretrain_parser,
    "probe": _probe_parser,
    "embed": _embed_parser,
    "weights": _weights_parser,
    "demo": _demo_parser,
    "evidence": _evidence_parser,
}
VERBS: dict[str, Callable[[Namespace], int]] = {
    "simulate": _simulate,
    "places": _places,
    "pretrain": _pretrain,
    "probe": _probe,
    "embed": _embed,
    "weights": _weights,
    "demo": _demo,
    "evidence": _evidence,
}
ACTIONS: dict[str, dict[str, Callable[[], ArgumentParser]]] = {
    "places": {"check": _check_parser},
    "weights": {"inspect": _inspect_parser, "convert": _convert_parser, "verify": _verify_parser},
}


if __name__ == "__main__":
    sys.exit(main())
