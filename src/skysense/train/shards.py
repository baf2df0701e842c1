"""The files of one checkpoint: a safetensors file per rank, and an account by which damage is found before loading.

The shards are laid out as the checkpoints of torch.distributed in the safetensors format are, and read with its reader,
which finds for every tensor, however it is sharded now, the pieces it was written in.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from skysense.errors import InputError
from skysense.files import output_error, read_json
from skysense.train.staging import Piece

ABOUT, ACCOUNT = "about.json", "account.json"

Account = dict[str, dict[str, int]]
"""Size in bytes and CRC-32 of files, by name."""

_DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
}
_SUFFIX = ".safetensors"
_BLOCK = 16 << 20


def shard_name(rank: int) -> str:
    """Name of the file of a rank."""
    return f"shard-{rank:05d}{_SUFFIX}"


def write_shard(path: Path, pieces: Sequence[Piece]) -> Account:
    """Write the pieces of a rank; nothing if there are none.

    Piece by piece, since the library's own writer puts the whole file together in memory first, several times over, and
    stops every thread of the process meanwhile.

    Raises:
        OutputError: no space, no permission.
    """
    if not pieces:
        return {}
    pieces = sorted(pieces, key=lambda piece: -piece.values.element_size())  # so that every element is aligned
    return _write(path, [_header(pieces), *(_bytes(piece.values) for piece in pieces)])


def write_text(path: Path, text: str) -> Account:
    """Write a small file.

    Raises:
        OutputError: no space, no permission.
    """
    return _write(path, [memoryview(text.encode())])


def check(folder: Path, *, share: slice = slice(None)) -> None:
    """Compare files with the account.

    Args:
        folder: of the checkpoint.
        share: which of the files, in the order of their names.

    Raises:
        InputError: one is missing, truncated, damaged or foreign.
    """
    account = _read_account(folder)
    for path in folder.glob(f"*{_SUFFIX}"):
        if path.name not in account:
            raise InputError("does not belong to the checkpoint it lies in", file=path)
    for name, entry in sorted(account.items())[share]:
        path = folder / name
        try:
            if path.stat().st_size != entry["bytes"]:
                raise InputError(f"is damaged: has {path.stat().st_size} bytes instead of {entry['bytes']}", file=path)
            if _checksum(path) != entry["crc32"]:
                raise InputError("is damaged: its checksum differs", file=path)
        except OSError as error:
            raise InputError(f"could not be read: {os.strerror(error.errno or 0).lower()}", file=path) from error


def describe(folder: Path) -> dict[str, Tensor]:
    """Names, shapes and types of the tensors of a checkpoint that has been checked, as tensors without values."""
    return _tensors(HuggingFaceStorageReader(str(folder)).read_metadata())


def read_shards(folder: Path, into: Mapping[str, Tensor]) -> None:
    """Fill tensors in place, of DTensors the local part, from a checkpoint that has been checked.

    Raises:
        InputError: it has no such tensor, or one of another shape or type.
    """
    reader = HuggingFaceStorageReader(str(folder))
    metadata = reader.read_metadata()
    kept = _tensors(metadata)
    for name, tensor in into.items():
        if name not in kept:
            raise InputError(f"holds no {name}", file=folder)
        have, want = (f"{tuple(one.shape)} {one.dtype}" for one in (kept[name], tensor))
        if have != want:
            raise InputError(f"holds {name} as {have}, not as {want}", file=folder)
    planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    planner.set_up_planner(dict(into), metadata, is_coordinator=True)
    reader.set_up_storage_reader(metadata, is_coordinator=True)
    reader.read_data(planner.finish_plan(planner.create_local_plan()), planner).wait()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut.

    Raises:
        OutputError: the disk does not answer.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise output_error(error, folder) from error


def _tensors(metadata: Metadata) -> dict[str, Tensor]:
    return {
        name: torch.empty(one.size, dtype=one.properties.dtype, device="meta")
        for name, one in metadata.state_dict_metadata.items()
        if isinstance(one, TensorStorageMetadata)
    }


def _header(pieces: Sequence[Piece]) -> memoryview:
    tensors: dict[str, Any] = {}
    end = 0
    for piece in pieces:
        begin, end = end, end + piece.values.nbytes
        dtype, shape = _DTYPES[piece.values.dtype], list(piece.values.shape)
        tensors[piece.name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    where = {piece.name: {"saved_offsets": piece.offsets} for piece in pieces}
    about = {"DCP_SHARDING_INFO": json.dumps(where), "DCP_VERSION": "1.0", "format": "pt"}
    text = json.dumps({"__metadata__": about} | tensors).encode()
    text += b" " * (-len(text) % 8)
    return memoryview(struct.pack("<Q", len(text)) + text)


def _bytes(values: Tensor) -> memoryview:
    return values.reshape(-1).view(torch.uint8).numpy().data


def _write(path: Path, parts: Iterable[memoryview]) -> Account:
    size = checksum = 0
    try:
        with path.open("wb") as file:
            for part in parts:
                _write_part(file, part)
                size, checksum = size + len(part), zlib.crc32(part, checksum)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise output_error(error, path) from error
    return {path.name: {"bytes": size, "crc32": checksum}}


def _write_part(file: IO[bytes], part: memoryview) -> None:
    file.write(part)


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _read_account(folder: Path) -> Account:
    account = read_json(folder / ACCOUNT)
    if not isinstance(account, dict) or ABOUT not in account or not all(map(_is_entry, account.values())):
        raise InputError("is not the account of a checkpoint", file=folder / ACCOUNT)
    return account


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(number), int) for number in ("bytes", "crc32"))
