"""The verb ``skysense plan-data``: parse, call, print."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace
from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from skysense.curate.cost import Machine, Wanted
from skysense.terminal import console, duration, quantity

if TYPE_CHECKING:
    from skysense.curate.cost import Amplification, DataPlan
    from skysense.curate.cost_figures import Uncertain
    from skysense.curate.cost_measured import Measured

SIZES = (10_000, 100_000, 1_000_000, 21_500_000)
_WIDEST = 110  # of text
_SENSORS = {"hr": "high-resolution", "s2": "Sentinel-2", "s1": "Sentinel-1", "all": "all sensors"}


def parser() -> ArgumentParser:
    """what curating so many places would cost: requests, bytes, time, machines"""
    parser = ArgumentParser(
        description="Reckon what it costs to curate places, before it is started; nothing is fetched. "
        "See docs/plan_data.md"
    )
    parser.add_argument("--places", type=int, required=True, help="that shall be stored")
    parser.add_argument(
        "--measured",
        type=str,
        default=None,
        help="a small corpus that `skysense curate` wrote: what its places cost, instead of figures for archives",
    )
    parser.add_argument("--days", type=float, default=30.0, help="in which it shall be done")
    parser.add_argument("--json", type=bool, default=False, help="numbers for programs instead of tables")
    parser.add_class_arguments(Wanted)
    parser.add_class_arguments(Machine)
    return parser


def run(options: Namespace) -> int:
    """Print the plan."""
    from skysense.curate.cost import DataPlan, amplification, per_place
    from skysense.curate.cost_figures import draw_all
    from skysense.curate.cost_measured import measured

    wanted = Wanted(**{name: options[name] for name in Wanted.__dataclass_fields__})
    machine = Machine(**{name: options[name] for name in Machine.__dataclass_fields__})
    drawn = draw_all()
    told = None if options.measured is None else measured(options.measured, drawn)
    each = per_place(drawn, wanted) if told is None else told.each
    plan = DataPlan(options.places, each, machine, drawn, options.days)
    tiles = amplification(plan.places, drawn, wanted) if told is None else {}
    if options.json:
        extra = {"bytes_of_a_place": {key: vars(one) for key, one in tiles.items()}} if tiles else {}
        console.print_json(json.dumps(plan.to_json() | extra))
        return 0
    show(plan, wanted, tiles, told)
    return 0


def show(plan: DataPlan, wanted: Wanted, tiles: Mapping[Any, Amplification], told: Measured | None) -> None:
    """Print a plan as tables.

    Args:
        plan: to print.
        wanted: what places hold.
        tiles: how many bytes come for one, by modality; empty where a corpus was measured.
        told: the corpus, if one was measured.
    """
    console.print()
    console.print(f" [bold]{plan.places:,} places[/bold] in {plan.days:g} days")
    console.print(f" [dim]{_holding(wanted, told)}[/dim]")
    sections = [("Requests, bytes, processors", _costs(plan)), ("Time", _bounds(plan))]
    if tiles:
        sections.insert(1, ("Bytes of a place, by whole tiles", _tiles(tiles)))
    sections.append((f"Other numbers of places, in {plan.days:g} days", _sizes(plan)))
    for title, table in sections:
        console.print(f"\n [bold]{title}[/bold]")
        console.print(table)
    for words in _notes(plan, told):
        console.print(Padding(Text(words, style="dim"), (0, 1)), width=min(console.width, _WIDEST))
    console.print()


def _holding(wanted: Wanted, told: Measured | None) -> str:
    if told is not None:
        return f"as measured on {told.drawn:,} places, {told.stored:,} of which are stored"
    return (
        f"{wanted.years} years, at most {wanted.most_s2} frames of Sentinel-2 and {wanted.most_s1} of Sentinel-1, "
        f"{wanted.hr:.0%} with an image"
    )


def _table(*columns: str, left: int = 1) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for at, name in enumerate(columns):
        table.add_column(name, justify="left" if at < left else "right", no_wrap=True)
    return table


def _costs(plan: DataPlan) -> Table:
    from skysense.curate.cost_figures import Estimate

    each, table = plan.each, _table("", "a place", "all", "95 %")

    def add(name: str, one: Uncertain, unit: str = "", style: str = "") -> None:
        found = Estimate.of(one)
        span = f"{quantity(found.low * plan.places, unit)} .. {quantity(found.high * plan.places, unit)}"
        table.add_row(name, quantity(found.value, unit), quantity(found.value * plan.places, unit), span, style=style)

    add("places that are looked at", 1 / each.kept)
    add("searches", each.searches)
    for title, unit, by in (
        ("requests for files", "", each.requests),
        ("received", "B", each.received),
        ("stored", "B", each.stored),
    ):
        table.add_section()
        if len(by) > 1:
            for key, one in by.items():
                add(f"{title}, {_SENSORS[key]}", one, unit)
        add(title, sum(by.values()), unit, "bold")  # type: ignore[arg-type] # never empty
    table.add_section()
    add("of a core", each.processor, "s")
    return table


def _tiles(tiles: Mapping[Any, Amplification]) -> Table:
    table = _table("", "wanted", "received", "ratio", "were tiles shared", "ratio")
    for key, one in tiles.items():
        table.add_row(
            _SENSORS[key],
            quantity(one.wanted, "B"),
            quantity(one.received, "B"),
            f"× {one.received / one.wanted:,.3g}",
            quantity(one.shared, "B"),
            f"× {one.shared / one.wanted:,.3g}",
        )
    return table


def _bounds(plan: DataPlan) -> Table:
    from skysense.curate.cost import BOUNDS, SHARED
    from skysense.curate.cost_figures import Estimate

    machines = float(plan.machines[0])
    table = _table("machines", "1", "95 %", f"{machines:,.0f}")
    for name, one in plan.bounds.items():
        found = Estimate.of(one)
        span = f"{duration(found.low)} .. {duration(found.high)}"
        many = found.value if name in SHARED else found.value / machines
        table.add_row(BOUNDS[name], duration(found.value), span, duration(many))
    table.add_section()
    alone, together = Estimate.of(plan.seconds(1)), Estimate.of(plan.seconds(machines))
    span = f"{duration(alone.low)} .. {duration(alone.high)}"
    table.add_row("all at once", duration(alone.value), span, duration(together.value), style="bold")
    return table


def _sizes(plan: DataPlan) -> Table:
    table = _table("places", "requests", "received", "stored", "core h", "machines", "days", "bound by", left=0)
    for size in sorted({*SIZES, plan.places}):
        other = replace(plan, places=size)
        machines = float(other.machines[0])
        table.add_row(
            f"{size:,}",
            quantity(float(other.requests[0]), ""),
            quantity(float(other.received[0]), "B"),
            quantity(float(other.stored[0]), "B"),
            quantity(size * float(other.each.processor[0]) / 3600, ""),
            f"{machines:,.0f}",
            f"{float(other.seconds(machines)[0]) / 86400:,.3g}",
            other.decides(machines),
            style="bold" if size == plan.places else "",
        )
    return table


def _notes(plan: DataPlan, told: Measured | None) -> Sequence[str]:
    from skysense.curate.cost import PUBLISHED_BYTES, PUBLISHED_PLACES
    from skysense.curate.cost_figures import Estimate

    machine, needed = plan.machine, Estimate.of(plan.machines)
    notes = [f"A machine has {machine.cores} cores and {machine.connections} connections."]
    if needed.value == 1:
        notes.append(f"One machine is enough ({needed.high:,.0f} at most): skysense curate.")
    else:
        notes.append(
            f"{needed.value:,.0f} machines ({needed.low:,.0f} .. {needed.high:,.0f}) do their part in {plan.days:g} "
            "days: run the blocks with Ray."
        )
    if (floor := Estimate.of(plan.at_least)).value > plan.days * 86400:
        span = f"{duration(floor.low)} .. {duration(floor.high)}"
        notes.append(
            f"The archive and its catalogue alone take {duration(floor.value)} ({span}), however many machines ask: "
            "speak with those who run it, or take more days."
        )
    if told is None:
        notes.append("Every place is read by itself; tiles are not shared. Figures: curate/cost_figures.yaml.")
    else:
        notes.append("Seconds of a core and speeds are not in accounts; they come from curate/cost_figures.yaml.")
        if told.simulated:
            notes.append(
                "Measured on an archive of made-up scenes, whose tiles are much smaller than those of archives."
            )
    if plan.places == PUBLISHED_PLACES:
        notes.append(f"The published corpus of as many places is said to have {quantity(PUBLISHED_BYTES, 'B')}.")
    return [" ".join(notes)]
