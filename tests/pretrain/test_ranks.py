"""Many processes learn what one learns: by the loop that runs them, on places of which each rank sees others."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from skysense.data.earth import simulate_place
from skysense.data.earth.writing import LEGENDS, TITLE
from skysense.data.loader import permutation
from skysense.data.places import Places
from skysense.data.places_write import write_dataset, write_place
from skysense.errors import ConfigError, InputError
from skysense.pretrain.config import ObjectiveConfig, ParallelConfig, PretrainConfig, ViewConfig
from skysense.pretrain.journal import read
from skysense.pretrain.loop import pretrain
from tests import processes
from tests.pretrain.test_loop import saved

COUNT = 6
CONFIG = PretrainConfig(
    steps=3,
    batch_size=COUNT,
    views=ViewConfig(global_cells=4, local_crops=1, s2_frames=2, s1_frames=1),
    objective=ObjectiveConfig(pixel_cells=4, object_clusters=2, memory_rows=30, masked=0.5, logit_rows=16),
    checkpoint_every=1,
    keep=3,
    watch_every=2,
)
OWN = {"seconds", "waited", "feature_rank", "feature_std"}  # times, and looks at the cells of the first rank alone


@pytest.fixture(scope="module")
def earth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Places with all sensors, some, or one; the one alone with the last rank of four cannot be read."""
    folder = tmp_path_factory.mktemp("mixed") / "earth"
    write_dataset(folder, title=TITLE, simulated=True, legends=LEGENDS)
    order = permutation(CONFIG.seed, 0, COUNT).tolist()
    sensors = [["hr", "s2", "s1"], ["s2"], ["hr", "s2"], ["hr"], ["hr", "s2"], ["hr", "s2"]]
    samples = [simulate_place(0, index, footprint_cells=8).sample for index in range(COUNT)]
    names = sorted(sample.name for sample in samples)
    for sample in samples:
        position = order.index(names.index(sample.name))
        place = write_place(folder, sample.only(sensors[position]))  # type: ignore[arg-type]
        if position == COUNT - 1:
            (place / "hr.tif").write_bytes(b"II*\0 not an image")
    return folder


def learn(rank: int, size: int, earth: Path, out: Path, config: PretrainConfig) -> dict[str, Any]:
    outcome = pretrain(config, Places(earth), out, device="cpu")
    return {"skipped": outcome.skipped, "steps": outcome.steps, "resumed": outcome.resumed_from}


def together(earth: Path, out: Path, config: PretrainConfig, size: int) -> list[dict[str, Any]]:
    return processes.run(learn, earth, out, config, processes=size, timeout=300)


@pytest.fixture(scope="module")
def alone(earth: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    learn(0, 1, earth, out, CONFIG)
    return out


def assert_close_rows(one: dict[str, float], two: dict[str, float], tolerance: float) -> None:
    assert one.keys() == two.keys()
    for key in one.keys() - OWN:
        assert two[key] == pytest.approx(one[key], rel=tolerance, abs=tolerance), key


def assert_close_states(one: dict[str, Any], two: dict[str, Any]) -> None:
    """After the first step: gradients (AdamW's average holds a tenth of it), prototypes, memories, counts."""
    assert one.keys() == two.keys()
    for key, value in one.items():
        if key.endswith("vectors_ME"):  # in another order
            value, other = (torch.sort(tensor.sum(1)).values for tensor in (value, two[key]))
            assert len(value) == 30
            continue
        if key.startswith("learner.student.model.geo") or not key.startswith("learner"):
            scale = float(value.double().abs().max()) or 1.0
            difference = float((value.double() - two[key].double()).abs().max()) / scale
            # the second average holds squares, whose relative difference is twice as large
            assert difference < (2e-5 if key.endswith("exp_avg_sq") else 1e-5), key


@pytest.mark.parametrize(
    ("size", "parallel"),
    [
        (2, ParallelConfig(strategy="ddp")),
        (2, ParallelConfig(strategy="fsdp", checkpointing="selective")),
        (4, ParallelConfig(strategy="fsdp", checkpointing="full")),
    ],
)
def test_first_step_of_many_is_that_of_one(
    earth: Path, alone: Path, tmp_path: Path, size: int, parallel: ParallelConfig
) -> None:
    ended = together(earth, tmp_path, replace(CONFIG, parallel=parallel), size)
    assert all(one == ended[0] for one in ended)
    assert len(ended[0]["skipped"]) == 1
    ones, many = read(alone / "log.jsonl"), read(tmp_path / "log.jsonl")
    assert {"masked/hr", "align/s2-s1", "pixel/s1", "geo_entropy", "prototype_entropy/s1_image"} < ones[0].keys()
    assert_close_rows(ones[0], many[0], 1e-5)
    for row, other in zip(ones[1:], many[1:], strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=0.02)
    assert_close_states(saved(alone, 1)["tensors"], saved(tmp_path, 1)["tensors"])
