"""Folders of places and tar files of places as a corpus of shards; the same call goes on where it was stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from skysense.data.places import Failure
from skysense.data.places_layout import (
    IMAGERY,
    PLACE_FILE,
    UNFINISHED,
    Dataset,
    Place,
    check_name,
    place_folders,
    read_dataset,
    read_place,
)
from skysense.data.places_read import read_cube, read_hr
from skysense.data.shards.layout import ENDING, GROUP_FILE, MANIFEST_FILE, PLACES_PER_SHARD, Manifest, shard_name
from skysense.data.shards.read import read_manifest
from skysense.data.shards.store import find_bytes, is_remote, parse_json, write_bytes
from skysense.data.shards.tars import TAR_ENDINGS, TarPlaces
from skysense.data.shards.write import Entry, ShardWriter, check_entry
from skysense.errors import InputError, OutputError
from skysense.files import make_folder
from skysense.observation import Sample, Series
from skysense.sensors import Modality

SETTINGS_FILE = "convert.json"
"""What a conversion under way was asked for."""


@dataclass
class Converted:
    """What became of the places.

    Attributes:
        manifest: of the corpus.
        before: places that were in shards already when this call began.
        labelled: places whose labels, masks, boxes or later image were left out: a corpus of shards is for learning
            without labels.
        failures: places that could not be read.
    """

    manifest: Manifest
    before: int = 0
    labelled: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def places(self) -> int:
        """Places of the corpus."""
        return sum(shard.places for shard in self.manifest.shards)


def convert(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    title: str | None = None,
    places_per_shard: int = PLACES_PER_SHARD,
    progress: Callable[[int, int], None] | None = None,
) -> Converted:
    """Write places as a corpus of shards, without their labels.

    A place that cannot be read is left out and listed. What follows where a tar file breaks off cannot be listed: all
    other places are written, but the corpus is not finished before the file is mended. Names stay as they are; of
    several sources, each becomes ``source.place``. The memory needed is that of two shards at most, and mostly of one.

    Args:
        sources: folders of places, and tar files of places (docs/shards.md) as a path, a pattern of braces or a glob;
            beside tar files lies a ``dataset.json`` that says what they hold.
        out: a folder, ``s3://bucket/path`` or ``gs://bucket/path``; new, or begun with the same settings.
        title: of the corpus; that of the sources by default.
        places_per_shard: how many share a shard.
        progress: called with places done and places in all; of tar files the second is estimated on the way.

    Raises:
        InputError: no source, one that is neither, two of the same name, no place that can be read, a tar file that
            broke off.
        OutputError: another corpus is there, or was begun there with other settings; no space; no permission.
    """
    if places_per_shard < 1:
        raise InputError(f"places_per_shard = {places_per_shard} must be at least 1")
    found = _open(sources)
    settings = {"sources": [one.name for one in found], "title": title, "places_per_shard": places_per_shard}
    if (finished := _begin(out, settings)) is not None:
        return Converted(finished, before=sum(shard.places for shard in finished.shards))
    writer = ShardWriter(out, _manifest([one.dataset for one in found], title), places_per_shard)
    outcome, seen = Converted(writer.manifest), set[str]()
    for number, source in enumerate(found):
        prefix = f"{source.name}." if len(found) > 1 else ""
        rest = sum(one.expected for one in found[number + 1 :])
        start = len(seen)
        for name, folder, labelled in source.folders(partial(_holds, writer, prefix)):
            _add(prefix + name, folder, labelled, writer, seen, outcome)
            if progress is not None:
                progress(len(seen), max(start + source.expected, len(seen)) + rest)
        outcome.failures += [Failure(prefix + name, why) for name, why in source.faults.items()]
    if broken := [file for source in found for file in source.broken]:
        fix = "Mend or remove it; the same command then goes on from the shards that are finished"
        raise InputError(f"is not finished: {'; '.join(broken)}", file=out, fix=fix)
    if not len(writer):
        first = "".join(f"; the first: {one.place}: {one.message}" for one in outcome.failures[:1])
        raise InputError(f"no place could be read{first}", file=found[0].name)
    outcome.manifest = writer.finish()
    if progress is not None:
        progress(len(seen), len(seen))
    return outcome


def _holds(writer: ShardWriter, prefix: str, name: str) -> bool:
    return writer.holds(prefix + name)


class _Source(Protocol):
    """Places one after the other, each as a folder; None instead of one that ``holds`` says is done."""

    name: str
    dataset: Dataset
    faults: dict[str, str]
    broken: list[str]

    @property
    def expected(self) -> int: ...

    def folders(self, holds: Callable[[str], bool]) -> Iterator[tuple[str, Path | None, bool]]: ...


class _FolderPlaces:
    """A folder of places."""

    def __init__(self, root: Path) -> None:
        self.name = root.resolve().name
        self.dataset = read_dataset(root)
        self.faults: dict[str, str] = {}
        self.broken: list[str] = []
        self._folders = place_folders(root)

    @property
    def expected(self) -> int:
        return len(self._folders)

    def folders(self, holds: Callable[[str], bool]) -> Iterator[tuple[str, Path | None, bool]]:
        known = {PLACE_FILE, *IMAGERY.values()}
        for folder in self._folders:
            if holds(folder.name):
                yield folder.name, None, False
            else:
                yield folder.name, folder, any(entry.name not in known for entry in folder.iterdir())


def _open(sources: Sequence[str | Path]) -> list[_Source]:
    found: list[_Source] = []
    for source in sources:
        if str(source).endswith(TAR_ENDINGS):
            found.append(TarPlaces(str(source)))
        elif Path(source).is_dir():
            found.append(_FolderPlaces(Path(source)))
        else:
            raise InputError(
                "is neither a folder of places nor a tar file", file=source, fix="See docs/places.md and docs/shards.md"
            )
    names = [one.name for one in found]
    if not found or len(set(names)) != len(names):
        raise InputError(f"places are converted if each source has a name of its own; got {', '.join(names) or 'none'}")
    for name in names if len(names) > 1 else ():
        check_name(name, "source")
    return found


def _manifest(datasets: Sequence[Dataset], title: str | None) -> Manifest:
    def joined(texts: list[str], between: str) -> str:
        return between.join(dict.fromkeys(text for text in texts if text))

    return Manifest(
        title=title or joined([one.title for one in datasets], ", "),
        simulated=any(one.simulated for one in datasets),
        source=joined([one.source for one in datasets], "; "),
        licence=joined([one.licence for one in datasets], "; "),
    )


def _begin(out: str | Path, settings: dict[str, Any]) -> Manifest | None:
    """The corpus if it is finished; else remember what it is made of.

    Raises:
        OutputError: something else is there.
    """
    content = find_bytes(out, SETTINGS_FILE)
    if content is None:
        if any(find_bytes(out, *parts) for parts in ((MANIFEST_FILE,), (f"{shard_name(0)}{ENDING}", GROUP_FILE))):
            raise OutputError("holds another corpus", file=out, fix="Choose another folder")
        if not is_remote(out):
            make_folder(out)
        write_bytes(json.dumps(settings, indent=1, ensure_ascii=False).encode(), out, SETTINGS_FILE)
        return None
    before = parse_json(content, f"{out}/{SETTINGS_FILE}")
    if not isinstance(before, dict) or before != settings:
        other = [key for key in settings if not isinstance(before, dict) or before.get(key) != settings[key]]
        raise OutputError(
            f"was begun with other settings ({', '.join(other)})",
            file=out,
            fix="Choose another folder, or the same ones",
        )
    if not is_remote(out):
        for left in Path(out).glob(f".*{UNFINISHED}"):  # a writer that was killed
            shutil.rmtree(left, ignore_errors=True)
    return None if find_bytes(out, MANIFEST_FILE) is None else read_manifest(out)


def _add(
    name: str, folder: Path | None, labelled: bool, writer: ShardWriter, seen: set[str], outcome: Converted
) -> None:
    """Take one place, or list why not."""
    if name in seen:
        outcome.failures.append(Failure(name, "another place of this name came before"))
        return
    seen.add(name)
    if folder is None:
        outcome.before += 1
        return
    try:
        place = read_place(folder, None)
        entry = Entry(_sample(place, name), place.split, place.attributes)
        check_entry(entry)
    except InputError as error:
        file = "" if error.file is None else f"{error.file.name}: "
        outcome.failures.append(Failure(name, f"{file}{error.what}"))
        return
    outcome.labelled += labelled or bool(place.labels)
    writer.add(entry)


def _sample(place: Place, name: str) -> Sample:
    series: dict[Modality, Series] = {}
    for modality in place.modalities:
        file = place.file(modality)
        if modality == "hr":
            series[modality] = read_hr(file, place.cells, None)
        else:
            series[modality] = read_cube(file, modality, place.cells, None, None)
    return Sample(name, series, lon=place.lon, lat=place.lat, footprint=place.footprint)
