"""The data sets and their readers; the one way in is `open_dataset`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.pictures import TILE_SIGN, check_tile
from skysense.data.places_layout import Split
from skysense.datasets import dior, fair1m, scenes
from skysense.datasets.card import card
from skysense.errors import InputError

READERS: Mapping[str, Callable[..., LabelledData]] = {
    "aid": scenes.read_aid,
    "dior": dior.read_dior,
    "dior-r": dior.read_dior_r,
    "fair1m": fair1m.read_fair1m,
    "resisc45": scenes.read_resisc45,
}


def open_dataset(name: str, source: str | Path, **options: Any) -> LabelledData:
    """Open a copy of a published data set, with its splits; no pixel is read.

    Args:
        name: of the data set, see `skysense.datasets.card.card_names`.
        source: its folder, as unpacked.
        options: those that its reader has: ``share`` of the images to learn from, ``tile`` in pixels, ...; None is as
            if it were not there.

    Raises:
        InputError: an unknown name or option, or a folder that is no whole copy.
    """
    read = READERS[card(name).name]
    known = list(inspect.signature(read).parameters)[1:]
    given = {key: value for key, value in options.items() if value is not None}
    unused = [key for key in given if key not in known]
    if unused:
        takes = f"takes {', '.join(known)}" if known else "takes none"
        raise InputError(f"{name} has no option {', '.join(unused)}; it {takes}")
    check_tile(given.get("tile"))
    data = read(Path(source), **given)
    found, published = len(pictures_of(data)), card(name).examples
    if found == published:
        return data
    note = f"{found:,} of {published:,} published images: numbers cannot be compared; skysense datasets check says more"
    return replace(data, notes=(*data.notes, note))


def pictures_of(data: LabelledData) -> set[tuple[str, Split | None]]:
    """The images that items are, or are tiles of, with their split."""
    return {(item.name.split(TILE_SIGN)[0], item.split) for item in data.items}
