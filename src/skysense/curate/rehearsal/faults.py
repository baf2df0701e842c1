"""What goes wrong on purpose, and when: the same for the same declaration, whatever the order of threads."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, fields
from hashlib import sha256
from threading import Lock
from typing import Literal

Trouble = Literal["too_many", "unavailable", "reset", "truncated", "slow"]
TROUBLES: tuple[Trouble, ...] = ("too_many", "unavailable", "reset", "truncated", "slow")
"""Troubles of one answer; where several are due, the first counts."""


@dataclass(frozen=True)
class When:
    """Which answers a trouble falls on. Requests are counted by path, without the query.

    Attributes:
        path: regular expression that is searched in the path; "" is found in every path.
        first: the first so many requests of each path.
        share: of the further requests of each path, chosen by the seed, 0 .. 1.
    """

    path: str = ""
    first: int = 0
    share: float = 0.0


ALWAYS = When(share=1.0)


@dataclass(frozen=True)
class Faults:
    """What goes wrong; nothing where nothing is said.

    Attributes:
        seed: of the shares of `When`.
        too_many: 429 with ``Retry-After``.
        retry_after: what that header says, seconds.
        unavailable: 503; `When` ``("/v1", share=1)`` is a catalogue that is down.
        reset: the connection is cut without an answer.
        truncated: the connection is cut after half of the body.
        slow: the answer comes after ``slow_seconds``.
        slow_seconds: see there.
        stale_tokens: so many tokens are refused by the blob store from the start, whatever they say of their end.
        gone: regular expression of paths of files that answer 404.
        corrupt: of paths of files whose pixels are overwritten; their header is whole.
        missing: of ``item/asset``: the asset is left out of the item.
        displaced: of items whose ``proj:`` fields contradict their files.
        unflagged: of items of Earth Search that say that the offset was not taken out, though it was.
        empty: of collections in which nothing is found.
    """

    seed: int = 0
    too_many: When | None = None
    retry_after: float = 1.0
    unavailable: When | None = None
    reset: When | None = None
    truncated: When | None = None
    slow: When | None = None
    slow_seconds: float = 1.0
    stale_tokens: int = 0
    gone: str | None = None
    corrupt: str | None = None
    missing: str | None = None
    displaced: str | None = None
    unflagged: str | None = None
    empty: str | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, When):
                value = value.path
            if isinstance(value, str):
                re.compile(value)


def matches(pattern: str | None, text: str) -> bool:
    """Whether a fault that is named by a pattern falls on something."""
    return pattern is not None and re.search(pattern, text) is not None


class Fate:
    """Counts requests and says what befalls each."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def of(self, path: str) -> Trouble | None:
        """What befalls the next answer to a path."""
        with self._lock:
            self._counts[path] += 1
            count = self._counts[path]
        return next((trouble for trouble in TROUBLES if self._due(trouble, path, count)), None)

    def _due(self, trouble: Trouble, path: str, count: int) -> bool:
        when: When | None = getattr(self._faults, trouble)
        if when is None or not matches(when.path, path):
            return False
        return count <= when.first or _chance(self._faults.seed, trouble, path, count) < when.share


def _chance(*about: object) -> float:
    """A number in 0 .. 1 that depends on nothing but what it is asked for."""
    return int.from_bytes(sha256(repr(about).encode()).digest()[:6], "big") / 2**48
