"""The lists of BigEarthNet: which patches there are, what for, with which Sentinel-1 patch and which labels.

Letters: N patches, K classes.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.dataset import split_code
from skysense.data.places_layout import Split
from skysense.datasets.card import card
from skysense.datasets.index import UNKNOWN
from skysense.errors import InputError, need

V1_LISTS, V1_GOOGLE, V2_TABLE = "v1", "v1, lists of Google Research", "v2"
"""What can be read, as cards call it."""
_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_FORMS = ("{}.csv", "{}.csv.gz", "bigearthnet-{}.csv", "{}.txt")
"""Names of lists: of the authors, as they are packed on Zenodo, as TorchGeo renames them, of Google Research."""
_SPLITS_OF_V2: dict[str, Split] = {"train": "train", "validation": "val", "test": "test"}
_LEFT_OUT = ("patches_with_seasonal_snow", "patches_with_cloud_and_shadow")
_PAIRS = "s1s2_mapping"
_NO_CLASS = frozenset({
    "Road and rail networks and associated land", "Port areas", "Airports", "Mineral extraction sites", "Dump sites",
    "Construction sites", "Green urban areas", "Sport and leisure facilities", "Bare rock", "Burnt areas",
    "Intertidal flats",
})  # fmt: skip
"""Of the 43 names in version 1, those that none of the 19 classes holds."""


@dataclass
class Patches:
    """Patches of a copy.

    Attributes:
        version: of the lists.
        name_N: of the Sentinel-2 patches.
        split_N: as `skysense.data.labelled.dataset.ItemTable`.
        label_N: a bit for each class that applies, or `UNKNOWN`.
        s1_N: names of the Sentinel-1 patches, None if nobody asked.
        notes: for a person.
    """

    version: str
    name_N: NDArray[np.bytes_]
    split_N: NDArray[np.int8]
    label_N: NDArray[np.int64]
    s1_N: NDArray[np.bytes_] | None = None
    notes: tuple[str, ...] = ()

    def take(self, chosen: NDArray) -> Patches:
        """Some of them."""
        return replace(
            self,
            name_N=self.name_N[chosen],
            split_N=self.split_N[chosen],
            label_N=self.label_N[chosen],
            s1_N=None if self.s1_N is None else self.s1_N[chosen],
        )

    def ordered(self, file: Path) -> Patches:
        """The same in the order of names.

        Raises:
            InputError: one of them is there twice.
        """
        found = self.take(np.argsort(self.name_N))
        if (found.name_N[1:] == found.name_N[:-1]).any():
            raise InputError("the lists name a patch twice", file=file, fix="Get them again")
        return found


@cache
def _bit_of() -> dict[str, int]:
    """The bit of every name that stands for a class, among the 19 or the 43; 0 for those that belong to none."""
    about = card("bigearthnet-s2")
    found = dict.fromkeys(_NO_CLASS, 0)
    for index, (name, fine) in enumerate(zip(about.classes, about.values, strict=True)):
        found |= {one: 1 << index for one in (name, *fine)}
    return found


def bits(names: Iterable[str], file: Path) -> int:
    """Classes that apply, a bit for each, from their names or those of the 43 finer ones.

    Raises:
        InputError: a name of another data set.
    """
    known, found = _bit_of(), 0
    for name in names:
        if name not in known:
            raise InputError(f"has the label {name!r}, which BigEarthNet does not know", file=file)
        found |= known[name]
    return found


def labels_of(found: int) -> NDArray[np.bool_]:
    """Which of the classes apply, ``(K,)``."""
    return (found >> np.arange(len(card("bigearthnet-s2").classes)) & 1).astype(np.bool_)


def read_lists(root: Path, with_s1: bool) -> Patches:
    """Version 1: a list for each split, of the authors or of Google Research. Labels are in the patches.

    Raises:
        InputError: a list is missing, is not one of version 1, or names a patch twice.
    """
    folder, form = _find_lists(root)
    google = form.endswith(".txt")
    left_out = {name for stem in _LEFT_OUT for name in _lines(_list_of(root, folder, stem))} if google else set()
    lines: list[str] = []
    codes: list[int] = []
    for split in _SPLITS:
        file = folder / form.format(split)
        found = _lines(file)
        if not found or not found[0].startswith("S2") or found[0].partition(",")[0].count("_") != 4:
            raise InputError(
                "is no list of patches of version 1, such as S2A_MSIL2A_20170717T113321_28_87",
                file=file,
                fix="Version 2 has other names of patches and other splits, which are in its metadata.parquet",
            )
        lines += [line for line in found if line not in left_out]
        codes += [split_code(split)] * (len(lines) - len(codes))
    names = [line.partition(",")[0] for line in lines]
    s1_N = _array(_s1_names(lines, names, root, folder), root) if with_s1 else None
    label_N = np.full(len(names), UNKNOWN, np.int64)
    notes = (f"{len(left_out):,} patches with snow, cloud or shadow are left out",) if google else ()
    version = V1_GOOGLE if google else V1_LISTS
    return Patches(version, _array(names, root), np.array(codes, np.int8), label_N, s1_N, notes).ordered(folder)


def _find_lists(root: Path) -> tuple[Path, str]:
    for folder in (root, root / "splits"):
        for form in _FORMS:
            if (folder / form.format("train")).is_file():
                return folder, form
    raise InputError(
        "train.csv, val.csv and test.csv are missing: they say which patches are for what; archives do not hold them",
        file=root,
        fix="Get them and put them beside the folders of patches; see skysense datasets show bigearthnet-s2",
    )


def _list_of(root: Path, folder: Path, stem: str) -> Path:
    """A list that goes with those of the splits."""
    files = [base / f"{stem}{ending}" for base in (folder, root) for ending in (".csv", ".csv.gz")]
    return next((file for file in files if file.is_file()), files[0])


def _lines(file: Path) -> list[str]:
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        return [line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise InputError(
            "is missing: it says which patches are used", file=file, fix="See skysense datasets show bigearthnet-s2"
        ) from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError("is not a list of names in UTF-8 (truncated or foreign)", file=file) from error


def _s1_names(lines: Sequence[str], names: Sequence[str], root: Path, folder: Path) -> list[str]:
    """The Sentinel-1 patch of each; it stands beside it in the lists, or in the table of all pairs."""
    beside = [line.partition(",")[2] for line in lines]
    if all(beside):
        return beside
    file = _list_of(root, folder, _PAIRS)
    if not file.is_file():
        raise InputError(
            "the lists name Sentinel-2 patches alone",
            file=folder,
            fix=f"Get the lists of BigEarthNet-MM, of two columns, or {_PAIRS}.csv",
        )
    pairs = {s2: s1 for s2, _, s1 in (line.partition(",") for line in _lines(file))}
    lacking = [name for name in names if not pairs.get(name)]
    if lacking:
        raise InputError(f"has no Sentinel-1 patch for {len(lacking)} patches, first {lacking[0]}", file=file)
    return [pairs[name] for name in names]


def read_metadata(root: Path, with_s1: bool) -> Patches:
    """Version 2: one table of splits, labels and pairs, without patches of snow, cloud or shadow.

    Raises:
        InputError: it is missing, damaged, or holds splits or labels that version 2 does not know.
        MissingExtra: pyarrow is not installed.
    """
    file = root / "metadata.parquet"
    if not file.is_file():
        raise InputError(
            "is missing: it holds the labels and splits of version 2",
            file=file,
            fix="Get it from zenodo.org/records/10891137 and put it beside BigEarthNet-S2",
        )
    parquet = need("pyarrow.parquet", "datasets")
    columns = ["patch_id", "split", "labels", *(["s1_name"] if with_s1 else [])]
    try:
        table = parquet.read_table(file, columns=columns)
    except (OSError, ValueError) as error:
        raise InputError(
            "is not the table of version 2 (truncated or foreign)", file=file, fix="Get it again"
        ) from error
    return _patches(table, file, with_s1)


def _patches(table: Any, file: Path, with_s1: bool) -> Patches:
    words, code_N = _coded(table["split"].combine_chunks())
    unknown = sorted(set(words) - set(_SPLITS_OF_V2))
    if unknown:
        raise InputError(f"has the splits {', '.join(unknown)}; version 2 has train, validation, test", file=file)
    split_N = np.array([split_code(_SPLITS_OF_V2[word]) for word in words], np.int8)[code_N]
    name_N = _array(table["patch_id"].to_pylist(), file)
    s1_N = _array(table["s1_name"].to_pylist(), file) if with_s1 else None
    label_N = _label_bits(table["labels"].combine_chunks(), file)
    return Patches(V2_TABLE, name_N, split_N, label_N, s1_N).ordered(file)


def _label_bits(lists: Any, file: Path) -> NDArray[np.int64]:
    """Lists of names as bits."""
    words, code_M = _coded(lists.flatten())
    bit_M = np.array([bits([word], file) for word in words], np.int64)[code_M]
    length_N = lists.value_lengths().to_numpy(zero_copy_only=False)
    found_N = np.zeros(len(lists), np.int64)
    np.bitwise_or.at(found_N, np.repeat(np.arange(len(lists)), length_N), bit_M)
    return found_N


def _coded(column: Any) -> tuple[list[str], NDArray[np.int64]]:
    """The words of a column, and which of them stands in each row."""
    coded = column.dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False)


def _array(names: Sequence[str], file: Path) -> NDArray[np.bytes_]:
    try:
        return np.array(names, "S")
    except UnicodeEncodeError as error:
        raise InputError("names patches in letters that are not ASCII", file=file) from error
