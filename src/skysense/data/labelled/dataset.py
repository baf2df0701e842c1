"""A labelled data set: its items can be listed, counted and split without reading a pixel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args, overload

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.example import Example, Task
from skysense.data.places_layout import Split
from skysense.errors import InputError

_SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Item:
    """One example that can be read.

    Attributes:
        name: unique within the data set.
        group: items of one group lie on the same ground (tiles of a scene, dates of a place): they share a split.
        split: what it is for; None as long as nobody decided.
        lon, lat: WGS 84 degrees of its centre, where known.
    """

    name: str
    group: str
    split: Split | None = None
    lon: float | None = None
    lat: float | None = None


@dataclass(frozen=True, eq=False)
class ItemTable(Sequence[Item]):
    """A great many items of whole images (no tiles) in little memory: columns, of which items are made when asked for.

    An `Item` costs about 230 bytes with its name, columns a quarter of that. They are passed to other processes as they
    lie in memory, and reading them there does not write to, and so copy, what processes share.

    Letters: N items.

    Attributes:
        name_N: bytes, ASCII, ascending and each once.
        split_N: int8 position in train, val, test; -1 for none.
        group_N: how many letters of the name are the name of its group; None where each is a group of its own.
        lonlat_N2: float64 WGS 84 degrees of the centres, None where they are not known.
    """

    name_N: NDArray[np.bytes_]
    split_N: NDArray[np.int8]
    group_N: NDArray[np.uint8] | None = None
    lonlat_N2: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.name_N)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> ItemTable: ...
    def __getitem__(self, index: int | slice) -> Item | ItemTable:
        if isinstance(index, slice):
            return self.take(index)
        name = self.name_N[index].decode()  # beyond the end: IndexError, as of any sequence
        group = name if self.group_N is None else name[: self.group_N[index]]
        lon, lat = (None, None) if self.lonlat_N2 is None else self.lonlat_N2[index].tolist()
        code = self.split_N[index]
        return Item(name, group, None if code < 0 else _SPLITS[code], lon, lat)

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def of(self, split: Split) -> ItemTable:
        """The items of one split."""
        return self.take(self.split_N == _SPLITS.index(split))

    def row(self, name: str) -> int:
        """Where an item stands among these.

        Raises:
            KeyError: nowhere.
        """
        wanted = name.encode()
        index = int(np.searchsorted(self.name_N, np.bytes_(wanted)))
        if index == len(self) or self.name_N[index] != wanted:
            raise KeyError(name)
        return index

    def amounts(self) -> Counter[Split | None]:
        """How many items each split has."""
        codes, counts = np.unique(self.split_N, return_counts=True)
        return Counter({None if code < 0 else _SPLITS[code]: int(n) for code, n in zip(codes, counts, strict=True)})

    def take(self, chosen: slice | NDArray[np.bool_]) -> ItemTable:
        """Some of the items, in their order."""
        group_N = None if self.group_N is None else self.group_N[chosen]
        lonlat_N2 = None if self.lonlat_N2 is None else self.lonlat_N2[chosen]
        return ItemTable(self.name_N[chosen], self.split_N[chosen], group_N, lonlat_N2)


def split_code(split: Split) -> int:
    """What stands for a split in `ItemTable.split_N`."""
    return _SPLITS.index(split)


def split_codes(items: Sequence[Item]) -> NDArray[np.int8]:
    """The column `ItemTable.split_N` of any items."""
    if isinstance(items, ItemTable):
        return items.split_N
    codes: dict[Split | None, int] = {None: -1, **{split: code for code, split in enumerate(_SPLITS)}}
    return np.fromiter((codes[item.split] for item in items), np.int8, len(items))


@dataclass(frozen=True)
class LabelledData:
    """Items with one kind of label.

    Attributes:
        title: name of the data set.
        task: kind of its labels.
        classes: names by class index.
        items: what can be read: a tuple, or an `ItemTable` where there are very many.
        read_item: reads one of the items; it holds no open file and may be copied into other processes.
        simulated: whether the pixels are made up.
        notes: what a person should know: guesses that were made, things left out.
        version: which of the published versions it is, where there are several.
        left_out: by split, how many labelled examples of a published data set are no items because every copy lacks
            their imagery.
    """

    title: str
    task: Task
    classes: tuple[str, ...]
    items: Sequence[Item]
    read_item: Callable[[Item], Example]
    simulated: bool = False
    notes: tuple[str, ...] = ()
    version: str | None = None
    left_out: Mapping[Split, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    def read(self, index: int) -> Example:
        """Read an example.

        Raises:
            InputError: its files are missing, damaged or break a rule; the message names them.
        """
        return self.read_item(self.items[index])

    def select(self, split: Split) -> LabelledData:
        """The items of one split.

        Raises:
            InputError: it has none.
        """
        if isinstance(self.items, ItemTable):
            chosen: Sequence[Item] = self.items.of(split)
        else:
            chosen = tuple(item for item in self.items if item.split == split)
        if not chosen:
            raise InputError(
                f"{self.title} holds no example for {split!r}", fix="See what there is: skysense adapt --dry_run true"
            )
        return replace(self, items=chosen)

    def take(self, kept_N: NDArray[np.bool_]) -> LabelledData:
        """Some of the items, in their order."""
        if isinstance(self.items, ItemTable):
            return replace(self, items=self.items.take(kept_N))
        return replace(self, items=tuple(item for item, kept in zip(self.items, kept_N, strict=True) if kept))

    def named(self, names: Collection[str]) -> NDArray[np.bool_]:
        """Which of the items have one of these names."""
        if isinstance(self.items, ItemTable):
            return np.isin(self.items.name_N, np.array([name.encode() for name in names], np.bytes_))
        return np.fromiter((item.name in names for item in self.items), bool, len(self))

    def split_as(self, splits: Mapping[str, Split]) -> LabelledData:
        """The same with the split of every item given by name."""
        codes = (split_code(splits[item.name]) for item in self.items)
        return self.with_splits(np.fromiter(codes, np.int8, len(self)))

    def with_splits(self, split_N: NDArray[np.int8]) -> LabelledData:
        """The same with the split of every item given by its code, see `ItemTable.split_N`."""
        if isinstance(self.items, ItemTable):
            return replace(self, items=replace(self.items, split_N=split_N))
        splits = (None if code < 0 else _SPLITS[code] for code in split_N)
        return replace(
            self, items=tuple(replace(item, split=split) for item, split in zip(self.items, splits, strict=True))
        )
