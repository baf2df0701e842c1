"""Reading a corpus of shards: any window and any frames of any place, and nothing else.

    corpus = Shards("my_corpus")
    sample = corpus.read_sample(corpus[0], window=Window(0, 0, 16, 16))

Letters: T frames of a place, C bands, H W pixels.
"""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.data.outline import Outline
from skysense.data.places import Failure, FrameChoice
from skysense.data.places_layout import Place, Split
from skysense.data.shards.layout import (
    ABOUT_FILE,
    ENDING,
    GROUP_FILE,
    INDEX_FILE,
    MANIFEST_FILE,
    SPLITS,
    Manifest,
    check_rows,
    parse_manifest,
    rows_from_bytes,
)
from skysense.data.shards.shard import Shard
from skysense.data.shards.store import find_bytes, is_remote, parse_json, read_bytes
from skysense.errors import InputError
from skysense.geo import Footprint, RegionTable, Window
from skysense.observation import Sample, Series
from skysense.sensors import MODALITIES, Modality

_OPEN_SHARDS = 128
_COUNT_BITS = 20  # of the number of frames of a sensor: three of them and as many flags fit into 63 bits


@dataclass(frozen=True)
class ShardedPlace(Place):
    """A place of a corpus of shards: where it is and what it has. Its attributes are read by `Shards.attributes`.

    Attributes:
        row: of the index.
    """

    row: int = -1


def read_manifest(root: str | Path) -> Manifest:
    """What a corpus says of itself.

    Raises:
        InputError: there is no corpus, or of a newer version, or its manifest cannot be read.
    """
    content = find_bytes(root, MANIFEST_FILE)
    if content is None:
        raise InputError(f"is no corpus of shards: it holds no {MANIFEST_FILE}", file=root, fix="See docs/shards.md")
    file = f"{root}/{MANIFEST_FILE}"
    return parse_manifest(parse_json(content, file), file)


def read_index(root: str | Path) -> NDArray[np.void]:
    """The index of a corpus; that of a folder is read when it is needed, row by row.

    Raises:
        InputError: missing, truncated or foreign.
    """
    file = f"{root}/{INDEX_FILE}"
    if is_remote(root):
        return rows_from_bytes(read_bytes(root, INDEX_FILE), file)
    try:
        rows = np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError("is not there or cannot be read", file=file) from error
    except (ValueError, EOFError) as error:
        raise InputError("is not the index of a corpus of shards (truncated or foreign)", file=file) from error
    return check_rows(rows, file)


class Shards:
    """A corpus of shards, in the order of its index. It may be copied into other processes; several threads may read.

    A shard that is not there or cannot be opened is known by its places: they are left out of the index, listed in
    `failures` and warned about once, the same wherever the corpus is opened.

    Args:
        root: a folder, ``s3://bucket/path`` or ``gs://bucket/path``.
        regions: table that gives samples their region slot; by default that of all places of the corpus.
        workers: threads that will read at once.

    Raises:
        InputError: no corpus, or its manifest or index cannot be read.
    """

    def __init__(self, root: str | Path, *, regions: RegionTable | None = None, workers: int = 1) -> None:
        manifest = read_manifest(root)
        rows = read_index(root)
        if len(rows) != sum(shard.places for shard in manifest.shards):
            raise InputError("lists another number of places than the manifest", file=f"{root}/{INDEX_FILE}")
        for column, count in (("shard", len(manifest.shards)), ("split", len(SPLITS))):
            if len(rows) and not 0 <= int(rows[column].min()) <= int(rows[column].max()) < count:
                raise InputError(f"lists places of a {column} that is none", file=f"{root}/{INDEX_FILE}")
        self._begin(root, manifest, rows, regions, workers)
        self._leave_out_missing()

    @classmethod
    def of_rows(cls, root: str | Path, manifest: Manifest, rows: NDArray[np.void]) -> Shards:
        """A corpus whose index is not read but given, e.g. all places of a shard, those too that no index lists."""
        corpus = cls.__new__(cls)
        corpus._begin(root, manifest, rows, None, 1)
        return corpus

    def _begin(
        self, root: str | Path, manifest: Manifest, rows: NDArray[np.void], regions: RegionTable | None, workers: int
    ) -> None:
        self.root: str | Path = str(root) if is_remote(root) else Path(root)
        self.workers = workers
        self.manifest = manifest
        self.failures: list[Failure] = []
        self._rows = rows
        self._order: NDArray[np.int64] = np.arange(len(rows))
        self._given_regions = regions
        self._open: OrderedDict[int, Shard] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_open", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open, self._lock = OrderedDict(), Lock()

    def _leave_out_missing(self) -> None:
        """Leave out the places of shards that are not there. In a bucket that shows when they are read."""
        if is_remote(self.root):
            return
        gone = [
            number
            for number, shard in enumerate(self.manifest.shards)
            if not (Path(self.root) / f"{shard.name}{ENDING}" / GROUP_FILE).is_file()
        ]
        if gone:
            names = ", ".join(self.manifest.shards[number].name for number in gone[:5])
            lost = np.isin(self._rows["shard"], gone)
            for row in self._rows[lost]:
                self.failures.append(
                    Failure(row["name"].decode(), f"{self._folder(int(row['shard']))}: the shard is not there")
                )
            self._order = np.flatnonzero(~lost)
            warnings.warn(
                f"{self.root}: {len(gone)} shards are not there ({names}); left out {int(lost.sum())} places",
                stacklevel=3,
            )

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> ShardedPlace:
        return self._place(int(self._order[index]))

    def __iter__(self) -> Iterator[ShardedPlace]:
        return (self._place(number) for number in self._order.tolist())

    def _place(self, number: int) -> ShardedPlace:
        row = self._rows[number]
        known = np.isfinite(row["lon"])
        crs = row["crs"].decode()
        left, bottom, right, top = row["bounds"].tolist()
        return ShardedPlace(
            folder=Path(self.root) / f"{self.manifest.shards[row['shard']].name}{ENDING}" / row["name"].decode(),
            name=row["name"].decode(),
            lon=float(row["lon"]) if known else None,
            lat=float(row["lat"]) if known else None,
            cells=(int(row["cells"][0]), int(row["cells"][1])),
            footprint=Footprint((left, bottom, right, top), crs) if crs else None,
            labels={},
            split=SPLITS[row["split"]],
            attributes={},
            modalities=tuple(modality for modality in MODALITIES if row[f"{modality}_frames"]),
            masks=(),
            row=number,
        )

    @property
    def title(self) -> str:
        """Name of the corpus."""
        return self.manifest.title

    @property
    def names(self) -> Iterator[str]:
        """Of all places, in order."""
        return (name.decode() for name in self.column("name"))

    @property
    def simulated(self) -> bool:
        """Whether the pixels are made up."""
        return self.manifest.simulated

    @property
    def index(self) -> NDArray[np.void]:
        """The rows of the index that are in use; see `skysense.data.shards.layout.index_dtype`."""
        return self._rows[self._order]

    def column(self, name: str) -> NDArray:
        """One column of `index`, without a copy of all others: the index of millions is large.

        Args:
            name: of a column, see `skysense.data.shards.layout.index_dtype`.
        """
        return self._rows[name][self._order]

    @cached_property
    def regions(self) -> RegionTable:
        """The table that region slots refer to: the one given, or the regions of all places of the corpus."""
        if self._given_regions is not None:
            return self._given_regions
        found = np.unique(self._rows["region"])
        return RegionTable(found[found >= 0].tolist())

    @cached_property
    def likeness(self) -> NDArray[np.int64]:
        """``(N,)`` what a place costs and needs, as one number: which sensors it has, and how many frames of them.

        Sorted by it, places with the same sensors lie side by side, and among them those with series of like length.
        """
        found = np.zeros(len(self), np.int64)
        for modality in MODALITIES:
            found = found << 1 | (self.column(f"{modality}_frames") > 0)
        for modality in MODALITIES:
            found = found << _COUNT_BITS | self.column(f"{modality}_frames").clip(0, (1 << _COUNT_BITS) - 1)
        return found

    def select(self, *, split: Split | None = None, where: Callable[[Place], bool] | None = None) -> Shards:
        """A view on some of the places; it keeps the region table of all of them.

        Args:
            split: only this split.
            where: only places this is true of.
        """
        view = copy.copy(self)
        view._given_regions = self.regions
        vars(view).pop("likeness", None)
        order = self._order
        if split is not None:
            order = order[self._rows["split"][order] == SPLITS.index(split)]
        if where is not None:
            order = np.array([number for number in order if where(self._place(int(number)))], np.int64)
        view._order = order
        return view

    def for_training(self) -> Shards:
        """A view on the places that are not held out: those marked for training and those not marked at all."""
        kept = [SPLITS.index(split) for split in (None, "train")]
        view = self.select()
        view._order = self._order[np.isin(self.column("split"), kept)]
        return view

    def for_workers(self, workers: int) -> Shards:
        """The same corpus, read by another number of threads at once."""
        view = copy.copy(self)
        view.workers, view._open, view._lock = workers, OrderedDict(), Lock()
        return view

    def read_sample(
        self,
        place: ShardedPlace,
        modalities: Sequence[Modality] | None = None,
        window: Window | None = None,
        frames: FrameChoice | None = None,
    ) -> Sample:
        """Read a place: all of it, or some sensors, a window, some frames; little else is read or decoded.

        Args:
            place: of this corpus.
            modalities: which sensors; those the place does not have are left out.
            window: in cells.
            frames: which frames, in ascending order.

        Raises:
            InputError: its shard cannot be read, the window leaves the place, or none of the sensors is there.
        """
        if window is not None:
            place.check_window(window)
        wanted = [key for key in place.modalities if modalities is None or key in modalities]
        if not wanted:
            raise InputError(f"holds none of {', '.join(modalities or MODALITIES)}", file=place.folder)
        shard = self._shard(place)
        part = window or Window(0, 0, *place.cells)
        chosen = {key: self._chosen(place, key, shard, frames) for key in wanted}
        return self._read(place, shard, part, chosen)

    def outline(self, place: ShardedPlace) -> Outline:
        """Dates and masks of a place, and the means to read what is wanted of it.

        Args:
            place: of this corpus.

        Raises:
            InputError: its shard cannot be read.
        """
        shard = self._shard(place)
        rows = {key: self._frames(place, key) for key in place.modalities}
        masked = [key for key in place.modalities if key != "hr" or shard.knows_clouds(key)]
        waiting = {key: shard.masks(key, rows[key]) for key in masked}
        series = {}
        for key in place.modalities:
            sensor, dates = shard.sensors[key], shard.dates[key][rows[key]]
            height, width = (side * sensor.cell_px for side in place.cells)
            if key in waiting:
                valid, clear = waiting[key]()
            else:
                seen = shard.observed[key][rows[key]] > 0
                valid, clear = np.broadcast_to(seen[:, None, None], (len(dates), height, width)), None
            nothing = np.broadcast_to(shard.nothing(key), (len(dates), len(sensor.bands), height, width))
            series[key] = Series(sensor, nothing, dates, valid, clear)
        sample = self._sample(place, series, None)

        def fetch(window: Window, frames: Mapping[Modality, NDArray[np.int64]]) -> Sample:
            return self._read(place, shard, window, dict(frames))

        return Outline(sample, fetch)

    def read_dates(self, place: ShardedPlace, modality: Modality) -> NDArray[np.datetime64]:
        """Dates ``(T,)`` of a sensor of a place, without its pixels.

        Raises:
            InputError: the place does not have the sensor, or its shard cannot be read.
        """
        if modality not in place.modalities:
            raise InputError(f"holds no {modality}", file=place.folder)
        return self._shard(place).dates[modality][self._frames(place, modality)]

    def attributes(self, place: ShardedPlace) -> dict[str, Any]:
        """What else is known of a place, e.g. the products its frames come from.

        Raises:
            InputError: its shard cannot be read.
        """
        row = self._rows[place.row]
        shard, slot = self._folder(int(row["shard"])), int(row["slot"])
        found = parse_json(read_bytes(shard, ABOUT_FILE), f"{shard}/{ABOUT_FILE}")
        if not isinstance(found, list) or not 0 <= slot < len(found):
            raise InputError(f"says nothing of place {slot}", file=f"{shard}/{ABOUT_FILE}")
        return found[slot]

    def _read(
        self, place: ShardedPlace, shard: Shard, window: Window, frames: Mapping[Modality, NDArray[np.int64]]
    ) -> Sample:
        """All reads begin before the first is waited for, so that a bucket answers them side by side."""
        waiting = {}
        for key, chosen in frames.items():
            rows = chosen + self._frames(place, key).start
            part = window.scaled(shard.sensors[key].cell_px)
            complete = key == "hr" and bool((shard.observed[key][rows] == 1).all()) and not shard.knows_clouds(key)
            waiting[key] = rows, shard.pixels(key, rows, part), None if complete else shard.masks(key, rows, part)
        series = {}
        for key, (rows, pixels, masks) in waiting.items():
            values = pixels()
            valid, clear = (np.ones((len(rows), *values.shape[2:]), bool), None) if masks is None else masks()
            series[key] = Series(shard.sensors[key], values, shard.dates[key][rows], valid, clear)
        return self._sample(place, series, window)

    def _sample(self, place: ShardedPlace, series: Mapping[Modality, Series], window: Window | None) -> Sample:
        region = self.regions.slot(place.lon, place.lat)
        return Sample(place.name, series, lon=place.lon, lat=place.lat, footprint=place.ground(window), region=region)

    def _frames(self, place: ShardedPlace, modality: Modality) -> slice:
        row = self._rows[place.row]
        start = int(row[f"{modality}_start"])
        return slice(start, start + int(row[f"{modality}_frames"]))

    def _chosen(
        self, place: ShardedPlace, modality: Modality, shard: Shard, frames: FrameChoice | None
    ) -> NDArray[np.int64]:
        rows = self._frames(place, modality)
        count = rows.stop - rows.start
        if callable(frames) and modality != "hr":
            chosen = np.asarray(frames(modality, shard.dates[modality][rows]), np.int64)
        elif frames is not None and not callable(frames) and modality in frames:
            chosen = np.asarray(frames[modality], np.int64)
        else:
            return np.arange(count)
        if (
            chosen.ndim != 1
            or not len(chosen)
            or chosen.min() < 0
            or chosen.max() >= count
            or (np.diff(chosen) <= 0).any()
        ):
            raise InputError(f"frames {chosen.tolist()} must ascend within 0 .. {count - 1}", file=place.folder)
        return chosen

    def _folder(self, number: int) -> str:
        return f"{self.root}/{self.manifest.shards[number].name}{ENDING}"

    def _shard(self, place: ShardedPlace) -> Shard:
        """The shard that a place lies in, which holds what the index says.

        Raises:
            InputError: it cannot be read, or does not.
        """
        shard = self._opened(int(self._rows[place.row]["shard"]))
        for key in place.modalities:
            rows = self._frames(place, key)
            if key not in shard.sensors or not 0 <= rows.start < rows.stop <= len(shard.dates[key]):
                raise InputError(f"the index lists frames of {key} that the shard does not hold", file=place.folder)
        if place.cells != shard.cells:
            raise InputError("the index says another size than the shard", file=place.folder)
        return shard

    def _opened(self, number: int) -> Shard:
        """A shard; opened ones are kept, as many as are likely to be needed again."""
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        opened = Shard(self._folder(number), self.workers, self.manifest.shards[number].digest)
        with self._lock:
            self._open[number] = opened
            if len(self._open) > _OPEN_SHARDS:
                self._open.popitem(last=False)
        return opened
