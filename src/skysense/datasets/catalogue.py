"""The data sets and their readers; the one way in is `open_dataset`."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from skysense.data.labelled.dataset import ItemTable, LabelledData
from skysense.data.labelled.pictures import TILE_SIGN, check_tile
from skysense.data.labelled.survey import Progress
from skysense.data.places_layout import Split
from skysense.datasets import (
    bigearthnet,
    dior,
    dynamicearthnet,
    fair1m,
    fmow,
    isaid,
    levir,
    oscd,
    pastis,
    potsdam,
    scenes,
)
from skysense.datasets.card import card
from skysense.errors import InputError

READERS: Mapping[str, Callable[..., LabelledData]] = {
    "aid": scenes.read_aid,
    "bigearthnet-mm": bigearthnet.read_bigearthnet_mm,
    "bigearthnet-s2": bigearthnet.read_bigearthnet_s2,
    "dior": dior.read_dior,
    "dior-r": dior.read_dior_r,
    "dynamicearthnet-change": dynamicearthnet.read_dynamicearthnet_change,
    "dynamicearthnet-mm": dynamicearthnet.read_dynamicearthnet_mm,
    "dynamicearthnet-planet": dynamicearthnet.read_dynamicearthnet_planet,
    "dynamicearthnet-s2": dynamicearthnet.read_dynamicearthnet_s2,
    "fair1m": fair1m.read_fair1m,
    "fmow-s2": fmow.read_fmow_s2,
    "isaid": isaid.read_isaid,
    "levir-cd": levir.read_levir,
    "oscd": oscd.read_oscd,
    "pastis-mm": pastis.read_pastis_mm,
    "potsdam": potsdam.read_potsdam,
    "resisc45": scenes.read_resisc45,
}

SAYS_MORE = "; skysense datasets check says more"
"""End of a note on a copy that is not whole."""


def open_dataset(name: str, source: str | Path, *, progress: Progress | None = None, **options: Any) -> LabelledData:
    """Open a copy of a published data set, with its splits; no pixel is read.

    Args:
        name: of the data set, see `skysense.datasets.card.card_names`.
        source: its folder, as unpacked.
        progress: called now and then by readers that take long when a folder is opened for the first time.
        options: those that its reader has: ``share`` of the images to learn from, ``tile`` in pixels, ...; None is as
            if it were not there.

    Raises:
        InputError: an unknown name or option, or a folder that is no whole copy.
    """
    read = READERS[card(name).name]
    known = list(_defaults(name))
    given = {key: value for key, value in options.items() if value is not None}
    unused = [key for key in given if key not in known]
    if unused:
        takes = f"takes {', '.join(known)}" if known else "takes none"
        raise InputError(f"{name} has no option {', '.join(unused)}; it {takes}")
    check_tile(given.get("tile"))
    if "progress" in inspect.signature(read).parameters:
        given["progress"] = progress
    data = read(Path(source), **given)
    found = sum(pictures_by_split(data).values()) + sum(data.left_out.values())
    published = sum(card(name).published(data.version, given.get("share")).values())
    if found == published:
        return data
    note = f"{found:,} of {published:,} published images: numbers cannot be compared{SAYS_MORE}"
    return replace(data, notes=(*data.notes, note))


def asked(name: str, options: Mapping[str, Any]) -> str:
    """What decides a division, in the words of `Card.hashes`: options, and the reader's defaults where none is given.

    Args:
        name: of the data set.
        options: as `open_dataset` takes them.
    """
    given = {key: value for key, value in options.items() if value is not None}
    decided = {key: value for key, value in (_defaults(name) | given).items() if value is not None}
    words = {key: f"{value:g}" if isinstance(value, int | float) else str(value) for key, value in decided.items()}
    return ", ".join(f"{key} {word}" for key, word in words.items()) or "as published"


def _defaults(name: str) -> dict[str, Any]:
    """The options of a reader."""
    parameters = list(inspect.signature(READERS[name]).parameters.values())[1:]
    return {one.name: one.default for one in parameters if one.name != "progress"}


def pictures_by_split(data: LabelledData) -> Counter[Split | None]:
    """How many images each split has, where items are images or tiles of them."""
    if isinstance(data.items, ItemTable):
        return data.items.amounts()
    return Counter(split for _, split in {(item.name.split(TILE_SIGN)[0], item.split) for item in data.items})
