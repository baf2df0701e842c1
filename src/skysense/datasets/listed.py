"""What published lists name beside what folders hold: each folder is listed once, and no file is looked at."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from skysense.data.labelled.dataset import Item


@runtime_checkable
class Listed(Protocol):
    """A reader that believes a list, because to look for half a million files takes long."""

    def paths(self, item: Item) -> tuple[str, ...]:
        """Folders or files that an item is read from."""
        ...


def absent(paths: Iterable[str]) -> tuple[int, str | None]:
    """How many of some folders or files are not there, and the first of them in the order of names."""
    by_folder: dict[str, list[str]] = {}
    for path in paths:
        folder, name = os.path.split(path)
        by_folder.setdefault(folder, []).append(name)
    missing: list[str] = []
    for folder, names in by_folder.items():
        held = _names(folder)
        missing += [os.path.join(folder, name) for name in names if name not in held]
    return len(missing), min(missing, default=None)


def _names(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
