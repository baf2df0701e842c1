"""A labelled data set: its items can be listed, counted and split without reading a pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from skysense.data.labelled.example import Example, Task
from skysense.data.places_layout import Split
from skysense.errors import InputError


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


@dataclass(frozen=True)
class LabelledData:
    """Items with one kind of label.

    Attributes:
        title: name of the data set.
        task: kind of its labels.
        classes: names by class index.
        items: what can be read.
        read_item: reads one of the items; it holds no open file and may be copied into other processes.
        simulated: whether the pixels are made up.
        notes: what a person should know: guesses that were made, things left out.
    """

    title: str
    task: Task
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    read_item: Callable[[Item], Example]
    simulated: bool = False
    notes: tuple[str, ...] = ()

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
        chosen = tuple(item for item in self.items if item.split == split)
        if not chosen:
            raise InputError(
                f"{self.title} holds no example for {split!r}", fix="See what there is: skysense adapt --dry_run true"
            )
        return replace(self, items=chosen)

    def split_as(self, splits: Mapping[str, Split]) -> LabelledData:
        """The same with the split of every item given by name."""
        return replace(self, items=tuple(replace(item, split=splits[item.name]) for item in self.items))
