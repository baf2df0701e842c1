"""Checkpoints: written by some ranks and read by others, in the background, damaged, on a full disk."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import threading
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from skysense.errors import InputError, OutputError
from skysense.train import shards
from skysense.train.checkpoints import Checkpoints
from tests.processes import run
from tests.train.checkpoint_states import checkpoints, is_whole, same, spread, state, whole


def _save(rank: int, size: int, folder: str, *steps: int, keep: int = 2) -> None:
    kept = checkpoints(folder, rank, size, keep)
    for step in steps:
        kept.save(step, spread(state(step), size), {"step": step})
    kept.wait()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_alone_everything_comes_back(tmp_path: Path) -> None:
    _save(0, 1, str(tmp_path), 3, 7, 12)
    assert names(tmp_path) == ["step-00000007", "step-00000012"]
    assert names(tmp_path / "step-00000012") == ["about.json", "account.json", "shard-00000.safetensors"]
    kept = Checkpoints(tmp_path, keep=2)
    assert kept.steps() == [7, 12]
    found, passed_over = kept.newest()
    assert found is not None and (found.step, found.about, passed_over) == (12, {"step": 12}, [])
    assert same(found.read_all(), state(12))
    assert same(kept.open(7).read_all(), state(7))
    shapes = {name: (one.shape, one.dtype) for name, one in state(12).items()}
    assert {name: (one.shape, one.dtype) for name, one in found.tensors.items()} == shapes


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "none", keep=2)
    assert kept.steps() == []
    assert kept.newest() == (None, [])
    assert kept.best() is None


@pytest.mark.parametrize("ranks", [(2, 4, 1), (4, 2, 4), (1, 2, 1)])
def test_any_number_of_ranks_reads_what_others_wrote(ranks: tuple[int, ...], tmp_path: Path) -> None:
    for number, size in enumerate(ranks):
        folder = str(tmp_path / str(number))
        if number:
            run(_copy, str(tmp_path / str(number - 1)), folder, processes=size)
        else:
            run(_save, folder, 5, processes=size)
        for readers in (1, 2):
            assert run(is_whole, folder, processes=readers) == [5] * readers


def _copy(rank: int, size: int, source: str, target: str) -> None:
    """Read into tensors that are sharded where the others were not, and the other way round; save those."""
    found, _ = checkpoints(source, rank, size).newest()
    assert found is not None
    tensors = spread({name: torch.zeros_like(one) for name, one in state(0).items()}, size)
    found.read(tensors)
    copied = checkpoints(target, rank, size)
    copied.save(5, tensors, {"step": 5})
    copied.wait()


def _train(rank: int, size: int, folder: str, go_on: bool) -> dict[str, Tensor]:
    """Two steps under FSDP2, saved after the first, or the second alone after the checkpoint; all that there is."""
    torch.manual_seed(0)
    model: nn.Module = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3))
    if size > 1:
        fully_shard(model, mesh=init_device_mesh("cpu", (size,)))
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    kept = checkpoints(folder, rank, size)

    def everything() -> dict[str, Tensor]:
        moments = {
            f"optimiser.{name}.{key}": value
            for name, parameter in model.named_parameters()
            for key, value in optimiser.state[parameter].items()
        }
        return dict(model.named_parameters()) | moments

    def step() -> None:
        optimiser.zero_grad()
        model(torch.linspace(-1, 1, 20).reshape(4, 5)).square().sum().backward()
        optimiser.step()

    step()
    if go_on:
        for tensor in everything().values():
            tensor.data.zero_()
        found, _ = kept.newest()
        assert found is not None
        found.read(everything())
    else:
        kept.save(1, everything(), {})
    step()  # while the one before is being written
    kept.wait()
    assert size == 1 or sum(isinstance(one, DTensor) for one in everything().values()) == 12
    return {name: one.detach() for name, one in whole(everything()).items()}


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_model_under_fsdp_goes_on_where_it_was(size: int, tmp_path: Path) -> None:
    left_alone = run(_train, str(tmp_path), False, processes=size)
    resumed = run(_train, str(tmp_path), True, processes=size)
    assert len(left_alone[0]) == 16
    assert all(same(one, left_alone[0]) for one in left_alone + resumed)


def test_what_all_ranks_have_is_written_once_and_the_load_is_spread(tmp_path: Path) -> None:
    run(_save_replicated, str(tmp_path), processes=4)
    shards_ = [load_file(path) for path in sorted((tmp_path / "step-00000001").glob("*.safetensors"))]
    assert sorted(name for shard in shards_ for name in shard) == [f"t{i}" for i in range(8)]
    assert [len(shard) for shard in shards_] == [2, 2, 2, 2]


def _save_replicated(rank: int, size: int, folder: str) -> None:
    kept = checkpoints(folder, rank, size)
    kept.save(1, {f"t{i}": torch.full((10,), i) for i in range(8)}, {})
    kept.wait()


def test_training_goes_on_while_a_checkpoint_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    released, write = threading.Event(), shards.write_shard

    def wait_and_write(path: Path, pieces: list[shards.Piece]) -> shards.Account:
        assert released.wait(10)
        return write(path, pieces)

    monkeypatch.setattr(shards, "write_shard", wait_and_write)
    kept = Checkpoints(tmp_path, keep=2)
    tensors, about = state(1), {"step": 1}
    kept.save(1, tensors, about)
    for one in tensors.values():  # what changes now is not in the checkpoint
        one.zero_()
    about["step"] = 99
    assert kept.steps() == []
    released.set()
    kept.wait()
    assert is_whole(0, 1, str(tmp_path)) == 1


def test_other_tensors_than_before_are_saved_as_they_are(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=3)
    for step, tensors in enumerate([{"a": torch.ones(3)}, {"a": torch.ones(4)}, {"b": torch.ones(4)}]):
        kept.save(step, tensors, {})
        kept.wait()
        assert same(kept.open(step).read_all(), tensors)


def test_reading_refuses_what_does_not_fit(tmp_path: Path) -> None:
    _save(0, 1, str(tmp_path), 1)
    found = Checkpoints(tmp_path, keep=1).open(1)
    with pytest.raises(InputError, match="step-00000001: holds no other"):
        found.read({"other": torch.zeros(3)})
    with pytest.raises(InputError, match=r"holds matrix as \(7, 3\) torch.float32, not as \(3, 7\) torch.float32"):
        found.read({"matrix": torch.zeros(3, 7)})
    with pytest.raises(InputError, match=r"holds count as \(\) torch.int64, not as \(\) torch.float32"):
        found.read({"count": torch.tensor(0.0)})
    one = {"double": torch.zeros(3, dtype=torch.float64)}
    found.read(one)  # a part of it is fine
    assert torch.equal(one["double"], state(1)["double"])
    with pytest.raises(InputError, match="step-00000002"):
        Checkpoints(tmp_path, keep=1).open(2)


def test_a_number_that_json_cannot_hold_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Checkpoints(tmp_path, keep=1).save(1, {}, {"loss": float("nan")})


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _foreign(path: Path) -> None:
    shutil.copy(path, path.with_name("other.safetensors"))


DAMAGES = [
    (_truncate, "shard-00000.safetensors", "is damaged: has .* bytes instead of"),
    (_flip, "shard-00001.safetensors", "is damaged: its checksum differs"),
    (Path.unlink, "shard-00001.safetensors", "could not be read: no such file"),
    (_truncate, "about.json", "is damaged"),
    (_truncate, "account.json", "is not valid JSON"),
    (lambda path: path.write_text("{}"), "account.json", "is not the account of a checkpoint"),
    (Path.unlink, "account.json", "could not be read: no such file"),
    (_foreign, "shard-00001.safetensors", "does not belong to the checkpoint"),
]


def test_damaged_checkpoints_are_passed_over_by_all_ranks_and_named(tmp_path: Path) -> None:
    steps = range(1, len(DAMAGES) + 2)
    run(_save_all, str(tmp_path), len(DAMAGES) + 1)
    for step, (damage, file, _) in zip(steps[1:], DAMAGES, strict=True):
        damage(tmp_path / f"step-{step:08d}" / file)
    for size in (1, 2):
        for step, passed_over in run(_newest, str(tmp_path), processes=size):
            assert step == 1
            assert len(passed_over) == len(DAMAGES)
            for message, (_, file, reason) in zip(reversed(passed_over), DAMAGES, strict=True):
                assert pytest.raises(AssertionError, match=f"step-.*{reason}").matches(AssertionError(message))
                assert file.split("-")[0] in message or reason.startswith("does not")


def _save_all(rank: int, size: int, folder: str, count: int) -> None:
    _save(rank, size, folder, *range(1, count + 1), keep=count)


def _newest(rank: int, size: int, folder: str) -> tuple[int | None, list[str]]:
    found, passed_over = checkpoints(folder, rank, size).newest()
    return found and found.step, passed_over


def test_a_damaged_checkpoint_is_replaced_and_does_not_count(tmp_path: Path) -> None:
    _save(0, 1, str(tmp_path), 1, 2, 3)
    _flip(tmp_path / "step-00000003" / "shard-00000.safetensors")
    kept = Checkpoints(tmp_path, keep=1)
    found, passed_over = kept.newest()
    assert found is not None and found.step == 2
    assert len(passed_over) == 1
    kept.save(2, state(2), {"step": 2})
    kept.wait()
    assert kept.steps() == [2, 3]  # the run has yet to get to 3
    kept.save(4, state(4), {"step": 4})
    kept.wait()
    assert kept.steps() == [4]

    _save(0, 1, str(tmp_path), 5)
    _flip(tmp_path / "step-00000005" / "shard-00000.safetensors")
    assert is_whole(0, 1, str(tmp_path)) == 4
    _save(0, 1, str(tmp_path), 5)
    assert is_whole(0, 1, str(tmp_path)) == 5
    assert names(tmp_path) == ["step-00000004", "step-00000005"]


def test_the_best_is_kept_beside_the_newest_and_survives_restarts(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        kept.save(step, state(step), {"step": step})
        if step == 1:
            kept.mark_best(1, 0.25)
    assert kept.best() == (1, 0.25)
    assert kept.steps() == [1, 2, 3]
    kept = Checkpoints(tmp_path, keep=2)
    assert kept.best() == (1, 0.25)
    kept.save(4, state(4), {"step": 4})
    kept.wait()
    assert kept.steps() == [1, 3, 4]
    kept.mark_best(3, 0.5)
    kept.save(5, state(5), {"step": 5})
    kept.save(6, state(6), {"step": 6})
    assert kept.best() == (3, 0.5)
    assert kept.steps() == [3, 5, 6]
    assert same(kept.open(3).read_all(), state(3))
    kept.mark_best(4, 1.0)
    with pytest.raises(OutputError, match="step-00000004: cannot be marked as the best: there is no such checkpoint"):
        kept.wait()
    assert kept.best() == (3, 0.5)


def test_a_damaged_mark_is_no_mark(tmp_path: Path) -> None:
    _save(0, 1, str(tmp_path), 1)
    for content in ("", "{}", "[1]", '{"step": null, "score": 1}', '{"step": 9, "score": 1}'):
        (tmp_path / "best.json").write_text(content)
        assert Checkpoints(tmp_path, keep=1).best() is None
    (tmp_path / "best.json").write_text(json.dumps({"step": 1, "score": 0.5}))
    assert Checkpoints(tmp_path, keep=1).best() == (1, 0.5)


def _limit(size: int) -> None:
    """Have the system refuse files over a size in the middle of a real write, as a full disk does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _fill_the_disk(rank: int, size: int, folder: str, limited: int, at_next: str) -> tuple[str, list[int]]:
    """Three saves, the second while the disk of one rank is full; its error, and what is there after it."""
    kept = checkpoints(folder, rank, size)
    big = {f"weights{i}": torch.zeros(300_000) for i in range(size)}
    kept.save(1, spread(state(1), size), {"step": 1})
    kept.wait()
    if rank == limited:
        _limit(100_000)
    kept.save(2, big, {"step": 2})
    with pytest.raises(OutputError) as caught:
        kept.wait() if at_next == "wait" else kept.save(3, big, {})
    steps = kept.steps()
    _limit(resource.RLIM_INFINITY)
    if size > 1:
        dist.barrier()
    kept.save(4, spread(state(4), size), {"step": 4})
    kept.wait()
    return str(caught.value), steps


@pytest.mark.parametrize(("size", "limited", "at_next"), [(1, 0, "wait"), (2, 0, "save"), (2, 1, "wait")])
def test_a_full_disk_keeps_earlier_checkpoints(size: int, limited: int, at_next: str, tmp_path: Path) -> None:
    for message, steps in run(_fill_the_disk, str(tmp_path), limited, at_next, processes=size):
        assert "step-00000002" in message
        assert f"shard-0000{limited}.safetensors: could not be written: file too large" in message
        assert steps == [1]
    assert names(tmp_path) == ["step-00000001", "step-00000004"]
    assert is_whole(0, 1, str(tmp_path)) == 4


def test_no_permission_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = Checkpoints(tmp_path / "file" / "run", keep=1)
    kept.save(1, {}, {})
    with pytest.raises(OutputError, match="file/run: could not be written"):
        kept.wait()
