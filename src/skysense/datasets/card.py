"""What is known about a published data set, each fact with its source: one file of `cards/` per data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from skysense.data.labelled.example import TASKS, Task
from skysense.datasets.splits import share_count
from skysense.errors import ConfigError, InputError

_CARDS = files("skysense.datasets") / "cards"


@dataclass(frozen=True, kw_only=True)
class Imagery:
    """One kind of image of a data set.

    Attributes:
        sensor: what took it.
        bands: in the order of the files.
        unit: of the stored values, with the number type.
        gsd: ground sampling distance.
        size: pixels.
        read_as: name of the sensor that the model takes it for.
    """

    sensor: str
    bands: str
    unit: str
    gsd: str
    size: str
    read_as: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where facts come from.

    Attributes:
        where: a web address, a repository with path, or a paper.
        tells: which of the facts.
    """

    where: str
    tells: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """A data set.

    Attributes:
        name: as commands call it.
        title: as people call it.
        what: one sentence.
        paper: that introduced it.
        task: what is learned.
        metric: how the field judges it.
        imagery: its kinds of images.
        classes: in the order of their index.
        values: what stands for the classes in the files, in the same order, where that is not their name.
        amounts: images by split, as published.
        versions: the same of other published versions that can be read, by their name.
        objects: boxes by split (or of ``all``), as published, where that was verified.
        hashes: of the division into splits by how it was asked for, in the words of
            `skysense.datasets.catalogue.asked`, where it can be known beforehand; see
            `skysense.datasets.splits.split_hash`.
        layout: the folders and files of a whole copy.
        splits: what is learned from and tested on, and who says so.
        licence: and what it forbids.
        obtain: where and how to get it.
        faults: known errors, leaks, look-alikes.
        sources: of these facts.
    """

    name: str
    title: str
    what: str
    paper: str
    task: Task
    metric: str
    imagery: tuple[Imagery, ...]
    classes: tuple[str, ...]
    values: tuple[Any, ...] = ()
    amounts: Mapping[str, int]
    versions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    objects: Mapping[str, int] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    layout: str
    splits: str
    licence: str
    obtain: str
    faults: tuple[str, ...]
    sources: tuple[Source, ...]

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigError(f"card {self.name}: task {self.task!r} is none of {', '.join(TASKS)}")
        if len(set(self.classes)) != len(self.classes) or (self.values and len(self.values) != len(self.classes)):
            raise ConfigError(f"card {self.name}: classes must differ, and have a value each or none")

    @property
    def examples(self) -> int:
        """Images of all splits."""
        return sum(self.amounts.values())

    def published(self, version: str | None, share: float | None) -> dict[str, int]:
        """Images by split that a whole copy has.

        Args:
            version: one of ``versions``, or another word for the one of ``amounts``.
            share: of the published training list that is learned from, None for all. Where no list is published, shares
                are drawn from all images and do not change how many there are.
        """
        amounts = dict(self.versions.get(version or "", self.amounts))
        if share is not None and "train" in amounts:
            amounts["train"] = share_count(amounts["train"], share)
        return amounts


def card_names() -> tuple[str, ...]:
    """Names of all data sets."""
    return tuple(sorted(one.name.removesuffix(".yaml") for one in _CARDS.iterdir() if one.name.endswith(".yaml")))


@cache
def card(name: str) -> Card:
    """The card of a data set.

    Raises:
        InputError: an unknown name.
    """
    if name not in card_names():
        raise InputError(f"no data set is called {name!r}; known are {', '.join(card_names())}")
    content = yaml.safe_load((_CARDS / f"{name}.yaml").read_text("utf-8"))
    unknown = set(content) - {one.name for one in fields(Card)}
    if unknown:
        raise ConfigError(f"card {name}: unknown entries {', '.join(sorted(unknown))}")
    content["imagery"] = tuple(Imagery(**one) for one in content["imagery"])
    content["sources"] = tuple(Source(**one) for one in content["sources"])
    for key in ("classes", "values", "faults"):
        content[key] = tuple(content.get(key, ()))
    return Card(name=name, **content)
