"""Tokens of a blob store: given out for a while, asked for with every file.

As the shared access signatures of Azure they name their end (``se``) and carry a signature of it; like those of the
Planetary Computer they hold for one container.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Literal
from urllib.parse import parse_qs, urlencode

Verdict = Literal["ok", "unsigned", "refused"]


class Tokens:
    """Gives out tokens and judges them.

    Args:
        seconds: how long a token holds.
        stale: how many of the first tokens are refused from the start.
    """

    def __init__(self, seconds: float, stale: int) -> None:
        self._seconds, self._stale = seconds, stale
        self._key = b"rehearsal"
        self._given = 0
        self._refused: set[str] = set()
        self._lock = Lock()

    def give(self, container: str) -> tuple[str, str]:
        """A token for ``account/container``.

        Returns:
            The token, to be appended to a URL as its query, and when it ends.
        """
        now = datetime.now(UTC)
        end = f"{now + timedelta(seconds=self._seconds):%Y-%m-%dT%H:%M:%SZ}"  # whole seconds, as everywhere
        with self._lock:
            self._given += 1
            number = str(self._given)
            if self._given <= self._stale:
                self._refused.add(number)
        parts = {"st": f"{now - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}", "se": end, "sp": "rl", "sv": "2021-06-08"}
        parts |= {"sr": "c", "skoid": number, "sig": self._sign(container, end, number)}
        return urlencode(parts), end

    def judge(self, container: str, query: str) -> Verdict:
        """Whether the query of a request for a file of a container gives access to it."""
        asked = {key: values[-1] for key, values in parse_qs(query).items()}
        if "sig" not in asked:
            return "unsigned"
        end, number = asked.get("se", ""), asked.get("skoid", "")
        right = hmac.compare_digest(self._sign(container, end, number), asked["sig"])
        if not right or number in self._refused or datetime.fromisoformat(end) < datetime.now(UTC):
            return "refused"
        return "ok"

    def _sign(self, *parts: str) -> str:
        return hmac.new(self._key, "\n".join(parts).encode(), "sha256").hexdigest()
