"""The order in which places are read: permutation(seed, epoch)[position], independent of ranks and workers."""

from __future__ import annotations

import sys
from collections import abc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock
from typing import Generic, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skysense.errors import ConfigError, InputError, Unreachable
from skysense.observation import Sample

Place = TypeVar("Place")
Drawn = TypeVar("Drawn")
Prepared = TypeVar("Prepared")


def permutation(seed: int, epoch: int, length: int) -> NDArray[np.int64]:
    """The order of one epoch."""
    return np.random.default_rng([seed, epoch]).permutation(length)


GROUPED_BATCHES = 32
"""Batches among which places are sorted by likeness: few enough that the order stays random, enough to sort well."""


def group_alike(
    order: NDArray[np.int64], likeness: NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> NDArray[np.int64]:
    """The order of an epoch with like places side by side, so that batches hold the same sensors and little padding.

    Places are sorted by likeness within stretches of `GROUPED_BATCHES` batches; the batches of a stretch then change
    places at random, so that no kind comes first. Each place keeps its stretch.

    Args:
        order: `permutation` of the epoch.
        likeness: ``(N,)`` a number per place; equal or neighbouring ones go well together.
        batch_size: places per batch.
        seed: of the order.
        epoch: which.
    """
    grouped = order.copy()
    rng = np.random.default_rng([seed, epoch, 2])
    whole = len(order) // batch_size * batch_size  # what is left over has its turn in another epoch
    for start in range(0, whole, GROUPED_BATCHES * batch_size):
        stretch = order[start : min(start + GROUPED_BATCHES * batch_size, whole)]
        batches = stretch[np.argsort(likeness[stretch], kind="stable")].reshape(-1, batch_size)
        grouped[start : start + len(stretch)] = rng.permutation(batches).ravel()
    return grouped


def sample_rng(seed: int, epoch: int, index: int) -> Generator:
    """Randomness of one sample in one epoch; the same whichever process, worker or batch it falls into."""
    return np.random.default_rng([seed, epoch, index, 1])


@contextmanager
def short_turns() -> Iterator[None]:
    """Let threads take turns of half a millisecond, a tenth of what is usual.

    A thread that reads needs the interpreter often and briefly, between long pieces of work beside it. While it waits
    for a turn of 5 ms to end it decodes nothing: with two threads half of their gain was lost so.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, 5e-4))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class Memory:
    """Keeps what was read while it fits, so that a small data set is decoded once; threads may share it.

    Args:
        read: reads sample ``i``.
        limit: bytes of pixels to keep.
    """

    def __init__(self, read: Callable[[int], Sample], limit: int) -> None:
        self.read = read
        self.limit = limit
        self._kept: dict[int, Sample] = {}
        self._bytes = 0
        self._reading: dict[int, Future[Sample]] = {}
        self._lock = Lock()  # of the three above; never held while reading

    def __call__(self, index: int) -> Sample:
        """Sample ``index``, from memory if it is there; two threads that ask for it at once get it from one read."""
        with self._lock:
            if index in self._kept:
                return self._kept[index]
            first = index not in self._reading
            reading = self._reading.setdefault(index, Future())
        if first:
            self._read(index, reading)
        return reading.result()

    def _read(self, index: int, reading: Future[Sample]) -> None:
        try:
            reading.set_result(self.read(index))
        except BaseException as error:  # noqa: BLE001 - raised by `result` in every thread that asked
            reading.set_exception(error)
        with self._lock:
            del self._reading[index]
            if reading.exception() is None:
                sample = reading.result()
                size = sum(one.values.nbytes + one.valid.nbytes for one in sample.series.values())
                if self._bytes + size <= self.limit:
                    self._kept[index] = sample
                    self._bytes += size


class Stream(Generic[Place, Drawn, Prepared]):
    """Batches by step, prepared one ahead in a thread; each rank reads its share of every batch.

    An epoch has ``len // batch_size`` steps (a smaller data set is one batch); what is left over has its turn in
    another epoch, whose permutation differs. Ranks take neighbouring parts of a batch, the first ones a sample more if
    it does not divide: their samples one after the other are those of the one rank that reads alone, drawn alike.

    A sample that cannot be used is left out of its batch and listed by the rank that read it. If none of a rank's share
    can be used its batch is None; if that is so on every rank, which only all of them together know, `stand_in` has
    another. All of it is a function of seed and step.

    Samples are read by threads, not processes: the decoder of images runs beside the interpreter, samples need no
    copying from one process to another, and what was decoded is kept once.

    Args:
        read: reads place ``i``, or what is needed to draw of it, in several threads at once; raises `InputError` for a
            bad one, which is not tried again, and `Unreachable` for one that may be read another time.
        length: number of samples.
        batch_size: samples per step of all ranks together.
        seed: of order and randomness.
        draw: what a step needs of one sample, by a generator of its own; raises `InputError` if it finds nothing this
            time.
        assemble: makes a batch out of that.
        rank: which of the ranks this is.
        ranks: how many share every batch.
        workers: threads that read and draw the samples of a batch; what a batch holds does not depend on their number.
            More than one pays where large images are decoded and cores are free: series in NetCDF are read one after
            the other. With 0 nothing is prepared ahead: the thread that asks for a batch reads it.
        likeness: ``(length,)`` puts like places into one batch, see `group_alike`; None for no such order.

    Attributes:
        failed: samples that cannot be read, and why; of this rank.
        left_out: other samples that could not be reached or of which nothing could be drawn at least once, and why the
            last time; of this rank.

    Raises:
        InputError: no sample, or fewer than ranks.
        ConfigError: fewer samples per step than ranks, no such rank, no worker.
    """

    def __init__(
        self,
        read: Callable[[int], Place],
        length: int,
        *,
        batch_size: int,
        seed: int,
        draw: Callable[[Place, Generator], Drawn],
        assemble: Callable[[Sequence[Drawn]], Prepared],
        rank: int = 0,
        ranks: int = 1,
        workers: int = 1,
        likeness: NDArray[np.int64] | None = None,
    ) -> None:
        if length < 1:
            raise InputError("the data set holds no place")
        if not 0 <= rank < ranks:
            raise ConfigError(f"rank {rank} is not one of {ranks} ranks")
        if workers < 0:
            raise ConfigError(f"workers = {workers} must be 0 or more")
        if batch_size < ranks:
            raise ConfigError(
                f"batch_size = {batch_size} is smaller than the number of ranks, {ranks}: every rank needs a place of "
                "each batch. Use a larger batch_size or fewer ranks"
            )
        if length < ranks:
            raise InputError(
                f"the data set holds {length} places, fewer than the {ranks} ranks that share each batch",
                fix="Use fewer ranks or more places",
            )
        self.read, self.length, self.seed, self.draw, self.assemble = read, length, seed, draw, assemble
        self.batch_size, self.rank, self.ranks, self.workers = min(batch_size, length), rank, ranks, workers
        self.likeness = likeness
        self._kept = (-1, np.empty(0, np.int64))
        self.failed: dict[int, str] = {}
        self.left_out: dict[int, str] = {}

    @property
    def unused(self) -> int:
        """Number of samples that could not be used at least once so far; of this rank."""
        return len(self.failed) + len(self.left_out)

    def indices(self, step: int) -> tuple[int, NDArray[np.int64]]:
        """Epoch, and indices of the samples that this rank reads for a step."""
        epoch, start = self._position(step)
        batch = self._order(epoch)[start : start + self.batch_size]
        return epoch, np.array_split(batch, self.ranks)[self.rank]

    def _position(self, step: int) -> tuple[int, int]:
        """Epoch of a step, and where in its order its batch begins."""
        epoch, position = divmod(step, self.length // self.batch_size)
        return epoch, position * self.batch_size

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """All samples in the order of an epoch; kept, since millions take seconds."""
        if self._kept[0] != epoch:
            order = permutation(self.seed, epoch, self.length)
            if self.likeness is not None:
                order = group_alike(order, self.likeness, self.batch_size, self.seed, epoch)
            self._kept = (epoch, order)
        return self._kept[1]

    def batch(self, step: int) -> Prepared | None:
        """This rank's part of the batch of a step; None if nothing of it can be used."""
        return self._prepare(step, Event())

    def _prepare(self, step: int, stopped: Event) -> Prepared | None:
        epoch, indices = self.indices(step)

        def drawn(index: int) -> list[Drawn]:
            if stopped.is_set():
                raise CancelledError
            return self._drawn(epoch, index)

        if self.workers < 2:
            found = [one for index in indices.tolist() for one in drawn(index)]
        else:
            with ThreadPoolExecutor(min(self.workers, len(indices)), thread_name_prefix="read") as pool:
                found = [one for some in pool.map(drawn, indices.tolist()) for one in some]
        return self.assemble(found) if found else None

    def stand_in(self, step: int) -> Prepared:
        """A batch of one sample for a step of which no rank can use anything: the next of the epoch that can be used.

        It is the same on every rank, to be learned from once.

        Raises:
            Unreachable: a sample cannot be reached; waiting for all others in turn would take for ever.
            InputError: if no sample at all can be used.
        """
        epoch, start = self._position(step)
        # The batch itself comes last: it says why nothing can be used if the epoch has no other.
        candidates = np.roll(self._order(epoch), -start - self.batch_size).tolist()
        for index in candidates:
            drawn = self._drawn(epoch, index, reach=True)
            if drawn:
                return self.assemble(drawn)
        first = candidates[0]
        reason = self.failed[first] if first in self.failed else self.left_out[first]
        raise InputError(f"none of the {self.length} places can be used; the first: {reason}")

    def _drawn(self, epoch: int, index: int, *, reach: bool = False) -> list[Drawn]:
        """What was drawn of a sample; nothing if it cannot be used, or only now cannot be reached and need not be."""
        if index in self.failed:
            return []
        drawing = False
        try:
            place = self.read(index)
            drawing = True
            return [self.draw(place, sample_rng(self.seed, epoch, index))]
        except InputError as error:
            if reach and isinstance(error, Unreachable):
                raise
            for_good = not drawing and not isinstance(error, Unreachable)  # another draw may find something
            (self.failed if for_good else self.left_out)[index] = str(error)
            if for_good:
                self.left_out.pop(index, None)
            return []

    def run(self, start: int, stop: int) -> abc.Generator[tuple[int, Prepared | None], None, None]:
        """Steps ``start`` .. ``stop - 1`` with their `batch`; the next one is prepared while this one is used.

        Whoever stops early, by closing the iterator or by an error, waits for no more than the samples being read.
        """
        if not self.workers:
            for step in range(start, stop):
                yield step, self.batch(step)
            return
        stopped = Event()
        with short_turns(), ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as pool:
            try:
                ahead = pool.submit(self._prepare, start, stopped) if start < stop else None
                for step in range(start, stop):
                    current, ahead = ahead, pool.submit(self._prepare, step + 1, stopped) if step + 1 < stop else None
                    assert current is not None
                    yield step, current.result()
            finally:
                stopped.set()
