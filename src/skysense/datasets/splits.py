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
        ordered = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
        count = max(1, round(share * len(ordered)))
        splits |= {name: "train" if place < count else "test" for place, name in enumerate(ordered)}
    return splits


def split_hash(items: Iterable[Item]) -> str:
    """Sixteen hexadecimal digits that name a division: another list of names and splits has others."""
    lines = sorted(f"{item.name}\t{item.split or ''}\n" for item in items)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
