"""What an archive offers and how it calls it: read from YAML, checked, with errors that name the line to mend.

The presets are in ``catalogues.yaml`` beside this file, which also says what a catalogue of your own looks like.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from skysense.curate.acquisition import STORED_UNITS, StoredUnit
from skysense.curate.http import Signing
from skysense.errors import ConfigError, InputError
from skysense.sensors import MODALITIES, Modality

PRESETS = Path(__file__).with_name("catalogues.yaml")
"""The catalogues that come with the package."""

_NEEDED: Mapping[Modality, frozenset[str]] = {
    "s2": frozenset({"B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12"}),
    "s1": frozenset({"VV", "VH"}),
    "hr": frozenset({"R", "G", "B"}),
}
_ALLOWED: Mapping[Modality, frozenset[str]] = {**_NEEDED, "hr": frozenset({"R", "G", "B", "NIR"})}
_UNITS: Mapping[Modality, tuple[StoredUnit, ...]] = {"s2": ("dn",), "s1": ("power", "dB"), "hr": ("uint8", "dn")}


@dataclass(frozen=True)
class BandSource:
    """Where an item keeps a band: the key of the asset, and which band of its file, from 1."""

    asset: str
    band: int


@dataclass(frozen=True)
class OffsetWord:
    """An item's own word on whether the offset of its baseline was subtracted, and which words can be relied upon."""

    property: str
    believe: tuple[bool, ...]


@dataclass(frozen=True)
class Collection:
    """Images of one kind.

    Attributes:
        id: its name in the catalogue.
        modality: which encoder they are for.
        unit: what the stored numbers mean.
        bands: where each of our bands is.
        masks: where what is not imagery is.
        licence, attribution: of the images.
        nodata: value of pixels that were not observed, if the files do not say so.
        only: properties that an item must have.
        cloud_cover, baseline: names of properties.
        offset_applied: whether the offset of the baseline was subtracted, in all items or as an item says.
    """

    id: str
    modality: Modality
    unit: StoredUnit
    bands: Mapping[str, BandSource]
    masks: Mapping[str, BandSource]
    licence: str
    attribution: str
    nodata: float | None = None
    only: Mapping[str, Any] = field(default_factory=dict)
    cloud_cover: str | None = None
    baseline: str | None = None
    offset_applied: bool | OffsetWord | None = None


@dataclass(frozen=True)
class Catalogue:
    """An archive: exactly one of ``url``, ``items`` and ``files``.

    Attributes:
        name: what the user and the accounts call it.
        title: what it is, for people.
        collections: what it offers.
        url: root of a STAC API.
        items: a file of STAC items (GeoJSON FeatureCollection) or a static STAC catalogue.
        files: a pattern of raster files.
        taken: with ``files``: a regular expression whose group is the date in a file's name, or the date itself.
        query: whether the API filters by properties.
        signing: how addresses are made readable, where they have to be.
        not_used: why there is nothing for a modality, where the catalogue has something that looks like it.
        simulated: whether its pixels are made up.
    """

    name: str
    title: str
    collections: tuple[Collection, ...]
    url: str | None = None
    items: Path | None = None
    files: Path | None = None
    taken: str | None = None
    query: bool = True
    signing: Signing | None = None
    not_used: Mapping[Modality, str] = field(default_factory=dict)
    simulated: bool = False

    def of(self, modality: Modality) -> tuple[Collection, ...]:
        """The collections of a modality.

        Raises:
            ConfigError: there is none; with the reason, and with presets that have one.
        """
        found = tuple(one for one in self.collections if one.modality == modality)
        if not found:
            why = f": {self.not_used[modality]}" if modality in self.not_used else ""
            raise ConfigError(f"the catalogue {self.name!r} offers no {modality} that can be used{why}")
        return found


def open_catalogue(name: str | Path) -> Catalogue:
    """A preset by its name, or a catalogue of your own by its file.

    Raises:
        ConfigError: no preset is called so, or the file breaks a rule; the message says where.
        InputError: the file cannot be read.
    """
    if str(name).endswith((".yaml", ".yml")):
        own = read_catalogues(Path(name))
        if len(own) != 1:
            raise ConfigError(f"{name}: holds {len(own)} catalogues ({', '.join(own)}); one to a file")
        return next(iter(own.values()))
    presets = read_catalogues(PRESETS)
    if str(name) not in presets:
        raise ConfigError(
            f"no catalogue is called {str(name)!r}; known: {', '.join(presets)}. "
            "A catalogue of your own is a file that ends in .yaml"
        )
    return presets[str(name)]


def read_catalogues(path: Path) -> dict[str, Catalogue]:
    """All catalogues of a file, by name.

    Raises:
        ConfigError, InputError: as `open_catalogue`.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read ({(error.strerror or '').lower()})", file=path) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"is not YAML: {' '.join(str(error).split())}", file=path) from error
    if not isinstance(tree, dict) or not tree:
        raise ConfigError(f"{path}: holds no catalogue; a catalogue begins with its name and a colon")
    return {
        str(name): _catalogue(str(name), _Table(entry, f"{path}: {name}"), path.parent) for name, entry in tree.items()
    }


class _Table:
    """A YAML mapping out of which every key has to be taken; what is left over was misspelt."""

    def __init__(self, tree: Any, where: str) -> None:
        if not isinstance(tree, dict):
            raise ConfigError(f"{where}: expected keys and values, found {tree!r}")
        self._left, self.where = dict(tree), where

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        if key not in self._left:
            if default is ...:
                raise ConfigError(f"{self.where}: {key!r} is missing")
            return default
        value = self._left.pop(key)
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            told = " or ".join(dict.fromkeys(_KINDS[one] for one in kinds))
            raise ConfigError(f"{self.where}: {key!r} has to be {told}, found {value!r}")
        return value

    def choose(self, key: str, among: tuple[str, ...]) -> Any:
        value = self.take(key, str)
        if value not in among:
            raise ConfigError(f"{self.where}: {key!r} is one of {', '.join(among)}; found {value!r}")
        return value

    def done(self) -> None:
        if self._left:
            raise ConfigError(f"{self.where}: unknown key {', '.join(map(repr, self._left))}")


_KINDS = {
    str: "a text",
    dict: "keys and values",
    list: "a list",
    int: "a number",
    float: "a number",
    bool: "true or false",
    date: "a date",
}


def _catalogue(name: str, table: _Table, folder: Path) -> Catalogue:
    sources = {key: table.take(key, str, None) for key in ("url", "items", "files")}
    if sum(value is not None for value in sources.values()) != 1:
        raise ConfigError(f"{table.where}: give one of 'url', 'items' and 'files'")
    signing = table.take("signing", dict, None)
    catalogue = Catalogue(
        name=name,
        title=table.take("title", str, name),
        collections=tuple(_collection(entry, table.where) for entry in table.take("collections", list)),
        url=None if sources["url"] is None else sources["url"].rstrip("/"),
        items=None if sources["items"] is None else folder / sources["items"],
        files=None if sources["files"] is None else folder / sources["files"],
        taken=_taken(table),
        query=table.take("query", bool, True),
        signing=None if signing is None else _signing(_Table(signing, f"{table.where}: signing")),
        not_used=_not_used(table.take("not_used", list, []), table.where),
        simulated=table.take("simulated", bool, False),
    )
    table.done()
    if not catalogue.collections:
        raise ConfigError(f"{table.where}: has no collection")
    if (catalogue.files is None) != (catalogue.taken is None):
        raise ConfigError(f"{table.where}: 'files' and 'taken' belong together")
    if catalogue.files is not None and len(catalogue.collections) != 1:
        raise ConfigError(f"{table.where}: with 'files' there is one collection")
    return catalogue


def _taken(table: _Table) -> str | None:
    value = table.take("taken", (str, date), None)
    if isinstance(value, str):
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ConfigError(f"{table.where}: 'taken' is no regular expression ({error})") from error
        if groups != 1:
            raise ConfigError(f"{table.where}: 'taken' has to have one group in parentheses, which is the date")
    return None if value is None else str(value)


def _signing(table: _Table) -> Signing:
    signing = Signing(table.take("files", str), table.take("token_url", str))
    table.done()
    unknown = set(re.findall(r"{(\w*)}", signing.token_url)) - set(re.findall(r"{(\w+)}", signing.files))
    if unknown:
        raise ConfigError(f"{table.where}: 'token_url' has {{{min(unknown)}}}, which is not in 'files'")
    return signing


def _not_used(entries: list[Any], where: str) -> dict[Modality, str]:
    reasons: dict[Modality, str] = {}
    for entry in entries:
        table = _Table(entry, f"{where}: not_used")
        table.take("id", str)
        modality: Modality = table.choose("modality", MODALITIES)
        reasons[modality] = table.take("why", str)
        table.done()
    return reasons


def _collection(entry: Any, where: str) -> Collection:
    table = _Table(entry, f"{where}: collection")
    identity = table.take("id", str)
    table.where = f"{where}: {identity}"
    modality: Modality = table.choose("modality", MODALITIES)
    bands = _sources(table.take("bands", dict), f"{table.where}: bands")
    if not _NEEDED[modality] <= set(bands) <= _ALLOWED[modality]:
        raise ConfigError(
            f"{table.where}: {modality} has the bands {', '.join(sorted(_ALLOWED[modality]))}; "
            f"missing: {', '.join(sorted(_NEEDED[modality] - set(bands))) or 'none'}; "
            f"unknown: {', '.join(sorted(set(bands) - _ALLOWED[modality])) or 'none'}"
        )
    unit: StoredUnit = table.choose("unit", STORED_UNITS)
    if unit not in _UNITS[modality]:
        raise ConfigError(f"{table.where}: {modality} is read from {' or '.join(_UNITS[modality])}, not from {unit}")
    collection = Collection(
        id=identity,
        modality=modality,
        unit=unit,
        bands=bands,
        masks=_sources(table.take("masks", dict, {}), f"{table.where}: masks"),
        licence=table.take("licence", str),
        attribution=table.take("attribution", str),
        nodata=table.take("nodata", (int, float), None),
        only=table.take("only", dict, {}),
        cloud_cover=table.take("cloud_cover", str, None),
        baseline=table.take("baseline", str, None),
        offset_applied=_offset(table),
    )
    table.done()
    return collection


def _sources(tree: dict[Any, Any], where: str) -> dict[str, BandSource]:
    """``image:2`` is the second band of the asset ``image``, and so is a plain 2."""
    sources = {}
    for name, value in tree.items():
        asset, colon, band = (f"image:{value}" if isinstance(value, int) else str(value)).rpartition(":")
        if not colon:
            asset, band = str(value), "1"
        if not asset or not band.isdigit() or int(band) < 1:
            raise ConfigError(f"{where}: {name} is the key of an asset, or key:band, or a band from 1; found {value!r}")
        sources[str(name)] = BandSource(asset, int(band))
    return sources


def _offset(table: _Table) -> bool | OffsetWord | None:
    value = table.take("offset_applied", (bool, dict), None)
    if not isinstance(value, dict):
        return value
    inner = _Table(value, f"{table.where}: offset_applied")
    word = OffsetWord(inner.take("property", str), tuple(inner.take("believe", list)))
    inner.done()
    if not word.believe or not all(isinstance(one, bool) for one in word.believe):
        raise ConfigError(f"{inner.where}: 'believe' is [true], [false] or [true, false]")
    return word
