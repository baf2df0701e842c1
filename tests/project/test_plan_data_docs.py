"""The numbers of docs/plan_data.md are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from skysense.curate.cost import BOUNDS, FILES, SHARED, DataPlan, Machine, Wanted, amplification, per_place
from skysense.curate.cost_figures import Estimate, draw_all
from skysense.data_plan_cli import SIZES
from skysense.terminal import duration, quantity

PLACES = 21_500_000


@pytest.fixture(scope="module")
def page() -> str:
    text = (Path(__file__).parents[2] / "docs" / "plan_data.md").read_text(encoding="utf-8")
    return text.replace("*", "")


@pytest.fixture(scope="module")
def plan() -> DataPlan:
    drawn = draw_all()
    return DataPlan(PLACES, per_place(drawn, Wanted()), Machine(), drawn)


def test_costs(page: str, plan: DataPlan) -> None:
    each = plan.each
    for name, one, unit in (
        ("places that are looked at", 1 / each.kept, ""),
        ("searches", each.searches, ""),
        ("requests for files", sum(each.requests.values()), ""),
        ("received, Sentinel-2", each.received["s2"], "B"),
        ("received", sum(each.received.values()), "B"),
        ("stored, high-resolution", each.stored["hr"], "B"),
        ("stored", sum(each.stored.values()), "B"),
        ("of a core", each.processor, "s"),
    ):
        found = Estimate.of(one)
        low, value, high = (quantity(number * PLACES, unit).strip() for number in (found.low, found.value, found.high))
        assert f"| {name} | {quantity(found.value, unit).strip()} | {value} | {low} .. {high} |" in page


def test_time(page: str, plan: DataPlan) -> None:
    machines = float(plan.machines[0])
    assert f"| at least | one machine | 95 % | {machines:.0f} machines |" in page
    for name, one in plan.bounds.items():
        found = Estimate.of(one)
        many = found.value if name in SHARED else found.value / machines
        row = [BOUNDS[name], duration(found.value), f"{duration(found.low)} .. {duration(found.high)}", duration(many)]
        assert f"| {' | '.join(row)} |" in page


def test_other_sizes(page: str, plan: DataPlan) -> None:
    for size in SIZES:
        other = DataPlan(size, plan.each, plan.machine, plan.drawn)
        machines = float(other.machines[0])
        row = [
            f"{size:,}",
            quantity(float(other.requests[0]), "").strip(),
            quantity(float(other.received[0]), "B"),
            quantity(float(other.stored[0]), "B"),
            quantity(size * float(other.each.processor[0]) / 3600, "").strip(),
            f"{machines:.0f}",
            f"{float(other.seconds(machines)[0]) / 86400:.3g}",
            other.decides(machines),
        ]
        assert f"| {' | '.join(row)} |" in page


def test_tiles(page: str, plan: DataPlan) -> None:
    names = {"hr": "high-resolution", "s2": "Sentinel-2", "s1": "Sentinel-1"}
    for key, one in amplification(PLACES, plan.drawn, Wanted()).items():
        row = [
            names[key],
            quantity(one.wanted, "B"),
            quantity(one.received, "B"),
            f"× {one.received / one.wanted:.3g}",
            quantity(one.shared, "B"),
            f"× {one.shared / one.wanted:.3g}",
        ]
        assert f"| {' | '.join(row)} |" in page
    for files, requests in zip(FILES, ("2.06", "2.03", "2.03", "2.12", "4.10"), strict=True):
        assert f"{1 + files.rows(64):.2f}" == requests and f"| {requests} |" in page
