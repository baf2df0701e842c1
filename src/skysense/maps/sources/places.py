"""Places of a folder or of a corpus of shards as sources, each on its own grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.transform import from_bounds

from skysense.data.corpus import open_corpus
from skysense.data.places import Places
from skysense.data.places_layout import DATASET_FILE, Place
from skysense.data.shards.layout import MANIFEST_FILE
from skysense.data.shards.read import Shards
from skysense.data.shards.store import is_remote
from skysense.errors import InputError
from skysense.geo import RegionTable, Window
from skysense.maps.grid import Grid
from skysense.maps.source import UnreadableWindow
from skysense.observation import Sample, Series
from skysense.probes.prepare import prepare
from skysense.sensors import MODALITIES, Modality, Sensor


def are_places(root: str | Path) -> bool:
    """Whether a path is that of a folder of places or a corpus of shards."""
    return is_remote(root) or any((Path(root) / name).is_file() for name in (DATASET_FILE, MANIFEST_FILE))


def place_sources(
    root: str | Path, *, reads: Mapping[Modality, Sensor], frames: Mapping[Modality, int] | None = None
) -> Iterator[PlaceSource]:
    """Every place that has a footprint and a sensor that the model reads, in order.

    Args:
        root: a folder of places or a corpus of shards.
        reads: the sensors that the model reads.
        frames: most frames of a sensor in a window; all of a sensor that is not named.

    Raises:
        InputError: neither of them, or none of its places can be mapped.
    """
    none = True
    for place in open_corpus(root, regions=RegionTable(())):
        if place.footprint is not None and set(place.modalities) & set(reads):
            none = False
            yield PlaceSource(str(root), place, dict(reads), frames or {})
    if none:
        raise InputError(
            f"holds no place with a footprint and imagery of {', '.join(reads)}",
            file=root,
            fix="A map needs the ground of a place: bounds and CRS in its place.json",
        )


@dataclass(frozen=True)
class PlaceSource:
    """One place, see `skysense.maps.source.Source`.

    Attributes:
        root: of the folder or corpus.
        place: of it, with a footprint.
        reads: the sensors that the model reads.
        frames: most frames of a sensor in a window.
    """

    root: str
    place: Place
    reads: Mapping[Modality, Sensor]
    frames: Mapping[Modality, int]

    @property
    def name(self) -> str:
        """Of the place."""
        return self.place.name

    @property
    def grid(self) -> Grid:
        """Of its cells."""
        ground, (height, width) = self.place.footprint, self.place.cells
        assert ground is not None
        return Grid(CRS.from_user_input(ground.crs), from_bounds(*ground.bounds, width, height), height, width)

    @property
    def sensors(self) -> dict[Modality, Sensor]:
        """What it holds, as the model reads it."""
        return {key: self.reads[key] for key in MODALITIES if key in self.place.modalities and key in self.reads}

    @property
    def notes(self) -> tuple[str, ...]:
        """None: places are checked when they are written."""
        return ()

    def about(self) -> dict[str, Any]:
        """Per sensor its files and bands; plain values."""
        about: dict[str, Any] = {"name": self.name, "corpus": Path(self.root).name, "sensors": {}}
        for key, sensor in self.sensors.items():
            about["sensors"][key] = {"sensor": sensor.name, "bands": list(sensor.bands), "files": self._files(key)}
        if isinstance(corpus := _corpus(self.root), Places) and corpus.simulated:
            about["simulated"] = True
        if self.frames:
            about["frames"] = dict(self.frames)
        return about

    def _files(self, key: Modality) -> list[dict[str, Any]]:
        if is_remote(self.root):
            return []
        path = self.place.file(key)
        if isinstance(_corpus(self.root), Shards):
            path = Path(self.root) / MANIFEST_FILE  # changes with any of its shards
        state = path.stat()
        return [{"name": path.name, "size": state.st_size, "mtime_ns": state.st_mtime_ns}]

    @contextmanager
    def open(self) -> Iterator[PlaceReader]:
        """Open for reading windows."""
        yield PlaceReader(self, _corpus(self.root))


class PlaceReader:
    """Reads windows of a place, see `skysense.maps.source.SourceReader`."""

    def __init__(self, source: PlaceSource, corpus: Any) -> None:
        self.source = source
        self.pixels_not_finite = 0
        self.lost: list[str] = []
        self._corpus = corpus

    def read(self, window: Window) -> Sample:
        """The imagery under a window of cells; what lies outside is padded and marked as not observed.

        Raises:
            UnreadableWindow: it cannot be read.
        """
        place = self.source.place
        inside = window.intersect(Window(0, 0, *place.cells))
        if inside is None:
            raise UnreadableWindow(f"window {window} lies outside the place", file=place.folder)
        try:
            read = self._corpus.read_sample(place, tuple(self.source.sensors), inside)
        except InputError as error:
            raise UnreadableWindow(error.what, file=error.file or place.folder) from error
        read = read.read_as(self.source.reads)
        seen = {key: _observed(one) for key, one in read.series.items() if one.valid.any()}
        series = seen or dict(list(read.series.items())[:1])
        padded = {key: _padded(one, window, inside) for key, one in series.items()}
        return prepare(Sample(f"{place.name} {window.row},{window.col}", padded), self.source.frames)


@lru_cache(maxsize=4)
def _corpus(root: str) -> Places | Shards:
    """A corpus, opened once in a process; regions are the model's to know."""
    return open_corpus(root, regions=RegionTable(()))


def _observed(series: Series) -> Series:
    """Without the frames that show nothing."""
    return series.take(np.flatnonzero(series.valid.any(axis=(1, 2))))


def _padded(series: Series, window: Window, inside: Window) -> Series:
    if window == inside:
        return series
    wanted, there = window.scaled(series.sensor.cell_px), inside.scaled(series.sensor.cell_px)
    top, left = there.row - wanted.row, there.col - wanted.col
    rows = (top, wanted.height - there.height - top)
    cols = (left, wanted.width - there.width - left)
    return replace(
        series,
        values=np.pad(series.values, ((0, 0), (0, 0), rows, cols)),
        valid=np.pad(series.valid, ((0, 0), rows, cols)),
        clear=None if series.clear is None else np.pad(series.clear, ((0, 0), rows, cols)),
    )
