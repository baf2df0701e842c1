"""Many processes learn what one learns: by the loop that runs them, on places of which each rank sees others."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from skysense.data.earth import simulate_place
from skysense.data.earth.writing import LEGENDS, TITLE
from skysense.data.loader import permutation
from skysense.data.places import Places
from skysense.data.places_write import write_dataset, write_place
from skysense.errors import OutputError, SkySenseError, Stopped
from skysense.model.config import PRESETS
from skysense.pretrain.batch import ViewBatch
from skysense.pretrain.config import ObjectiveConfig, ParallelConfig, PretrainConfig, ViewConfig
from skysense.pretrain.journal import Journal, read
from skysense.pretrain.loop import pretrain
from skysense.pretrain.run import Run
from skysense.train.checkpoints import Checkpoints
from tests import processes
from tests.pretrain.test_loop import equal, saved

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
    """A run to its end, as one of the ranks."""
    outcome = pretrain(config, Places(earth), out, device="cpu")
    return {"skipped": outcome.skipped, "steps": outcome.steps, "resumed": outcome.resumed_from}


def learn_until_asked_to_stop(
    rank: int, size: int, earth: Path, out: Path, config: PretrainConfig, last: int
) -> tuple[str, int]:
    """The first rank gets a signal during a step; what all ranks say then."""

    def on_step(step: int, _: dict[str, float]) -> None:
        if step == last:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped) as stopped:
        pretrain(config, Places(earth), out, device="cpu", on_step=on_step)
    return str(stopped.value), stopped.value.status


def learn_with_an_ill_step(rank: int, size: int, earth: Path, out: Path, config: PretrainConfig, ill: int) -> None:
    """The last rank sees pixels that are no numbers in one step."""
    advance: Callable[[Run, ViewBatch], dict[str, float]] = Run.advance

    def ill_advance(run: Run, views: ViewBatch) -> dict[str, float]:
        if run.step == ill and rank == size - 1:
            frames = views.globals.frames["s2"]
            frames.values_BTCHW = torch.full_like(frames.values_BTCHW, torch.nan, dtype=torch.float32)
            frames.valid_BTHW = torch.ones_like(frames.valid_BTHW)
            frames.present_BT = torch.ones_like(frames.present_BT)
        return advance(run, views)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "advance", ill_advance)
        pretrain(config, Places(earth), out, device="cpu")


def learn_with_drop_path(rank: int, size: int, earth: Path, out: Path, config: PretrainConfig) -> None:
    """A run whose preset leaves branches out."""
    tiny = PRESETS["tiny"]
    parts = {key: replace(getattr(tiny, key), drop_path=0.4) for key in ("hr", "s2", "s1", "fusion")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", replace(tiny, **parts))
        pretrain(config, Places(earth), out, device="cpu")


def first_rank_fails(rank: int, size: int, earth: Path, out: Path, config: PretrainConfig) -> str:
    """The disk of the first rank is full when it wants to write its second line."""
    write = Journal.write

    def full(journal: Journal, step: int, values: dict[str, float]) -> None:
        if step == 1:
            raise OutputError("could not be written: no space left on device", file=journal.path)
        write(journal, step, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "write", full)
        return refused(rank, size, earth, out, config)


def refused(rank: int, size: int, earth: Path, out: Path, config: PretrainConfig) -> str:
    """What a run says that cannot be."""
    with pytest.raises(SkySenseError) as error:
        pretrain(config, Places(earth), out, device="cpu")
    return f"{type(error.value).__name__}: {error.value}"


def learn_and_be_killed(rank: int, size: int, earth: Path, out: Path, config: PretrainConfig, delay: float) -> None:
    """A run whose process is killed some time after its first step."""

    def on_step(step: int, _: dict[str, float]) -> None:
        if not timers:
            timers.append(threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)))
            timers[0].daemon = True
            timers[0].start()

    timers: list[threading.Timer] = []
    if rank:
        on_step(0, {})  # of the first rank only steps are reported
    pretrain(config, Places(earth), out, device="cpu", on_step=on_step)


@pytest.fixture(scope="module")
def alone(earth: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    learn(0, 1, earth, out, CONFIG)
    return out


@pytest.fixture(scope="module")
def sharded(earth: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks with FSDP2, saved after each step."""
    out = tmp_path_factory.mktemp("sharded")
    processes.run(learn, earth, out, replace(CONFIG, parallel=FSDP), timeout=300)
    return out


DDP, FSDP = ParallelConfig(strategy="ddp"), ParallelConfig(strategy="fsdp", checkpointing="selective")


def assert_close_rows(one: dict[str, float], two: dict[str, float]) -> None:
    assert one.keys() == two.keys()
    for key in one.keys() - OWN:
        assert two[key] == pytest.approx(one[key], rel=1e-5, abs=1e-5), key


def assert_close_states(one: dict[str, Any], two: dict[str, Any]) -> None:
    """After the first step: gradients (AdamW's first average holds a tenth of it), prototypes, memories."""
    assert one.keys() == two.keys()
    for key, value in one.items():
        if not key.startswith(("learner.student", "learner.teacher")) or ".geo." in key:
            scale = float(value.double().abs().max()) or 1.0
            difference = float((value.double() - two[key].double()).abs().max()) / scale
            # the second average holds squares, whose relative difference is twice as large
            assert difference < (2e-5 if key.endswith("exp_avg_sq") else 1e-5), key


@pytest.mark.parametrize(
    ("size", "parallel"),
    [
        (2, DDP),
        (2, FSDP),
        pytest.param(4, ParallelConfig(strategy="fsdp", checkpointing="full"), marks=pytest.mark.long),
    ],
)
def test_first_step_of_many_is_that_of_one(
    earth: Path, alone: Path, tmp_path: Path, size: int, parallel: ParallelConfig
) -> None:
    config = replace(CONFIG, parallel=parallel)
    ended = processes.run(learn, earth, tmp_path, config, processes=size, timeout=300)
    assert all(one == ended[0] for one in ended)
    assert len(ended[0]["skipped"]) == 1
    ones, many = read(alone / "log.jsonl"), read(tmp_path / "log.jsonl")
    assert {"masked/hr", "align/s2-s1", "pixel/s1", "geo_entropy", "prototype_entropy/s1_image"} < ones[0].keys()
    assert_close_rows(ones[0], many[0])
    for row, other in zip(ones[1:], many[1:], strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-3)
    assert_close_states(saved(alone, 1)["tensors"], saved(tmp_path, 1)["tensors"])


@pytest.mark.long
def test_a_signal_to_one_stops_all_and_the_same_ranks_go_on_bit_for_bit(
    earth: Path, sharded: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, parallel=FSDP, checkpoint_every=100)
    told = processes.run(learn_until_asked_to_stop, earth, tmp_path, config, 0, timeout=300)
    assert told == [("stopped by a signal; 1 of 3 steps are saved, and the same command goes on from there", 143)] * 2
    assert equal(saved(tmp_path, 1), saved(sharded, 1) | {"about": saved(tmp_path, 1)["about"]})
    ended = processes.run(learn, earth, tmp_path, config, timeout=300)
    assert [one["resumed"] for one in ended] == [1, 1]
    assert equal(saved(tmp_path, 3)["tensors"], saved(sharded, 3)["tensors"])
    assert equal(*(load_file(run / "model.safetensors") for run in (tmp_path, sharded)))


@pytest.mark.parametrize(("size", "parallel"), [(1, DDP), (4, DDP)])
def test_other_ranks_go_on_with_the_same_step(
    earth: Path, sharded: Path, tmp_path: Path, size: int, parallel: ParallelConfig
) -> None:
    config = replace(CONFIG, parallel=FSDP)
    processes.run(learn_until_asked_to_stop, earth, tmp_path, config, 1, timeout=300)
    config = replace(CONFIG, parallel=parallel)
    if size == 1:
        assert learn(0, 1, earth, tmp_path, config)["resumed"] == 2
    else:
        processes.run(learn, earth, tmp_path, config, processes=size, timeout=300)
    rows, others = read(sharded / "log.jsonl"), read(tmp_path / "log.jsonl")
    assert [row["step"] for row in others] == [0, 1, 2]
    assert others[2].pop("left_out") == 0  # counted anew since the run went on
    assert_close_rows({key: value for key, value in rows[2].items() if key != "left_out"}, others[2])


def test_drop_path_leaves_the_same_out_however_many_ranks(earth: Path, alone: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=1)
    learn_with_drop_path(0, 1, earth, tmp_path / "one", config)
    (row,) = read(tmp_path / "one" / "log.jsonl")
    assert abs(row["loss"] - read(alone / "log.jsonl")[0]["loss"]) > 1e-3
    processes.run(learn_with_drop_path, earth, tmp_path / "two", replace(config, parallel=FSDP), timeout=300)
    (other,) = read(tmp_path / "two" / "log.jsonl")
    assert_close_rows(row, other)


@pytest.mark.long
def test_in_bfloat16_sharded_ranks_learn_about_what_copies_do(earth: Path, tmp_path: Path) -> None:
    rows = []
    for parallel in (DDP, FSDP):
        config = replace(CONFIG, steps=2, precision="bfloat16", parallel=parallel)
        processes.run(learn, earth, tmp_path / parallel.strategy, config, timeout=300)
        rows.append(read(tmp_path / parallel.strategy / "log.jsonl"))
    for row, other in zip(*rows, strict=True):
        assert other["loss"] == pytest.approx(row["loss"], rel=5e-3)
        assert other["gradient_norm"] == pytest.approx(row["gradient_norm"], rel=0.05)
    sharded = saved(tmp_path / "fsdp", 2)["tensors"]
    assert {value.dtype for value in sharded.values()} <= {torch.float32, torch.int64, torch.bool}


def test_what_goes_wrong_on_the_first_rank_ends_all_with_its_message(earth: Path, tmp_path: Path) -> None:
    told = processes.run(first_rank_fails, earth, tmp_path, CONFIG, timeout=300)
    assert len(set(told)) == 1
    assert told[0].startswith("OutputError") and "log.jsonl: could not be written: no space left" in told[0]
    assert Checkpoints(tmp_path / "checkpoints", keep=3).steps() == [1]


@pytest.mark.parametrize("parallel", [DDP, pytest.param(FSDP, marks=pytest.mark.long)])
def test_a_step_that_is_ill_on_one_rank_is_skipped_by_all(
    earth: Path, tmp_path: Path, parallel: ParallelConfig
) -> None:
    processes.run(learn_with_an_ill_step, earth, tmp_path, replace(CONFIG, parallel=parallel), 1, timeout=300)
    rows = read(tmp_path / "log.jsonl")
    assert [row["skipped"] for row in rows] == [0, 1, 1]
    assert "loss" not in rows[1]  # it is no number
    first, second, third = (saved(tmp_path, step) for step in (1, 2, 3))
    assert equal(first["tensors"], second["tensors"])
    assert second["about"]["numbers"] == {"step": 2, "skipped": 1, "skipped_in_a_row": 1}
    assert third["about"]["numbers"] == {"step": 3, "skipped": 1, "skipped_in_a_row": 0}
    assert all(bool(tensor.isfinite().all()) for tensor in third["tensors"].values())


def test_what_cannot_be_divided_is_refused_by_all(earth: Path, tmp_path: Path) -> None:
    told = processes.run(refused, earth, tmp_path, replace(CONFIG, batch_size=1), timeout=300)
    assert told == ["ConfigError: batch_size = 1 places cannot be divided among 2 processes"] * 2


@pytest.mark.long
def test_two_processes_killed_twenty_times_end_bit_identical(earth: Path, sharded: Path, tmp_path: Path) -> None:
    """Both or one of them, at any moment of learning, saving and starting; no checkpoint is ever unreadable."""
    config = replace(CONFIG, parallel=FSDP, steps=30)
    whole = tmp_path / "whole"
    processes.run(learn, earth, whole, config, timeout=300)
    generator, out, kills = random.Random(3), tmp_path / "killed", 0
    while kills < 20:
        delay = generator.uniform(0, 1.5)
        ended = processes.endings(learn_and_be_killed, earth, out, config, delay, timeout=300)
        if all(one.code == 0 for one in ended):
            assert kills >= 10, "it ended before it was killed"
            break
        kills += 1
        found, passed_over = Checkpoints(out / "checkpoints", keep=3).newest()
        assert not passed_over
        assert found is None or len(found.read_all()) > 100
    processes.run(learn, earth, out, config, timeout=300)
    assert equal(saved(whole, 30), saved(out, 30))
