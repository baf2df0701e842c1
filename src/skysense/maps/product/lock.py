"""One process at a time makes a map: a second one would take finished packs from under the first."""

from __future__ import annotations

import os
from pathlib import Path

from skysense.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_held: dict[Path, int] = {}  # the system lets go of them when the process ends, however it does


def hold(folder: Path) -> None:
    """Keep other processes away from a work folder until `release`, or the end of this process.

    Args:
        folder: that is there.

    Raises:
        OutputError: another process has it.
    """
    release(folder)
    if fcntl is None:
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise OutputError(
            "another process is at work on it", file=folder, fix="Wait for its end, or choose another name"
        ) from error
    except OSError:  # a file system without locks
        os.close(handle)
        return
    _held[folder.absolute()] = handle


def release(folder: Path) -> None:
    """Let other processes at a work folder, whether or not it is still there."""
    handle = _held.pop(folder.absolute(), None)
    if handle is not None:
        os.close(handle)
