"""What tells places from imagery, and whether they have changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skysense.data.places import Places
from skysense.data.shards.convert import convert
from skysense.data.shards.read import Shards
from skysense.errors import InputError
from skysense.maps.sources.open import open_source
from skysense.maps.sources.places import States, are_places
from tests.data.places_samples import write_folder
from tests.maps.sources.reading import READS


def test_places_are_no_source_of_one_map(tmp_path: Path) -> None:
    write_folder(tmp_path, "a", "b")
    assert are_places(tmp_path)
    with pytest.raises(InputError, match="is a folder of places, or a corpus of them"):
        open_source(tmp_path, reads=READS)


def touched(file: Path) -> None:
    state = file.stat()
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000_000))


def test_a_place_that_was_written_anew_is_another_one(tmp_path: Path) -> None:
    write_folder(tmp_path, "a", "b")

    def states(reads=("s2",)) -> list[str]:
        corpus = Places(tmp_path)
        found = States(corpus, reads)
        return [*map(found.of, corpus), found.of_all()]

    before, of_radar = states(), states(("s1",))
    assert states() == before and len(set(before)) == 3
    touched(tmp_path / "b" / "s2.nc")
    after = states()
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False]
    assert states(("s1",)) == of_radar, "a sensor that is not read may change"
    touched(tmp_path / "a" / "place.json")
    assert states()[0] != after[0]
    write_folder(tmp_path, "c")
    assert states()[-1] != after[-1]


def test_a_corpus_of_shards_is_the_same_wherever_it_lies(tmp_path: Path) -> None:
    pytest.importorskip("tensorstore")
    write_folder(tmp_path / "places", "a", "b")
    for name in ("one", "two"):
        convert([tmp_path / "places"], tmp_path / name)
    write_folder(tmp_path / "places", "c")
    convert([tmp_path / "places"], tmp_path / "more")
    one, two, more = (States(Shards(tmp_path / name), READS) for name in ("one", "two", "more"))
    assert one.of_all() == two.of_all() != more.of_all()
    assert one.of(Shards(tmp_path / "one")[0]) != more.of(Shards(tmp_path / "more")[0])
