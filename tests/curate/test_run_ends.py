"""Ends at any moment: what is finished stays, and what comes of it in the end is the same."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skysense.curate import pack as pack_module
from skysense.curate.faults import BudgetSpent
from skysense.curate.rehearsal import Rehearsal
from skysense.curate.run import Pace, curate
from skysense.data.shards.read import Shards
from skysense.errors import OutputError, Stopped
from tests.curate.rehearsed import catalogue_file, curation, hashes, places_file, positions

PLACES = positions((300, 500), (700, 1000), (1070, 200), (500, 800), (900, 600))


@pytest.fixture(scope="module")
def whole(archive, tmp_path_factory):
    """Settings and folder of a curation without an end in the middle."""
    folder = tmp_path_factory.mktemp("whole")
    few = {"most_s2": 2, "most_s1": 1}
    settings = curation(catalogue_file(archive, "planetary", folder), places_file(folder, PLACES), sample=few)
    curate(settings, folder / "corpus")
    return settings, folder / "corpus"


def files(folder: Path):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_budget_that_is_spent_ends_the_run_and_a_larger_one_goes_on(archive, whole, tmp_path):
    settings, out = whole
    with pytest.raises(BudgetSpent, match="the budget of 3,000,000 bytes is spent"):
        curate(settings, tmp_path / "c", Pace(budget=3_000_000, workers=1))
    finished = files(tmp_path / "c")
    assert any(name.endswith((".npz", "zarr.json")) for name in finished)
    before = archive.counts.bytes["file"]
    with pytest.raises(BudgetSpent):  # the same command does not begin to spend anew
        curate(settings, tmp_path / "c", Pace(budget=2_000_000, workers=1))
    assert archive.counts.bytes["file"] == before
    curate(settings, tmp_path / "c", Pace(budget=300_000_000))
    assert hashes(tmp_path / "c") == hashes(out)


def test_signal_ends_the_run_in_words_and_with_its_status(whole, tmp_path):
    settings, out = whole
    received = []
    with pytest.raises(Stopped, match=r"[12] places are finished") as stop:
        curate(
            settings,
            tmp_path / "c",
            Pace(workers=1),
            progress=lambda told: received.append(signal.SIGTERM),
            signal=lambda: received[0] if received else 0,
        )
    assert stop.value.status == 143
    curate(settings, tmp_path / "c")
    assert hashes(tmp_path / "c") == hashes(out)


def full_disk(*_args, **_more):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_while_staging(whole, monkeypatch, tmp_path):
    settings, out = whole
    with monkeypatch.context() as patch:
        patch.setattr("skysense.curate.stage.np.savez", full_disk)
        with pytest.raises(OutputError, match=r"no space left on device.*Free some space"):
            curate(settings, tmp_path / "c")
    assert not list((tmp_path / "c").rglob("*.npz"))
    curate(settings, tmp_path / "c")
    assert hashes(tmp_path / "c") == hashes(out)


def test_full_disk_while_packing_costs_no_request(archive, whole, monkeypatch, tmp_path):
    settings, out = whole
    with monkeypatch.context() as patch:
        patch.setattr("skysense.data.shards.write.Path.rename", full_disk)
        with pytest.raises(OutputError, match="no space left on device"):
            curate(settings, tmp_path / "c")
    assert not list((tmp_path / "c").glob("*.zarr")) and not list((tmp_path / "c").glob(".*unfinished"))
    assert len(list((tmp_path / "c").rglob("*.npz"))) >= 2
    curate(settings, tmp_path / "c")
    assert hashes(tmp_path / "c") == hashes(out)


@pytest.mark.parametrize("step", ["before the shard", "before the account", "before the stage is cleared"])
def test_end_within_packing(archive, whole, monkeypatch, tmp_path, step):
    settings, out = whole

    class PowerCut(BaseException):
        pass

    def cut(*_args, **_more):
        raise PowerCut

    with monkeypatch.context() as patch:
        if step == "before the shard":
            patch.setattr(pack_module, "write_shard", cut)
        elif step == "before the account":
            patch.setattr(pack_module, "write_account", cut)
        else:
            patch.setattr("skysense.curate.stage.Stage.clear", cut)
        with pytest.raises(PowerCut):
            curate(settings, tmp_path / "c")
    debris = tmp_path / "c" / ".000001.zarr.x1.unfinished"
    debris.mkdir()
    curate(settings, tmp_path / "c")
    assert hashes(tmp_path / "c") == hashes(out)
    assert not debris.exists() and not (tmp_path / "c" / ".curation").exists()


def test_damaged_stage_is_fetched_again(whole, tmp_path):
    settings, out = whole
    ended = []
    with pytest.raises(Stopped):
        curate(settings, tmp_path / "c", Pace(workers=1), progress=ended.append, signal=lambda: 15 * len(ended))
    (one, *_) = (tmp_path / "c").rglob("*.npz")
    one.write_bytes(one.read_bytes()[:-100])
    curate(settings, tmp_path / "c")
    assert hashes(tmp_path / "c") == hashes(out)


def test_lost_shard_is_noticed(whole, tmp_path):
    _, out = whole
    shutil.copytree(out, tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / "000001.zarr")
    with pytest.warns(UserWarning, match="left out 2 places"):
        assert len(Shards(tmp_path / "c")) == 3


@pytest.mark.long
def test_killed_five_times_at_random_moments(small, tmp_path):
    """SIGKILL, which nothing can catch; every call does at least what the one before had not finished."""
    random_moment = random.Random(20)
    with Rehearsal(small, latency=0.02) as archive:
        catalogue, places = catalogue_file(archive, "planetary", tmp_path), places_file(tmp_path, PLACES * 3)
        settings = curation(catalogue, places)
        curate(settings, tmp_path / "expected")
        command = [sys.executable, "-m", "tests.curate.rehearsed", catalogue, str(places), str(tmp_path / "c")]
        found = []
        for _ in range(5):
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                found.append(process.stdout.readline())
                time.sleep(random_moment.uniform(0.2, 1.6))
                process.send_signal(signal.SIGKILL)
                assert process.wait() == -signal.SIGKILL
            assert not (tmp_path / "c" / "shards.json").exists()
        assert len(set(found)) > 2  # something was finished in between
        told = subprocess.run(command, capture_output=True, text=True, check=True)
        assert told.stdout != found[0]
    assert hashes(tmp_path / "c") == hashes(tmp_path / "expected")
    left = {name.split("/")[0] for name in files(tmp_path / "c")}
    assert left == {one.split("/")[0] for one in files(tmp_path / "expected")}
