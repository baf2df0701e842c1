"""Looking at places of a corpus one by one, with no more than one of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skysense.curate.card.numbers import Numbers
from skysense.curate.card.sheet import thumbnails
from skysense.data.places import Failure
from skysense.data.shards.read import ShardedPlace, Shards
from skysense.errors import InputError
from skysense.geo import Window
from skysense.observation import Sample, Series
from skysense.sensors import Modality

SHOWN = 12
MIDDLE = 16
"""Cells of a high-resolution image that are counted, along a side: all of it would be most of what is read."""


@dataclass
class Looked:
    """What looking at places gave.

    Attributes:
        numbers: counted.
        places: that could be read.
        pictures: of some of them, see `thumbnails`.
        unreadable: the others.
    """

    numbers: Numbers = field(default_factory=Numbers)
    places: int = 0
    pictures: list[Mapping[str, Any]] = field(default_factory=list)
    unreadable: list[Failure] = field(default_factory=list)


def look(corpus: Shards, chosen: Sequence[int], progress: Callable[[int, int], None] | None) -> Looked:
    """Count places one by one; only small pictures of a dozen of them are kept.

    Args:
        corpus: whose places.
        chosen: their numbers in it, ascending.
        progress: called with the number of places looked at and of all.
    """
    looked = Looked()
    shown = {chosen[int(at)] for at in np.linspace(0, len(chosen) - 1, min(SHOWN, len(chosen))).round()}
    for done, index in enumerate(chosen, 1):
        place = corpus[index]
        try:
            sample = corpus.read_sample(place) if index in shown else None
            looked.numbers.add(_counted(corpus, place, sample), corpus.attributes(place))
        except InputError as error:
            looked.unreadable.append(Failure(place.name, str(error)))
        else:
            looked.places += 1
            if sample is not None:
                looked.pictures.append(thumbnails(sample))
        if progress is not None:
            progress(done, len(chosen))
    return looked


def _counted(corpus: Shards, place: ShardedPlace, sample: Sample | None) -> dict[Modality, Series]:
    """The series of a place and the middle of its image, read unless the whole place was."""
    height, width = place.cells
    high, wide = min(height, MIDDLE), min(width, MIDDLE)
    middle = Window((height - high) // 2, (width - wide) // 2, high, wide)
    found: dict[Modality, Series] = {}
    for key in place.modalities:
        window = middle if key == "hr" else None
        if sample is None:
            found[key] = corpus.read_sample(place, [key], window).series[key]
        else:
            found[key] = sample.series[key] if window is None else sample.series[key].crop(window)
    return found
