"""The numbers of docs/plan.md are those of the code."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from skysense.pretrain.plan.budget import Machine, plan
from skysense.pretrain.plan.gpus import gpu
from skysense.pretrain.recipes import Size, recipe

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "plan.md").read_text("utf-8")
SPEC = importlib.util.spec_from_file_location("published_cost", ROOT / "benchmarks" / "published_cost.py")
assert SPEC is not None and SPEC.loader is not None
published_cost = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(published_cost)


def test_the_table_is_what_the_command_prints() -> None:
    assert published_cost.table(published_cost.plans()) in TEXT


def test_the_sentences_say_the_same() -> None:
    small, large = published_cost.plans()
    assert f"mean {published_cost.share_of_peak(small):.0%}".replace("%", " %") in " ".join(TEXT.split())
    assert published_cost.share_of_peak(large) > 6  # "more than six times"
    assert not published_cost.in_full(large).fits
    views = small.config.views
    without = plan(replace(small.config, views=replace(views, local_crops=0)), small.machine)
    assert f"they are {1 - without.flops / small.flops:.0%} of the work".replace("%", " %") in TEXT
    half = plan(replace(small.config, views=replace(views, s2_frames=10, s1_frames=5)), small.machine)
    assert f"take {1 - half.flops / small.flops:.0%} off".replace("%", " %") in TEXT


def test_the_hours_mean_a_plausible_share_with_small_views_only() -> None:
    small, large = (published_cost.share_of_peak(made) for made in published_cost.plans())
    assert small == pytest.approx(0.47, abs=0.01)
    assert large == pytest.approx(6.5, abs=0.1)


@pytest.mark.parametrize(("size", "gpus"), [("small", 1), ("base", 8), ("huge", 60)])
def test_recipes_need_what_is_said_of_them(size: Size, gpus: int) -> None:
    config = recipe(size)
    made = plan(config, Machine(gpu("h100"), gpus))
    assert made.fits
    needs, hours = f"{made.bytes_used / 2**30:.0f} GiB", f"{made.gpu_hours:,.0f}"
    lines = (ROOT / "docs" / "pretraining.md").read_text("utf-8").splitlines()
    row = next(line for line in lines if line.startswith(f"| `{size}.yaml`"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == f"{sum(made.parameters.values()) / 1e6:,.0f} M"
    assert cells[2] == f"{config.batch_size}, {config.steps:,}"
    assert needs in cells[5] and cells[5].startswith("one" if gpus == 1 else str(gpus))
    assert cells[6] == hours
    comment = (ROOT / "configs" / "pretrain" / f"{size}.yaml").read_text("utf-8").partition("preset:")[0]
    assert needs in comment
    assert f"--config configs/pretrain/{size}.yaml" in comment
    rounded = f"{round(made.gpu_hours, -2):,.0f}" if size == "huge" else hours
    assert f" {rounded} " in comment
