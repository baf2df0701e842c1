"""A curation by several processes: the same corpus as by one, whatever ends some of them."""

import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from skysense.curate import many
from skysense.curate.account import done_blocks
from skysense.curate.faults import BudgetSpent, Unavailable
from skysense.curate.many import BLOCKS_AT_ONCE, Cluster, curate_many
from skysense.curate.rehearsal import Apart, Faults, Rehearsal, When
from skysense.curate.rehearsal.faults import Fate
from skysense.curate.run import Pace, curate
from skysense.errors import ConfigError, MissingExtra, Stopped
from tests.curate.rehearsed import catalogue_file, curation, hashes, places_file, positions

PLACES = positions(*((east, north) for north in (180, 500, 820, 1100) for east in (180, 640, 1100)))
TWO = Cluster(processes=2)


def test_jobs_are_large_but_enough_for_all():
    assert many._jobs(range(3), 2) == [[0], [1], [2]]
    assert many._jobs([4, *range(7, 24)], 2) == [[4, 7], *([at, at + 1] for at in range(8, 23, 2))]
    assert {len(job) for job in many._jobs(range(1600), 2)} == {BLOCKS_AT_ONCE}


def test_no_processes_are_refused():
    with pytest.raises(ConfigError, match="processes must be at least 1"):
        Cluster(processes=0)


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"skysense\[scale\]"):
        curate_many(curation("planetary-computer", places_file(tmp_path, PLACES)), tmp_path / "corpus")


def test_a_job_that_has_killed_its_processes_is_given_up(monkeypatch):
    ray, ledger = pytest.importorskip("ray"), many._Ledger()
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    actor = SimpleNamespace(**{name: SimpleNamespace(remote=getattr(ledger, name)) for name in ("begin", "end")})
    assert [ledger.begin(one) for one in (7, 7, 3, 7, 7)] == [1, 2, 1, 3, 4]
    ended = many._job({"blocks": [7, 8]}, None, actor)
    assert ended["fault"] == "SkySenseError" and "4 processes were killed over blocks 7 .. 8" in ended["words"]
    assert ledger.note(3, {}) != 0, "the others are asked to end"


def test_the_ledger_counts_a_job_that_is_done_again_once():
    ledger = many._Ledger()
    assert ledger.note(0, {"done": 5, "bytes": 70}) == 0 and ledger.note(8, {"done": 1, "bytes": 10}) == 0
    ledger.end(15)
    assert ledger.note(0, {"done": 2, "bytes": 20}) == 15
    assert ledger.sum() == {"done": 3, "bytes": 30}


@pytest.fixture(scope="module")
def alone(small, tmp_path_factory):
    """Settings, and the corpus that one process makes. The archive takes a moment for each answer."""
    folder = tmp_path_factory.mktemp("many")
    with Apart(small, latency=0.02) as archive:
        settings = settings_for(archive, folder)
        assert curate(settings, folder / "alone").shards == 6
        yield settings, folder / "alone"


def settings_for(archive, folder):
    few = {"most_s2": 2, "most_s1": 1}
    return curation(catalogue_file(archive, "planetary", folder), places_file(folder, PLACES), sample=few)


@pytest.mark.long
def test_processes_go_on_with_what_one_has_begun_and_one_that_is_killed_costs_nothing_but_time(alone, tmp_path):
    settings, out = alone
    curate(settings, tmp_path / "corpus", blocks=[1, 4])
    begun, told, killed, hosts = [], [], [], set()

    def begin(now):
        begun.append((now.places, now.blocks, now.places_before, now.blocks_before))

    def progress(now):
        told.append((now.done, now.stored, now.traffic.bytes))
        hosts.update(one["NodeManagerAddress"] for one in sys.modules["ray"].nodes())
        if now.done > 4 and not killed:
            killed.extend(jobs_of_ray()[:1])
            os.kill(killed[0], signal.SIGKILL)

    summary = curate_many(settings, tmp_path / "corpus", cluster=TWO, begin=begin, progress=progress)
    assert hashes(tmp_path / "corpus") == hashes(out) and summary.tally.places == {"stored": 12}
    assert hosts == {"127.0.0.1"}, "nobody else can reach the cluster"
    assert killed and begun == [(12, 6, 4, 2)]
    assert told[0][0] == 4 and told[-1][0] == 12 and told[-1][2] > 0
    assert not (tmp_path / "corpus" / ".curation").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    begun.clear()
    curate_many(settings, tmp_path / "corpus", cluster=TWO, begin=begin)  # Ray is not even begun
    assert begun == [(12, 6, 12, 6)]


def jobs_of_ray():
    """Processes below this one that do a job."""
    parents, titles = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            titles[int(folder.name)] = (folder / "cmdline").read_text()
        except OSError:
            continue

    def ours(process):
        return process == os.getpid() or (process in parents and ours(parents[process]))

    return [one for one, title in titles.items() if title.startswith("ray::") and "_job" in title and ours(one)]


@pytest.mark.long
def test_a_signal_ends_all_processes_and_one_goes_on(alone, tmp_path):
    settings, out = alone
    seen = [0]
    with pytest.raises(Stopped, match="places are finished") as stop:
        curate_many(
            settings,
            tmp_path / "corpus",
            Pace(workers=1),
            TWO,
            progress=lambda now: seen.append(now.done),
            signal=lambda: signal.SIGTERM if seen[-1] >= 2 else 0,
        )
    assert stop.value.status == 143 and not (tmp_path / "corpus" / "shards.json").exists()
    before = []
    curate(settings, tmp_path / "corpus", begin=lambda now: before.append(now.blocks_before))
    assert before[0] < 6 and hashes(tmp_path / "corpus") == hashes(out)


@pytest.mark.long
def test_an_archive_that_asks_for_too_much_patience_ends_the_run_and_what_is_finished_stays(small, alone, tmp_path):
    fault = Faults(seed=1, too_many=When("search", share=0.06), retry_after=400)  # the 23rd of 36 searches
    with Rehearsal(small, faults=fault) as archive:
        settings = settings_for(archive, tmp_path)
        with pytest.raises(Unavailable, match=r"asks to wait 400 s\. Finished work stays"):
            curate_many(settings, tmp_path / "corpus", Pace(workers=1), TWO)
        assert 1 <= len(done_blocks(tmp_path / "corpus")) < 6
        archive.fate = Fate(Faults())
        curate(settings, tmp_path / "corpus")
    assert hashes(tmp_path / "corpus")[0] == hashes(alone[1])[0]


@pytest.mark.long
def test_a_budget_is_that_of_all_processes(alone, tmp_path):
    settings, out = alone
    whole = json.loads((out / "account.json").read_text())["took"]["bytes"]
    budget = whole * 3 // 10  # one of two has to take half of all at least
    with pytest.raises(BudgetSpent, match=f"budget of {budget:,} bytes is spent"):
        curate_many(settings, tmp_path / "corpus", Pace(workers=1, budget=budget), TWO)
    assert done_blocks(tmp_path / "corpus") < done_blocks(out)
    with pytest.raises(BudgetSpent):
        curate_many(settings, tmp_path / "corpus", Pace(budget=whole // 10), TWO)
