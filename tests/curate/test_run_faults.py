"""What archives do wrong: it is survived, counted by its reason, or ends the run in words."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skysense.curate.account import read_account
from skysense.curate.faults import Unavailable
from skysense.curate.place import PlaceMaker
from skysense.curate.rehearsal import ALWAYS, Faults, Rehearsal, When
from skysense.curate.run import Pace, curate
from skysense.curate.sample import Settings
from skysense.data.shards.read import Shards
from skysense.errors import ConfigError, InputError, SkySenseError
from tests.curate.rehearsed import catalogue_file, curation, hashes, places_file, positions

PLACES = positions((300, 500), (700, 1000))


@pytest.fixture(scope="module")
def archive(small):
    """Serves one archive at a time, always at one address, since that is one of the settings."""
    with _Serving(small) as serving:
        yield serving


class _Serving:
    """A rehearsal whose faults can be changed."""

    def __init__(self, folder):
        self.folder, self.port, self.rehearsal = folder, 0, None

    def __enter__(self):
        self.serve()
        return self

    def __exit__(self, *_):
        self.rehearsal.__exit__(None, None, None)

    def serve(self, faults=None, **more):
        if self.rehearsal is not None:
            self.rehearsal.__exit__(None, None, None)
        self.rehearsal = Rehearsal(self.folder, faults=faults, port=self.port, **more).__enter__()
        self.port = int(self.rehearsal.host.rsplit(":", 1)[1])
        return self.rehearsal


@pytest.fixture(scope="module")
def clean(archive, tmp_path_factory):
    """Settings and folder of a curation in which nothing goes wrong."""
    folder = tmp_path_factory.mktemp("clean")
    settings = curation(catalogue_file(archive.rehearsal, "planetary", folder), places_file(folder, PLACES))
    curate(settings, folder / "corpus")
    return settings, folder / "corpus"


SOME = When(path="blob|search", share=0.08)


def test_busy_archive_gives_the_same_corpus(archive, clean, impatient, tmp_path):
    settings, out = clean
    faults = Faults(too_many=SOME, unavailable=SOME, reset=SOME, truncated=SOME, stale_tokens=1, retry_after=0.1)
    busy = archive.serve(faults, token_seconds=123)  # three seconds more than the margin from which tokens are renewed
    summary = curate(settings, tmp_path / "corpus")
    assert hashes(tmp_path / "corpus") == hashes(out)
    assert summary.tally.took["retries"] > 20
    assert {"0", "403", "429", "503"} <= set(busy.counts.plain()["statuses"])


def test_catalogue_that_is_down_stops_the_run_and_it_goes_on(archive, clean, impatient, tmp_path):
    settings, out = clean
    settings = replace(settings, places_per_shard=1)
    archive.serve()
    curate(settings, tmp_path / "expected")
    archive.serve(Faults(unavailable=When(path="/search$", share=1.0)))
    with pytest.raises(Unavailable, match="Finished work stays"):
        curate(settings, tmp_path / "corpus")
    archive.serve()
    curate(settings, tmp_path / "corpus")
    assert hashes(tmp_path / "corpus") == hashes(tmp_path / "expected")
    assert hashes(out)[3] == ["p0", "p1"]


def test_archive_that_goes_down_in_the_middle_keeps_what_is_finished(archive, clean, impatient, tmp_path):
    settings, out = clean
    archive.serve()
    seen = []

    def down(told):
        seen.append(told.done)
        archive.serve(Faults(unavailable=ALWAYS))

    with pytest.raises(Unavailable):
        curate(settings, tmp_path / "corpus", Pace(workers=1), progress=down)
    assert seen == [1] and not (tmp_path / "corpus" / "shards.json").exists()
    requests = archive.serve().counts.requests
    told = []
    curate(settings, tmp_path / "corpus", progress=lambda progress: told.append((progress.stored, progress.listed)))
    assert told == [(1, 0), (1, 1)]  # the first place is not fetched again
    assert requests["search"] <= 4 and hashes(tmp_path / "corpus") == hashes(out)


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (Faults(corrupt=r"20220828.*B04"), "unreadable"),
        (Faults(gone=r"20220828.*B04"), "missing"),
        (Faults(missing=r"20220828.*/B04$"), "unusable item"),
        (Faults(displaced=r"20220828"), "contradictory"),
    ],
)
def test_broken_product_is_left_out_counted_and_named(archive, clean, tmp_path, faults, reason):
    settings, out = clean
    archive.serve(faults)
    curate(settings, tmp_path / "corpus")
    totals = json.loads((tmp_path / "corpus" / "account.json").read_text())
    assert totals["places"] == {"stored": 2} and totals["dropped"]["s2"] == {reason: totals["dropped"]["s2"][reason]}
    for outcome in read_account(tmp_path / "corpus", 0).outcomes:
        dropped = [one for one in outcome.dropped if one.modality == "s2"]
        assert dropped and all(one.reason == reason and "20220828" in one.item for one in dropped)
    whole, less = Shards(out), Shards(tmp_path / "corpus")
    for one, two in zip(whole, less, strict=True):
        before, after = whole.read_sample(one).series["s2"], less.read_sample(two).series["s2"]
        kept = before.dates.astype(str) != "2022-08-28"
        assert np.array_equal(before.values[kept], after.values) and np.array_equal(before.dates[kept], after.dates)


def test_nothing_found_leaves_an_empty_corpus_and_says_why(archive, clean, tmp_path):
    settings, _ = clean
    archive.serve(Faults(empty="sentinel-2-l2a"))
    summary = curate(settings, tmp_path / "corpus")
    assert summary.tally.places == {"too few Sentinel-2 dates": 2}
    corpus = Shards(tmp_path / "corpus")
    assert len(corpus) == 0 and not list((tmp_path / "corpus").glob("*.zarr"))
    assert "0 of at least 1" in read_account(tmp_path / "corpus", 0).outcomes[0].detail


def test_sea_has_no_imagery(archive, clean, tmp_path):
    settings, _ = clean
    archive.serve()
    sea = places_file(tmp_path, [(-40.0, 30.0), *PLACES])
    summary = curate(replace(settings, places=sea), tmp_path / "corpus")
    assert summary.tally.places == {"no imagery": 1, "stored": 2}
    assert [one.name for one in Shards(tmp_path / "corpus")] == ["p1", "p2"]


def test_place_that_breaks_everything_does_not_disturb_others(archive, clean, monkeypatch, tmp_path):
    settings, out = clean
    archive.serve()
    usual = PlaceMaker._look

    def look(self, grid, session, notes):
        if "p0" not in broken:
            broken.append("p0")
            raise ZeroDivisionError("nobody thought of this")
        return usual(self, grid, session, notes)

    broken: list[str] = []
    monkeypatch.setattr(PlaceMaker, "_look", look)
    summary = curate(settings, tmp_path / "corpus", Pace(workers=1))
    assert summary.tally.places == {"unexpected error": 1, "stored": 1}
    assert "ZeroDivisionError: nobody thought of this" in read_account(tmp_path / "corpus", 0).outcomes[0].detail
    whole, less = Shards(out), Shards(tmp_path / "corpus")
    assert whole.index["digest"][1] == less.index["digest"][0]


def test_error_in_every_place_ends_the_run(archive, clean, monkeypatch, tmp_path):
    """Nobody thought of it, but it is no matter of the places; a place that is only without imagery is in between."""
    settings, _ = clean
    archive.serve()
    usual = PlaceMaker._look

    def look(self, grid, session, notes):
        if grid.centre[0] > -80:
            return usual(self, grid, session, notes)
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr(PlaceMaker, "_look", look)
    wrong, sea = [(-170.0, at) for at in range(8)], (-40.0, 9.0)
    few = places_file(tmp_path, [*wrong[:4], sea, (-100.0, 9.5)], "few.csv")
    summary = curate(replace(settings, places=few), tmp_path / "few", Pace(workers=1))
    assert summary.tally.places == {"unexpected error": 5, "no imagery": 1}
    with pytest.raises(SkySenseError, match=r"5 places in a row .* \(p4\) in ZeroDivisionError: nobody thought"):
        curate(replace(settings, places=places_file(tmp_path, wrong)), tmp_path / "c", Pace(workers=1))
    assert not (tmp_path / "c" / "shards.json").exists()


def test_archive_that_refuses_the_search_ends_the_run(archive, clean, tmp_path):
    settings, _ = clean
    archive.serve()
    file = tmp_path / "wrong.yaml"
    file.write_text(Path(settings.catalogues[0]).read_text().replace("/planetary/api/stac/v1", "/nowhere"))
    with pytest.raises(InputError, match="refuses the search"):
        curate(replace(settings, catalogues=(str(file),)), tmp_path / "corpus")


def test_catalogue_without_what_is_required_is_refused_at_once(archive, clean, tmp_path):
    settings, _ = clean
    other = catalogue_file(archive.serve(), "earth-search", tmp_path)
    with pytest.raises(ConfigError, match=r"offers no s1 that can be used: .*planetary-computer"):
        curate(replace(settings, catalogues=(other,)), tmp_path / "corpus")
    wanted = replace(settings, catalogues=(other,), sample=Settings(cells=16, fewest_s2=1, required=("s2",)))
    assert curate(wanted, tmp_path / "corpus").tally.places == {"stored": 2}
