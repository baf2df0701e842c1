"""An archive in a process of its own: what is measured beside it shares no interpreter with it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType

from skysense.curate.rehearsal.earth_search import EARTH_SEARCH
from skysense.curate.rehearsal.planetary import PLANETARY
from skysense.curate.rehearsal.server import COUNTS, SAS
from skysense.errors import SkySenseError


class Apart:
    """Like `skysense.curate.rehearsal.Rehearsal`, without faults, in another process while a ``with`` block runs.

    Args:
        folder: of an archive.
        bandwidth: bytes per second of all connections together; None is as fast as the machine.
        latency: seconds before each answer begins.

    Raises:
        SkySenseError: the process did not start; its own words are in the message.
    """

    def __init__(self, folder: str | Path, *, bandwidth: float | None = None, latency: float = 0.0) -> None:
        command = [sys.executable, "-m", "skysense.curate.rehearsal", str(folder), "--latency", str(latency)]
        self._command = [*command, *([] if bandwidth is None else ["--bandwidth", str(bandwidth)])]
        self.host = ""

    def url(self, catalogue: str) -> str:
        """Root of a catalogue, "earth-search" or "planetary"; "sas" is what signs for the latter."""
        paths = {"earth-search": EARTH_SEARCH.path, "planetary": PLANETARY.path, "sas": SAS}
        return self.host + paths[catalogue]

    def counts(self) -> dict[str, dict[str, int]]:
        """Requests, bytes and statuses so far, as `skysense.curate.rehearsal.traffic.Counts.plain`."""
        with urllib.request.urlopen(self.host + COUNTS) as answer:
            return json.load(answer)

    def reset_counts(self) -> None:
        """Count anew."""
        urllib.request.urlopen(urllib.request.Request(self.host + COUNTS, method="DELETE")).close()

    def __enter__(self) -> Apart:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdout is not None and self._process.stderr is not None
        self.host = self._process.stdout.readline().strip()
        if not self.host:
            said = self._process.stderr.read().strip()
            self.__exit__(None, None, None)
            raise SkySenseError(f"the archive could not be served: {said}")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.communicate()
