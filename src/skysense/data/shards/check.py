"""Checking a corpus of shards: index, manifest and shards agree, and every value is what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.places_layout import UNFINISHED
from skysense.data.shards.layout import (
    ABOUT_FILE,
    ENDING,
    GROUP_FILE,
    INDEX_FILE,
    MANIFEST_FILE,
    ROWS_FILE,
    Manifest,
    ShardInfo,
    rows_from_bytes,
)
from skysense.data.shards.read import Shards, read_index, read_manifest
from skysense.data.shards.store import find_bytes, is_remote, parse_json, read_bytes
from skysense.data.shards.write import Entry, digest, digest_of
from skysense.errors import InputError
from skysense.sensors import MODALITIES


@dataclass(frozen=True)
class Problem:
    """One rule that one place, one shard or the corpus breaks.

    Attributes:
        shard: name of the shard, empty for the corpus itself.
        place: name of the place, empty for the shard itself.
        rule: what is wrong.
    """

    shard: str
    place: str
    rule: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.shard, self.place, self.rule) if part)


@dataclass(frozen=True)
class Report:
    """What `check` found.

    Attributes:
        places: how many places the manifest promises.
        ok: how many of them have no problem, and no problem in their shard.
        problems: those of the corpus, then those of the shards in order.
    """

    places: int
    ok: int
    problems: list[Problem]


def check(root: str | Path, *, deep: bool = True, progress: Callable[[int, int], None] | None = None) -> Report:
    """Look at every shard of a corpus; a bad one is listed and never ends the search.

    Args:
        root: a folder, ``s3://bucket/path`` or ``gs://bucket/path``.
        deep: read every value, whose checksums are then verified, and compare the hash of every place with the one it
            was written with; else read only what is said about them.
        progress: called with (shards done, shards in all).

    Raises:
        InputError: only if ``root`` is no folder.
    """
    if not is_remote(root) and not Path(root).is_dir():
        raise InputError("is not a folder", file=root)
    try:
        manifest = read_manifest(root)
    except InputError as error:
        return Report(0, 0, [Problem("", "", _rule(error, MANIFEST_FILE))])
    problems: list[Problem] = []
    by_index: list[Problem] = []
    index: NDArray[np.void] | None = None
    try:
        index = read_index(root)
    except InputError as error:
        problems.append(Problem("", "", _rule(error, INDEX_FILE)))
    else:
        by_index = list(_index_problems(index, manifest))
        problems += by_index
    problems += _foreign(root, manifest)
    ok = 0
    for number, info in enumerate(manifest.shards):
        listed = None if index is None else index[index["shard"] == number]
        found = list(_shard_problems(root, manifest, number, listed, deep))
        problems += found
        bad = {one.place for one in (*found, *by_index) if one.shard == info.name}
        ok += 0 if "" in bad or index is None else info.places - len(bad)
        if progress is not None:
            progress(number + 1, len(manifest.shards))
    return Report(sum(shard.places for shard in manifest.shards), ok, problems)


def _rule(error: InputError, file: str = "") -> str:
    return ": ".join(part for part in (file or (error.file.name if error.file else ""), error.what) if part)


def _index_problems(index: NDArray[np.void], manifest: Manifest) -> Iterator[Problem]:
    promised = np.array([shard.places for shard in manifest.shards], np.int64)
    inside = (index["shard"] >= 0) & (index["shard"] < len(promised))
    if not inside.all():
        yield Problem(
            "", "", f"{INDEX_FILE}: {int((~inside).sum())} places are of shards that the manifest does not list"
        )
    counted = np.bincount(index["shard"][inside], minlength=len(promised))
    for number in np.flatnonzero(counted != promised).tolist():
        name = manifest.shards[number].name
        yield Problem(name, "", f"{INDEX_FILE} lists {counted[number]} places, {MANIFEST_FILE} {promised[number]}")
    names, counts = np.unique(index["name"], return_counts=True)
    for name in names[counts > 1]:
        yield Problem("", name.decode(), f"{INDEX_FILE}: is listed more than once")


def _foreign(root: str | Path, manifest: Manifest) -> Iterator[Problem]:
    """Folders beside those of the manifest; a bucket may hold what it likes."""
    if is_remote(root):
        return
    known = {f"{shard.name}{ENDING}" for shard in manifest.shards}
    for entry in sorted(Path(root).iterdir()):
        if entry.name.endswith(UNFINISHED):
            yield Problem("", "", f"{entry.name}: is left from an interrupted write. Remove it")
        elif entry.name.endswith(ENDING) and entry.name not in known:
            yield Problem(entry.name.removesuffix(ENDING), "", f"is not listed in {MANIFEST_FILE}")


def _shard_problems(
    root: str | Path, manifest: Manifest, number: int, listed: NDArray[np.void] | None, deep: bool
) -> Iterator[Problem]:
    info = manifest.shards[number]
    folder = f"{root}/{info.name}{ENDING}"
    try:
        content = find_bytes(folder, GROUP_FILE)
        if content is None:
            yield Problem(info.name, "", "the shard is not there")
            return
        group = parse_json(content, GROUP_FILE)
        rows = rows_from_bytes(read_bytes(folder, ROWS_FILE), ROWS_FILE)
        attributes = parse_json(read_bytes(folder, ABOUT_FILE), ABOUT_FILE)
    except InputError as error:
        yield Problem(info.name, "", _rule(error))
        return
    if not isinstance(group, dict) or not isinstance(attributes, list):
        yield Problem(info.name, "", "is no shard")
        return
    broken = [*_said_problems(info, group, rows, attributes), *_size_problems(root, info, group)]
    yield from (Problem(info.name, "", rule) for rule in broken)
    if listed is not None:
        yield from (Problem(info.name, place, rule) for place, rule in _listed_problems(listed, rows))
    if deep and len(attributes) == len(rows):
        rows["shard"] = 0
        # by its own hash: that it may be another shard than the manifest lists is said above
        own = replace(manifest, shards=(replace(info, digest=group.get("attributes", {}).get("digest", "")),))
        yield from (
            Problem(info.name, place, rule)
            for place, rule in _value_problems(Shards.of_rows(root, own, rows), attributes)
        )


def _said_problems(info: ShardInfo, group: Any, rows: NDArray[np.void], attributes: Any) -> Iterator[str]:
    """Where the shard contradicts itself or the manifest."""
    try:
        said, arrays = group["attributes"], group["consolidated_metadata"]["metadata"]
        counts = int(said["places"]), len(rows), len(attributes)
        if len(set(counts)) > 1:
            yield f"holds {counts[0]} places by {GROUP_FILE}, {counts[1]} by {ROWS_FILE}, {counts[2]} by {ABOUT_FILE}"
        if info.places > len(rows):
            yield f"holds {len(rows)} places, {MANIFEST_FILE} says {info.places}"
        if not said["digest"] == digest_of(rows) == info.digest:
            yield f"is another one than {MANIFEST_FILE} lists: the hashes differ"
        for modality in MODALITIES:
            frames = int(rows[f"{modality}_frames"].sum())
            lengths = {name: one["shape"][0] for name, one in arrays.items() if name.split("_")[0] == modality}
            for name, length in lengths.items():
                if length != frames:
                    yield f"{name} holds {length} frames, {ROWS_FILE} says {frames}"
            if frames and not lengths:
                yield f"{ROWS_FILE} lists {frames} frames of {modality}, which is not there"
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        yield f"{GROUP_FILE}: is no shard: lacks or misstates {error}"


def _size_problems(root: str | Path, info: ShardInfo, group: dict[str, Any]) -> Iterator[str]:
    """Files cut short or lost, by what they weigh together; a bucket does not tell."""
    if is_remote(root):
        return
    folder = Path(root) / f"{info.name}{ENDING}"
    for name, wanted in group.get("attributes", {}).get("bytes_of_arrays", {}).items():
        stored = sum(file.stat().st_size for file in (folder / name).rglob("*") if file.is_file())
        if stored != wanted:
            yield f"{name}: has {stored} bytes of {wanted}"


def _listed_problems(listed: NDArray[np.void], rows: NDArray[np.void]) -> Iterator[tuple[str, str]]:
    """Where the index says something else than the shard."""
    for row in listed:
        name, slot = row["name"].decode(), int(row["slot"])
        if not 0 <= slot < len(rows):
            yield name, f"{INDEX_FILE}: place {slot} of a shard of {len(rows)}"
            continue
        other = [
            column for column in row.dtype.names if column != "shard" and not _same(row[column], rows[slot][column])
        ]
        if other:
            yield name, f"{INDEX_FILE} says something else than {ROWS_FILE}: {', '.join(other)}"


def _same(one: Any, other: Any) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _value_problems(corpus: Shards, attributes: list[Any]) -> Iterator[tuple[str, str]]:
    """Places that cannot be read, or whose values are others than those that were written."""
    for place, about, wanted in zip(corpus, attributes, corpus.index["digest"].tolist(), strict=True):
        try:
            entry = Entry(corpus.read_sample(place), place.split, about)
        except InputError as error:
            file = "" if error.file is None else str(error.file).split(f"{ENDING}/", 1)[-1]
            yield place.name, f"{file}: {error.what}"
        else:
            if digest(entry).encode() != wanted:
                yield place.name, "holds other values than those it was written with: the hashes differ"
