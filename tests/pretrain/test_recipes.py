"""The files of ``configs/pretrain`` are what the dial gives, and every one of them describes a run that can begin."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml

from skysense.errors import ConfigError
from skysense.files import flat, plain
from skysense.geo import RegionTable
from skysense.model.config import preset
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.learner import Learner, _student
from skysense.pretrain.recipes import SIZES, Size, recipe
from skysense.train.ranks import ALONE

FOLDER = Path(__file__).parents[2] / "configs" / "pretrain"


@pytest.mark.parametrize("size", SIZES)
def test_files_are_what_the_dial_gives(size: Size) -> None:
    wanted, defaults = (flat(plain(dataclasses.asdict(config))) for config in (recipe(size), PretrainConfig()))
    found = flat(yaml.safe_load((FOLDER / f"{size}.yaml").read_text()))
    other = {name: value for name, value in wanted.items() if (defaults | found)[name] != value}
    assert not other, f"configs/pretrain/{size}.yaml should say {other}"
    assert found.keys() <= wanted.keys()
    assert {file.stem for file in FOLDER.glob("*.yaml")} == set(SIZES)


@pytest.mark.parametrize("size", SIZES)
def test_a_learner_of_every_size_can_be_built_and_reads_its_views(size: Size) -> None:
    config = recipe(size)
    with torch.device("meta"):
        learner = Learner(_student(config, RegionTable([3, 5])), config, ALONE)
    for cells in (config.views.global_cells, config.views.local_cells):
        learner.student.model.hr._check(torch.empty(1, 3, 32 * cells, 32 * cells, device="meta"))


def test_the_dial_goes_through_what_is_known() -> None:
    rates = [recipe(size).optimiser.learning_rate for size in SIZES]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 2e-3
    assert rates[-1] == pytest.approx(2e-4 * 240 / 1024, rel=0.05)  # the published rule
    assert [preset(size).aligned_dim for size in SIZES] == [128, 384, 768, 2816]
    huge = recipe("huge")
    assert (huge.batch_size, huge.steps) == (240, 875_000)
    assert round(huge.optimiser.warmup * huge.steps, -3) == 10_000
    with pytest.raises(ConfigError, match="known: tiny, small, base, huge"):
        recipe("vast")  # type: ignore[arg-type]
