"""Dividing a data set into training, validation and test so that none of them has seen the ground of another.

Neighbouring tiles look alike: drawn at random they make a test too easy. So whole blocks of ground are drawn where
positions are known, whole groups (the tiles of an image) where not, and single images only for want of both.

There may be a million items: they are divided as columns, and none of them is made. Letters: N items, U units (what is
drawn as one), G groups, L letters of a name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.dataset import Item, ItemTable, LabelledData, split_code, split_codes
from skysense.data.places_layout import Split
from skysense.errors import InputError
from skysense.geo import equal_area_of

By = Literal["location", "group", "random"]
SHARES: Mapping[Split, float] = {"train": 0.7, "val": 0.15, "test": 0.15}
"""How much of the data each split is to get, about."""
_BLOCKS = 12
"""At least so many blocks of ground, if there are so many positions: fewer cannot be shared out well."""
_NARROWER = math.sqrt(0.5)
_NONE, _TRAIN, _VAL = -1, split_code("train"), split_code("val")


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
    split_N, ground = split_codes(data.items), _ground(data.items)
    if (split_N == _NONE).all():
        unit_N, how = _units(data, ground, by)
        shares: Mapping[Split, float] = SHARES
        if not validate:
            shares = {"train": SHARES["train"] + SHARES["val"], "test": SHARES["test"]}
        count = _count(unit_N)
        if count < len(shares):
            raise InputError(
                f"{data.title} cannot be divided into {', '.join(shares)} {how}: there are only {count} of them",
                fix="Give the splits yourself, cut smaller tiles, or divide at random",
            )
        return _noted(data.with_splits(_drawn(unit_N, shares, seed)), f"divided {how}")
    _check_groups(data, ground.group_N, split_N)
    left = int((split_N == _NONE).sum())
    if left:
        data = _noted(data, f"{left} items have no split and are not used")
    if not validate:
        kept = data.with_splits(np.where(split_N == _VAL, np.int8(_TRAIN), split_N))
        return _noted(kept, "nothing is kept for validation: the last epoch counts")
    if (split_N == _VAL).any():
        return data
    training_N = split_N == _TRAIN
    unit_N, how = _units(data, ground.of(training_N), by)
    if _count(unit_N) < 2:
        return data
    divided_N = split_N.copy()
    divided_N[training_N] = _drawn(unit_N, {"train": 1 - SHARES["val"], "val": SHARES["val"]}, seed)
    return _noted(data.with_splits(divided_N), f"no validation was given: it is taken from training, {how}")


def check_groups(data: LabelledData) -> None:
    """Refuse splits that share a group: what lies on the same ground must not be learned from and tested on.

    Raises:
        InputError: a group in two splits; the message names it.
    """
    _check_groups(data, _groups(data.items), split_codes(data.items))


def _check_groups(data: LabelledData, group_N: NDArray[np.int64], split_N: NDArray[np.int8]) -> None:
    given = np.flatnonzero(split_N != _NONE)
    _, first, inverse = np.unique(group_N[given], return_index=True, return_inverse=True)
    first_with = given[first][inverse]
    for index in np.flatnonzero(split_N[given] != split_N[first_with])[:1]:
        one, other = data.items[first_with[index]], data.items[given[index]]
        raise InputError(
            f"{data.title}: {one.name} ({one.split}) and {other.name} ({other.split}) are of the same group "
            f"{other.group!r}",
            fix="Put all items of a group into one split",
        )


def _noted(data: LabelledData, note: str) -> LabelledData:
    return replace(data, notes=(*data.notes, note))


@dataclass(frozen=True)
class _Ground:
    """Where items lie.

    Attributes:
        group_N: numbers of their groups.
        placed_N: whether their position is known.
        lonlat_N2: WGS 84 degrees, NaN where it is not.
    """

    group_N: NDArray[np.int64]
    placed_N: NDArray[np.bool_]
    lonlat_N2: NDArray[np.float64]

    def of(self, chosen_N: NDArray[np.bool_]) -> _Ground:
        """Of some of the items."""
        return _Ground(self.group_N[chosen_N], self.placed_N[chosen_N], self.lonlat_N2[chosen_N])


def _ground(items: Sequence[Item]) -> _Ground:
    if isinstance(items, ItemTable):
        lonlat_N2 = np.full((len(items), 2), np.nan) if items.lonlat_N2 is None else items.lonlat_N2
        return _Ground(_groups(items), np.full(len(items), items.lonlat_N2 is not None), lonlat_N2)
    nowhere = (math.nan, math.nan)
    placed_N = np.array([item.lon is not None and item.lat is not None for item in items], bool)
    places = [(item.lon, item.lat) if placed else nowhere for item, placed in zip(items, placed_N, strict=True)]
    return _Ground(_groups(items), placed_N, np.array(places, np.float64).reshape(-1, 2))


def _groups(items: Sequence[Item]) -> NDArray[np.int64]:
    """A number for the group of each item."""
    if not isinstance(items, ItemTable):
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(item.group, len(numbers)) for item in items], np.int64)
    if items.group_N is None:
        return np.arange(len(items))
    group_N = items.name_N.copy()  # each is to be cut to the letters of its group
    letters_NL = group_N.view(np.uint8).reshape(len(items), group_N.itemsize)
    for column in range(int(items.group_N.min(initial=0)), letters_NL.shape[1]):
        letters_NL[items.group_N <= column, column] = 0
    return _numbered(group_N)


def _numbered(key_N: NDArray) -> NDArray[np.int64]:
    """A number for each key, in the order in which they first occur."""
    _, first_U, unit_N = np.unique(key_N, return_index=True, return_inverse=True)
    number_U = np.empty(len(first_U), np.int64)
    number_U[np.argsort(first_U)] = np.arange(len(first_U))
    return number_U[unit_N]


def _count(number_N: NDArray[np.int64]) -> int:
    return int(number_N.max(initial=-1)) + 1


def _units(data: LabelledData, ground: _Ground, by: By | None) -> tuple[NDArray[np.int64], str]:
    """For each item a number of what is drawn as one, in the order in which they first occur, and words for it."""
    alone_N, group_N = np.arange(len(ground.group_N)), _numbered(ground.group_N)
    placed = bool(ground.placed_N.any())
    if by is None:
        by = "location" if placed else "group" if _count(group_N) < len(group_N) else "random"
        if by == "random":
            return alone_N, "at random: neighbouring images may lie in different splits"
    if by == "location":
        if not placed:
            raise InputError(f"{data.title} cannot be divided by location: no item has a position")
        unit_N, side = _blocks(replace(ground, group_N=group_N))
        return unit_N, f"by location, in {_count(unit_N)} blocks of {side / 1000:.3g} km"
    if by == "group":
        return group_N, f"by group, of which there are {_count(group_N)}"
    return alone_N, "at random"


def _blocks(ground: _Ground) -> tuple[NDArray[np.int64], float]:
    """Items by squares of an equal-area map, as large as still gives enough of them, and the side in metres.

    Items of one group stay together even if they lie in several squares; those without position go by their group.
    """
    x_N, y_N = equal_area_of(ground.lonlat_N2[ground.placed_N]).T
    wanted = min(_BLOCKS, len(np.unique(x_N + 1j * y_N)))
    side = max(float(np.ptp(x_N)), float(np.ptp(y_N)), 1.0)
    smallest = min(1.0, side)
    x_N, y_N = x_N - x_N.min(), y_N - y_N.min()
    while True:
        column_N, row_N = np.floor(x_N / side).astype(np.int64), np.floor(y_N / side).astype(np.int64)
        square_N = np.full(len(ground.group_N), -1)
        square_N[ground.placed_N] = _numbered(column_N * (_count(row_N) + 1) + row_N)
        unit_N = _together(ground.group_N, square_N)
        if _count(unit_N) >= wanted or side <= smallest:
            return unit_N, side
        side *= _NARROWER


def _together(group_N: NDArray[np.int64], square_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers for items that share a square or a group, directly or through others; a square of -1 is none."""
    placed = square_N >= 0
    groups, first = np.unique(group_N[placed], return_index=True)
    squares = _count(square_N)
    home_G = squares + np.arange(_count(group_N))  # a group without any position is by itself
    home_G[groups] = square_N[placed][first]
    above = list(range(squares))

    def top(square: int) -> int:
        while above[square] != square:
            above[square] = above[above[square]]
            square = above[square]
        return square

    home_N = home_G[group_N]
    apart = placed & (home_N != square_N)  # groups that lie in several squares
    for one, other in set(zip(home_N[apart].tolist(), square_N[apart].tolist(), strict=True)):
        above[top(one)] = top(other)
    tops = np.array([top(square) for square in range(squares)] + list(range(squares, squares + len(home_G))))
    return _numbered(tops[home_N])


def _drawn(unit_N: NDArray[np.int64], shares: Mapping[Split, float], seed: int) -> NDArray[np.int8]:
    """A split for each item: large units first, in random order among equals, each to the split that lacks most."""
    size_U = np.bincount(unit_N)
    order = np.random.default_rng(seed).permutation(len(size_U))
    order = order[np.argsort(-size_U[order], kind="stable")]
    lacking = {split: share * len(unit_N) for split, share in shares.items()}
    empty = set(shares)
    code_U = np.empty(len(size_U), np.int8)
    for position, (unit, size) in enumerate(zip(order.tolist(), size_U[order].tolist(), strict=True)):
        left = len(order) - position
        among = [split for split in shares if split in empty] if left <= len(empty) else shares
        chosen = max(among, key=lacking.__getitem__)
        lacking[chosen] -= size
        empty.discard(chosen)
        code_U[unit] = split_code(chosen)
    return code_U[unit_N]
