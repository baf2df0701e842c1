"""One vector of every place in one file, made block by block.

The file is a safetensors: ``vectors`` (N, D) float32, ``lonlat`` (N, 2) float64 in WGS 84 degrees with NaN where a
place has no position, ``names`` uint8, UTF-8 with a line break between two names; metadata ``skysense`` is JSON. It is
written block after block, so that memory does not grow with the number of places.

Letters: N places, D features.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from skysense.errors import InputError, OutputError
from skysense.files import atomic_path, make_folder, output_error, plain, read_json, write_json
from skysense.maps.product.lock import hold, release

FORMAT = "skysense places"
_ABOUT, _FINISHED = "work.json", "finished.json"


@dataclass(frozen=True)
class PlaceVectors:
    """Vectors of places.

    Attributes:
        names: of the N places.
        lonlat_N2: WGS 84 degrees, NaN without a position.
        vectors_ND: float32; of a large file still on disk.
        metadata: what the file says of itself.
    """

    names: tuple[str, ...]
    lonlat_N2: NDArray[np.float64]
    vectors_ND: NDArray[np.float32]
    metadata: dict[str, Any]


def read_vectors(path: str | Path) -> PlaceVectors:
    """Read what `embed_places` wrote.

    Raises:
        InputError: it is not there, truncated, or something else.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("skysense", "{}"))
            if metadata.get("format") != FORMAT:
                raise InputError("holds no vectors of places", file=path, fix="Make some: skysense embed PLACES OUT")
            names = bytes(file.get_tensor("names")).decode().split("\n")
            return PlaceVectors(tuple(names), file.get_tensor("lonlat"), file.get_tensor("vectors"), metadata)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot be read as vectors of places: {error}", file=path) from error


@dataclass(frozen=True)
class VectorFile:
    """A file of vectors that is being made; blocks lie in ``.NAME.work`` beside it until all are there.

    Attributes:
        out: the file.
        about: what it is made of.
    """

    out: Path
    about: dict[str, Any]

    @classmethod
    def begin(cls, out: Path, about: dict[str, Any], *, overwrite: bool = False) -> VectorFile:
        """Start a file, or go on with one that is about the same.

        Raises:
            OutputError: it exists, another run left its unfinished work, or another process is at it.
        """
        out = out if out.suffix else out.with_name(f"{out.name}.safetensors")
        if out.suffix != ".safetensors":
            raise OutputError("vectors of places are a safetensors file", file=out, fix="Call it .safetensors")
        file = cls(out, plain(about))
        folder = file._folder
        before = read_json(folder / _ABOUT) if (folder / _ABOUT).exists() else None
        finished = before == file.about and (folder / _FINISHED).exists()
        if out.exists() and not (overwrite or finished):
            raise OutputError("exists already", file=out, fix="Choose another name, or --overwrite true replaces it")
        if before not in (None, file.about) and not overwrite:
            fix = "Choose another name for the output, or --overwrite true begins anew"
            what = "another run left its unfinished work here, or places have changed since"
            raise OutputError(what, file=folder, fix=fix)
        file._prepare(anew=before != file.about)
        return file

    def _prepare(self, *, anew: bool) -> None:
        folder = self._folder
        try:
            if folder.exists():
                hold(folder)
                if anew:
                    (folder / _ABOUT).unlink(missing_ok=True)  # first: half a folder is nobody's work
                    shutil.rmtree(folder)
        except OSError as error:
            raise output_error(error, folder) from error
        make_folder(folder)
        hold(folder)
        write_json(folder / _ABOUT, self.about)

    @property
    def _folder(self) -> Path:
        return self.out.parent / f".{self.out.name}.work"

    def _block(self, first: int) -> Path:
        return self._folder / f"{first:012d}.safetensors"

    def has(self, first: int) -> bool:
        """Whether the block that begins with a place is there."""
        return self._block(first).exists()

    def keep(
        self,
        first: int,
        names: Sequence[str],
        lonlat_N2: NDArray[np.float64],
        vectors_ND: NDArray[np.float32],
        failures: dict[str, str],
    ) -> None:
        """Keep a block."""
        arrays: dict[str, NDArray[Any]] = {
            "lonlat": lonlat_N2.reshape(-1, 2),
            "vectors": vectors_ND.reshape(len(names), len(self.about["bands"])),
        }
        with atomic_path(self._block(first)) as temporary:
            save_file(arrays, temporary, {"names": "\n".join(names), "failures": json.dumps(failures)})

    def finish(self) -> tuple[int, dict[str, str]]:
        """Put the blocks together; returns how many places there are, and why others are not.

        Raises:
            OutputError: no space.
        """
        blocks = sorted(self._folder.glob("[0-9]*.safetensors"))
        names: list[str] = []
        failures: dict[str, str] = {}
        kept = []
        for block in blocks:
            with safe_open(block, framework="numpy") as file:
                said = file.metadata()
                failures |= json.loads(said["failures"])
                if said["names"]:
                    names += said["names"].split("\n")
                    kept.append(block)
        write_json(self._folder / _FINISHED, {"places": len(names)})  # from here on an output is of this run
        if names:
            with atomic_path(self.out) as temporary:
                self._write(temporary, kept, "\n".join(names).encode(), len(names), failures)
        try:
            shutil.rmtree(self._folder)
            release(self._folder)
        except OSError as error:
            raise output_error(error, self._folder) from error
        return len(names), failures

    def _write(self, path: Path, blocks: Sequence[Path], names: bytes, count: int, failures: dict[str, str]) -> None:
        """The layout of the format: the length of a JSON header, the header, the arrays one after the other."""
        width = len(self.about["bands"])
        metadata = {"format": FORMAT, "version": 1, **self.about, "failures": failures}
        header: dict[str, Any] = {"__metadata__": {"skysense": json.dumps(metadata)}}
        end = 0
        for name, kind, shape, size in (
            ("lonlat", "F64", [count, 2], 8),
            ("vectors", "F32", [count, width], 4),
            ("names", "U8", [len(names)], 1),
        ):
            start, end = end, end + size * int(np.prod(shape))
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name, kind in (("lonlat", "<f8"), ("vectors", "<f4")):
                for block in blocks:
                    file.write(load_file(block)[name].astype(kind).tobytes())
            file.write(names)
