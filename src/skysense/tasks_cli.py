"""The verbs ``skysense adapt`` and ``skysense evaluate``: parse, call, print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace
from rich.markup import escape
from rich.table import Table

from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.example import Task
from skysense.data.labelled.open import Format, open_labelled, recognise
from skysense.data.labelled.split import By, assign_splits
from skysense.errors import InputError
from skysense.files import plain
from skysense.tasks.config import AdaptConfig
from skysense.terminal import bar, console

if TYPE_CHECKING:
    from skysense.model.assembly import SkySense
    from skysense.tasks.evaluate import Evaluation


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What the labels are; most of it is seen from the folder.

    Attributes:
        dataset: the published data set that the folder is a copy of, see skysense datasets list. It knows its labels:
            of the other options only those are taken that its reader has (share, tile, sensor), split_by and validate.
        share: of the images of a published data set to learn from, where that is drawn.
        task: what to learn; by default what the format is mostly used for.
        format: of the folder, only needed where it looks like several.
        label: which label of places, or which attribute of the polygons of a vector file holds the class.
        classes: names in the order of their index; by default those of classes.json or classes.txt in the folder, or
            what occurs.
        ignore: a value of masks that means "no label", besides 255.
        background: class of what lies outside of all polygons when a mask is made of them.
        sensor: what the images are, by name; by default what their bands say.
        stretch: values that become 0 and 255, for high-resolution imagery of more than 8 bits.
        tile: side in pixels, a multiple of 32, of the tiles that larger images are cut into.
        split_by: what is drawn to divide data without splits: blocks of ground (``location``), groups of images
            (``group``) or single ones (``random``); by default the first of them that is known.
        validate: whether some examples choose the best epoch. Without them all that are not for testing are learned
            from, as in the protocols of many published data sets, and the last epoch counts.
    """

    dataset: str | None = None
    share: float | None = None
    task: Task | None = None
    format: Format | None = None
    label: str | None = None
    classes: tuple[str, ...] | None = None
    ignore: int | None = None
    background: str | None = "background"
    sensor: str | None = None
    stretch: tuple[float, float] | None = None
    tile: int | None = None
    split_by: By | None = None
    validate: bool = True


def adapt_parser() -> ArgumentParser:
    """adapt a model to labelled imagery of your own"""
    parser = ArgumentParser(
        description="Learn a task from labelled imagery: classification, segmentation, boxes, oriented boxes, change. "
        "The same command goes on with a run that was cut off."
    )
    parser.add_argument("--config", action="config", help="a YAML file with any of these settings")
    parser.add_argument("data", type=Path, help="a folder, see docs/labelled_data.md; of COCO or CSV also the file")
    parser.add_argument("--model", type=str, default=None, help="model.safetensors of a run, a folder, or a hub name")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--random_start", type=bool, default=False, help="begin with random weights, to compare with")
    parser.add_argument("--dry_run", type=bool, default=False, help="only look at the data and draw a page of it")
    parser.add_argument("--device", type=str, default=None, help="cpu, cuda, cuda:1; a GPU if there is one")
    parser.add_class_arguments(Labels, "labels")
    parser.add_class_arguments(AdaptConfig)
    return parser


def evaluate_parser() -> ArgumentParser:
    """judge an adapted model on labelled imagery"""
    parser = ArgumentParser(description="Metrics with intervals, and a page with the best and the worst images.")
    parser.add_argument("model", type=Path, help="adapted.safetensors of a run of skysense adapt")
    parser.add_argument("data", type=Path, help="a folder with labels of the same kind")
    parser.add_argument("--out", type=Path, required=True, help="folder for results.json and report.html")
    parser.add_argument(
        "--split", type=str, default=None, help="train, val, test or all; by default test, or all of undivided data"
    )
    parser.add_argument("--flips", type=bool, default=None, help="average over mirror images")
    parser.add_argument("--device", type=str, default=None, help="cpu, cuda, cuda:1; a GPU if there is one")
    parser.add_class_arguments(Labels, "labels")
    return parser


def adapt(options: Namespace) -> int:
    """Run the verb."""
    from skysense.tasks.adapt import adapt

    config, labels = _config(options), _labels(options)
    data = _open(options.data, labels)
    if options.dry_run:
        return _dry_run(data, labels, config.seed, options.out)
    data = assign_splits(data, by=labels.split_by, validate=labels.validate, seed=config.seed)
    if options.model is None:
        raise InputError("there is nothing to adapt", fix="Give a model with --model, e.g. of skysense pretrain")
    model = _model(options, config)
    _print_notes(data.notes)  # before learning takes its time
    with bar("adapting") as progress:
        outcome = adapt(
            config,
            model,
            data,
            options.out,
            opened=_opened(options.data, labels),
            device=options.device,
            progress=progress,
        )
    _print_notes(note for note in outcome.notes if note not in data.notes)
    _print_skipped(outcome.skipped)
    if outcome.resumed:
        console.print(f"went on after {_epochs(outcome.resumed)}")
    made = f"{_epochs(outcome.epochs)} made; the adapted model is {outcome.model}"
    console.print(escape(made), soft_wrap=True)  # paths stay whole, to be copied
    if outcome.evaluation is not None:
        _print_results(outcome.evaluation)
    return 0


def evaluate(options: Namespace) -> int:
    """Run the verb."""
    from skysense.tasks.adapted import load_adapted
    from skysense.tasks.evaluate import evaluate
    from skysense.tasks.fit import device_of

    adapted = load_adapted(options.model, device_of(options.device))
    begun = adapted.card.get("adapted", {})
    labels = _as_before(_labels(options), begun.get("opened", {}), options.data, adapted.task)
    try:
        opened = _open(options.data, labels)
    except InputError as error:
        if labels.dataset is None or options.labels.dataset is not None:
            raise
        hint = f"The model was adapted to {labels.dataset}; for other labels say what they are with --labels.format"
        raise InputError(error.what, file=error.file, fix=f"{error.fix or ''} {hint}".strip()) from error
    data = _held_out(opened, options.split, labels, begun, adapted.config.seed)
    with bar("judging") as progress:
        evaluation = evaluate(adapted, data, options.out, flips=options.flips, progress=progress)
    _print_skipped(evaluation.skipped)
    _print_results(evaluation)
    return 0


def _config(options: Namespace) -> AdaptConfig:
    parser = ArgumentParser()
    parser.add_class_arguments(AdaptConfig, "run")
    ours = {key: value for key, value in vars(options).items() if key in AdaptConfig.__dataclass_fields__}
    return parser.instantiate(Namespace(run=Namespace(**ours))).run


def _labels(options: Namespace) -> Labels:
    parser = ArgumentParser()
    parser.add_class_arguments(Labels, "labels")
    return parser.instantiate(Namespace(labels=options.labels)).labels


def _open(source: Path, labels: Labels) -> LabelledData:
    said = {name: value for name, value in _said(labels).items() if name not in ("split_by", "validate")}
    if labels.dataset is not None:
        from skysense.datasets.card import card
        from skysense.datasets.catalogue import open_dataset

        task = said.pop("task", None)
        if task not in (None, card(labels.dataset).task):
            raise InputError(f"{labels.dataset} is for {card(labels.dataset).task}, not for {task}")
        with bar("listing", late=True) as progress:
            return open_dataset(said.pop("dataset"), source, progress=progress, **said)
    if labels.share is not None:
        raise InputError("share is of published data sets only", fix="Name the one that it is with --labels.dataset")
    return open_labelled(source, **said)


def _said(labels: Labels) -> dict[str, Any]:
    """The options that differ from what they are by default."""
    return {name: value for name, value in vars(labels).items() if value != getattr(Labels(), name)}


def _opened(source: Path, labels: Labels) -> dict[str, Any]:
    """How data are opened, as far as it was said, and the format that was recognised."""
    return {**plain(_said(labels)), "format": _format(source, labels, labels.task)}


def _format(source: Path, labels: Labels, task: Task | None) -> str:
    """What the folder is: a format, or a copy of a published data set."""
    return labels.dataset or labels.format or recognise(source, task)


def _as_before(labels: Labels, opened: Mapping[str, Any], source: Path, task: Task) -> Labels:
    """What was not said now, as it was said for training, if the folder has the same format."""
    found: dict[str, Any] = {"task": task}
    named = labels.dataset is not None or labels.format is not None
    before = dict(opened)
    format = before.pop("format", None)
    if before.get("dataset") is not None:  # a copy of a published data set is not recognised by itself
        if not named or labels.dataset == format:
            found = before
    elif labels.dataset is None and format == _format(source, labels, task):
        found |= {**before, "format": format}
    found = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    return Labels(**(found | _said(labels)))


def _held_out(
    data: LabelledData, split: str | None, labels: Labels, begun: Mapping[str, Any], seed: int
) -> LabelledData:
    """What a model is judged by: data it has not learned from.

    Args:
        data: as it was opened.
        split: that was asked for.
        labels: how it was opened.
        begun: what the model's card says of its run.
        seed: of the run.

    Raises:
        InputError: no such split, or the examples are those of the run in another division: then what is judged may
            have been learned.
    """
    from skysense.tasks.identity import names_digest

    divided = any(item.split is not None for item in data.items)
    if names_digest(data, splits=False) == begun.get("names"):  # those of the run: divided as it was
        data, divided = assign_splits(data, by=labels.split_by, validate=labels.validate, seed=seed), True
        learned = names_digest(data.select("train"), splits=False)
        if split not in ("train", "all") and learned != begun.get("learned", learned):
            raise InputError(
                f"{data.title}: the model learned from another division of these examples, so that some that would be "
                "judged were learned",
                fix="Open them as for training, or judge all of them with --split all",
            )
    if split == "all" or (split is None and not divided):
        return data
    if split not in (None, "train", "val", "test"):
        raise InputError(f"split {split!r} is none of train, val, test, all")
    counts = Counter(item.split for item in data.items)
    if split or counts["test"]:
        return data.select(split or "test")  # type: ignore[arg-type]
    held = ", ".join(f"{count} for {name}" for name, count in counts.items() if name)
    raise InputError(f"{data.title} holds no example for test, but {held}", fix="Choose one with --split, or all")


def _model(options: Namespace, config: AdaptConfig) -> SkySense:
    """What is adapted, with its own weights or with random ones."""
    import torch

    from skysense.model.assembly import SkySense
    from skysense.model.loading import load

    model = load(options.model, modalities=config.modalities)
    if not options.random_start:
        return model
    torch.manual_seed(config.seed)
    return SkySense(model.config, model.region_table.cells, model.pieces)


def _epochs(count: int) -> str:
    return f"{count} epoch{'' if count == 1 else 's'}"


def _dry_run(data: LabelledData, labels: Labels, seed: int, out: Path) -> int:
    from skysense.data.labelled.dry_run import dry_run

    try:
        data = assign_splits(data, by=labels.split_by, validate=labels.validate, seed=seed)
    except InputError as error:  # to look at the data is how to find a division
        data = replace(data, notes=(*data.notes, str(error)))
    _print_notes(data.notes)
    with bar("looking") as progress:
        page = dry_run(data, progress)
    page.write(out / "data.html")
    told = f"{data.title}: {len(data)} examples for {data.task}; open {out / 'data.html'}"
    console.print(escape(told), soft_wrap=True)
    return 0


def _print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        console.print(f"[yellow]{escape(note)}[/yellow]", soft_wrap=True)


def _print_skipped(skipped: Mapping[str, str]) -> None:
    for name, why in skipped.items():
        console.print(f"[yellow]skipped {escape(name)}: {escape(why)}[/yellow]", soft_wrap=True)


def _print_results(evaluation: Evaluation) -> None:
    """The headline and its neighbours."""
    results = evaluation.results
    table = Table("metric", "value", "95 % interval", title=f"{results.counts['images']} images, in percent")
    for name, one in results.metrics.items():
        known = one.value == one.value
        shown = (f"{100 * one.value:.1f}", f"{100 * one.lo:.1f} to {100 * one.hi:.1f}") if known else ("-", "")
        table.add_row(name, *shown, style="bold" if name == results.headline else "")
    console.print(table)
    for baseline, metrics in results.baselines.items():
        trivial = metrics.get(results.headline)
        if trivial is not None and trivial.value == trivial.value:
            console.print(f"{escape(baseline)}: {results.headline} {100 * trivial.value:.1f}")
    console.print(f"open {escape(str(evaluation.page))}", soft_wrap=True)
