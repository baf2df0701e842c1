"""Whenever the writer is killed, the newest checkpoint is whole, and the next run cleans up and goes on."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import pytest

from skysense.train import shards
from tests.processes import endings, run
from tests.train.checkpoint_states import checkpoints, is_whole, spread, state

EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}


def save(rank: int, size: int, folder: str, *steps: int) -> None:
    kept = checkpoints(folder, rank, size)
    for step in steps:
        kept.save(step, spread(state(step), size), {"step": step})
    kept.wait()


def die_at(moment: int, folder: str) -> None:
    """Have the system kill this process at its n-th moment from now.

    A moment is just before it opens, renames or removes something in the folder, in the middle of each part that it
    writes, and before and after what it wrote is on the disk.
    """
    passed = 0

    def pass_by() -> None:
        nonlocal passed
        if passed == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event in EVENTS:
            name = str(args[0])
            if name.startswith(folder) or not name.startswith("/"):  # rmtree names files relative to an open folder
                pass_by()

    def write_part(file: IO[bytes], part: memoryview) -> None:
        file.write(part[: len(part) // 2])
        file.flush()
        pass_by()
        file.write(part[len(part) // 2 :])

    def fsync(handle: int) -> None:
        pass_by()
        really_fsync(handle)
        pass_by()

    really_fsync = os.fsync
    shards._write_part = write_part
    os.fsync = fsync
    sys.addaudithook(watch)


def forked(function: Callable[..., None], *args: Any) -> int:
    """Exit code of a copy of this process that does something: 0, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        function(*args)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def expect(folder: str, *steps: int) -> None:
    """The newest checkpoint is whole and one of these; the next run goes on, and nothing else is left."""
    step = is_whole(0, 1, folder)
    assert step in steps
    save(0, 1, folder, 4)
    assert is_whole(0, 1, folder) == 4
    assert sorted(os.listdir(folder)) == [f"step-0000000{step}", "step-00000004"]


def killed_alone(rank: int, size: int, folder: str, step: int) -> int:
    """Save a checkpoint, killed at one moment after the other until it survives; how many moments there were."""
    base = str(Path(folder) / "base")
    assert forked(save, 0, 1, base, 1, 2) == 0
    for moment in range(1000):
        copy = str(Path(folder) / str(moment))
        shutil.copytree(base, copy)
        code = forked(save_and_die, 0, 1, copy, step, moment, 0)
        assert code in (0, -signal.SIGKILL)
        assert forked(expect, copy, *({2, step} if code else {step})) == 0, moment
        shutil.rmtree(copy)
        if code == 0:
            return moment
    raise AssertionError("it never ends")


def save_and_die(rank: int, size: int, folder: str, step: int, moment: int, victim: int) -> None:
    kept = checkpoints(folder, rank, size)
    if rank == victim:
        die_at(moment, folder)
    kept.save(step, spread(state(step), size), {"step": step})
    kept.wait()


@pytest.mark.parametrize("step", [3, 2])
@pytest.mark.long
def test_killed_at_every_moment_alone(step: int, tmp_path: Path) -> None:
    """While a new checkpoint is written, which removes an old one; while one is replaced."""
    moments = run(killed_alone, str(tmp_path), step, processes=1, timeout=120)[0]
    assert moments > 30


def killed_as_one_of_two(folder: Path, step: int, victim: int, moments: Iterable[int]) -> int | None:
    """As `killed_alone`; the other must not wait for the victim for ever, nor believe that all is well too early."""
    run(save, str(folder / "base"), 1, 2)
    for moment in moments:
        copy = folder / str(moment)
        shutil.copytree(folder / "base", copy)
        ended = endings(save_and_die, str(copy), step, moment, victim)
        code, other = ended[victim].code, ended[1 - victim]
        assert code in (0, 1, -signal.SIGKILL)
        if code == 0:
            assert other.code == 0
            return moment
        assert other.code == 1, other.output
        finished = (copy / f"step-0000000{step}").exists()
        assert finished or f"step-0000000{step}: could not be written: another process" in other.output
        newest = run(is_whole, str(copy), processes=2)
        assert newest[0] == newest[1]
        assert newest[0] in (2, step)
        expect(str(copy), newest[0])
        shutil.rmtree(copy)
    return None


@pytest.mark.parametrize("victim", [0, 1])
def test_killed_at_some_moments_as_one_of_two(victim: int, tmp_path: Path) -> None:
    assert killed_as_one_of_two(tmp_path, 3, victim, (0, 3, 8, 20) if victim == 0 else (0, 4)) is None


@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("step", [3, 2])
def test_killed_at_every_moment_as_one_of_two(step: int, victim: int, tmp_path: Path) -> None:
    moments = killed_as_one_of_two(tmp_path, step, victim, range(1000))
    assert moments is not None
    assert moments > (5 if victim else 25)
