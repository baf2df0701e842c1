"""What is broken is named: a reader says which shard and which file, and reads all others."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from skysense.data.shards.read import Shards
from skysense.errors import InputError
from tests.data.shards.corpora import assert_sample, cut, entries, flip, write_corpus


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shards") / "whole"
    write_corpus(root, entries())
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "corpus"))


CHUNK = Path("000001.zarr/s2/c/0/0/0/0")
FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (lambda root: flip(root / CHUNK, 100), "000001.zarr/s2/c/0/0/0/0: is damaged: its checksum does not agree"),
    (lambda root: flip(root / CHUNK, -9), "000001.zarr/s2/c/0/0/0/0: is damaged"),
    (lambda root: cut(root / CHUNK), "000001.zarr/s2/c/0/0/0/0: is damaged"),
    (lambda root: (root / CHUNK).write_bytes(b""), "000001.zarr/s2/c/0/0/0/0: is truncated"),
    (lambda root: (root / CHUNK).unlink(), "000001.zarr/s2/c/0/0/0/0: is missing"),
    (lambda root: (root / "000001.zarr/s1_date/c/0").unlink(), "000001.zarr/s1_date/c/0: is missing"),
    (lambda root: flip(root / "000001.zarr/s1_valid/c/0/0/0", 20), "000001.zarr/s1_valid/c/0/0/0: is damaged"),
    (lambda root: cut(root / "000001.zarr/zarr.json"), "000001.zarr/zarr.json: is not valid JSON"),
    (lambda root: (root / "000001.zarr/zarr.json").write_text("[]"), "000001.zarr/zarr.json: is no shard"),
    (lambda root: _lose_array(root / "000001.zarr/zarr.json"), "000001.zarr/zarr.json: lists no array 's2_valid'"),
]


def _lose_array(file: Path) -> None:
    content = json.loads(file.read_text())
    del content["consolidated_metadata"]["metadata"]["s2_valid"]
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_a_broken_file_is_named_and_all_others_are_read(
    root: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(root)
    corpus = Shards(root)
    failed = {}
    for place, entry in zip(corpus, entries(), strict=True):
        try:
            assert_sample(corpus.read_sample(place), entry.sample)
        except InputError as error:
            failed[place.name] = str(error)
    assert failed and set(failed) <= {"p2", "p3"}
    for said in failed.values():
        assert message in said and "\n" not in said and len(said) < 300


def test_a_shard_in_the_place_of_another_is_not_read(root: Path) -> None:
    for name, other in (("000000", "x"), ("000001", "000000"), ("x", "000001")):
        (root / f"{name}.zarr").rename(root / f"{other}.zarr")
    corpus = Shards(root)
    for at in range(4):
        with pytest.raises(InputError, match=rf"00000{at // 2}\.zarr: is another shard than the manifest lists"):
            corpus.read_sample(corpus[at])
    assert_sample(corpus.read_sample(corpus[4]), entries()[4].sample)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("s2_frames", 99, "the index lists frames of s2 that the shard does not hold"),
        ("s2_frames", -1, "the index lists frames of s2 that the shard does not hold"),
        ("s1_start", -3, "the index lists frames of s1 that the shard does not hold"),
        ("cells", 9, "the index says another size than the shard"),
        ("slot", 2, "says nothing of place 2"),
        ("slot", -1, "says nothing of place -1"),
        ("shard", 3, "lists places of a shard that is none"),
        ("shard", -1, "lists places of a shard that is none"),
        ("split", 4, "lists places of a split that is none"),
    ],
)
def test_an_index_that_lists_what_is_not_there_is_refused(root: Path, column: str, value: int, message: str) -> None:
    rows = np.load(root / "places.npy")
    rows[column][3] = value
    np.save(root / "places.npy", rows)
    with pytest.raises(InputError, match=message):
        _read_all(root)


def _read_all(root: Path) -> None:
    corpus = Shards(root)
    place = corpus[3]
    corpus.read_sample(place)
    corpus.outline(place)
    corpus.attributes(place)


def test_what_is_not_read_may_be_broken(root: Path) -> None:
    (root / CHUNK).unlink()
    corpus = Shards(root)
    assert list(corpus.read_sample(corpus[2], ["hr", "s1"]).series) == ["hr", "s1"]


def test_a_shard_that_is_not_there_is_left_out_and_named(root: Path) -> None:
    (root / "000001.zarr").rename(root / "elsewhere")
    with pytest.warns(UserWarning, match=r"1 shards are not there \(000001\); left out 2 places"):
        corpus = Shards(root)
    assert [place.name for place in corpus] == ["p0", "p1", "p4"] and len(corpus.index) == 3
    assert [(one.place, one.message.removeprefix(f"{root}/")) for one in corpus.failures] == [
        ("p2", "000001.zarr: the shard is not there"),
        ("p3", "000001.zarr: the shard is not there"),
    ]
    assert_sample(corpus.read_sample(corpus[2]), entries()[4].sample)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": "skysense-places"}, "is not the manifest of a corpus of shards"),
        ([], "is not the manifest of a corpus of shards"),
        ({"version": 2}, "is of version 2; this release reads 1. Update skysense"),
        ({"shards": [{"name": "000000"}]}, "lacks or misstates 'places'"),
        ({"shards": 3}, "lacks or misstates"),
        (
            {"shards": [{"name": "../up", "places": 1, "bytes": 1, "digest": ""}]},
            "names a shard '../up'",
        ),
        ({"shards": []}, "lists another number of places than the manifest"),
    ],
)
def test_a_foreign_or_newer_manifest_is_refused(root: Path, content: object, message: str) -> None:
    file = root / "shards.json"
    before = json.loads(file.read_text())
    file.write_text(json.dumps(before | content if isinstance(content, dict) else content))
    with pytest.raises(InputError, match=message) as raised:
        Shards(root)
    assert str(root) in str(raised.value)


def test_a_folder_that_is_no_corpus_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"is no corpus of shards: it holds no shards\.json"):
            Shards(folder)


def test_an_index_that_is_cut_or_foreign_is_refused(root: Path) -> None:
    file = root / "places.npy"
    whole = file.read_bytes()
    for content in (b"", whole[:50], whole[:-10], b"other", whole.replace(b"bounds", b"limits")):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"places\.npy: is not the index of a corpus of shards"):
            Shards(root)
    file.unlink()
    with pytest.raises(InputError, match=r"places\.npy: is not there"):
        Shards(root)


def test_attributes_that_are_cut_are_named(root: Path) -> None:
    cut(root / "000000.zarr/places.json")
    corpus = Shards(root)
    with pytest.raises(InputError, match=r"000000\.zarr/places\.json: is not valid JSON"):
        corpus.attributes(corpus[0])


def test_a_folder_whose_name_is_no_url_is_read(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corpus = write_corpus(tmp_path / "50% of #1 ?x", entries(1))
    assert_sample(corpus.read_sample(corpus[0]), entries(1)[0].sample)
