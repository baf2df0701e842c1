"""Writing a corpus of shards: each shard complete or not there at all, the manifest last."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.places_layout import UNFINISHED, Split, check_name
from skysense.data.shards.compose import Composed, series_arrays
from skysense.data.shards.layout import (
    ABOUT_FILE,
    DTYPES,
    ENDING,
    GROUP_FILE,
    INDEX_FILE,
    MANIFEST_FILE,
    PLACES_PER_SHARD,
    ROWS_FILE,
    SPLITS,
    Manifest,
    ShardInfo,
    index_dtype,
    rows_from_bytes,
    rows_to_bytes,
    shard_name,
    write_rows,
)
from skysense.data.shards.store import find_bytes, is_remote, parse_json, read_bytes, write_array, write_bytes
from skysense.errors import InputError
from skysense.files import atomic_path, make_folder, output_error
from skysense.geo import region_cell
from skysense.observation import Sample
from skysense.sensors import MODALITIES, SENSORS


@dataclass(frozen=True)
class Entry:
    """A place to be written.

    Attributes:
        sample: its imagery; the name becomes that of the place.
        split: train, val, test or None.
        attributes: anything else that is known and JSON can hold.
    """

    sample: Sample
    split: Split | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> tuple[Any, ...]:
        """What places of one shard have in common: size, sensors and number types."""
        sensors = ((key, one.sensor.name, one.values.dtype.str) for key, one in sorted(self.sample.series.items()))
        return (self.sample.grid, *sensors)


def fits(kind: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether places of two kinds may share a shard: one size, and no sensor in two forms."""
    return kind[0] == other[0] and len({one[0] for one in {*kind[1:], *other[1:]}}) == len({*kind[1:], *other[1:]})


def digest(entry: Entry) -> str:
    """Hash of all that is known of a place, independent of how it is stored."""
    sample = entry.sample
    ground = sample.footprint
    head = {
        "name": sample.name,
        "position": [sample.lon, sample.lat],
        "footprint": None if ground is None else [list(ground.bounds), ground.crs],
        "split": entry.split,
        "attributes": entry.attributes,
    }
    found = hashlib.blake2b(json.dumps(head, sort_keys=True).encode(), digest_size=16)
    for modality in MODALITIES:
        if modality in sample.series:
            one = sample.series[modality]
            found.update(f"{one.sensor.name} {one.values.dtype.str} {one.values.shape}".encode())
            for part in (one.values, one.dates.astype(np.int64), one.valid, one.clear):
                found.update(b"-" if part is None else np.ascontiguousarray(part).data)
    return found.hexdigest()


def digest_of(rows: NDArray[np.void]) -> str:
    """Hash of the places of a shard, in order."""
    return hashlib.blake2b(b"".join(rows["digest"].tolist()), digest_size=16).hexdigest()


def write_shard(root: str | Path, name: str, entries: Sequence[Entry]) -> tuple[ShardInfo, NDArray[np.void]]:
    """Write one shard; its folder appears complete or not at all, and replaces one of the same name.

    Args:
        root: folder of the corpus, ``s3://bucket/path`` or ``gs://bucket/path``.
        name: of the shard.
        entries: at least one place, all of which `fits` puts together.

    Returns:
        What `write_manifest` lists, and the rows of the index.

    Raises:
        InputError: places that do not fit, a name twice, a sensor that files do not know, values its unit cannot hold.
        OutputError: no space, no permission. Nothing half written is taken for a shard.
    """
    check_name(name, "shard")
    _check(entries)
    with _whole_folder(root, f"{name}{ENDING}") as folder:
        return _write(folder, name, entries)


def finished_shard(root: str | Path, name: str) -> tuple[ShardInfo, NDArray[np.void]] | None:
    """What `write_shard` returned of a shard that is there; None if it is not.

    Raises:
        InputError: it is not a shard, or cannot be read.
    """
    folder = f"{root}/{name}{ENDING}"
    content = find_bytes(root, f"{name}{ENDING}", GROUP_FILE)
    if content is None:
        return None
    try:
        said = parse_json(content, f"{folder}/{GROUP_FILE}")["attributes"]
        info = ShardInfo(name, int(said["places"]), int(said["bytes"]), str(said["digest"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("is no shard", file=folder) from error
    return info, rows_from_bytes(read_bytes(folder, ROWS_FILE), f"{folder}/{ROWS_FILE}")


@contextmanager
def _whole_folder(root: str | Path, name: str) -> Iterator[Path]:
    """A temporary folder that becomes ``root/name`` when the block ends well, and vanishes when it does not."""
    remote = is_remote(root)
    parent = None if remote else make_folder(root)
    try:
        with tempfile.TemporaryDirectory(dir=parent, prefix=f".{name}.", suffix=UNFINISHED) as temporary:
            folder = Path(temporary) / name
            folder.mkdir()
            yield folder
            if parent is None:
                _upload(folder, f"{root}/{name}")
            else:
                shutil.rmtree(parent / name, ignore_errors=True)
                folder.rename(parent / name)
    except OSError as error:
        raise output_error(error, f"{root}/{name}") from error


def _upload(folder: Path, target: str) -> None:
    """Copy files into a bucket; the group's own file last, since a shard without it is none."""
    files = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    for file in sorted(files, key=lambda one: one.parts == (GROUP_FILE,)):
        write_bytes((folder / file).read_bytes(), target, *file.parts)


def check_entry(entry: Entry) -> None:
    """Refuse a place that no shard can hold.

    Raises:
        InputError: a name that is none, a sensor that files do not know, values its unit cannot hold, attributes that
            JSON cannot hold.
    """
    name = entry.sample.name
    check_name(name, "place")
    for series in entry.sample.series.values():
        if SENSORS.get(series.sensor.name) != series.sensor:
            raise InputError(f"sensor {series.sensor.name!r} is not one that files know", file=name)
        if series.values.dtype.name not in DTYPES:
            raise InputError(f"values are {series.values.dtype}; shards hold {', '.join(DTYPES)}", file=name)
        series.check(file=name)
    try:
        json.dumps(dict(entry.attributes), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"attributes hold what JSON cannot: {error}", file=name) from error


def _check(entries: Sequence[Entry]) -> None:
    if not entries:
        raise InputError("a shard needs at least one place")
    names = [entry.sample.name for entry in entries]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"a shard holds a place once; twice: {', '.join(sorted(twice))}")
    for entry in entries:
        check_entry(entry)
        if not fits(entry.kind, entries[0].kind):
            raise InputError("differs in size or sensors from the other places of its shard", file=entry.sample.name)


def _write(folder: Path, name: str, entries: Sequence[Entry]) -> tuple[ShardInfo, NDArray[np.void]]:
    arrays: dict[str, Composed] = {}
    sensors: dict[str, Any] = {}
    for modality in MODALITIES:
        found = [entry.sample.series[modality] for entry in entries if modality in entry.sample.series]
        if found:
            made, sensors[modality] = series_arrays(modality, found)
            arrays |= made
    for key, array in arrays.items():
        write_array(folder, key, array.metadata, array.rows)
    rows = _rows(entries)
    write_bytes(rows_to_bytes([rows], [0]), folder, ROWS_FILE)
    about = [dict(entry.attributes) for entry in entries]
    write_bytes(json.dumps(about, ensure_ascii=False, allow_nan=False).encode(), folder, ABOUT_FILE)
    info = ShardInfo(name, len(entries), _size(folder), digest_of(rows))
    attributes = {
        "cells": list(entries[0].sample.grid),
        "places": info.places,
        "sensors": sensors,
        "digest": info.digest,
        "bytes": info.bytes,
        "bytes_of_arrays": {key: _size(folder / key) for key in arrays},
    }
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": attributes,
        "consolidated_metadata": {
            "kind": "inline",
            "must_understand": False,
            "metadata": {key: array.metadata for key, array in arrays.items()},
        },
    }
    write_bytes(json.dumps(group).encode(), folder, GROUP_FILE)
    return info, rows


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _rows(entries: Sequence[Entry]) -> NDArray[np.void]:
    samples = [entry.sample for entry in entries]
    crs = [b"" if one.footprint is None else one.footprint.crs.encode() for one in samples]
    rows = np.zeros(len(entries), index_dtype(max(len(one.name) for one in samples), max(map(len, crs))))
    ends = dict.fromkeys(MODALITIES, 0)
    rows["slot"] = np.arange(len(rows))
    for row, entry, sample, code in zip(rows, entries, samples, crs, strict=True):
        row["name"], row["crs"], row["cells"] = sample.name.encode(), code, sample.grid
        row["lon"] = np.nan if sample.lon is None else sample.lon
        row["lat"] = np.nan if sample.lat is None else sample.lat
        row["bounds"] = np.nan if sample.footprint is None else sample.footprint.bounds
        row["split"], row["digest"] = SPLITS.index(entry.split), digest(entry).encode()
        row["region"] = -1 if sample.lon is None or sample.lat is None else region_cell(sample.lon, sample.lat)
        for modality in MODALITIES:
            frames = len(sample.series[modality].dates) if modality in sample.series else 0
            row[f"{modality}_start"], row[f"{modality}_frames"] = ends[modality], frames
            ends[modality] += frames
    return rows


def write_manifest(root: str | Path, manifest: Manifest, rows: Iterable[NDArray[np.void]]) -> None:
    """Write the index and, last, the manifest: from then on the folder is a corpus.

    Args:
        root: folder of the shards.
        manifest: lists the shards in order.
        rows: the index of each of them, in the same order.

    Raises:
        OutputError: no space, no permission.
    """
    parts = list(rows)
    assert [len(part) for part in parts] == [shard.places for shard in manifest.shards]
    if is_remote(root):
        write_bytes(rows_to_bytes(parts, range(len(parts))), root, INDEX_FILE)
    else:
        with atomic_path(Path(root) / INDEX_FILE) as temporary, temporary.open("wb") as file:
            write_rows(file, parts, range(len(parts)))
    content = json.dumps(manifest.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes((content + "\n").encode(), root, MANIFEST_FILE)


class ShardWriter:
    """Collects places into shards as they come; kinds that do not fit together go to shards of their own.

    It goes on after the shards that are there already: given the same places again, but for those it `holds`, it writes
    what it would have written had it never been stopped.

    Args:
        root: a folder that nobody else writes to, or a path in a bucket.
        manifest: all but the shards.
        places_per_shard: of one kind. Where kinds are many, shards may be smaller, for no more than twice as many
            places wait in memory.

    Raises:
        InputError: a shard is there that cannot be read.
        OutputError: no space, no permission.
    """

    def __init__(self, root: str | Path, manifest: Manifest, places_per_shard: int = PLACES_PER_SHARD) -> None:
        self.root, self.manifest, self.places_per_shard = root, manifest, places_per_shard
        self._waiting: list[list[Entry]] = []
        self._shards: list[ShardInfo] = []
        self._rows: list[NDArray[np.void]] = []
        while (found := finished_shard(root, shard_name(len(self._shards)))) is not None:
            self._shards.append(found[0])
            self._rows.append(found[1])
        self._names = {name.decode() for rows in self._rows for name in rows["name"].tolist()}

    def holds(self, name: str) -> bool:
        """Whether a place is in a finished shard."""
        return name in self._names

    def __len__(self) -> int:
        return len(self._names) + sum(map(len, self._waiting))

    def add(self, entry: Entry) -> None:
        """Take a place; a full shard is written at once."""
        for group in self._waiting:
            if all(fits(entry.kind, other.kind) for other in group):
                break
        else:
            group = []
            self._waiting.append(group)
        group.append(entry)
        if len(group) == self.places_per_shard:
            self._flush(group)
        elif sum(map(len, self._waiting)) == 2 * self.places_per_shard:
            self._flush(max(self._waiting, key=len))

    def _flush(self, group: list[Entry]) -> None:
        self._waiting.remove(group)
        info, rows = write_shard(self.root, shard_name(len(self._shards)), group)
        self._shards.append(info)
        self._rows.append(rows)
        self._names |= {entry.sample.name for entry in group}

    def finish(self) -> Manifest:
        """Write what is left, the index and the manifest."""
        for group in list(self._waiting):
            self._flush(group)
        manifest = replace(self.manifest, shards=tuple(self._shards))
        write_manifest(self.root, manifest, self._rows)
        return manifest
