"""Every kind of damage to a corpus is found, with the shard and the places it is in; a whole corpus has none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skysense.data.shards.check import Report, check
from skysense.errors import InputError
from tests.data.shards.corpora import cut, entries, flip, write_corpus


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shards") / "whole"
    write_corpus(root, entries())
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "corpus"))


def change(file: Path, edit: Callable[[Any], Any]) -> None:
    """Edit a JSON file in place."""
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def change_rows(file: Path, edit: Callable[[np.ndarray], np.ndarray | None]) -> None:
    """Edit an index in place, or put another in its place."""
    rows = np.load(file)
    other = edit(rows)
    np.save(file, rows if other is None else other)


def set_rows(column: str, at: int, value: object) -> Callable[[np.ndarray], None]:
    def edit(rows: np.ndarray) -> None:
        rows[column][at] = value

    return edit


@pytest.mark.parametrize("deep", [True, False])
def test_a_whole_corpus_has_no_problem(whole: Path, deep: bool) -> None:
    seen = []
    assert check(whole, deep=deep, progress=lambda done, total: seen.append((done, total))) == Report(5, 5, [])
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_all_places_of_a_shard_are_looked_at_even_if_the_index_leaves_some_out(root: Path) -> None:
    change_rows(root / "places.npy", lambda rows: rows[[0, 1, 3, 4]])
    change(root / "shards.json", lambda content: content["shards"][1].update(places=1))
    assert check(root) == Report(4, 4, [])
    flip(root / "000001.zarr/s1/c/0/0/0/0", 30)
    report = check(root)
    assert [str(one) for one in report.problems] == [
        "000001: p2: s1/c/0/0/0/0: is damaged: its checksum does not agree"
    ]


DEEP: list[tuple[Callable[[Path], None], list[str], int]] = [
    (
        lambda shard: flip(shard / "s2/c/0/0/0/0", 100),
        ["p2: s2/c/0/0/0/0: is damaged: its checksum does not agree"],
        4,
    ),
    (
        lambda shard: change(shard / "places.json", lambda content: content[1].update(row=7)),
        ["p3: holds other values than those it was written with: the hashes differ"],
        4,
    ),
]


@pytest.mark.parametrize(("spoil", "problems", "ok"), DEEP)
def test_damage_of_values_is_found_by_reading_them(
    root: Path, spoil: Callable[[Path], None], problems: list[str], ok: int
) -> None:
    spoil(root / "000001.zarr")
    assert check(root, deep=False).problems == []
    report = check(root)
    assert [str(one) for one in report.problems] == [f"000001: {problem}" for problem in problems]
    assert (report.places, report.ok) == (5, ok)


def test_values_of_another_place_are_found_though_every_checksum_agrees(root: Path) -> None:
    for name in ("s1", "s2"):
        shutil.copytree(root / "000000.zarr" / name, root / "000001.zarr" / name, dirs_exist_ok=True)
    said = [str(one) for one in check(root).problems if one.place]
    assert said == [
        f"000001: {name}: holds other values than those it was written with: the hashes differ" for name in ("p2", "p3")
    ]


SHALLOW: list[tuple[Callable[[Path], object], list[str], int]] = [
    (lambda root: shutil.rmtree(root / "000001.zarr"), ["000001: the shard is not there"], 3),
    (lambda root: cut(root / "000001.zarr/zarr.json"), ["000001: zarr.json: is not valid JSON"], 3),
    (lambda root: (root / "000001.zarr/zarr.json").write_text("[]"), ["000001: is no shard"], 3),
    (lambda root: (root / "000001.zarr/zarr.json").write_text("{}"), ["000001: zarr.json: is no shard: lacks"], 3),
    (lambda root: cut(root / "000001.zarr/rows.npy"), ["000001: rows.npy: is not the index"], 3),
    (lambda root: (root / "000001.zarr/rows.npy").unlink(), ["000001: rows.npy: is not there"], 3),
    (lambda root: cut(root / "000001.zarr/places.json"), ["000001: places.json: is not valid JSON"], 3),
    (
        lambda root: change(root / "000001.zarr/places.json", lambda content: content.pop()),
        ["000001: holds 2 places by zarr.json, 2 by rows.npy, 1 by places.json"],
        3,
    ),
    (lambda root: cut(root / "000001.zarr/s2/c/0/0/0/0"), ["000001: s2: has "], 3),
    (lambda root: (root / "000001.zarr/hr/c/0/0/0/0").unlink(), ["000001: hr: has "], 3),
    (
        lambda root: change(root / "shards.json", lambda content: content["shards"][1].update(digest="0" * 32)),
        ["000001: is another one than shards.json lists: the hashes differ"],
        3,
    ),
    (
        lambda root: change(root / "shards.json", lambda content: content["shards"][1].update(places=3)),
        ["000001: places.npy lists 2 places, shards.json 3", "000001: holds 2 places, shards.json says 3"],
        3,
    ),
    (
        lambda root: change_rows(root / "places.npy", set_rows("s2_frames", 3, 4)),
        ["000001: p3: places.npy says something else than rows.npy: s2_frames"],
        4,
    ),
    (
        lambda root: change_rows(root / "places.npy", set_rows("slot", 3, 2)),
        ["000001: p3: places.npy: place 2 of a shard of 2"],
        4,
    ),
    (
        lambda root: change_rows(root / "000001.zarr/rows.npy", set_rows("s1_frames", 1, 6)),
        [
            "000001: s1 holds 10 frames, rows.npy says 11",
            "000001: s1_date holds 10",
            "000001: s1_observed holds 10",
            "000001: s1_valid holds 10",
            "000001: p3: places.npy says something else than rows.npy: s1_frames",
        ],
        3,
    ),
    (
        lambda root: change_rows(root / "places.npy", set_rows("shard", 3, 9)),
        [
            "places.npy: 1 places are of shards that the manifest does not list",
            "000001: places.npy lists 1 places, shards.json 2",
        ],
        3,
    ),
    (
        lambda root: change_rows(root / "places.npy", set_rows("name", 3, "p2")),
        ["p2: places.npy: is listed more than once", "000001: p2: places.npy says something else than rows.npy: name"],
        4,
    ),
    (lambda root: shutil.copytree(root / "000001.zarr", root / "x.zarr"), ["x: is not listed in shards.json"], 5),
    (
        lambda root: (root / ".000003.zarr.abc.unfinished").mkdir(),
        [".000003.zarr.abc.unfinished: is left from an interrupted write. Remove it"],
        5,
    ),
    (lambda root: cut(root / "places.npy"), ["places.npy: is not the index of a corpus of shards"], 0),
]


@pytest.mark.parametrize(("spoil", "problems", "ok"), SHALLOW)
def test_what_disagrees_is_found_without_reading_a_value(
    root: Path, spoil: Callable[[Path], object], problems: list[str], ok: int
) -> None:
    spoil(root)
    report = check(root, deep=False)
    said = [str(one) for one in report.problems]
    assert len(said) == len(problems), said
    for one, wanted in zip(said, problems, strict=True):
        assert one.startswith(wanted)
    assert report.ok == ok


@pytest.mark.parametrize(("spoil", "problems", "ok"), SHALLOW)
def test_a_deep_look_finds_all_of_it_too(
    root: Path, spoil: Callable[[Path], object], problems: list[str], ok: int
) -> None:
    spoil(root)
    said = [str(one) for one in check(root).problems]
    assert all(any(one.startswith(wanted) for one in said) for wanted in problems)


def test_without_a_manifest_that_is_all_there_is_to_say(root: Path) -> None:
    cut(root / "shards.json")
    report = check(root)
    assert (report.places, report.ok) == (0, 0)
    assert [str(one) for one in report.problems] == ["shards.json: is not valid JSON (truncated or foreign)"]


def test_a_file_is_no_corpus(root: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        check(root / "shards.json")
