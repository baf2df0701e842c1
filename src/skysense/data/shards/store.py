"""Zarr arrays in a folder, on this machine or in a bucket: opened, written and read by TensorStore.

The format is Zarr v3 with the sharding codec, which any Zarr library opens; the reader is TensorStore because it reads
scattered chunks of one shard several times faster than others do (docs/shards.md has the measurement).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError, OutputError, Unreachable, need

CACHE_BYTES = 256 << 20
"""Shard indexes and decoded chunks that a process keeps; indexes of 16 bytes a chunk are what it is for."""
_REMOTE = ("s3://", "gs://", "http://", "https://")
_FILE = re.compile(r'in (?:local file )?"([^"]+)"|in (\w+://\S*[^:\s])')  # as messages name it
_DAMAGED = ("DATA_LOSS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "OUT_OF_RANGE")  # what damaged chunks decode to
_NO_ANSWER = ("ABORTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")  # after all tries; what is refused comes back at once
_RETRIES = {"max_retries": 6, "initial_delay": "500ms", "max_delay": "8s"}  # half a minute, not the usual quarter hour
_INDEX_ENTRIES = 4096  # chunks of one file: 64 kB of index, which a cold read fetches whole
_FILE_BYTES = 64 << 20  # values of one file, before compression: what writing takes beside the values themselves


def is_remote(root: str | Path) -> bool:
    """Whether a path names a bucket and not a folder of this machine."""
    return str(root).startswith(_REMOTE)


def kvstore(root: str | Path, *parts: str) -> Any:
    """What TensorStore calls a key-value store: a folder, ``s3://bucket/path`` or ``gs://bucket/path``.

    A store that speaks S3 but is not Amazon's is found by ``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL``, as other
    programs find it; ``TENSORSTORE_GCS_HTTP_URL`` names one that speaks the protocol of Google.
    """
    if not is_remote(root):
        return {"driver": "file", "path": "/".join([str(Path(root).resolve()), *parts]) + "/"}
    scheme, rest = str(root).rstrip("/").split("://", 1)
    if scheme not in ("s3", "gs"):
        return "/".join([f"{scheme}://{rest}", *parts]) + "/"
    bucket, _, path = rest.partition("/")
    where = {"bucket": bucket, "path": "/".join([part for part in (path, *parts) if part]) + "/"}
    return {"driver": "gcs", **where} if scheme == "gs" else {"driver": "s3", **where, **_s3_account()}


def _s3_account() -> dict[str, Any]:
    account: dict[str, Any] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        account |= {"endpoint": endpoint.rstrip("/"), "aws_region": region}
    if "AWS_ACCESS_KEY_ID" in os.environ:  # else it looks everywhere, and says aloud where it found nothing
        account["aws_credentials"] = {"type": "environment"}
    return account


@lru_cache(maxsize=8)
def context(workers: int) -> Any:
    """What all reads of so many workers share: one thread that decodes for each of them, and how long they try."""
    tensorstore = need("tensorstore", "shards")
    return tensorstore.Context(
        {
            "cache_pool": {"total_bytes_limit": CACHE_BYTES},
            "data_copy_concurrency": {"limit": max(workers, 1)},
            **{f"{protocol}_request_retries": _RETRIES for protocol in ("s3", "gcs", "http")},
        }
    )


def _folder(root: str | Path, *parts: str) -> Any:
    """A key-value store, opened."""
    tensorstore = need("tensorstore", "shards")
    return tensorstore.KvStore.open(kvstore(root, *parts), context=context(1)).result()


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Say in words what kept something from being read.

    Raises:
        Unreachable: the store does not answer.
        InputError: missing, truncated or corrupt.
    """
    try:
        yield
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        said = str(error)
        found = _FILE.search(said)
        file = found and (found[1] or found[2])
        if file and "Requested byte range" in said:
            raise InputError("is truncated", file=file) from error
        if file and said.startswith(_DAMAGED):
            raise InputError("is damaged: its checksum does not agree", file=file) from error
        if file and said.startswith("NOT_FOUND"):
            raise InputError("is missing, or a part of it", file=file) from error
        kind = Unreachable if said.startswith(_NO_ANSWER) else InputError
        raise kind(f"could not be read: {_first_words(error)}", file=path) from error


@contextmanager
def writable(path: str | Path) -> Iterator[None]:
    """Say in words what kept something from being written.

    Raises:
        OutputError: no space, no permission, no such bucket.
    """
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        fix = "Is there space left, and may you write there? What was finished before is still there"
        raise OutputError(f"could not be written: {_first_words(error)}", file=path, fix=fix) from error


def _first_words(error: Exception) -> str:
    """Of a message that goes on with the specification of an array."""
    return str(error).split(" [")[0].rstrip(".") or type(error).__name__


def find_bytes(root: str | Path, *parts: str) -> bytes | None:
    """A file of a store, None if it is not there.

    Raises:
        InputError: it cannot be read, or nobody can say whether it is there.
    """
    *folders, name = parts
    with readable("/".join([str(root), *parts])):
        found = _folder(root, *folders).read(name).result()
    return found.value if found.state == "value" else None


def read_bytes(root: str | Path, *parts: str) -> bytes:
    """A file of a store.

    Raises:
        InputError: it is not there or cannot be read.
    """
    found = find_bytes(root, *parts)
    if found is None:
        raise InputError("is not there", file="/".join([str(root), *parts]))
    return found


def list_names(root: str | Path, *folders: str) -> list[str]:
    """Names of the files of a folder of a store, in order; none if the folder is not there.

    Raises:
        InputError: it cannot be read.
    """
    with readable("/".join([str(root), *folders])):
        found = _folder(root, *folders).list().result()
    return sorted(name.decode() for name in found)


def write_bytes(content: bytes, root: str | Path, *parts: str) -> None:
    """Write a file of a store, whole or not at all.

    Raises:
        OutputError: no space, no permission.
    """
    *folders, name = parts
    with writable("/".join([str(root), *parts])):
        _folder(root, *folders).write(name, content).result()


def parse_json(content: bytes, file: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: truncated or foreign.
    """
    try:
        return json.loads(content)
    except ValueError as error:
        raise InputError("is not valid JSON (truncated or foreign)", file=file) from error


def array_metadata(
    shape: Sequence[int], chunk: Sequence[int], dtype: np.dtype, names: Sequence[str], **attributes: Any
) -> dict[str, Any]:
    """Zarr v3 metadata of an array whose first axis grows: chunks are compressed and checked one by one.

    Args:
        shape: of the array.
        chunk: what is read and decoded at once.
        dtype: of the values.
        names: of the axes.
        attributes: for people.
    """
    beside = [-(-length // side) for length, side in zip(shape[1:], chunk[1:], strict=True)]
    files = int(np.prod(beside, dtype=np.int64))
    deep = max(1, min(_INDEX_ENTRIES // files, _FILE_BYTES // (files * int(np.prod(chunk)) * dtype.itemsize)))
    shard = [
        chunk[0] * max(1, min(deep, -(-shape[0] // chunk[0]))),
        *(n * c for n, c in zip(beside, chunk[1:], strict=True)),
    ]
    blosc = {"cname": "zstd", "clevel": 5, "shuffle": _shuffle(dtype), "typesize": dtype.itemsize, "blocksize": 0}
    little = {"name": "bytes", "configuration": {"endian": "little"}} if dtype.itemsize > 1 else {"name": "bytes"}
    inner = [little, {"name": "blosc", "configuration": blosc}, {"name": "crc32c"}]
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    sharding = {"chunk_shape": list(chunk), "codecs": inner, "index_codecs": index, "index_location": "end"}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "fill_value": False if dtype == np.bool_ else 0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": list(names),
        "attributes": attributes,
    }


def _shuffle(dtype: np.dtype) -> str:
    return "bitshuffle" if dtype.itemsize > 1 else "noshuffle"


def write_array(root: str | Path, name: str, metadata: dict[str, Any], rows: Callable[[int, int], NDArray]) -> None:
    """Write an array, file by file, so that no more than the values of one are in memory.

    Args:
        root: folder of the group.
        name: of the array.
        metadata: as `array_metadata` makes it.
        rows: the values of some rows, from the first up to but not including the second.

    Raises:
        OutputError: no space, no permission.
    """
    tensorstore = need("tensorstore", "shards")
    with writable(f"{root}/{name}"):
        spec = {
            "driver": "zarr3",
            "kvstore": kvstore(root, name),
            "metadata": metadata,
            "store_data_equal_to_fill_value": True,
        }
        array = tensorstore.open(spec, create=True, delete_existing=True).result()
        step, count = metadata["chunk_grid"]["configuration"]["chunk_shape"][0], metadata["shape"][0]
        for start in range(0, count, step):
            stop = min(start + step, count)
            values = rows(start, stop)
            array[start:stop].write(values, can_reference_source_data_indefinitely=True).result()


def open_array(root: str | Path, name: str, metadata: dict[str, Any], workers: int) -> Any:
    """An array to read from; its metadata are known already, so that nothing is fetched."""
    tensorstore = need("tensorstore", "shards")
    spec = {
        "driver": "zarr3",
        "kvstore": kvstore(root, name),
        "metadata": metadata,
        "fill_missing_data_reads": False,  # a lost file is an error, not zeros
        "recheck_cached_data": "open",  # shards never change: what is known since then is not asked for again
    }
    return tensorstore.open(spec, read=True, open=True, assume_metadata=True, context=context(workers)).result()


def rows_of(array: Any, rows: NDArray[np.int64] | slice) -> Any:
    """A view of some rows of an array; neighbours in one piece."""
    if isinstance(rows, np.ndarray) and len(rows) and len(rows) == rows[-1] - rows[0] + 1:
        rows = slice(int(rows[0]), int(rows[-1]) + 1)
    if isinstance(rows, slice):
        return array[rows]
    return array[need("tensorstore", "shards").d[0][rows]]
