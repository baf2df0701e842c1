"""Shards are complete or not there, say what keeps them from being written, and are the same however they are cut."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skysense.data.shards import compose, store, write
from skysense.data.shards.layout import ShardInfo
from skysense.data.shards.read import Shards
from skysense.data.shards.write import Entry, ShardWriter, digest, finished_shard, write_shard
from skysense.errors import InputError, OutputError
from skysense.sensors import SENTINEL1
from tests.data.places_samples import make_sample
from tests.data.shards.corpora import MANIFEST, assert_sample, entries, write_corpus


def names(corpus: Shards) -> list[list[str]]:
    """Of the places, by shard."""
    found: dict[str, list[str]] = {}
    for place in corpus:
        found.setdefault(place.folder.parent.name, []).append(place.name)
    return list(found.values())


def test_the_hash_of_a_place_does_not_depend_on_how_it_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two, four = (write_corpus(tmp_path / str(count), entries(), count) for count in (2, 4))
    monkeypatch.setattr(compose, "CHUNK_SIDE", 2)
    monkeypatch.setattr(store, "_FILE_BYTES", 1)
    other = write_corpus(tmp_path / "other", entries(), 2)
    assert len(list((tmp_path / "other").rglob("s2/c/*"))) == 25 > len(list((tmp_path / "2").rglob("s2/c/*")))
    for corpus in (two, four, other):
        assert corpus.index["digest"].tolist() == [digest(entry).encode() for entry in entries()]
        for place, entry in zip(corpus, entries(), strict=True):
            assert_sample(corpus.read_sample(place), entry.sample)
    assert [one.digest for one in two.manifest.shards] == [one.digest for one in other.manifest.shards]
    assert two.manifest.shards[0].digest != four.manifest.shards[0].digest


@pytest.mark.parametrize(
    "change",
    [
        lambda one: replace(one, split="val"),
        lambda one: replace(one, attributes={"row": 1}),
        lambda one: replace(one, sample=replace(one.sample, lon=11.5)),
        lambda one: replace(one, sample=replace(one.sample, name="q")),
        lambda one: replace(one, sample=one.sample.only(["hr", "s2"])),
        lambda one: replace(one, sample=_other(one, "s2", "clear", ~one.sample.series["s2"].clear)),
        lambda one: replace(one, sample=_other(one, "s2", "clear", None)),
        lambda one: replace(one, sample=_other(one, "s1", "dates", one.sample.series["s1"].dates + 1)),
        lambda one: replace(one, sample=_other(one, "hr", "values", one.sample.series["hr"].values ^ 1)),
    ],
)
def test_the_hash_of_a_place_tells_every_difference(change) -> None:
    (one,) = entries(1)
    assert digest(change(one)) != digest(one) == digest(entries(1)[0])


def _other(entry: Entry, key: str, what: str, value: object):
    series = replace(entry.sample.series[key], **{what: value})
    return replace(entry.sample, series={**entry.sample.series, key: series})


def test_places_of_one_size_share_a_shard_even_if_sensors_are_missing(tmp_path: Path) -> None:
    first = entries(1)[0]
    kinds = [
        first,
        Entry(make_sample("wide", width=12)),
        Entry(replace(make_sample("poor"), series={"s2": make_sample().series["s2"]})),
        Entry(replace(make_sample("float"), series=_float_s2())),
        Entry(make_sample("wide2", width=12)),
    ]
    assert names(write_corpus(tmp_path, kinds)) == [["p0", "poor"], ["wide", "wide2"], ["float"]]


def _float_s2():
    series = make_sample().series["s2"]
    return {"s2": replace(series, values=series.values.astype(np.float32))}


def test_no_more_places_wait_than_fill_two_shards(tmp_path: Path) -> None:
    kinds = [Entry(make_sample(f"p{width}-{copy}", width=width)) for width in (1, 2, 3, 4) for copy in range(2)]
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    corpus = write_corpus(tmp_path, [kinds[at] for at in order], 3)
    assert names(corpus) == [["p1-0", "p1-1"], ["p2-0", "p2-1"], ["p3-0", "p3-1"], ["p4-0", "p4-1"]]


def test_a_writer_goes_on_after_the_shards_that_are_there(tmp_path: Path) -> None:
    mixed = [Entry(make_sample(f"p{seed}", seed=seed, width=4 + seed % 3)) for seed in range(13)]
    whole = write_corpus(tmp_path / "whole", mixed)
    for stopped in range(14):
        root = tmp_path / str(stopped)
        writer = ShardWriter(root, MANIFEST, 2)
        for entry in mixed[:stopped]:
            writer.add(entry)
        writer = ShardWriter(root, MANIFEST, 2)
        for entry in mixed:
            if not writer.holds(entry.sample.name):
                writer.add(entry)
        assert len(writer) == 13
        assert writer.finish() == whole.manifest
        assert np.array_equal(Shards(root).index["name"], whole.index["name"])


_KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from skysense.data.shards import write
from tests.data.shards.corpora import entries
plain, files = write.write_array, []
def slow(*args):
    plain(*args)
    files.append(args)
    if len(files) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
write.write_array = slow
write.write_shard({root!r}, "000000", entries(2))
"""


def test_a_writer_that_is_killed_leaves_no_shard(tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[3])
    ended = subprocess.run(
        [sys.executable, "-c", _KILLED.format(root=str(tmp_path), tests=tests)], env={**os.environ}, timeout=60
    )
    assert ended.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".000000.zarr.") and left.name.endswith(".unfinished")
    assert finished_shard(tmp_path, "000000") is None
    with pytest.raises(InputError, match="is no corpus of shards"):
        Shards(tmp_path)


def test_a_shard_replaces_one_of_its_name(tmp_path: Path) -> None:
    write_shard(tmp_path, "a", entries(4))
    info, rows = write_shard(tmp_path, "a", entries(2))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    found = finished_shard(tmp_path, "a")
    assert found is not None and found[0] == info and found[1].tobytes() == rows.tobytes()
    stored = {file: file.stat().st_size for file in (tmp_path / "a.zarr").rglob("*") if file.is_file()}
    assert info == ShardInfo("a", 2, sum(stored.values()) - stored[tmp_path / "a.zarr/zarr.json"], info.digest)
    said = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())["attributes"]["bytes_of_arrays"]
    assert said["s2"] == sum(size for file, size in stored.items() if "s2" in file.parts)


def test_an_error_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "write_bytes", _full)
    with pytest.raises(OutputError, match="no space left on device"):
        write_shard(tmp_path, "000000", entries(1))
    assert list(tmp_path.iterdir()) == []


def _full(*_args) -> None:
    raise OSError(28, "No space left on device")


def test_a_folder_nobody_may_write_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_shard(tmp_path / "file", "000000", entries(1))


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([], "at least one place"),
        ([entries(1)[0]] * 2, "twice: p0"),
        ([Entry(make_sample("a b"))], "must be made of letters"),
        ([Entry(make_sample("a")), Entry(make_sample("b", width=4))], "b: differs in size or sensors"),
        ([Entry(make_sample("a"), attributes={"x": float("nan")})], "a: attributes hold what JSON cannot"),
        ([Entry(make_sample("a"), attributes={"x": object()})], "a: attributes hold what JSON cannot"),
    ],
)
def test_what_no_shard_can_hold_is_refused(tmp_path: Path, places: list[Entry], message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_shard(tmp_path, "000000", places)
    assert list(tmp_path.iterdir()) == []


def test_foreign_sensors_values_and_types_are_refused(tmp_path: Path) -> None:
    series = make_sample().series["s1"]
    foreign = replace(series, sensor=replace(SENTINEL1, name="radar"))
    linear = replace(series, values=np.full_like(series.values, 0.1))
    double = replace(series, values=series.values.astype(np.float64))
    for one, message in ((foreign, "not one that files know"), (linear, "linear power"), (double, "are float64")):
        with pytest.raises(InputError, match=message):
            write_shard(tmp_path, "000000", [Entry(replace(make_sample(), series={"s1": one}))])
    with pytest.raises(InputError, match="shard 'a/b' must be made of"):
        write_shard(tmp_path, "a/b", entries(1))
