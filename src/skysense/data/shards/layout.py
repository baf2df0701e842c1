"""What a corpus of shards is called, holds and means; see docs/shards.md.

``shards.json`` says what the corpus is and lists its shards; ``places.npy`` has one row a place; each shard is a Zarr
group of its own, whose places have the same size and the same sensors.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.lib.format as npy
from numpy.typing import NDArray

from skysense.data.places_layout import Split
from skysense.errors import InputError
from skysense.sensors import MODALITIES

FORMAT, VERSION = "skysense-shards", 1
MANIFEST_FILE = "shards.json"
INDEX_FILE = "places.npy"
ROWS_FILE = "rows.npy"
ABOUT_FILE = "places.json"
GROUP_FILE = "zarr.json"
ENDING = ".zarr"
PLACES_PER_SHARD = 32
"""Of the published size that is some 350 MB stored, and 768 MB in memory; writing takes some 260 MB beside."""
SPLITS: tuple[Split | None, ...] = (None, "train", "val", "test")
CHUNK_SIDE = 32
"""Pixels along a chunk of a Sentinel frame: a 16-cell window meets 1.5 of them on average."""
HR_CHUNK_SIDE = 128
"""Four cells: what windows on the lattice of the encoders read without excess."""
NO_DATE = int(np.iinfo(np.int32).min)
DTYPES = ("uint8", "uint16", "int16", "float32")
"""Number types of pixels."""
CLOUDY, CLEAR, UNKNOWN = 0, 1, 2
"""Values of the array ``clear``; UNKNOWN in all frames of a series whose clouds nobody knows."""


def index_dtype(name: int = 1, crs: int = 1) -> np.dtype:
    """Columns of the index; ``name`` and ``crs`` are the most bytes of these texts."""
    columns: list[tuple[Any, ...]] = [
        ("name", f"S{max(name, 1)}"),
        ("lon", "<f8"),
        ("lat", "<f8"),
        ("cells", "<i4", (2,)),
        ("bounds", "<f8", (4,)),
        ("crs", f"S{max(crs, 1)}"),
        ("split", "u1"),
        ("region", "<i8"),
        ("digest", "S32"),
        ("shard", "<i4"),
        ("slot", "<i4"),
        *((f"{modality}_{what}", "<i4") for modality in MODALITIES for what in ("start", "frames")),
    ]
    return np.dtype(columns)


@dataclass(frozen=True)
class ShardInfo:
    """One shard, as the manifest lists it.

    Attributes:
        name: of its folder, without the ending.
        places: number of places.
        bytes: of its files, all but the one that says so (``zarr.json`` of the shard).
        digest: hash of its places in order, attributes included; independent of compression.
    """

    name: str
    places: int
    bytes: int
    digest: str


@dataclass(frozen=True)
class Manifest:
    """What ``shards.json`` says.

    Attributes:
        title: a name for people.
        simulated: whether the pixels are made up.
        source: where they come from.
        licence: under which terms.
        shards: in order.
        about: anything else that is known, e.g. how it was curated.
    """

    title: str
    simulated: bool
    source: str = ""
    licence: str = ""
    shards: Sequence[ShardInfo] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}


def shard_name(number: int) -> str:
    """Of the shard of this number, counted from 0."""
    return f"{number:06d}"


def parse_manifest(content: Any, file: str | Path) -> Manifest:
    """The manifest of a corpus.

    Raises:
        InputError: another format or a newer version, or a field that is missing or of another type.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError("is not the manifest of a corpus of shards", file=file)
    if content.get("version") != VERSION:
        raise InputError(
            f"is of version {content.get('version')}; this release reads {VERSION}", file=file, fix="Update skysense"
        )
    try:
        shards = tuple(
            ShardInfo(str(one["name"]), int(one["places"]), int(one["bytes"]), str(one["digest"]))
            for one in content["shards"]
        )
        title, simulated = str(content["title"]), bool(content["simulated"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"lacks or misstates {error}", file=file) from error
    for shard in shards:
        if "/" in shard.name or shard.name.startswith("."):
            raise InputError(f"names a shard {shard.name!r}", file=file)
    return Manifest(
        title,
        simulated,
        str(content.get("source", "")),
        str(content.get("licence", "")),
        shards,
        content.get("about", {}),
    )


def write_rows(file: BinaryIO, parts: Sequence[NDArray[np.void]], shards: Sequence[int]) -> None:
    """Write parts of an index, one after the other, as one ``.npy`` file; no more than one of them is copied.

    Args:
        file: to write to.
        parts: rows; their texts may be of different length.
        shards: the number of the shard that the rows of each part are of.
    """
    name = max((part.dtype["name"].itemsize for part in parts), default=1)
    crs = max((part.dtype["crs"].itemsize for part in parts), default=1)
    dtype = index_dtype(name, crs)
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (sum(map(len, parts)),)}
    npy.write_array_header_1_0(file, header)
    for part, shard in zip(parts, shards, strict=True):
        rows = np.empty(len(part), dtype)
        rows[:] = part  # by position of the columns, which are the same
        rows["shard"] = shard
        file.write(rows.data)


def rows_to_bytes(parts: Sequence[NDArray[np.void]], shards: Sequence[int]) -> bytes:
    """As `write_rows` writes it."""
    buffer = io.BytesIO()
    write_rows(buffer, parts, shards)
    return buffer.getvalue()


def rows_from_bytes(content: bytes, file: str | Path) -> NDArray[np.void]:
    """Rows of the index out of a ``.npy`` file.

    Raises:
        InputError: truncated or foreign.
    """
    try:
        rows = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError("is not the index of a corpus of shards (truncated or foreign)", file=file) from error
    return check_rows(rows, file)


def check_rows(rows: NDArray, file: str | Path) -> NDArray[np.void]:
    """Refuse an index with other columns.

    Raises:
        InputError: if it has.
    """
    wanted = index_dtype()
    if rows.dtype.names != wanted.names or rows.ndim != 1:
        raise InputError("is not the index of a corpus of shards", file=file)
    return rows
