"""The one command: parse, call, print. Everything it does is a function of the package."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TextIO

from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import skysense
from skysense import (
    curate_cli,
    data_plan_cli,
    datasets_cli,
    export_cli,
    map_cli,
    maps_cli,
    plan_cli,
    search_cli,
    shards_cli,
    tasks_cli,
    view_cli,
    weights_cli,
)
from skysense.errors import InputError, SkySenseError, Stopped
from skysense.pretrain.config import PretrainConfig
from skysense.terminal import bar, console


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
    except Stopped as stop:
        console.print(f"[yellow]{escape(str(stop))}[/yellow]", soft_wrap=True)
        return stop.status
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
    parser.add_argument(
        "--buildings",
        type=bool,
        default=False,
        help="more buildings, their boxes, and a second image of a later date with what changed",
    )
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
            buildings=options.buildings,
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
    parser = ArgumentParser(
        description="Pre-train on places; the same command goes on with a run that was cut off. "
        "On several GPUs or machines: torchrun --nproc-per-node 8 --no-python skysense pretrain ..."
    )
    parser.add_argument("--config", action="config", help="a YAML file with any of these settings")
    parser.add_argument("data", type=str, help="a folder of places, or a corpus of shards (also s3://... or gs://...)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--split", type=Literal["train", "all"], default="train", help="which places to learn from")
    parser.add_argument("--device", type=str, default=None, help="cpu, cuda, cuda:1; a GPU if there is one")
    parser.add_argument(
        "--accept_changes", type=bool, default=False, help="go on with a run of other settings or other places"
    )
    parser.add_class_arguments(PretrainConfig)
    return parser


def _pretrain(options: Namespace) -> int:
    from skysense.data.corpus import open_corpus
    from skysense.pretrain.loop import pretrain

    places = open_corpus(options.data)
    if options.split == "train":
        chosen = places.for_training()
        if not len(chosen):
            raise InputError("no place is marked for training", file=options.data, fix="Use --split all")
        places = chosen
    config = _config(options)
    console.quiet = os.environ.get("RANK", "0") != "0"  # of several processes the first speaks
    with bar("pre-training") as progress:
        outcome = pretrain(
            config,
            places,
            options.out,
            device=options.device,
            accept_changes=options.accept_changes,
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
    """The configuration among the options of ``pretrain`` and ``plan``."""
    parser = ArgumentParser()
    parser.add_class_arguments(PretrainConfig, "run")
    ours = {key: value for key, value in vars(options).items() if key in PretrainConfig.__dataclass_fields__}
    return parser.instantiate(Namespace(run=Namespace(**ours))).run


def _plan(options: Namespace) -> int:
    return plan_cli.run(options, _config(options))


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


def _demo_data_parser() -> ArgumentParser:
    """from an archive to shards, first steps and a data card, without the internet"""
    parser = ArgumentParser(
        description="Serve a small archive on this machine as Planetary Computer serves its own, curate places of it, "
        "pre-train ten steps from the shards, and write the data card."
    )
    parser.add_argument("--out", type=Path, default=Path("runs/demo-data"), help="folder of all of it")
    parser.add_argument("--kit", type=Path, default=None, help="the kit of small data: real pixels, not simulated ones")
    return parser


def _demo_data(options: Namespace) -> int:
    from skysense.demo_data import demo_data

    with bar("demo-data") as progress:
        made = demo_data(options.out, kit=options.kit, progress=progress)
    became = ", ".join(f"{count} {reason}" for reason, count in made.reasons.items())
    first, last = made.losses
    for name, path, words in (
        ("archive", made.archive, "scenes, as an archive has them"),
        ("catalogue", made.catalogue, "how the archive was asked"),
        ("corpus", made.corpus, f"{made.places} places in shards ({became})"),
        ("model", made.model, f"after ten steps from the shards, loss {first:.1f} to {last:.1f}"),
        ("card", made.card, "what the corpus holds"),
    ):
        console.print(f"{name:<10}{escape(str(path))}: {escape(words)}", soft_wrap=True)
    console.print(f"open {escape(str(made.card))}", soft_wrap=True)
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


def _ladder_parser() -> ArgumentParser:
    """what each component of pre-training adds; resumable"""
    parser = ArgumentParser(
        description="Pre-train with one sensor at a time, then with fusion, alignment and geo-context; probe all alike."
    )
    parser.add_argument("--out", type=Path, default=Path("runs/ladder"), help="folder of the results")
    parser.add_argument("--steps", type=int, default=None, help="of each pre-training run; 100 by default")
    parser.add_argument("--seeds", type=int, default=3, help="how many; more may be added to a folder later")
    return parser


def _ladder(options: Namespace) -> int:
    from dataclasses import replace

    from skysense.benchmark.ladder import LadderConfig, ladder

    config = LadderConfig(seeds=tuple(range(options.seeds)))
    if options.steps is not None:
        config = replace(config, recipe=replace(config.recipe, steps=options.steps))
    with bar("ladder") as progress:
        page = ladder(options.out, config=config, progress=progress)
    console.print(f"open {escape(str(page))}")
    return 0


def _tasks_parser() -> ArgumentParser:
    """what a pre-trained model is worth on every task; resumable"""
    parser = ArgumentParser(
        description="Pre-train without labels, adapt to every task, beside random weights and the trivial answer."
    )
    parser.add_argument("--out", type=Path, default=Path("runs/tasks"), help="folder of the results")
    parser.add_argument("--seeds", type=int, default=2, help="how many; more may be added to a folder later")
    parser.add_argument("--kit_labelled", type=Path, default=None, help="real data, see examples/kit_to_labelled.py")
    parser.add_argument("--kit_places", type=Path, default=None, help="real places, see examples/kit_to_places.py")
    return parser


def _tasks(options: Namespace) -> int:
    from skysense.benchmark.tasks import TasksConfig, tasks

    config = TasksConfig(seeds=tuple(range(options.seeds)))
    with bar("tasks") as progress:
        page = tasks(
            options.out,
            kit_labelled=options.kit_labelled,
            kit_places=options.kit_places,
            config=config,
            progress=progress,
        )
    console.print(f"open {escape(str(page))}")
    return 0


def _doctor_parser() -> ArgumentParser:
    """what this machine has, which kernels run, what is missing"""
    return ArgumentParser(description="What is installed, which kernels run, how fast a product is, what is missing.")


def _doctor(options: Namespace) -> int:
    from skysense.doctor import examine

    table, good = Table("what", "found"), True
    for finding in examine():
        style = "" if finding.good else "red"
        table.add_row(escape(finding.what), escape(finding.found), style=style)
        good = good and finding.good
    console.print(table)
    return 0 if good else 1


PARSERS: dict[str, Callable[[], ArgumentParser]] = {
    "simulate": _simulate_parser,
    "places": _places_parser,
    "curate": curate_cli.parser,
    "plan": plan_cli.parser,
    "plan-data": data_plan_cli.parser,
    "pretrain": _pretrain_parser,
    "probe": _probe_parser,
    "adapt": tasks_cli.adapt_parser,
    "evaluate": tasks_cli.evaluate_parser,
    "embed": maps_cli.embed_parser,
    "map": map_cli.parser,
    "search": search_cli.search_parser,
    "fewshot": search_cli.fewshot_parser,
    "view": view_cli.parser,
    "datasets": datasets_cli.parser,
    "shards": shards_cli.parser,
    "export": export_cli.parser,
    "weights": weights_cli.parser,
    "demo": _demo_parser,
    "demo-data": _demo_data_parser,
    "evidence": _evidence_parser,
    "ladder": _ladder_parser,
    "tasks": _tasks_parser,
    "doctor": _doctor_parser,
}
VERBS: dict[str, Callable[[Namespace], int]] = {
    "simulate": _simulate,
    "places": _places,
    "curate": curate_cli.run,
    "plan": _plan,
    "plan-data": data_plan_cli.run,
    "pretrain": _pretrain,
    "probe": _probe,
    "adapt": tasks_cli.adapt,
    "evaluate": tasks_cli.evaluate,
    "embed": maps_cli.embed,
    "map": map_cli.run,
    "search": search_cli.search,
    "fewshot": search_cli.fewshot,
    "view": view_cli.run,
    "datasets": datasets_cli.run,
    "shards": shards_cli.run,
    "export": export_cli.run,
    "weights": weights_cli.run,
    "demo": _demo,
    "demo-data": _demo_data,
    "evidence": _evidence,
    "ladder": _ladder,
    "tasks": _tasks,
    "doctor": _doctor,
}
ACTIONS: dict[str, dict[str, Callable[[], ArgumentParser]]] = {
    "places": {"check": _check_parser},
    "datasets": {
        "list": datasets_cli.list_parser,
        "show": datasets_cli.show_parser,
        "check": datasets_cli.check_parser,
        "tile": datasets_cli.tile_parser,
        "scoreboard": datasets_cli.scoreboard_parser,
    },
    "shards": {
        "make": shards_cli.make_parser,
        "show": shards_cli.show_parser,
        "check": shards_cli.check_parser,
        "card": shards_cli.card_parser,
    },
    "weights": {
        "inspect": weights_cli.inspect_parser,
        "convert": weights_cli.convert_parser,
        "verify": weights_cli.verify_parser,
    },
}


if __name__ == "__main__":
    sys.exit(main())
