"""The order in which places are read: permutation(seed, epoch)[position], independent of who reads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.observation import Sample

Drawn = TypeVar("Drawn")
Prepared = TypeVar("Prepared")


def permutation(seed: int, epoch: int, length: int) -> NDArray[np.int64]:
    """The order of one epoch."""
    return np.random.default_rng([seed, epoch]).permutation(length)


def sample_rng(seed: int, epoch: int, index: int) -> Generator:
    """Randomness of one sample in one epoch; the same whichever process, worker or batch it falls into."""
    return np.random.default_rng([seed, epoch, index, 1])


class Memory:
    """Keeps what was read while it fits, so that a small data set is decoded once.

    Args:
        read: reads sample ``i``.
        limit: bytes of pixels to keep.
    """

    def __init__(self, read: Callable[[int], Sample], limit: int) -> None:
        self.read = read
        self.limit = limit
        self._kept: OrderedDict[int, Sample] = OrderedDict()
        self._bytes = 0

    def __call__(self, index: int) -> Sample:
        """Sample ``index``, from memory if it is there."""
        if index not in self._kept:
            sample = self.read(index)
            size = sum(one.values.nbytes + one.valid.nbytes for one in sample.series.values())
            if self._bytes + size > self.limit:
                return sample
            self._kept[index] = sample
            self._bytes += size
        return self._kept[index]


class Stream(Generic[Drawn, Prepared]):
    """Batches by step, prepared one ahead in a thread.

    An epoch has ``len // batch_size`` steps (a smaller data set is one batch); what is left over has its turn in
    another epoch, whose permutation differs. A sample that cannot be used is left out of its batch and listed; if a
    batch has no other, the next of the epoch takes its place. All of it is a function of seed and step.

    Args:
        read: reads sample ``i``; raises `InputError` for a bad one, which is not tried again.
        length: number of samples.
        batch_size: samples per step.
        seed: of order and randomness.
        draw: what a step needs of one sample, by a generator of its own; raises `InputError` if it finds nothing this
            time.
        assemble: makes a batch out of that.

    Attributes:
        failed: samples that cannot be read, and why.
        left_out: samples of which nothing could be drawn at least once, and why the last time.
    """

    def __init__(
        self,
        read: Callable[[int], Sample],
        length: int,
        *,
        batch_size: int,
        seed: int,
        draw: Callable[[Sample, Generator], Drawn],
        assemble: Callable[[Sequence[Drawn]], Prepared],
    ) -> None:
        if length < 1:
            raise InputError("the data set holds no place")
        self.read, self.length, self.seed, self.draw, self.assemble = read, length, seed, draw, assemble
        self.batch_size = min(batch_size, length)
        self.failed: dict[int, str] = {}
        self.left_out: dict[int, str] = {}

    def indices(self, step: int) -> tuple[int, NDArray[np.int64]]:
        """Epoch and sample indices of a step."""
        epoch, order = self._order(step)
        return epoch, order[: self.batch_size]

    def _order(self, step: int) -> tuple[int, NDArray[np.int64]]:
        """Epoch, and all samples in its order beginning with those of a step."""
        epoch, position = divmod(step, self.length // self.batch_size)
        return epoch, np.roll(permutation(self.seed, epoch, self.length), -position * self.batch_size)

    def batch(self, step: int) -> Prepared:
        """The batch of a step.

        Raises:
            InputError: if no sample at all can be used.
        """
        epoch, order = self._order(step)
        drawn: list[Drawn] = []
        for number, index in enumerate(order.tolist()):
            if number >= self.batch_size and drawn:
                break
            drawn += self._drawn(epoch, index)
        if not drawn:
            reasons = self.failed | self.left_out
            raise InputError(f"none of the {self.length} places can be used; the first: {next(iter(reasons.values()))}")
        return self.assemble(drawn)

    def _drawn(self, epoch: int, index: int) -> list[Drawn]:
        """What was drawn of a sample; nothing if it cannot be used."""
        if index in self.failed:
            return []
        try:
            sample = self.read(index)
        except InputError as error:
            self.failed[index] = str(error)
            return []
        try:
            return [self.draw(sample, sample_rng(self.seed, epoch, index))]
        except InputError as error:
            self.left_out[index] = str(error)
            return []

    def run(self, start: int, stop: int) -> Iterator[tuple[int, Prepared]]:
        """Steps ``start`` .. ``stop - 1`` with their batches; the next one is prepared while this one is used."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as pool:
            ahead = pool.submit(self.batch, start) if start < stop else None
            for step in range(start, stop):
                current, ahead = ahead, pool.submit(self.batch, step + 1) if step + 1 < stop else None
                assert current is not None
                yield step, current.result()
