"""Splits that are the same on every machine: drawn by hashing names, and named by a hash of the whole list."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from skysense.data.labelled.dataset import Item
from skysense.data.places_layout import Split
from skysense.errors import ConfigError


def draw_share(names_by_class: Mapping[str, Sequence[str]], share: float, seed: int = 0) -> dict[str, Split]:
    """Learn from a share of the images of every class, test on all others.

    Names are put in the order of their hash, so that the draw depends on neither the order of files nor a library's
    random numbers.

    Args:
        names_by_class: names of the images of each class.
        share: of each class to learn from, 0 .. 1, rounded to whole images, at least one.
        seed: of the draw.

    Raises:
        ConfigError: a share that leaves nothing to learn from or to test on.
    """
    if not 0 < share < 1:
        raise ConfigError(f"the share to learn from must lie between 0 and 1; got {share:g}")
    splits: dict[str, Split] = {}
    for names in names_by_class.values():
        ordered = _by_hash(names, seed)
        count = share_count(len(ordered), share)
        splits |= {name: "train" if place < count else "test" for place, name in enumerate(ordered)}
    return splits


def keep_share(names: Sequence[str], share: float, seed: int = 0) -> list[str]:
    """A share of a published list to learn from; the others are not used. A smaller share is part of a larger one.

    Args:
        names: of the list.
        share: above 0, 1 for all, rounded to whole images, at least one.
        seed: of the draw.

    Raises:
        ConfigError: a share that is none.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"the share to learn from must lie above 0 and not above 1; got {share:g}")
    return list(names) if share == 1 else _by_hash(names, seed)[: share_count(len(names), share)]


def share_count(count: int, share: float) -> int:
    """How many images of so many are a share."""
    return max(1, round(share * count))


def _by_hash(names: Iterable[str], seed: int) -> list[str]:
    """Names in an order that depends on nothing else."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def split_hash(items: Iterable[Item]) -> str:
    """Sixteen hexadecimal digits that name a division: another list of names and splits has others."""
    lines = sorted(f"{item.name}\t{item.split or ''}\n" for item in items)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
