"""The verb ``skysense plan``: parse, call, print."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace
from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from skysense.geo import CELL_HR_PX
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.plan.gpus import GPUS, SHARE_OF_PEAK, gpu
from skysense.pretrain.plan.places import Places
from skysense.sensors import MODALITIES
from skysense.terminal import console, duration, quantity

if TYPE_CHECKING:
    from skysense.pretrain.plan.budget import Plan

_BAR = 20
_ROOM_FOR_BARS = 98  # columns of a terminal from which the table of FLOPs has bars
_ONE_MORE = 8  # columns of a further number
_WIDEST = 110  # of text
_EIGHTHS = " ▏▎▍▌▋▊▉"
_PASSES = ("teacher", "student", "crops", "backward", "again")


def parser() -> ArgumentParser:
    """what a pre-training run would cost: FLOPs, memory, bytes, time"""
    parser = ArgumentParser(description="Reckon what a pre-training run costs, before it is started; nothing is run.")
    parser.add_argument("--config", action="config", help="a YAML file with any of these settings, as for pretrain")
    parser.add_argument("--gpu", type=str, default="h100", help=f"what it shall run on: {', '.join(GPUS)}")
    parser.add_argument("--gpus", type=int, default=1, help="how many of them")
    parser.add_argument("--share_of_peak", type=float, default=SHARE_OF_PEAK, help="of the GPU that a step reaches")
    parser.add_argument("--json", type=bool, default=False, help="numbers for programs instead of tables")
    parser.add_class_arguments(Places, "places")
    parser.add_class_arguments(PretrainConfig)
    return parser


def run(options: Namespace, config: PretrainConfig) -> int:
    """Print the plan of a configuration."""
    from skysense.pretrain.plan.budget import Machine, plan

    machine = Machine(gpu(options.gpu), options.gpus, options.share_of_peak)
    made = plan(config, machine, Places(**vars(options.places)))
    if options.json:
        console.print_json(json.dumps(made.to_json()))
        return 0
    others = {
        (strategy, checkpointing): plan(
            replace(config, parallel=replace(config.parallel, strategy=strategy, checkpointing=checkpointing)),
            machine,
            made.places,
        )
        for strategy in ("ddp", "fsdp")
        for checkpointing in ("none", "selective", "full")
    }
    show(made, others)
    return 0


def show(plan: Plan, others: Mapping[tuple[str, str], Plan]) -> None:
    """Print a plan as tables.

    Args:
        plan: to print.
        others: the same run by strategy and checkpointing, to compare memory with.
    """
    config, machine = plan.config, plan.machine
    console.print()
    console.print(
        f" [bold]{config.preset}[/bold]: {config.steps:,} steps of {config.batch_size:,} places "
        f"on {machine.gpus:,} × {machine.gpu.title}"
    )
    console.print(f" [dim]{_how(plan)}[/dim]")
    for title, table in (
        _flops(plan),
        ("GiB on each GPU at the highest point of a step", _memory(plan)),
        ("GiB on each GPU by strategy and checkpointing", _ways(plan, others)),
        ("The run", _run(plan)),
    ):
        console.print(f"\n [bold]{title}[/bold]")
        console.print(table)
    console.print(Padding(Text(_assumed(plan), style="dim"), (0, 1)), width=min(console.width, _WIDEST))
    console.print()


def _how(plan: Plan) -> str:
    from skysense.pretrain.plan.budget import most_places

    config, parallel = plan.config, plan.config.parallel
    most = most_places(config, plan.machine)
    each = f"{'at most ' if config.batch_size % plan.machine.gpus else ''}{most:,} places on each GPU"
    return f"{parallel.strategy}, {config.precision}, checkpointing {parallel.checkpointing}; {each}"


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _flops(plan: Plan) -> tuple[str, Table]:
    from skysense.pretrain.plan.step import PARTS

    power, unit = _scale(plan.flops)
    again = any(one.again for one in plan.passes.values())
    bars = console.width >= _ROOM_FOR_BARS + (_ONE_MORE if again else 0)
    passes = _PASSES if again else _PASSES[:-1]
    weights = bars or not again  # no room for all
    table = _table()
    table.add_column("part", no_wrap=True)
    for name in (*(["weights"] if weights else []), *passes, "total", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    if bars:
        table.add_column("", no_wrap=True)

    def add(name: str, numbers: int, values: list[float], share: float, style: str = "") -> None:
        row = [name, *([_count(numbers)] if weights else []), *(_number(value / power) for value in values)]
        table.add_row(*row, f"{share:.1%}", *([_bar(share)] if bars and not style else []), style=style)

    for part, one in plan.passes.items():
        values = [*(getattr(one, name) for name in passes), one.total]
        add(PARTS[part], plan.parameters.get(part, 0), values, one.total / plan.flops)
    sums = [sum(getattr(one, name) for one in plan.passes.values()) for name in passes]
    table.add_section()
    add("all", sum(plan.parameters.values()), [*sums, plan.flops], 1.0, style="bold")
    return f"{unit}FLOP of a step, all GPUs together", table


def _memory(plan: Plan) -> Table:
    from skysense.pretrain.plan.budget import KINDS

    table = _table()
    table.add_column("kind", no_wrap=True)
    table.add_column("GiB", justify="right", no_wrap=True)
    table.add_column("of the GPU", no_wrap=True)
    room = plan.machine.gpu.memory
    for kind, size in plan.memory.items():
        if size:
            table.add_row(KINDS[kind], _number(size / 2**30), _bar(size / 2**30 / room))
    used = plan.bytes_used / 2**30
    style = "bold green" if plan.fits else "bold red"
    verdict = f"fits: {room - used:.1f} of {room:g} are left" if plan.fits else f"does not fit: the GPU has {room:g}"
    table.add_section()
    table.add_row("all", _number(used), verdict, style=style)
    return table


def _ways(plan: Plan, others: Mapping[tuple[str, str], Plan]) -> Table:
    """The memory of the same run by strategy and checkpointing."""
    table = _table()
    table.add_column("", no_wrap=True)
    kinds = list(dict.fromkeys(kind for _, kind in others))
    for kind in kinds:
        more = next(other for (_, found), other in others.items() if found == kind).flops / others["ddp", "none"].flops
        table.add_column(f"{kind}, {more - 1:+.0%} FLOPs" if more > 1.005 else kind, justify="right", no_wrap=True)
    chosen = (plan.config.parallel.strategy, plan.config.parallel.checkpointing)
    for strategy in dict.fromkeys(found for found, _ in others):
        cells = []
        for kind in kinds:
            other = others[strategy, kind]
            style = ("bold " if (strategy, kind) == chosen else "") + ("green" if other.fits else "red")
            mark = "▸ " if (strategy, kind) == chosen else ""
            cells.append(Text(f"{mark}{_number(other.bytes_used / 2**30)} {'✓' if other.fits else '✗'}", style=style))
        table.add_row(strategy, *cells)
    return table


def _run(plan: Plan) -> Table:
    machine, steps = plan.machine, plan.config.steps
    table = _table()
    table.add_column("", no_wrap=True)
    for name in ("a step", "all steps"):
        table.add_column(name, justify="right", no_wrap=True)
    shown, whole = sum(plan.shown.values()), sum(plan.whole.values())
    days = plan.flops_of_run / 86400e15
    in_all = f"{days:,.3g} PFLOP/s-days" if days >= 1 else quantity(plan.flops_of_run, "FLOP")
    table.add_row("computed", quantity(plan.flops, "FLOP"), in_all)
    table.add_row("pixels that views show", quantity(shown, "B"), quantity(shown * steps, "B"))
    table.add_row("pixels of whole places", quantity(whole, "B"), quantity(whole * steps, "B"))
    rate = f"{machine.share_of_peak:.0%} of {plan.rate / 1e12:g} TFLOP/s"
    table.add_row(f"time at {rate}", duration(plan.seconds), duration(plan.hours * 3600))
    table.add_row("to be read meanwhile, at least", f"{quantity(shown / plan.seconds, 'B')}/s", "")
    table.add_section()
    table.add_row("GPU-hours", "", f"{plan.gpu_hours:,.0f}" if plan.gpu_hours >= 10 else f"{plan.gpu_hours:.2g}")
    table.rows[-1].style = "bold"
    return table


def _assumed(plan: Plan) -> str:
    from skysense.pretrain.plan.step import common_cells

    views, places = plan.config.views, plan.places
    shares = ", ".join(f"{name} {places.share(name):.0%}" for name in MODALITIES)
    words = [
        f"Assumed: two views of {views.global_cells * CELL_HR_PX:,} px of a place, {views.local_crops} crops of "
        f"{views.local_cells * CELL_HR_PX:,} px; in each an image, {views.s2_frames} frames of Sentinel-2, "
        f"{views.s1_frames} of Sentinel-1; sensors that places have: {shares}; {places.paired:.0%} of the frames find "
        f"a partner; two views share {common_cells(views, places):,} of {views.global_cells**2:,} cells; places of "
        f"{places.cells * CELL_HR_PX:,} px with {places.s2_series} and {places.s1_series} frames in "
        f"{places.regions:,} regions; pixels before compression.",
        "The terms of teacher and student are counted with the student. Products, convolutions and attention only.",
    ]
    if plan.config.precision == "float32" and plan.machine.gpu.tf32 > plan.machine.gpu.float32:
        words.append(f"Products rounded to TF32 would run at up to {plan.machine.gpu.tf32:g} TFLOP/s.")
    return " ".join(words)


def _bar(share: float) -> str:
    """A bar of at most `_BAR` characters; what is more than the whole ends in an arrow."""
    if share > 1:
        return "█" * (_BAR - 1) + "▶"
    eighths = round(share * _BAR * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _scale(value: float) -> tuple[float, str]:
    """The unit, a thousand times smaller than the one that fits, that shows parts of a value."""
    for power, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G")):
        if value >= 100 * power:
            return power, unit
    return 1e6, "M"


def _number(value: float) -> str:
    """At least two figures, no more than one decimal that means something."""
    if value == 0:
        return "–"
    if value < 0.05:
        return "< 0.1"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _count(numbers: int) -> str:
    return f"{_number(numbers / 1e6)} M" if numbers else "–"
