"""The loop itself: a run that is killed and goes on ends like one that was left alone; bad input; refusals."""

from __future__ import annotations

import copy
import json
import math
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from skysense.data.earth import simulate
from skysense.data.joined import JoinedPlaces
from skysense.data.places import Places
from skysense.errors import ConfigError, InputError, OutputError, SkySenseError, Stopped
from skysense.geo import RegionTable, mercator_tile
from skysense.model.assembly import SkySense
from skysense.model.loading import load as load_model
from skysense.pretrain.config import (
    ObjectiveConfig,
    OptimiserConfig,
    ParallelConfig,
    PretrainConfig,
    ProbeConfig,
    ViewConfig,
)
from skysense.pretrain.journal import read
from skysense.pretrain.loop import open_stream, pretrain, region_table
from skysense.pretrain.probing import TrainingProbe
from skysense.pretrain.report import RunPage
from skysense.pretrain.run import Run
from skysense.train.checkpoints import Checkpoints

SMALL = PretrainConfig(
    steps=6,
    batch_size=2,
    views=ViewConfig(global_cells=4, local_crops=1, s2_frames=2, s1_frames=1),
    objective=ObjectiveConfig(pixel_cells=4, object_clusters=2, memory_rows=50),
    checkpoint_every=2,
    watch_every=2,
)


@pytest.fixture(scope="module")
def earth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earth")
    simulate(folder, regions=2, places_per_region=3, footprint_cells=8, split={"train": 1.0})
    return folder


def final(run: Path) -> dict[str, object]:
    return saved(run, 6)


def saved(run: Path, step: int) -> dict[str, object]:
    """All that a checkpoint holds."""
    checkpoint = Checkpoints(run / "checkpoints", keep=1).open(step)
    return {"about": checkpoint.about, "tensors": checkpoint.read_all()}


def equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))  # type: ignore[arg-type]
    return a == b


class Stop(Exception):
    pass


def stop_after(last: int) -> Callable[[int, dict[str, float]], None]:
    """Cut a run off after a step."""

    def on_step(step: int, _: dict[str, float]) -> None:
        if step == last:
            raise Stop

    return on_step


def test_a_run_learns_writes_and_resumes_bit_for_bit(earth: Path, tmp_path: Path) -> None:
    whole = pretrain(SMALL, Places(earth), tmp_path / "whole", device="cpu")
    assert whole.resumed_from == 0
    assert whole.steps == 6

    for last in (2, 4):
        with pytest.raises(Stop):
            pretrain(SMALL, Places(earth), tmp_path / "parts", device="cpu", on_step=stop_after(last))
    rest = pretrain(SMALL, Places(earth), tmp_path / "parts", device="cpu")
    assert rest.resumed_from == 4
    assert equal(final(tmp_path / "whole"), final(tmp_path / "parts"))
    rows = [
        [{k: v for k, v in row.items() if k not in ("seconds", "waited")} for row in read(tmp_path / n / "log.jsonl")]
        for n in ("whole", "parts")
    ]
    assert rows[0] == rows[1]
    assert [row["step"] for row in rows[0]] == list(range(6))
    before = torch.cat([p.flatten() for p in load_model(whole.model).parameters()])
    again = torch.cat([p.flatten() for p in load_model(rest.model).parameters()])
    assert torch.equal(before, again)
    assert load_model(whole.model).geo.initialised.any()
    use = final(tmp_path / "parts")["tensors"]["learner.objective.prototype_use.share_RP"]
    assert use.shape == (2, 16)
    assert use.std() > 0  # resumed, not begun anew: equal to the uninterrupted one above
    assert not any("share" in name for name in load_file(whole.model))


def test_the_model_looks_regions_up_by_the_rule_of_its_pre_training(earth: Path, tmp_path: Path) -> None:
    places = Places(earth)
    config = replace(SMALL, steps=1, objective=replace(SMALL.objective, region_rule="web_mercator"))
    model = load_model(pretrain(config, places, tmp_path, device="cpu").model)
    tiles = {mercator_tile(place.lon, place.lat) for place in places}
    assert model.region_table.cells == tuple(sorted(tiles))
    assert model.config.geo_context.region_rule == "web_mercator"
    (views,) = [views for _, views in open_stream(config, places, region_table(config, places)).run(0, 1)]
    slots = {place.name: model.region_table.slot(place.lon, place.lat) for place in places}
    assert views.globals.region_B.tolist() == [slots[name] for name in views.globals.names]
    assert model.geo.initialised.tolist() == [slot in views.globals.region_B for slot in range(len(tiles))]
    with pytest.raises(ConfigError, match="known: equal_area, web_mercator"):
        replace(SMALL.objective, region_rule="hexagons")


def test_a_table_given_to_the_places_is_kept_if_it_follows_the_rule(earth: Path) -> None:
    known = RegionTable([0, *Places(earth).regions.cells])
    assert region_table(SMALL, Places(earth, regions=known)) is known
    tiles = RegionTable([0], mercator_tile)
    assert region_table(SMALL, Places(earth, regions=tiles)).cells == Places(earth).regions.cells
    without = replace(SMALL, objective=replace(SMALL.objective, geo_context=False))
    assert region_table(without, Places(earth)).cells == ()


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[3])
from skysense.data.places import Places
from skysense.pretrain.loop import pretrain
from test_loop import SMALL
pretrain(SMALL, Places(sys.argv[1]), sys.argv[2], device="cpu")
"""


@pytest.mark.long
def test_killed_at_random_moments_it_ends_bit_identical(earth: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(earth)]
    here = str(Path(__file__).parent)
    subprocess.run([*command, str(tmp_path / "whole"), here], check=True)
    random.seed(4)
    kills = 0
    for attempt in range(12):
        child = subprocess.Popen([*command, str(tmp_path / "killed"), here])
        first = tmp_path / "killed" / "log.jsonl"
        seen = len(read(first)) if first.exists() else 0
        deadline = time.monotonic() + 120
        while child.poll() is None and time.monotonic() < deadline:  # let it get somewhere first, then any moment
            if first.exists() and len(read(first)) != seen:
                time.sleep(random.uniform(0, 0.6))
                break
            time.sleep(0.02)
        if child.poll() is None and attempt < 11:
            child.send_signal(signal.SIGKILL)
            kills += 1
            child.wait()
        elif child.wait() == 0:
            break
    assert child.returncode == 0
    assert kills >= 1
    assert equal(final(tmp_path / "whole"), final(tmp_path / "killed"))


def test_another_configuration_is_refused_by_name(earth: Path, tmp_path: Path) -> None:
    pretrain(PretrainConfig(**(vars(SMALL) | {"steps": 1})), Places(earth), tmp_path, device="cpu")
    with pytest.raises(ConfigError, match=r"config\.batch_size: 2 -> 3"):
        pretrain(PretrainConfig(**(vars(SMALL) | {"steps": 1, "batch_size": 3})), Places(earth), tmp_path, device="cpu")


def test_a_run_goes_on_only_with_its_own_table_of_regions(earth: Path, tmp_path: Path) -> None:
    short = replace(SMALL, steps=1)
    pretrain(short, Places(earth), tmp_path, device="cpu")
    cells = list(Places(earth).regions.cells)
    for other in ([cells[0], cells[1] + 1], [0, *cells]):  # slots of the same number that mean others, and more
        with pytest.raises(ConfigError, match=r"other settings \(regions: "):
            pretrain(short, Places(earth, regions=RegionTable(other)), tmp_path, device="cpu")


def test_pairs_of_numbers_may_be_lists_or_tuples(earth: Path, tmp_path: Path) -> None:
    short = replace(SMALL, steps=1)
    pretrain(short, Places(earth), tmp_path, device="cpu")
    again = replace(short, optimiser=replace(short.optimiser, betas=[0.9, 0.999]))  # type: ignore[arg-type]
    assert pretrain(again, Places(earth), tmp_path, device="cpu").resumed_from == 1


def test_a_table_by_another_rule_is_refused(earth: Path) -> None:
    tiles = RegionTable(Places(earth).regions.cells, mercator_tile)
    with pytest.raises(ConfigError, match="does not follow the rule 'equal_area'"):
        Run(SMALL, tiles)


@pytest.mark.parametrize("betas", [(1.5, 0.9), (0.9,)])
def test_betas_that_make_no_sense_are_refused(betas: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"optimiser.betas = .* must be two numbers within 0 .. 1"):
        OptimiserConfig(betas=betas)  # type: ignore[arg-type]


def test_a_corrupt_latest_checkpoint_falls_back_and_says_so(earth: Path, tmp_path: Path) -> None:
    pretrain(SMALL, Places(earth), tmp_path, device="cpu")
    newest = tmp_path / "checkpoints" / "step-00000006"
    whole = final(tmp_path)
    shard = max(newest.iterdir(), key=lambda file: file.stat().st_size)
    shard.write_bytes(shard.read_bytes()[:1000])
    outcome = pretrain(SMALL, Places(earth), tmp_path, device="cpu")
    assert outcome.resumed_from == 4
    assert any("step-00000006" in note for note in outcome.notes)
    assert equal(whole, final(tmp_path))


def test_one_corrupt_place_is_skipped_counted_and_listed(earth: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(earth, tmp_path / "earth")
    bad, worse, *_ = sorted(path for path in (tmp_path / "earth").iterdir() if path.is_dir())
    (bad / "hr.tif").write_bytes(b"II*\0 not an image")
    (worse / "place.json").write_text("{")
    with pytest.warns(UserWarning, match="left out 1 places"):
        places = Places(tmp_path / "earth")
    outcome = pretrain(SMALL, places, tmp_path / "run", device="cpu")
    assert set(outcome.skipped) == {bad.name, worse.name}
    assert "hr.tif" in outcome.skipped[bad.name] and "place.json" in outcome.skipped[worse.name]
    assert outcome.steps == 6
    rows = read(tmp_path / "run" / "log.jsonl")
    assert rows[0]["left_out"] in (0, 1) and rows[-1]["left_out"] == 1


def test_without_tensorboard_a_run_says_so_and_goes_on(
    earth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    outcome = pretrain(replace(SMALL, steps=1), Places(earth), tmp_path, device="cpu")
    assert any("TensorBoard" in note and "skysense[train]" in note for note in outcome.notes)
    assert len(read(tmp_path / "log.jsonl")) == 1
    assert not (tmp_path / "tensorboard").exists()


def test_folders_are_joined_and_places_smaller_than_a_view_are_skipped_and_listed(earth: Path, tmp_path: Path) -> None:
    simulate(tmp_path / "small", regions=1, places_per_region=2, footprint_cells=4, seed=1)
    both = JoinedPlaces([Places(tmp_path / "small"), Places(earth)])
    config = replace(SMALL, steps=8, views=replace(SMALL.views, global_cells=8))
    outcome = pretrain(config, both, tmp_path / "run", device="cpu")
    assert outcome.steps == 8
    assert list(outcome.skipped) and set(outcome.skipped) == {both[0].name, both[1].name}
    assert "is 4 x 4 cells, smaller than a view of 8 x 8" in outcome.skipped[both[0].name]
    known = load_model(outcome.model).geo
    assert known is not None and tuple(known.region_cells.tolist()) == both.regions.cells
    with pytest.raises(InputError, match=r"none of the 2 places can be used.*smaller than a view"):
        pretrain(config, Places(tmp_path / "small"), tmp_path / "none", device="cpu")


def test_no_permission_to_write_is_said(earth: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        pretrain(SMALL, Places(earth), tmp_path / "file" / "run", device="cpu")


def test_steps_that_are_not_finite_are_skipped_and_too_many_in_a_row_stop_the_run(earth: Path, tmp_path: Path) -> None:
    wild = replace(SMALL, optimiser=OptimiserConfig(learning_rate=1e30, clip=1e30), most_skipped=3)
    with pytest.raises(
        SkySenseError, match=r"not finite in 3 steps in a row, the last of them step \d \(places .+, .+\)"
    ):
        pretrain(wild, Places(earth), tmp_path, device="cpu")
    assert [row["skipped"] for row in read(tmp_path / "log.jsonl")][-2:] == [1, 2]


def test_a_skipped_step_changes_nothing_but_the_count(earth: Path) -> None:
    places = Places(earth)
    run = Run(SMALL, region_table(SMALL, places))
    batches = dict(open_stream(SMALL, places, region_table(SMALL, places)).run(0, 3))
    run.advance(copy.deepcopy(batches[0]))
    before = {name: tensor.clone() for name, tensor in run.tensors().items()}
    ill = copy.deepcopy(batches[1])
    frames = ill.globals.frames["s2"]
    frames.values_BTCHW = frames.values_BTCHW.float().fill_(torch.nan)
    values = run.advance(ill)
    assert not math.isfinite(values["loss"])
    assert values["skipped"] == run.skipped == run.skipped_in_a_row == 1
    assert run.step == 2
    assert equal(before, run.tensors())
    assert math.isfinite(run.advance(batches[2])["loss"])
    assert (run.skipped, run.skipped_in_a_row) == (1, 0)
    assert not equal(before, run.tensors())


def test_the_log_survives_a_line_cut_off_by_a_kill(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 0, "loss": 1.5}) + '\n{"step": 1, "lo')
    assert read(tmp_path / "log.jsonl") == [{"step": 0, "loss": 1.5}]
    (tmp_path / "log.jsonl").write_text('{"step": 0\n{"step": 1}\n')
    with pytest.raises(InputError, match="line 1"):
        read(tmp_path / "log.jsonl")


def test_probes_choose_the_best_checkpoint_and_change_nothing_that_is_learned(tmp_path: Path) -> None:
    simulate(tmp_path / "earth", regions=2, places_per_region=8, footprint_cells=8, split={"train": 0.5, "val": 0.5})
    places = Places(tmp_path / "earth").select(split="train")
    config = replace(SMALL, checkpoint_every=6, keep=1, probe=ProbeConfig(every=2, labels=("scene",), places=16))
    outcome = pretrain(config, places, tmp_path / "probed", device="cpu")
    rows = read(tmp_path / "probed" / "log.jsonl")
    assert [row["step"] for row in rows if "probe/score" in row] == [1, 3, 5]
    best = max((row for row in rows if "probe/score" in row), key=lambda row: row["probe/score"])
    checkpoints = Checkpoints(tmp_path / "probed" / "checkpoints", keep=1)
    assert checkpoints.best() == (best["step"] + 1, best["probe/score"])
    assert set(checkpoints.steps()) == {best["step"] + 1, 6}
    teacher = saved(tmp_path / "probed", int(best["step"]) + 1)["tensors"]
    kept = load_file(tmp_path / "probed" / "best.safetensors")
    assert all(torch.equal(kept[key], teacher[f"learner.teacher.model.{key}"]) for key in kept if "geo" not in key)
    page = (tmp_path / "probed" / "report.html").read_text()
    assert f"{best['probe/score']:.3f} after {int(best['step']) + 1} steps" in page
    plain = pretrain(replace(config, probe=ProbeConfig()), places, tmp_path / "plain", device="cpu")
    assert equal(load_file(outcome.model), load_file(plain.model))
    assert not (tmp_path / "plain" / "best.safetensors").exists()


def test_probes_without_anything_to_ask_are_refused_before_the_first_step(earth: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no labelled place that is held out"):
        pretrain(replace(SMALL, probe=ProbeConfig(every=2)), Places(earth), tmp_path, device="cpu")
    assert not (tmp_path / "log.jsonl").exists()


def test_changed_settings_may_be_accepted_and_some_may_change_anyway(earth: Path, tmp_path: Path) -> None:
    pretrain(replace(SMALL, steps=1), Places(earth), tmp_path, device="cpu")
    longer = replace(SMALL, steps=2, keep=5, workers=2, parallel=ParallelConfig(checkpointing="full"))
    with pytest.raises(ConfigError, match=r"other settings \(config\.steps: 1 -> 2\).*--accept_changes"):
        pretrain(longer, Places(earth), tmp_path, device="cpu")
    outcome = pretrain(longer, Places(earth), tmp_path, device="cpu", accept_changes=True)
    assert (outcome.resumed_from, outcome.steps) == (1, 2)
    other = replace(longer, objective=replace(SMALL.objective, masked=1.0))
    with pytest.raises(InputError, match=r"holds no learner\.objective\.mask_token"):  # what does not fit
        pretrain(other, Places(earth), tmp_path, device="cpu", accept_changes=True)


def test_the_best_score_is_that_of_the_steps_that_were_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the best step was saved and before it was marked; and after a best step that was not saved."""
    simulate(tmp_path / "earth", regions=2, places_per_region=8, footprint_cells=8, split={"train": 0.5, "val": 0.5})
    places = Places(tmp_path / "earth").select(split="train")
    config = replace(SMALL, checkpoint_every=1, probe=ProbeConfig(every=1, labels=("scene",), places=16))
    scores = [0.5, 0.9, 0.7, 0.6, 0.8, 0.4]

    def look(probe: TrainingProbe, model: SkySense) -> dict[str, float]:
        looks.append(len(looks))
        return {"probe/score": scores[looks[-1]]}

    monkeypatch.setattr(TrainingProbe, "look", look)
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints", keep=2)
    looks: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "mark_best", lambda *_: None)
        with pytest.raises(Stop):
            pretrain(config, places, tmp_path / "run", device="cpu", on_step=stop_after(2))
    assert checkpoints.best() is None
    looks = [0, 1]  # the third step is made again
    pretrain(config, places, tmp_path / "run", device="cpu")
    assert checkpoints.best() == (2, 0.9)
    best = load_file(tmp_path / "run" / "best.safetensors")
    kept = saved(tmp_path / "run", 2)["tensors"]
    assert torch.equal(best["dates.table"], kept["learner.teacher.model.dates.table"])  # type: ignore[index]
    looks = []
    scores = [0.1]
    other = replace(config, steps=7, probe=replace(config.probe, places=14))  # asks something else: a score of its own
    pretrain(other, places, tmp_path / "run", device="cpu", accept_changes=True)
    assert checkpoints.best() == (7, 0.1)


def test_a_page_that_cannot_be_written_does_not_end_a_run(
    earth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(page: RunPage, *, last: bool = False) -> None:
        raise OutputError("could not be written: no space left on device", file=page.out / "report.html")

    monkeypatch.setattr(RunPage, "write", full)
    outcome = pretrain(replace(SMALL, steps=1), Places(earth), tmp_path, device="cpu")
    assert [note for note in outcome.notes if "report.html" in note and "no space" in note]


@pytest.mark.long
def test_compiled_blocks_learn_the_same(earth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the compiler's front end alone: what it would hand to a backend is run as it is."""
    compile_with = torch.compile
    monkeypatch.setattr(torch, "compile", lambda one, dynamic: compile_with(one, backend="eager", dynamic=dynamic))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    config = replace(SMALL, steps=1)
    pretrain(config, Places(earth), tmp_path / "plain", device="cpu")
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        compiled = replace(config, parallel=ParallelConfig(compile=True))
        pretrain(compiled, Places(earth), tmp_path / "compiled", device="cpu")
    assert torch._dynamo.utils.counters["frames"]["ok"] >= 4  # blocks of Swin and of ViT, for student and teacher
    rows = [read(tmp_path / run / "log.jsonl")[0] for run in ("plain", "compiled")]
    assert rows[1]["loss"] == pytest.approx(rows[0]["loss"], rel=1e-5)
    assert rows[1]["gradient_norm"] == pytest.approx(rows[0]["gradient_norm"], rel=1e-4)
    with pytest.raises(ConfigError, match="selective cannot look into compiled blocks"):
        ParallelConfig(compile=True, checkpointing="selective")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(earth: Path, tmp_path: Path, number: signal.Signals) -> None:
    def on_step(step: int, _: dict[str, float]) -> None:
        if step == 2:
            signal.raise_signal(number)
            if number == signal.SIGTERM:  # schedulers tell every process, and torchrun tells it again
                signal.raise_signal(number)

    usual = signal.getsignal(number)
    with pytest.raises(Stopped, match=r"3 of 6 steps are saved.*same command") as stopped:
        pretrain(replace(SMALL, checkpoint_every=100), Places(earth), tmp_path, device="cpu", on_step=on_step)
    assert stopped.value.status == 128 + number
    assert signal.getsignal(number) == usual
    assert Checkpoints(tmp_path / "checkpoints", keep=1).steps() == [3]
    assert pretrain(SMALL, Places(earth), tmp_path, device="cpu").resumed_from == 3


def test_in_bfloat16_it_learns_about_the_same(earth: Path, tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16"):
        config = replace(SMALL, steps=2, precision=precision)  # type: ignore[arg-type]
        pretrain(config, Places(earth), tmp_path / precision, device="cpu")
    exact, mixed = (read(tmp_path / precision / "log.jsonl") for precision in ("float32", "bfloat16"))
    for row, other in zip(exact, mixed, strict=True):
        assert row["loss"] != other["loss"]
        assert other["loss"] == pytest.approx(row["loss"], rel=0.02)
    assert all(value.dtype != torch.bfloat16 for value in saved(tmp_path / "bfloat16", 2)["tensors"].values())  # type: ignore[union-attr]
