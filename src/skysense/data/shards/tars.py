"""Places in WebDataset tar files: one after the other, in one pass, no more than one of them on disk.

A place is the members ``KEY.place.json``, ``KEY.hr.tif``, ``KEY.s2.nc`` and ``KEY.s1.nc``, side by side: the files of
a place (docs/places.md) under its name, KEY. Other readers of such files understand it, too, if it has no dot.
"""

from __future__ import annotations

import glob
import itertools
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from skysense.data.places_layout import IMAGERY, PLACE_FILE, Dataset, check_name, read_dataset
from skysense.errors import InputError
from skysense.files import make_folder, output_error

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")
_MEMBERS = (PLACE_FILE, *IMAGERY.values())


def tar_files(pattern: str) -> list[Path]:
    """The files that a pattern stands for, e.g. ``train-{000..099}.tar``, ``{a,b}.tar`` or ``train-*.tar``.

    Raises:
        InputError: one of them is not there, or none is.
    """
    found: list[Path] = []
    for name in _braces(pattern):
        matching = sorted(map(Path, glob.glob(name))) if glob.has_magic(name) else [Path(name)]
        found += matching
    missing = [file for file in found if not file.is_file()]
    if missing or not found:
        raise InputError("is not there", file=missing[0] if missing else pattern)
    return found


def _braces(pattern: str) -> Iterator[str]:
    """``{a,b}`` and ``{00..09}`` written out; a number is as wide as the first."""
    parts: list[list[str]] = []
    for text in re.split(r"(\{[^{}]*\})", pattern):
        numbers = re.fullmatch(r"\{(\d+)\.\.(\d+)\}", text)
        if numbers:
            first, last = numbers.groups()
            parts.append([f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)])
        elif text.startswith("{"):
            parts.append(text[1:-1].split(","))
        else:
            parts.append([text])
    return map("".join, itertools.product(*parts))


class TarPlaces:
    """Tar files read once, from beginning to end.

    Args:
        pattern: of the files; what they hold is said by ``dataset.json`` beside the first.

    Attributes:
        name: of the pattern, without what varies.
        dataset: what they hold.
        faults: names that are none for a place, and why.
        broken: files that broke off, and how.

    Raises:
        InputError: a file is not there, or no ``dataset.json`` lies beside.
    """

    def __init__(self, pattern: str) -> None:
        self.files = tar_files(pattern)
        self.dataset: Dataset = read_dataset(self.files[0].parent)
        self.name = _plain(pattern) or self.files[0].resolve().parent.name
        self.faults: dict[str, str] = {}
        self.broken: list[str] = []
        self._sizes = {file: max(file.stat().st_size, 1) for file in self.files}
        self._bytes = self._places = 0

    @property
    def expected(self) -> int:
        """Number of places, by the size of those that have been read."""
        return max(1, round(self._places * sum(self._sizes.values()) / max(self._bytes, 1)))

    def folders(self, holds: Callable[[str], bool]) -> Iterator[tuple[str, Path | None, bool]]:
        """Every place as a folder, which is gone when the next one is asked for.

        Args:
            holds: says of which places, by name, nothing is wanted.

        Yields:
            Name of the place; its folder, or None if it is not wanted; whether files lay beside that are not imagery.

        Raises:
            OutputError: no space for a place, no permission.
        """
        before = 0
        for file in self.files:
            with _writing(tempfile.gettempdir()):
                scratch = tempfile.TemporaryDirectory(prefix="skysense-")
            with scratch as folder:
                for found in self._of(file, Path(folder), before, holds):
                    self._places += 1
                    yield found
            before += self._sizes[file]
            self._bytes = before

    def _of(
        self, file: Path, scratch: Path, before: int, holds: Callable[[str], bool]
    ) -> Iterator[tuple[str, Path | None, bool]]:
        key, others = "", set[str]()
        folder: Path | None = None
        try:
            with ExitStack() as opened:
                with _reading():
                    raw = opened.enter_context(file.open("rb"))
                    tar = opened.enter_context(tarfile.open(fileobj=raw, mode="r|*"))
                for member in _members(tar):
                    path = member.name.removeprefix("./")
                    ending = next((one for one in _MEMBERS if path.endswith(f".{one}")), None)
                    if not member.isfile():
                        continue
                    if ending is None:
                        others.add(path)
                        continue
                    found = path[: -len(ending) - 1]
                    if not self._is_name(found):
                        continue
                    if found != key:
                        if key:
                            yield _name(key), folder, _any_of(key, others)
                            _remove(folder)
                        key = found
                        folder = None if holds(_name(key)) else make_folder(scratch / str(self._places) / _last(key))
                    if folder is not None:
                        _copy(tar, member, folder / ending)
                    self._bytes = before + raw.tell()
                if key:
                    yield _name(key), folder, _any_of(key, others)
        except _BrokenOff as error:
            lost = f"; lost is {_name(key)} and what follows it" if key else ""
            self.broken.append(f"{file.name} is truncated or no tar file ({error}){lost}")

    def _is_name(self, key: str) -> bool:
        """Whether a key can be the name of a place, and its last part that of a folder: it may be any path."""
        try:
            check_name(_name(key), "place")
            check_name(_last(key), "place")
        except InputError as error:
            self.faults[_name(key)] = error.what
        return _name(key) not in self.faults


class _BrokenOff(Exception):
    """A tar file could not be read on."""


@contextmanager
def _reading() -> Iterator[None]:
    """Around what reads a tar file and nothing else: a full disk is not the fault of the file."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise _BrokenOff(str(error)) from error


@contextmanager
def _writing(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise output_error(error, path) from error


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while True:
        with _reading():
            member = tar.next()
        if member is None:
            return
        yield member


def _remove(folder: Path | None) -> None:
    if folder is not None:
        with _writing(folder):
            shutil.rmtree(folder.parent)


def _any_of(key: str, others: set[str]) -> bool:
    """Whether any of these files belongs to a place; forgets those that do."""
    found = {path for path in others if path.startswith(f"{key}.")}
    others -= found
    return bool(found)


def _plain(pattern: str) -> str:
    """``train`` of ``data/train-{000..099}.tar.gz``."""
    return re.split(r"[{*?\[]|\.tar|\.tgz", Path(pattern).name)[0].strip("-_. ")


def _name(key: str) -> str:
    return key.replace("/", ".")


def _last(key: str) -> str:
    return key.rpartition("/")[2]


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content = tar.extractfile(member)
    assert content is not None  # it is a file
    with _writing(target), target.open("wb") as file:
        while True:
            with _reading():
                part = content.read(1 << 20)
            if not part:
                return
            file.write(part)
