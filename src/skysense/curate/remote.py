"""A file on the web as GDAL sees it: bytes that are asked for, ahead of what will be, and near ones together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import Any

from rasterio.abc import MultiByteRangeResourceContainer

from skysense.curate.http import Session

AHEAD = 32 * 1024
"""Bytes that are fetched at least: the head of a COG with 121 tiles and its overviews takes a tenth of that."""
GAP = 64 * 1024
"""Bytes; what lies nearer together is fetched as one, because a request takes as long as some 100 kB do."""
NAME = "asset.tif"
"""What GDAL calls the file; its true name may bear a token, or characters that GDAL interprets."""
TURN = Lock()
"""Held by the one thread that is at work within GDAL.

rasterio enters a handler of its own for every file that is read through Python into a table of GDAL's, and removes it
again; nothing guards that table, and a thread that looks something up meanwhile takes the process down. While the
thread waits for the network others have their turn.
"""


class Remote(MultiByteRangeResourceContainer):
    """A folder of one file, as GDAL sees it. GDAL looks for companions of the file; there are none.

    An exception must never reach GDAL: it would go on with memory that was not filled. The first one is kept, GDAL gets
    no bytes and gives up, and who opened the file raises it.

    Args:
        session: connections to archives.
        url: of the file.
        turn: held by who reads; let go while the network is waited for.

    Attributes:
        fault: what went wrong first.
    """

    def __init__(self, session: Session, url: str, turn: Lock | None = None) -> None:
        self.fault: BaseException | None = None
        self._session, self._url, self._turn = session, url, turn
        self._kept: list[tuple[int, bytes]] = []
        self._size: int | None = None

    def open(self, path: str, mode: str = "r", **options: Any) -> _Cursor:
        """The file, to be read from its beginning."""
        if not self.isfile(path):
            raise FileNotFoundError(path)
        return _Cursor(self)

    def isfile(self, path: str) -> bool:
        """Whether a path is that of the file."""
        return path == NAME

    def isdir(self, path: str) -> bool:
        """There are no folders in the folder."""
        return False

    def ls(self, path: str) -> list[str]:
        """Nothing is listed, so that GDAL does not look for companions."""
        return []

    def mtime(self, path: str) -> int:
        """Not known; GDAL keeps nothing of the file beyond its reading."""
        return 0

    def rm(self, path: str) -> None:
        """Archives are not written to."""
        raise PermissionError(path)

    def size(self, path: str) -> int:
        """Size of the file, as `end`."""
        if not self.isfile(path):
            raise FileNotFoundError(path)
        return self.end()

    def end(self) -> int:
        """Size of the file; 0 after a fault."""
        if self._size is None:
            self.piece(0, 1)
        return self._size or 0

    def piece(self, start: int, length: int) -> bytes:
        """Bytes, of those that are here or with what follows them; none after a fault."""
        for first, data in self._kept:
            if first <= start and (start + length <= first + len(data) or first + len(data) == self._size):
                return data[start - first : start - first + length]
        data = self._fetch(start, max(length, AHEAD))
        self._kept.append((start, data))
        return data[:length]

    def pieces(self, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Several ranges in ascending order, fetched together where they are near each other; not kept."""
        groups: list[list[int]] = []
        for index, start in enumerate(starts):
            if groups and start - (starts[groups[-1][-1]] + lengths[groups[-1][-1]]) <= GAP:
                groups[-1].append(index)
            else:
                groups.append([index])
        found: list[bytes] = []
        for group in groups:
            first, last = group[0], group[-1]
            data = memoryview(self._fetch(starts[first], starts[last] + lengths[last] - starts[first]))
            found += [bytes(data[starts[one] - starts[first] :][: lengths[one]]) for one in group]
        return found

    def _fetch(self, start: int, length: int) -> bytes:
        if self.fault is not None:
            return b""
        try:
            with self._waiting():
                part = self._session.read_range(self._url, start, length)
        except BaseException as fault:  # noqa: BLE001 (an interrupt too: see above)
            self.fault = fault
            return b""
        self._size = part.size
        return part.data

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Let other threads have their turn meanwhile."""
        if self._turn is None:
            yield
            return
        self._turn.release()
        try:
            yield
        finally:
            self._turn.acquire()


class _Cursor:
    """A position in a remote file."""

    def __init__(self, remote: Remote) -> None:
        self._remote, self._at = remote, 0

    def __enter__(self) -> _Cursor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to close: connections belong to the session."""

    def close(self) -> None:
        """As leaving the ``with`` block."""

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._at, self._remote.end() if whence == 2 else 0)[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        data = self._remote.piece(self._at, size if size >= 0 else max(0, self._remote.end() - self._at))
        self._at += len(data)
        return data

    def get_byte_ranges(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        return self._remote.pieces(offsets, sizes)
