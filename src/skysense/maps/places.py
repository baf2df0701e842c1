"""Features of places: one vector of each in one file, or a map of each in a folder.

A place is answered in windows and blended as a map is; its vector is the mean over its observed cells.

Letters: N places, D features, h w cells of a place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.corpus import open_corpus
from skysense.data.places import Places
from skysense.data.shards.read import Shards
from skysense.errors import ConfigError, InputError, OutputError
from skysense.files import make_folder
from skysense.geo import Window
from skysense.maps.answer import Answerer
from skysense.maps.blend import Layout, RowBlender
from skysense.maps.features import FEATURES, FeatureAnswerer
from skysense.maps.feed import read_ahead
from skysense.maps.job import Settings
from skysense.maps.place_maps import is_finished, write_map
from skysense.maps.place_vectors import VectorFile
from skysense.maps.product.lock import hold, release
from skysense.maps.sources.places import States
from skysense.model.assembly import SkySense
from skysense.model.modes import evaluating
from skysense.model.weights import weights_sha256
from skysense.observation import Sample, Series
from skysense.probes.prepare import prepare
from skysense.sensors import Modality

BLOCK = 256
"""Places that are kept together: a run that was cut off goes on after the last whole block."""
_READ_AHEAD = 16  # places


@dataclass(frozen=True, kw_only=True)
class PlacesResult:
    """What came out.

    Attributes:
        path: the file of vectors, or the folder of maps.
        places: how many are in it.
        failures: why others are not, by name.
    """

    path: Path
    places: int
    failures: dict[str, str]


def embed_places(
    model: SkySense,
    root: str | Path,
    out: str | Path,
    *,
    cells: bool = False,
    frames: int | None = None,
    settings: Settings | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PlacesResult:
    """Write features of all places; the same call goes on after a cut.

    Args:
        model: on the device it is to run on.
        root: a folder of places, or a corpus of shards.
        out: ``name.safetensors`` for one vector per place, see `read_vectors`; with ``cells`` a folder, in which every
            place with a footprint gets ``NAME.tif``.
        cells: a map of each place.
        frames: most frames of a Sentinel series of a place; all if None.
        settings: windows and batches; one process does all.
        overwrite: replace existing outputs; of maps those that are of another run.
        progress: called with places done and of all.

    Raises:
        InputError: no places, or none that can be used.
        OutputError: the output exists, is of another model, other settings or other imagery, another process is at it,
            or it cannot be written.
        ConfigError: less than one frame.
    """
    if frames is not None and frames < 1:
        raise ConfigError(f"frames {frames}: it must be at least 1")
    settings, out = settings or Settings(), Path(out)
    corpus, answerer = open_corpus(root), FeatureAnswerer(model)
    most: dict[Modality, int] = {} if frames is None else {"s2": frames, "s1": frames}
    tell = progress or (lambda *_: None)
    about: dict[str, Any] = {
        "model": weights_sha256(model.state_dict()),
        "source": corpus.title,
        "simulated": corpus.simulated,
        "window_cells": settings.window_cells,
        "overlap_cells": settings.overlap_cells,
        "batch_size": settings.batch_size,
        "frames": frames,
    }
    with evaluating(model):
        maps = _Maps(corpus, answerer, settings, most)
        if cells:
            about["model"] = {"sha256": about["model"], "card": model.card}
            return _write_maps(maps, out, about, overwrite, tell)
        about |= {"bands": list(answerer.layers[0].bands), "places": len(corpus), "state": maps.states.of_all()}
        return _write_vectors(maps, VectorFile.begin(out, about, overwrite=overwrite), tell)


def _write_vectors(maps: _Maps, file: VectorFile, tell: Callable[[int, int], None]) -> PlacesResult:
    total = len(maps.corpus)
    for first in range(0, total, BLOCK):
        if file.has(first):
            continue
        names, lonlat, vectors = [], [], []
        failures: dict[str, str] = {}
        for at, (sample, values_Dhw) in enumerate(
            maps.of(range(first, min(first + BLOCK, total)), failures), first + 1
        ):
            names.append(sample.name)
            lonlat.append((np.nan if sample.lon is None else sample.lon, np.nan if sample.lat is None else sample.lat))
            vectors.append(np.nanmean(values_Dhw, axis=(1, 2), dtype=np.float64))
            tell(at, total)
        file.keep(first, names, np.array(lonlat), np.array(vectors, np.float32), failures)
    tell(total, total)
    places, failures = file.finish()
    if not places:
        raise InputError(
            "none of its places can be used", file=maps.corpus.title, fix=next(iter(failures.values()), None)
        )
    return PlacesResult(path=file.out, places=places, failures=failures)


def _write_maps(
    maps: _Maps, out: Path, about: dict[str, Any], overwrite: bool, tell: Callable[[int, int], None]
) -> PlacesResult:
    if out.exists() and not out.is_dir():
        raise OutputError("is a file; maps of places need a folder", file=out, fix="Choose another name")
    make_folder(out)
    hold(out)
    try:
        failures = _write_missing(maps, out, about, overwrite, tell)
    finally:
        release(out)
    return PlacesResult(path=out, places=len(maps.corpus) - len(failures), failures=failures)


def _write_missing(
    maps: _Maps, out: Path, about: dict[str, Any], overwrite: bool, tell: Callable[[int, int], None]
) -> dict[str, str]:
    """Write the maps that are not there; returns why places have none."""
    total = len(maps.corpus)
    states: dict[str, str] = {}
    wanted = []
    for at, place in enumerate(maps.corpus):
        states[place.name] = maps.states.of(place)
        said = {**about, "state": states[place.name]}
        if not is_finished(out / f"{place.name}.tif", said, overwrite=overwrite):
            wanted.append(at)
    done = total - len(wanted)
    failures: dict[str, str] = {}
    for sample, values_Dhw in maps.of(wanted, failures):
        if sample.footprint is None:
            failures[sample.name] = "has no footprint, and a map needs one"
        else:
            said = {**about, "state": states[sample.name]}
            write_map(out / f"{sample.name}.tif", sample.footprint, maps.answerer.layers[0], values_Dhw, said)
        done += 1
        tell(done, total)
    return failures


class _Maps:
    """Blended features of places, a few at a time."""

    def __init__(
        self, corpus: Places | Shards, answerer: FeatureAnswerer, settings: Settings, frames: dict[Modality, int]
    ) -> None:
        self.corpus, self.answerer, self.settings = corpus, answerer, settings
        self._frames = frames
        model = answerer.model
        self._sensors = {key: model.sensor_of(key) for key in model.modalities}
        self.states = States(corpus, self._sensors)
        self._table = model.region_table

    def of(self, numbers: Sequence[int], failures: dict[str, str]) -> Iterator[tuple[Sample, NDArray[np.float32]]]:
        """Places and their features ``(D, h, w)``, NaN where nothing was observed; why others fail is added."""
        ahead = read_ahead(lambda: self._samples(numbers, failures), _READ_AHEAD)
        with closing(ahead):
            for sample, values_Dhw in blended(self.answerer, ahead, self.settings):
                if np.isnan(values_Dhw[0]).all():
                    failures[sample.name] = "no cell is at least half observed"
                else:
                    yield sample, values_Dhw

    def _samples(self, numbers: Sequence[int], failures: dict[str, str]) -> Iterator[Sample]:
        wanted = list(self._sensors)
        for number in numbers:
            place = self.corpus[number]
            try:
                sample = self.corpus.read_sample(place, wanted)  # type: ignore[arg-type] # a place of this corpus
                sample = prepare(sample.read_as(self._sensors), self._frames)
            except InputError as error:
                failures[place.name] = error.what
                continue
            region = self._table.slot(sample.lon, sample.lat) if len(self._table) else None
            yield replace(sample, region=region)


def blended(
    answerer: Answerer, samples: Iterable[Sample], settings: Settings
) -> Iterator[tuple[Sample, NDArray[np.float32]]]:
    """Features ``(D, h, w)`` of samples in their order, NaN where nothing was observed.

    Windows of one place after the other fill batches; one of another size begins a new batch. A place no larger than a
    window is answered as it is.
    """
    open_places: deque[_OpenPlace] = deque()
    batch: list[tuple[_OpenPlace, Window, Sample]] = []

    def answer() -> None:
        for (place, window, _), one in zip(batch, answerer([sample for *_, sample in batch]), strict=True):
            place.blender.add(window, one)
            place.left -= 1
        batch.clear()

    for sample in samples:
        place = _OpenPlace(sample, answerer, settings)
        open_places.append(place)
        for window in place.layout:
            crop = cropped(sample, window)
            if batch and (len(batch) == settings.batch_size or batch[0][2].grid != crop.grid):
                answer()
            batch.append((place, window, crop))
        while open_places and not open_places[0].left:
            yield open_places.popleft().result()
    if batch:
        answer()
    for place in open_places:
        yield place.result()


class _OpenPlace:
    """A place whose windows are not all answered yet."""

    def __init__(self, sample: Sample, answerer: Answerer, settings: Settings) -> None:
        height, width = sample.grid
        self.sample = sample
        size = settings.window_cells
        self.layout = settings.layout(height, width)
        if max(height, width) <= size:
            size = -(-max(height, width) // 4) * 4  # one window, which `cropped` cuts to the place
            self.layout = Layout(height, width, size, 0)
        self.left = len(self.layout)
        self._rows: list[NDArray[np.float32]] = []
        whole = Window(0, 0, height, width)
        self.blender = RowBlender(
            self.layout, whole, answerer.scores, height, lambda _, rows: self._rows.append(rows[FEATURES])
        )

    def result(self) -> tuple[Sample, NDArray[np.float32]]:
        self.blender.close()
        return self.sample, np.concatenate(self._rows, axis=1)


def cropped(sample: Sample, window: Window) -> Sample:
    """A window of a sample; what hangs over its border is padded and not observed."""
    series = {key: _cropped(one, window, sample.grid) for key, one in sample.series.items()}
    return replace(sample, series=series, footprint=None)


def _cropped(series: Series, window: Window, grid: tuple[int, int]) -> Series:
    inside = window.intersect(Window(0, 0, *grid))
    assert inside is not None
    cut = series.crop(inside)
    cell_px = series.sensor.cell_px
    missing = [(window.height - inside.height) * cell_px, (window.width - inside.width) * cell_px]
    if not any(missing):
        return cut
    edges = [(0, 0)] * (cut.values.ndim - 2) + [(0, count) for count in missing]
    return replace(cut, values=np.pad(cut.values, edges), valid=np.pad(cut.valid, edges[1:]), clear=None)
