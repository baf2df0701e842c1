"""Serve an archive until interrupted: ``python -m skysense.curate.rehearsal FOLDER``; its first line is its URL."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from skysense.curate.rehearsal.server import Rehearsal
from skysense.curate.rehearsal.simulated import simulated_archive
from skysense.errors import SkySenseError


def main() -> int:
    """Read the arguments, make the archive where there is none, and serve it."""
    parser = argparse.ArgumentParser(prog="python -m skysense.curate.rehearsal", description=__doc__)
    parser.add_argument("folder", help="of an archive; a simulated one is made in a new or empty folder")
    parser.add_argument("--bandwidth", type=float, help="bytes per second of all connections together")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--token-seconds", type=float, default=2700, help="how long tokens of the blob store hold")
    parser.add_argument("--largest-page", type=int, help="items on a page of a search at most")
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1; any that is free by default")
    told = parser.parse_args()
    ended = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: ended.set())
    try:
        folder = simulated_archive(told.folder)
        with Rehearsal(
            folder,
            bandwidth=told.bandwidth,
            latency=told.latency,
            token_seconds=told.token_seconds,
            largest_page=told.largest_page,
            port=told.port,
        ) as archive:
            sys.stdout.write(f"{archive.host}\n")
            sys.stdout.flush()
            ended.wait()
    except SkySenseError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
