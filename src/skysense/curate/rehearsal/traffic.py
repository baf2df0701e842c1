"""How much goes over the line: a shared bandwidth, counts, and which bytes of a file a request asks for."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

CHUNK = 1 << 16


class Bandwidth:
    """Shares bytes per second among all connections; None is as fast as the machine."""

    def __init__(self, bytes_per_second: float | None) -> None:
        self._rate = bytes_per_second
        self._free = 0.0
        self._lock = Lock()

    def wait(self, count: int) -> None:
        """Wait until ``count`` more bytes may have been sent."""
        if self._rate is None:
            return
        with self._lock:
            self._free = max(self._free, time.monotonic()) + count / self._rate
            until = self._free
        time.sleep(max(0.0, until - time.monotonic()))


@dataclass
class Counts:
    """What was asked for and sent, by kind: root, collections, items, search, token, sign, file, other.

    Attributes:
        requests: answers begun.
        bytes: of bodies, sent.
        statuses: answers by status; a connection that is cut without an answer counts as 0.
    """

    requests: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    _lock: Any = field(default_factory=Lock, repr=False, compare=False)

    def request(self, kind: str, status: int) -> None:
        """Count an answer."""
        with self._lock:
            self.requests[kind] += 1
            self.statuses[status] += 1

    def sent(self, kind: str, count: int) -> None:
        """Count bytes of a body."""
        with self._lock:
            self.bytes[kind] += count

    def reset(self) -> None:
        """Begin anew."""
        with self._lock:
            for counter in (self.requests, self.bytes, self.statuses):
                counter.clear()

    def plain(self) -> dict[str, dict[str, int]]:
        """For JSON."""
        with self._lock:
            return {
                name: {str(key): value for key, value in getattr(self, name).items()}
                for name in ("requests", "bytes", "statuses")
            }


class Unsatisfiable(Exception):
    """The range begins behind the end of the file."""


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte that a ``Range`` header asks for (RFC 9110, section 14).

    Returns:
        Both, or None where the whole file is due: no header, one that is malformed, or several ranges, which object
        stores answer with the whole.

    Raises:
        Unsatisfiable: status 416.
    """
    told = re.fullmatch(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", header or "")
    if told is None or told.group(1) == told.group(2) == "":
        return None
    if not told.group(1):
        length = int(told.group(2))
        if length == 0 or size == 0:
            raise Unsatisfiable
        return max(0, size - length), size - 1
    first, last = int(told.group(1)), int(told.group(2) or size - 1)
    if told.group(2) and last < first:
        return None
    if first >= size:
        raise Unsatisfiable
    return first, min(last, size - 1)
