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


class Stream(Generic[Prepared]):
    """Batches by step, prepared one ahead in a thread.

    An epoch has ``len // batch_size`` steps (a smaller data set is one batch); what is left over has its turn in
    another epoch, whose permutation differs. A sample that cannot be read is left out of its batch, counted and listed.

    Args:
        read: reads sample ``i``; raises `InputError` for a bad one.
        length: number of samples.
        batch_size: samples per step.
        seed: of order and randomness.
        prepare: makes a batch out of samples and their generators.
    """

    def __init__(
        self,
        read: Callable[[int], Sample],
        length: int,
        *,
        batch_size: int,
        seed: int,
        prepare: Callable[[Sequence[Sample], Sequence[Generator]], Prepared],
    ) -> None:
        if length < 1:
            raise InputError("the data set holds no place")
        self.read, self.length, self.seed, self.prepare = read, length, seed, prepare
        self.batch_size = min(batch_size, length)
        self.failed: dict[int, str] = {}

    def indices(self, step: int) -> tuple[int, NDArray[np.int64]]:
        """Epoch and sample indices of a step."""
        per_epoch = self.length // self.batch_size
        epoch, position = divmod(step, per_epoch)
        start = position * self.batch_size
        return epoch, permutation(self.seed, epoch, self.length)[start : start + self.batch_size]

    def batch(self, step: int) -> Prepared:
        """The batch of a step.

        Raises:
            InputError: if no sample of it can be read.
        """
        epoch, indices = self.indices(step)
        samples, rngs = [], []
        for index in indices.tolist():
            if index in self.failed:
                continue
            try:
                samples.append(self.read(index))
            except InputError as error:
                self.failed[index] = str(error)
            else:
                rngs.append(sample_rng(self.seed, epoch, index))
        if not samples:
            raise InputError(
                f"none of the {len(indices)} places of step {step} can be read; the first: {self._first()}"
            )
        return self.prepare(samples, rngs)

    def _first(self) -> str:
        return next(iter(self.failed.values()), "no reason recorded")

    def run(self, start: int, stop: int) -> Iterator[tuple[int, Prepared]]:
        """Steps ``start`` .. ``stop - 1`` with their batches; the next one is prepared while this one is used."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as pool:
            ahead = pool.submit(self.batch, start) if start < stop else None
            for step in range(start, stop):
                current, ahead = ahead, pool.submit(self.batch, step + 1) if step + 1 < stop else None
                assert current is not None
                yield step, current.result()
