"""The same map by one process, several, Ray, or one that was killed: equal to the byte."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from skysense.errors import ConfigError, InputError, SkySenseError
from skysense.maps import job as job_module
from skysense.maps.answer import WindowAnswer
from skysense.maps.embed import embed
from skysense.maps.job import Job, Settings
from skysense.maps.making import make
from skysense.maps.parts import Parting
from skysense.maps.workers import compute_in_processes
from skysense.model.weights import save_model
from skysense.observation import Sample
from tests.maps.fakes import ArraySource, Mean3
from tests.maps.scenes import s1_values, s2_scene, tiny
from tests.maps.test_run import job_of

# processes that are spawned import torch, which takes most of the time here: one of each kind is enough every day


def digest(out: Path) -> str:
    """Of a file, or of all files of a folder and their names."""
    files = sorted(out.rglob("*")) if out.is_dir() else [out]
    found = hashlib.sha256()
    for file in files:
        if file.is_file():
            found.update(file.relative_to(out.parent).as_posix().encode() + file.read_bytes())
    return found.hexdigest()


def small_job(out: Path, answerer: Mean3) -> Job:
    source = ArraySource(s1_values(96, 96), broken=((28, 28),))
    return job_of(out, source, answerer, Parting(96, 96, 32, 64))


@pytest.mark.parametrize("suffix", ["tif", pytest.param("zarr", marks=pytest.mark.long)])
def test_two_processes_make_the_same_file_as_one(tmp_path: Path, suffix: str) -> None:
    digests, told = [], []
    for workers in (1, 2):
        out = tmp_path / f"{workers}" / f"a.{suffix}"
        job = small_job(out, Mean3())
        seen: list[tuple] = []
        settings = Settings(workers=workers)
        account = make(job, Mean3(), Mean3(), settings, lambda *at, seen=seen: seen.append(at))
        job.work.finish({"account": account.to_json()})
        digests.append(digest(out))
        told.append(seen[-1][:2])
    assert digests[0] == digests[1]
    assert told[0] == told[1] == (job.windows(job.parting.parts),) * 2


@dataclass(frozen=True)
class Deadly(Mean3):
    """Kills its process, or complains, at a window."""

    how: str = ""

    def __call__(self, samples: Sequence[Sample]) -> list[WindowAnswer]:
        if any(sample.name == "(42, 42)" for sample in samples):
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise InputError("is no good", file="scene") if self.how == "input" else KeyError("a bug")
        return super().__call__(samples)


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("kill", SkySenseError, "ended with status -9, perhaps for lack of memory"),
        pytest.param("input", InputError, "scene: is no good", marks=pytest.mark.long),
        pytest.param("bug", SkySenseError, "KeyError: 'a bug'", marks=pytest.mark.long),
    ],
)
def test_what_ends_a_process_ends_the_run_and_the_rest_is_gone_on_with(
    tmp_path: Path, how: str, kind: type[Exception], words: str
) -> None:
    job = small_job(tmp_path / "a.tif", Mean3())
    with pytest.raises(kind, match=words):
        compute_in_processes(job, Deadly(how=how), job.todo(), 2)
    assert any(part.name == "1-0" for part in job.todo())
    compute_in_processes(small_job(tmp_path / "a.tif", Mean3()), Mean3(), job.todo(), 1)
    job.work.finish({})
    whole = small_job(tmp_path / "b" / "a.tif", Mean3())
    make(whole, Mean3(), Mean3(), Settings())
    whole.work.finish({})
    assert digest(tmp_path / "a.tif") == digest(tmp_path / "b" / "a.tif")


KILLED = """
import os, signal, sys
from skysense.maps import job
from skysense.maps.embed import embed
from skysense.maps.job import Settings

job._WIDEST = 32

def progress(done, total, speed):
    if done > 0.8 * total:
        os.kill(os.getpid(), signal.SIGKILL)

embed(sys.argv[1], sys.argv[2], sys.argv[3], dims=8, precision="int8", settings=Settings(window_cells=16),
      progress=progress, quicklook=False)
"""


@pytest.mark.parametrize("suffix", ["tif", pytest.param("zarr", marks=pytest.mark.long)])
def test_a_run_that_is_killed_and_gone_on_with_makes_the_same_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, scene = tmp_path / "model.safetensors", s2_scene(tmp_path / "scene.tif", 100, 60)
    save_model(model, tiny().eval())

    out = str(tmp_path / "killed" / f"a.{suffix}")
    command = [sys.executable, "-c", KILLED, str(model), str(scene), out]
    assert subprocess.run(command, check=False).returncode == -9
    assert not (tmp_path / "killed" / f"a.{suffix}").exists()
    monkeypatch.setattr(job_module, "_WIDEST", 32)  # parts of 64 x 32 cells
    result, _ = (
        embed(model, scene, tmp_path / name / f"a.{suffix}", dims=8, precision="int8", quicklook=False)
        for name in ("killed", "whole")
    )
    assert result.resumed == 2
    assert result.shape == (8, 100, 60)
    assert [entry.name for entry in (tmp_path / "killed").iterdir()] == [f"a.{suffix}"]
    assert digest(tmp_path / "killed" / f"a.{suffix}") == digest(tmp_path / "whole" / f"a.{suffix}")


@pytest.mark.long
def test_ray_makes_the_same_file(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    digests = []
    for engine in ("local", "ray"):
        job = small_job(tmp_path / engine / "a.tif", Mean3())
        account = make(job, Mean3(), Mean3(), Settings(engine=engine, workers=2))
        job.work.finish({"account": account.to_json()})
        digests.append(digest(tmp_path / engine / "a.tif"))
    assert digests[0] == digests[1]


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(ConfigError, match="workers 0"):
        Settings(workers=0)
    with pytest.raises(ConfigError, match="for the engine ray"):
        Settings(cluster="auto")
    assert np.isclose(Settings(window_cells=32).layout(64, 64).overlap, 4)
