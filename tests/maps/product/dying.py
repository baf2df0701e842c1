"""A process that dies at a chosen moment, played within this one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}


class Dead(BaseException):
    """Nothing is done any more, not even tidying up."""


class _Clock:
    def __init__(self) -> None:
        self.left: int | None = None

    def tick(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise Dead
            self.left -= 1


_CLOCK = _Clock()
_WATCHING: list[bool] = []  # a hook cannot be taken away again


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if event in EVENTS and not str(args[0]).startswith("/dev/"):
        _CLOCK.tick()


@contextmanager
def dying_at(moment: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """From its n-th moment on the block can change no file.

    A moment is when it opens, makes, renames or removes something, or waits until it is on the disk.
    """
    if not _WATCHING:
        sys.addaudithook(_watch)
        _WATCHING.append(True)
    fsync = os.fsync

    def watched(handle: int) -> None:
        _CLOCK.tick()
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", watched)
        _CLOCK.left = moment
        try:
            yield
        finally:
            _CLOCK.left = None


def survives(run: Callable[[], Any], moment: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether something comes to its end before its n-th moment; else it died there."""
    try:
        with dying_at(moment, monkeypatch):
            run()
    except Dead:
        return False
    return True
