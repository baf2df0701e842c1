"""From the windows of a scene to batches for the model, read ahead in a thread of its own."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from skysense.geo import RegionTable, Window
from skysense.maps.scene import Scene, SceneReader, UnreadableWindow
from skysense.observation import Batch, Sample, collate

_T = TypeVar("_T")


@dataclass(frozen=True)
class Skipped:
    """A window that could not be used; its cells are no-data unless a neighbour covers them."""

    window: Window
    reason: str


@dataclass
class Prepared:
    """Windows ready for the model, and those that fell away on the way to them."""

    windows: list[Window] = field(default_factory=list)
    batch: Batch | None = None
    empty: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    not_finite: int = 0

    @property
    def done(self) -> int:
        """How many windows this accounts for."""
        return len(self.windows) + self.empty + len(self.skipped)


def prepare(scene: Scene, windows: Iterable[Window], batch_size: int, table: RegionTable) -> Iterator[Prepared]:
    """Read windows and put those with observed pixels side by side; the others are counted on the way.

    Args:
        scene: to read from.
        windows: row by row.
        batch_size: samples per batch; the last may be smaller.
        table: regions of the model; a window belongs to the region of its centre.
    """
    lon_lat = _Positions(scene) if len(table) else None
    with scene.open() as reader:
        some, samples = Prepared(), list[Sample]()
        for window in windows:
            sample = _read(reader, window, some)
            if sample is not None:
                if lon_lat is not None:
                    lon, lat = lon_lat.centre(window)
                    sample = replace(sample, lon=lon, lat=lat, region=table.slot(lon, lat))
                some.windows.append(window)
                samples.append(sample)
            if len(samples) == batch_size:
                yield _packed(some, samples, reader)
                some, samples = Prepared(), []
        if some.done:
            yield _packed(some, samples, reader)


def _read(reader: SceneReader, window: Window, some: Prepared) -> Sample | None:
    try:
        sample = reader.read(window)
    except UnreadableWindow as error:
        some.skipped.append(Skipped(window, error.what))
        return None
    if not any(series.valid.any() for series in sample.series.values()):
        some.empty += 1
        return None
    return sample


def _packed(some: Prepared, samples: list[Sample], reader: SceneReader) -> Prepared:
    batch = collate(samples) if samples else None
    not_finite, reader.pixels_not_finite = reader.pixels_not_finite, 0
    return replace(some, batch=batch, not_finite=not_finite)


class _Positions:
    """WGS 84 positions on a scene."""

    def __init__(self, scene: Scene) -> None:
        from pyproj import Transformer

        self._to_degrees = Transformer.from_crs(scene.crs.to_wkt(), "EPSG:4326", always_xy=True)
        self._grid, self._cells = scene.cell_transform, scene.cells

    def centre(self, window: Window) -> tuple[float | None, float | None]:
        """Longitude and latitude of the middle of what a window shows of the scene; None where the CRS has none."""
        a, b, c, d, e, f = self._grid[:6]
        row = (window.row + min(window.row + window.height, self._cells[0])) / 2
        col = (window.col + min(window.col + window.width, self._cells[1])) / 2
        lon, lat = self._to_degrees.transform(a * col + b * row + c, d * col + e * row + f)
        return (lon, lat) if math.isfinite(lon) and math.isfinite(lat) else (None, None)


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
