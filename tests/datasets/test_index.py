"""What is gathered once from very many files, and what the cache must not be trusted with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.datasets.index import UNKNOWN, cache_folder, gathered
from skysense.errors import InputError

NAMES = np.array([f"name{number}" for number in range(1200)], "S")


class Reader:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.bad: set[str] = set()

    def __call__(self, name: str) -> int:
        self.asked.append(name)
        if name in self.bad:
            raise InputError(f"{name} is bad")
        return int(name.removeprefix("name"))


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return Reader()


def test_once_and_with_progress(tmp_path: Path, read: Reader) -> None:
    told: list[tuple[int, int]] = []
    first = gathered(tmp_path / "data", NAMES, read, of="x", progress=lambda *amounts: told.append(amounts))
    assert first.tolist() == list(range(1200)) and told == [(500, 1200), (1000, 1200), (1200, 1200)]
    assert len(read.asked) == 1200 and cache_folder() == tmp_path / "cache" / "skysense" / "datasets"
    assert gathered(tmp_path / "data", NAMES, read, of="x").tolist() == first.tolist()
    assert len(read.asked) == 1200


def test_what_could_not_be_read_is_tried_again(tmp_path: Path, read: Reader) -> None:
    read.bad = {"name7", "name900"}
    found = gathered(tmp_path / "data", NAMES, read, of="x")
    assert np.flatnonzero(found == UNKNOWN).tolist() == [7, 900]
    read.bad, read.asked = {"name900"}, []
    assert gathered(tmp_path / "data", NAMES, read, of="x")[7] == 7 and read.asked == ["name7", "name900"]
    read.bad, read.asked = set(), []
    assert gathered(tmp_path / "data", NAMES, read, of="x").tolist() == list(range(1200))
    assert read.asked == ["name900"]


def test_nothing_to_be_read_is_an_error(tmp_path: Path, read: Reader) -> None:
    read.bad = {name.decode() for name in NAMES.tolist()}
    with pytest.raises(InputError, match="name0 is bad"):
        gathered(tmp_path / "data", NAMES, read, of="x")
    assert not list(cache_folder().glob("*"))


@pytest.mark.parametrize("spoil", ["truncate", "foreign", "empty", "bit"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, read: Reader, spoil: str) -> None:
    first = gathered(tmp_path / "data", NAMES, read, of="x")
    (file,) = cache_folder().iterdir()
    whole = file.read_bytes()
    at = whole.index(np.arange(600, 610).tobytes())  # among the numbers
    file.write_bytes(
        {
            "truncate": whole[: len(whole) // 2],
            "foreign": b"not a cache",
            "empty": b"",
            "bit": whole[:at] + b"\xff" + whole[at + 1 :],
        }[spoil]
    )
    assert gathered(tmp_path / "data", NAMES, read, of="x").tolist() == first.tolist()
    assert len(read.asked) == 2400
    assert gathered(tmp_path / "data", NAMES, read, of="x").tolist() == first.tolist()
    assert len(read.asked) == 2400


def test_another_state_of_the_folder_other_names_and_another_meaning_are_not_the_same(
    tmp_path: Path, read: Reader
) -> None:
    folder = tmp_path / "data"
    gathered(folder, NAMES, read, of="x")
    (folder / "new").touch()
    gathered(folder, NAMES, read, of="x")
    assert len(read.asked) == 2400
    assert gathered(folder, NAMES[::-1], read, of="x").tolist() == list(range(1200))[::-1]
    gathered(folder, NAMES[:3], lambda name: 5, of="y")
    assert len(read.asked) == 3600
    assert gathered(folder, NAMES[::-1], read, of="x")[0] == 1199 and len(read.asked) == 3600


def test_without_a_place_for_the_cache_it_is_gathered_each_time(
    tmp_path: Path, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        assert gathered(tmp_path / "data", NAMES[:2], read, of="x").tolist() == [0, 1]
    assert len(read.asked) == 4
