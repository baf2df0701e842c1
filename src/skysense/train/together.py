"""What ranks do together outside of the training step: how it went is known to all of them, and is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch.distributed as dist

from skysense.errors import SkySenseError
from skysense.train.ranks import Ranks

Value = TypeVar("Value")
Result = TypeVar("Result")


class Together:
    """The ranks of a run, in a process group of their own: a thread can use it while training uses the default one.

    Every method has to be called by all ranks, in the same order, and by one thread at a time.

    Args:
        ranks: of the default process group; all of them make a `Together` at the same time.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._group: dist.ProcessGroup | None = None
        if ranks.size > 1:
            group = dist.new_group(backend="gloo")
            assert isinstance(group, dist.ProcessGroup)  # it has all ranks
            self._group = group

    def gather(self, value: Result) -> list[Result]:
        """What every rank has, in their order.

        Raises:
            SkySenseError: another process has ended.
        """
        if self._group is None:
            return [value]
        values: list[Result] = [value] * self.ranks.size
        with _others_alive():
            dist.all_gather_object(values, value, group=self._group)
        return values

    def settle(self, value: Value, decide: Callable[[list[Value]], Sequence[Result]]) -> Result:
        """The first rank sees what every rank has, and decides what each of them gets back.

        Raises:
            SkySenseError: as `gather`, or raised by ``decide``; on all ranks.
        """
        if self._group is None:
            return decide([value])[0]
        first, size = self.ranks.first, self.ranks.size
        values: list[Any] = [value] * size
        answers: list[Any] = [None] * size
        mine: list[Any] = [None]
        with _others_alive():
            dist.gather_object(value, values if first else None, dst=0, group=self._group)
            if first:
                decided, failure, _ = _attempt(lambda: decide(values))
                answers = [(None, failure)] * size if decided is None else [(one, None) for one in decided]
            dist.scatter_object_list(mine, answers if first else None, src=0, group=self._group)
        answer, failure = mine[0]
        if failure is not None:
            raise failure
        return answer

    def each(self, act: Callable[[], Result]) -> list[Result]:
        """Act on every rank and gather the results.

        Raises:
            SkySenseError: what the first of the ranks that failed has raised, on all of them.
        """
        if self._group is None:
            return [act()]
        result, failure, cause = _attempt(act)
        results = self.gather((result, failure))
        for _, failed in results:
            if failed is not None:
                raise failed from (None if failed is cause else cause)
        return [result for result, _ in results]  # type: ignore[misc]

    def first(self, act: Callable[[], Result]) -> Result:
        """Act on the first rank only; all get its result.

        Raises:
            SkySenseError: as `each`.
        """
        return self.each(lambda: act() if self.ranks.first else None)[0]  # type: ignore[return-value]


def _attempt(act: Callable[[], Result]) -> tuple[Result | None, SkySenseError | None, Exception | None]:
    """Result, or the error to tell the others, with the one behind it."""
    try:
        return act(), None, None
    except SkySenseError as error:
        return None, error, error
    except Exception as error:  # noqa: BLE001 (whatever it is, the others would wait for this rank for ever)
        return None, SkySenseError(f"{type(error).__name__}: {error}"), error


@contextmanager
def _others_alive() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise SkySenseError("another process of the run does not answer") from error
