"""Finished places of unfinished blocks, one file each, so that an end at any moment costs no more than what is open."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.curate.outcome import Outcome, parse_outcome
from skysense.curate.position import Position
from skysense.data.shards.store import is_remote
from skysense.data.shards.write import Entry
from skysense.errors import InputError
from skysense.files import atomic_path
from skysense.geo import Footprint
from skysense.observation import Sample, Series
from skysense.sensors import SENSORS, Modality

FOLDER = ".curation"
_ABOUT = "about"
_PARTS = ("values", "dates", "valid", "clear")
_BROKEN = (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, InputError)


class Stage:
    """A folder of finished places.

    Args:
        out: root of the corpus.
        settings: of the curation, as text: places of other settings are never mixed up with these.
        scratch: a folder of this machine; beside the shards by default, or in the machine's temporary folder where
            those are in a bucket.
    """

    def __init__(self, out: str | Path, settings: str, scratch: Path | None) -> None:
        where = str(out) if is_remote(out) else str(Path(out).resolve())
        key = hashlib.blake2b(f"{where}\n{settings}".encode(), digest_size=8).hexdigest()
        if scratch is None:
            scratch = Path(tempfile.gettempdir()) / "skysense-curation" if is_remote(out) else Path(out) / FOLDER
        self.folder = Path(scratch) / key

    def write(self, block: int, outcome: Outcome) -> None:
        """Keep a place.

        Raises:
            OutputError: no space, no permission.
        """
        about = outcome.to_json()
        arrays: dict[str, NDArray] = {}
        if outcome.entry is not None:
            sample, ground = outcome.entry.sample, outcome.entry.sample.footprint
            about["sample"] = {
                "sensors": {key: one.sensor.name for key, one in sample.series.items()},
                "position": [sample.lon, sample.lat],
                "footprint": None if ground is None else [list(ground.bounds), ground.crs],
                "attributes": outcome.entry.attributes,
            }
            for key, one in sample.series.items():
                layers = {"values": one.values, "dates": one.dates.astype(np.int64), "valid": one.valid}
                arrays |= {f"{key}_{part}": layer for part, layer in layers.items()}
                if one.clear is not None:
                    arrays[f"{key}_clear"] = one.clear
        arrays[_ABOUT] = np.frombuffer(json.dumps(about, allow_nan=False).encode(), np.uint8)
        with atomic_path(self._file(block, outcome.position)) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def has(self, block: int, position: Position) -> bool:
        """Whether a place is here and whole."""
        return self.read(block, position) is not None

    def read(self, block: int, position: Position) -> Outcome | None:
        """A place that was kept; None if it is not here, or its file is not what was written."""
        try:
            with np.load(self._file(block, position), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            about = json.loads(arrays.pop(_ABOUT).tobytes())
            outcome = parse_outcome(about, _entry(about, arrays) if "sample" in about else None)
        except _BROKEN:
            return None
        return outcome if outcome.position == position else None

    def received(self) -> int:
        """Bytes that the places took that are here."""
        total = 0
        for file in self.folder.glob("*/*.npz"):
            try:
                with np.load(file, allow_pickle=False) as stored:
                    total += int(json.loads(stored[_ABOUT].tobytes())["took"]["bytes"])
            except _BROKEN:
                continue
        return total

    def clear(self, block: int) -> None:
        """Forget the places of a block, which are in its shard now."""
        shutil.rmtree(self.folder / f"{block:06d}", ignore_errors=True)

    def remove(self) -> None:
        """Remove what is left of the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.folder.parent.rmdir()
        except OSError:
            return  # somebody else's places are in it

    def _file(self, block: int, position: Position) -> Path:
        return self.folder / f"{block:06d}" / f"{position.number:09d}.npz"


def _entry(about: dict[str, Any], arrays: dict[str, NDArray]) -> Entry:
    told = about["sample"]
    ground = told["footprint"]
    series: dict[Modality, Series] = {}
    for key, name in told["sensors"].items():
        values, dates, valid, clear = (arrays.get(f"{key}_{part}") for part in _PARTS)
        if values is None or dates is None or valid is None:
            raise KeyError(key)
        series[key] = Series(SENSORS[name], values, dates.astype("datetime64[D]"), valid, clear)
    lon, lat = told["position"]
    footprint = None if ground is None else Footprint(tuple(ground[0]), ground[1])
    sample = Sample(about["name"], series, lon, lat, footprint)
    return Entry(sample, about["split"], told["attributes"])
