"""Parts of a map in this process: read windows, answer them, blend, encode, write, forget.

Three things go on at a time: a thread reads the windows of the next batches, the model answers the present one, and a
thread blends, compresses and writes what was answered before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from skysense.geo import Window
from skysense.maps.account import Account
from skysense.maps.answer import Answerer, Rows, WindowAnswer
from skysense.maps.blend import RowBlender
from skysense.maps.device import device_words
from skysense.maps.feed import Prepared, begins_in, prepare, read_ahead
from skysense.maps.found import keep_found
from skysense.maps.job import Job
from skysense.maps.parts import Part
from skysense.maps.product.levels import tile_of
from skysense.maps.product.work import PartWriter

if TYPE_CHECKING:
    from skysense.tasks.detection.boxes import Found

_READ_AHEAD = 3  # batches
_WAITING = 2  # answered batches that are not yet written: more would only take memory


def compute(job: Job, answerer: Answerer, parts: Iterable[Part], tell: Callable[[int], None] = lambda _: None) -> None:
    """Compute parts of a map; each counts as soon as it is whole, whatever happens to those after it.

    Args:
        job: the map.
        answerer: of this process.
        parts: which ones; asked for the next a little before the one before is finished.
        tell: called after every batch with the windows that are done with it.

    Raises:
        OutputError: something could not be written.
        InputError: the source cannot be opened any more.
    """
    todo = ((part, job.layout.touching(part.window)) for part in parts)
    ahead = read_ahead(
        lambda: prepare(job.source, todo, job.batch_size, answerer.regions, job.layout.size), _READ_AHEAD
    )
    with closing(ahead), _Finisher(job, answerer) as finisher:
        for some in ahead:
            answers = answerer(some.samples) if some.samples else []
            finisher.take(some, answers)
            tell(some.looked_at)
        finisher.wait(0)


class _Finisher:
    """Blends, encodes and writes in a thread of its own, in the order in which it is told."""

    def __init__(self, job: Job, answerer: Answerer) -> None:
        self._job, self._answerer = job, answerer
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="finish")
        self._waiting: deque[Future[None]] = deque()
        self._open: _OpenPart | None = None

    def __enter__(self) -> _Finisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._open is not None:  # something went wrong before it was whole
            self._open.drop(error)

    def take(self, some: Prepared, answers: list[WindowAnswer]) -> None:
        """Have answers written; raises what went wrong with those before."""
        self._waiting.append(self._thread.submit(self._work, some, answers))
        self.wait(_WAITING)

    def wait(self, left: int) -> None:
        """Wait until only so many batches are not yet written."""
        while len(self._waiting) > left:
            self._waiting.popleft().result()

    def _work(self, some: Prepared, answers: list[WindowAnswer]) -> None:
        if self._open is None:
            self._open = _OpenPart(self._job, self._answerer, some.part)
        self._open.add(some, answers)
        if some.last:
            whole, self._open = self._open, None
            whole.close()


class _OpenPart:
    """A part that is being written."""

    def __init__(self, job: Job, answerer: Answerer, part: Part) -> None:
        self._job, self._part, self._encode = job, part, answerer.encode
        self._layers = {layer.name: (tile_of(layer), layer.per_cell) for layer in job.work.layers}
        self._account = Account(devices={device_words(answerer.device)})
        self._found: list[tuple[Window, Found]] = []
        self._blender = RowBlender(job.layout, part.window, job.scores, job.block, self._emit)
        self._context = job.work.open(part)
        self._writer: PartWriter = self._context.__enter__()

    def add(self, some: Prepared, answers: list[WindowAnswer]) -> None:
        """Blend answers; what no later window reaches is written."""
        self._account.add(some.account)
        for window, answer in zip(some.windows, answers, strict=True):
            self._blender.add(window, answer)
            if begins_in(self._part, window):
                if answer.found is not None:
                    self._found.append((window, answer.found))
                self._account.observed += not self._job.scores

    def close(self) -> None:
        """Write the rest; from here on the part counts."""
        try:
            self._blender.close()
            if self._found:
                keep_found(self._job.work, self._part, self._found)
            self._writer.say(self._account.to_json())
        except BaseException as error:
            self.drop(error)
            raise
        self._context.__exit__(None, None, None)

    def drop(self, error: BaseException | None) -> None:
        """Leave it unfinished."""
        error = error or RuntimeError("the part was not finished")
        self._context.__exit__(type(error), error, error.__traceback__)

    def _emit(self, row: int, blended: Rows) -> None:
        if not blended:
            return
        first = next(iter(blended.values()))
        self._account.observed += int((~np.isnan(first[0])).sum())
        stored = self._encode(blended)
        for name, (tile, per_cell) in self._layers.items():
            stored_KHW = stored[name]
            for at in range(0, stored_KHW.shape[1], tile):
                self._writer.put(name, row * per_cell + at, stored_KHW[:, at : at + tile])
