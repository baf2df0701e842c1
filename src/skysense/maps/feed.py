"""From the windows of parts of a map to batches of samples, read ahead in a thread of its own."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from skysense.geo import Window
from skysense.maps.account import Account, Skipped
from skysense.maps.answer import Regions
from skysense.maps.parts import Part
from skysense.maps.source import Source, SourceReader, UnreadableWindow
from skysense.maps.sources.position import Positions
from skysense.observation import Sample

_T = TypeVar("_T")
LEAST_CACHE, MOST_CACHE = 64 << 20, 512 << 20
"""Bytes of decoded tiles that GDAL keeps, unless the environment says otherwise (``GDAL_CACHEMAX``); its own default is
a twentieth of the machine's memory."""


@dataclass
class Prepared:
    """Windows of a part ready to be answered, and what became of those before them.

    Attributes:
        part: they touch it.
        windows, samples: a batch, row by row; may be empty.
        looked_at: windows that this accounts for, those that fell away included.
        account: of those that begin in the part.
        last: no window of the part follows.
    """

    part: Part
    windows: list[Window] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    looked_at: int = 0
    account: Account = field(default_factory=Account)
    last: bool = False


def cache_bytes(source: Source, cells: int) -> int:
    """What GDAL has to keep so that the windows of a series do not decode the same tiles again, within bounds."""
    return min(max(source.decoded_bytes(cells), LEAST_CACHE), MOST_CACHE)


def prepare(
    source: Source, todo: Iterable[tuple[Part, Iterable[Window]]], batch_size: int, regions: Regions | None, cells: int
) -> Generator[Prepared, None, None]:
    """Read windows of parts and put those with observed pixels side by side; the others are counted on the way.

    Every part begins a batch of its own, so that its batches do not depend on the part before.

    Args:
        source: to read from.
        todo: parts and their windows; asked for the next when the one before is read.
        batch_size: samples per batch; the last one of a part may be smaller.
        regions: of the model, if it has any.
        cells: side of the windows.
    """
    import rasterio

    positions = Positions(source.grid) if regions is not None else None
    cache = {} if "GDAL_CACHEMAX" in os.environ else {"GDAL_CACHEMAX": cache_bytes(source, cells)}
    with rasterio.Env(**cache), source.open() as reader:
        for part, windows in todo:
            some = Prepared(part)
            for window in windows:
                sample = _read(reader, window, some)
                if sample is not None:
                    if regions is not None and positions is not None:
                        sample = _placed(sample, window, regions, positions, some)
                    some.windows.append(window)
                    some.samples.append(sample)
                if len(some.samples) == batch_size:
                    yield some
                    some = Prepared(part)
            some.last = True
            yield some


def _read(reader: SourceReader, window: Window, some: Prepared) -> Sample | None:
    some.looked_at += 1
    sample, empty, skipped = None, False, list[Skipped]()
    not_finite = reader.pixels_not_finite
    try:
        sample = reader.read(window)
    except UnreadableWindow as error:
        skipped.append(Skipped(window, error.what))
    else:
        empty = not any(series.valid.any() for series in sample.series.values())
    lost, reader.lost[:] = list(reader.lost), []
    if begins_in(some.part, window):
        account = some.account
        account.windows += 1
        account.empty += empty
        account.skipped += skipped
        account.lost.update(lost)
        account.not_finite += reader.pixels_not_finite - not_finite
    return None if empty else sample


def begins_in(part: Part, window: Window) -> bool:
    """Whether the first cell of a window lies in a part: of all parts it touches, one has it."""
    return part.window.intersect(Window(window.row, window.col, 1, 1)) is not None


def _placed(sample: Sample, window: Window, regions: Regions, positions: Positions, some: Prepared) -> Sample:
    lon, lat = positions.centre(window)
    slot = regions.table.slot(lon, lat)
    if not regions.has(slot) and begins_in(some.part, window):
        some.account.no_context += 1
    return replace(sample, lon=lon, lat=lat, region=slot)


def read_ahead(make: Callable[[], Iterable[_T]], depth: int) -> Generator[_T, None, None]:
    """Run an iterable in a thread of its own, at most ``depth`` items ahead; its errors are raised here.

    Args:
        make: called in that thread, so that whatever it opens belongs to it.
        depth: items kept waiting.
    """
    waiting: queue.Queue[tuple[_T | None, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: _T | None, error: BaseException | None = None) -> bool:
        while not stop.is_set():
            try:
                waiting.put((item, error), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def run() -> None:
        try:
            for item in make():
                if not put(item):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits for it
            put(None, error)

    thread = threading.Thread(target=run, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stop.set()
        thread.join()
