"""What has to be gathered from very many small files is gathered once, and remembered in the cache folder of the user.

The cache is a help and never a truth: a file that is damaged, of another folder, of other names or of another version
is made again, and a cache that cannot be written is done without. Letters: N names.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.survey import Progress
from skysense.errors import InputError, OutputError
from skysense.files import atomic_path

UNKNOWN = -1
"""Stands for what could not be read; it is tried again each time."""
_VERSION = 1  # of the form of the file
_THREADS = 16  # waiting for a disk or a network takes most of the time
_AT_ONCE = 500  # names that one thread reads before it reports


def cache_folder() -> Path:
    """Where what was gathered is kept: ``skysense/datasets`` in XDG_CACHE_HOME, by default ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "skysense" / "datasets"


def gathered(
    folder: Path,
    name_N: NDArray[np.bytes_],
    read: Callable[[str], int],
    *,
    of: str,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """A number for each of very many names, each read from a file in a folder.

    Args:
        folder: that holds the files; what was gathered before no longer counts once its modification time is another.
        name_N: ASCII, in any order.
        read: the number of a name, not negative; called from several threads.
        of: what the numbers are, with the version of ``read``: others of the same folder are kept apart.
        progress: called now and then with names read and names to read.

    Returns:
        ``(N,)``, `UNKNOWN` where ``read`` raised an `InputError`.

    Raises:
        InputError: nothing could be read; that of the first name.
    """
    mark = f"{_VERSION} {of} {folder.resolve()} {folder.stat().st_mtime_ns}"
    key = hashlib.sha256(f"{of} {folder.resolve()}".encode()).hexdigest()[:24]
    file = cache_folder() / f"{key}.npz"
    value_N = _remembered(file, mark, name_N)
    if value_N is None:
        value_N = np.full(len(name_N), UNKNOWN, np.int64)
    todo = np.flatnonzero(value_N == UNKNOWN)
    if len(todo):
        value_N[todo] = _read_all([name.decode() for name in name_N[todo].tolist()], read, progress)
        if (value_N[todo] != UNKNOWN).any():
            _remember(file, mark, name_N, value_N)
        elif len(todo) == len(name_N):
            read(name_N[0].decode())  # says what is wrong
    return value_N


def _read_all(names: Sequence[str], read: Callable[[str], int], progress: Progress | None) -> NDArray[np.int64]:
    starts = range(0, len(names), _AT_ONCE)
    parts: list[NDArray[np.int64]] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for part in pool.map(lambda start: _read_some(names[start : start + _AT_ONCE], read), starts):
                parts.append(part)
                if progress is not None:
                    progress(min(len(parts) * _AT_ONCE, len(names)), len(names))
        except BaseException:  # an interrupt must not wait for what is still to be read
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return np.concatenate(parts)


def _read_some(names: Sequence[str], read: Callable[[str], int]) -> NDArray[np.int64]:
    def each() -> Iterator[int]:
        for name in names:
            try:
                yield read(name)
            except InputError:
                yield UNKNOWN

    return np.fromiter(each(), np.int64, len(names))


def _remembered(file: Path, mark: str, name_N: NDArray[np.bytes_]) -> NDArray[np.int64] | None:
    """What an earlier call has kept, or None if it is not what would be gathered now."""
    try:
        with np.load(file, allow_pickle=False) as kept:
            value_N = kept["value_N"]
            same = str(kept["mark"]) == mark and np.array_equal(kept["name_N"], name_N)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    fits = same and value_N.shape == name_N.shape and value_N.dtype == np.int64
    return value_N if fits else None


def _remember(file: Path, mark: str, name_N: NDArray[np.bytes_], value_N: NDArray[np.int64]) -> None:
    try:
        with atomic_path(file) as temporary:
            np.savez(temporary, mark=np.array(mark), name_N=name_N, value_N=value_N)
    except OutputError:
        return  # gathered again the next time
