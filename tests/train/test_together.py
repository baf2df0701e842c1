"""What happens on one rank is known to all."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch

from skysense.errors import InputError, SkySenseError
from skysense.train.ranks import Ranks
from skysense.train.together import Together
from tests.processes import endings, run


def together(rank: int, size: int) -> Together:
    return Together(Ranks(rank, size, torch.device("cpu")))


def _agree(rank: int, size: int) -> tuple[Any, ...]:
    them = together(rank, size)
    gathered = them.gather(rank * 10)
    each = them.each(lambda: f"rank {rank}")
    first = them.first(lambda: rank + 5)
    share = them.settle(rank + 1, lambda values: [sum(values) * 10 + number for number in range(size)])
    return gathered, each, first, share


def test_ranks_learn_from_each_other() -> None:
    assert run(_agree, processes=1) == [([0], ["rank 0"], 5, 10)]
    assert run(_agree, processes=3) == [([0, 10, 20], ["rank 0", "rank 1", "rank 2"], 5, 60 + i) for i in range(3)]


def _fail(rank: int, size: int) -> list[str]:
    them = together(rank, size)
    errors: list[str] = []

    def refuse() -> None:
        if rank == size - 1:
            raise InputError("is wrong", file="a.tif", fix="Mend it")

    def break_down(*_: object) -> list[None]:
        raise KeyError("b")

    ways: list[tuple[type[SkySenseError], Callable[[], Any]]] = [
        (InputError, lambda: them.each(refuse)),
        (SkySenseError, lambda: them.each(break_down)),
        (SkySenseError, lambda: them.first(break_down)),
        (SkySenseError, lambda: them.settle(0, break_down)),
    ]
    for kind, way in ways:
        with pytest.raises(kind) as caught:
            way()
        errors.append(str(caught.value))
    assert them.gather(rank) == list(range(size))  # still in step
    return errors


def test_an_error_on_one_rank_is_raised_on_all() -> None:
    expected = ["a.tif: is wrong. Mend it", "KeyError: 'b'", "KeyError: 'b'", "KeyError: 'b'"]
    assert run(_fail, processes=3) == [expected] * 3


def _end(rank: int, size: int) -> None:
    them = together(rank, size)
    if rank == 1:
        os._exit(7)
    them.gather(rank)


def test_a_process_that_ended_is_noticed() -> None:
    ended = endings(_end)
    assert (ended[0].code, ended[1].code) == (1, 7)
    assert "SkySenseError: another process of the run does not answer" in ended[0].output
