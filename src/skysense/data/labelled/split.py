"""Dividing a data set into training, validation and test so that none of them has seen the ground of another.

Neighbouring tiles look alike: drawn at random they make a test too easy. So whole blocks of ground are drawn where
positions are known, whole groups (the tiles of an image) where not, and single images only for want of both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.places_layout import Split
from skysense.errors import InputError
from skysense.geo import equal_area

By = Literal["location", "group", "random"]
SHARES: Mapping[Split, float] = {"train": 0.7, "val": 0.15, "test": 0.15}
"""How much of the data each split is to get, about."""
_BLOCKS = 12
"""At least so many blocks of ground, if there are so many positions: fewer cannot be shared out well."""
_NARROWER = math.sqrt(0.5)
Units = list[list[Item]]


def assign_splits(data: LabelledData, *, by: By | None = None, validate: bool = True, seed: int = 0) -> LabelledData:
    """Give every item a split; splits that the data set brings along are kept.

    If it brings along some but none for validation, validation is taken from training in the same way.

    Args:
        data: the data set.
        by: what is drawn: blocks of ground, groups or single items; by default the first of them that is known.
        validate: whether there is to be validation. Without it, as in protocols that learn from a given share and test
            on the rest, its examples are learned from too.
        seed: of the draw; the same gives the same.

    Returns:
        The data set with a note that says how it was divided.

    Raises:
        InputError: too few blocks or groups for three splits, positions that are asked for but not known, or a group
            in two splits.
    """
    if by is not None and by not in get_args(By):
        raise InputError(f"split by {by!r} is none of {', '.join(get_args(By))}")
    given = [item for item in data.items if item.split is not None]
    if not given:
        units, how = _units(data, data.items, by)
        shares: Mapping[Split, float] = SHARES
        if not validate:
            shares = {"train": SHARES["train"] + SHARES["val"], "test": SHARES["test"]}
        if len(units) < len(shares):
            raise InputError(
                f"{data.title} cannot be divided into {', '.join(shares)} {how}: there are only {len(units)} of them",
                fix="Give the splits yourself, cut smaller tiles, or divide at random",
            )
        chosen = _drawn(units, shares, seed)
        return _noted(data.split_as({item.name: chosen[item.name] for item in data.items}), f"divided {how}")
    check_groups(data)
    if len(given) < len(data.items):
        data = _noted(data, f"{len(data.items) - len(given)} items have no split and are not used")
    if not validate:
        kept = tuple(replace(item, split="train") if item.split == "val" else item for item in data.items)
        return _noted(replace(data, items=kept), "nothing is kept for validation: the last epoch counts")
    if any(item.split == "val" for item in given):
        return data
    training = [item for item in given if item.split == "train"]
    units, how = _units(data, training, by)
    if len(units) < 2:
        return data
    chosen = _drawn(units, {"train": 1 - SHARES["val"], "val": SHARES["val"]}, seed)
    items = tuple(replace(item, split=chosen.get(item.name, item.split)) for item in data.items)
    return _noted(replace(data, items=items), f"no validation was given: it is taken from training, {how}")


def check_groups(data: LabelledData) -> None:
    """Refuse splits that share a group: what lies on the same ground must not be learned from and tested on.

    Raises:
        InputError: a group in two splits; the message names it.
    """
    seen: dict[str, Item] = {}
    for item in data.items:
        first = seen.setdefault(item.group, item) if item.split is not None else item
        if first.split != item.split:
            raise InputError(
                f"{data.title}: {first.name} ({first.split}) and {item.name} ({item.split}) are of the same group "
                f"{item.group!r}",
                fix="Put all items of a group into one split",
            )


def _noted(data: LabelledData, note: str) -> LabelledData:
    return replace(data, notes=(*data.notes, note))


def _units(data: LabelledData, items: Sequence[Item], by: By | None) -> tuple[Units, str]:
    """What is drawn as one, and words for it."""
    placed = [item for item in items if item.lon is not None]
    groups = _by_group(items)
    if by is None:
        by = "location" if placed else "group" if len(groups) < len(items) else "random"
        if by == "random":
            return [[item] for item in items], "at random: neighbouring images may lie in different splits"
    if by == "location":
        if not placed:
            raise InputError(f"{data.title} cannot be divided by location: no item has a position")
        units, side = _blocks(items)
        return units, f"by location, in {len(units)} blocks of {side / 1000:.3g} km"
    if by == "group":
        return groups, f"by group, of which there are {len(groups)}"
    return [[item] for item in items], "at random"


def _by_group(items: Sequence[Item]) -> Units:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    return list(groups.values())


def _blocks(items: Sequence[Item]) -> tuple[Units, float]:
    """Items by squares of an equal-area map, as large as still gives enough of them, and the side in metres.

    Items of one group stay together even if they lie in several squares; those without position go by their group.
    """
    places = {
        item.name: equal_area(item.lon, item.lat) for item in items if item.lon is not None and item.lat is not None
    }
    x_N, y_N = np.array(list(places.values())).T
    wanted = min(_BLOCKS, len(set(places.values())))
    side = max(float(np.ptp(x_N)), float(np.ptp(y_N)), 1.0)
    smallest = min(1.0, side)
    while True:
        squares = {
            name: (math.floor((x - x_N.min()) / side), math.floor((y - y_N.min()) / side))
            for name, (x, y) in places.items()
        }
        units = _together(items, squares)
        if len(units) >= wanted or side <= smallest:
            return units, side
        side *= _NARROWER


def _together(items: Sequence[Item], squares: Mapping[str, tuple[int, int]]) -> Units:
    """Items that share a square or a group, directly or through others."""
    above = list(range(len(items)))

    def first(index: int) -> int:
        while above[index] != index:
            above[index] = above[above[index]]
            index = above[index]
        return index

    holder: dict[object, int] = {}
    for index, item in enumerate(items):
        for key in (item.group, squares.get(item.name, item.group)):
            above[first(index)] = first(holder.setdefault(key, index))
    units: dict[int, list[Item]] = {}
    for index, item in enumerate(items):
        units.setdefault(first(index), []).append(item)
    return list(units.values())


def _drawn(units: Units, shares: Mapping[Split, float], seed: int) -> dict[str, Split]:
    """Units to splits: large ones first, in random order among equals, each to the split that lacks most."""
    order = np.random.default_rng(seed).permutation(len(units))
    ordered = sorted((units[index] for index in order), key=len, reverse=True)
    lacking = {split: share * sum(map(len, units)) for split, share in shares.items()}
    empty = set(shares)
    chosen: dict[str, Split] = {}
    for position, unit in enumerate(ordered):
        left = len(ordered) - position
        among = [split for split in shares if split in empty] if left <= len(empty) else list(shares)
        split = max(among, key=lambda one: lacking[one])
        lacking[split] -= len(unit)
        empty.discard(split)
        chosen |= {item.name: split for item in unit}
    return chosen
