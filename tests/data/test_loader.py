"""The order of data is the same for any number of ranks and workers; threads neither hang nor read twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import Generator

from skysense.data.loader import GROUPED_BATCHES, Memory, Stream, group_alike, permutation
from skysense.errors import ConfigError, InputError, Unreachable
from skysense.observation import Sample
from tests.data.places_samples import make_sample

WAIT = 20
"""Seconds until a thread that should have done something is taken to hang."""


def stream(read: Callable[[int], Any], length: int, **changes: Any) -> Stream[Any, Any, Any]:
    """Batches are lists of what `read` gives."""
    defaults = {"batch_size": 3, "seed": 5, "draw": lambda sample, rng: sample, "assemble": list}
    return Stream(read, length, **(defaults | changes))


def itself(index: int) -> int:
    return index


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read")]


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    length = draw(st.integers(1, 12))
    batch_size = draw(st.integers(1, 14))
    some = st.sets(st.integers(0, length - 1))
    return {
        "length": length,
        "batch_size": batch_size,
        "seed": draw(st.integers(0, 99)),
        "ranks": draw(st.integers(1, min(length, batch_size))),
        "workers": draw(st.integers(0, 4)),
        "unreadable": draw(some),
        "blank": draw(some),
        "start": draw(st.integers(0, 5)),
    }


@settings(max_examples=80, deadline=None)
@given(worlds())
def test_ranks_one_after_the_other_read_what_one_reads_alone(world: dict[str, Any]) -> None:
    def read(index: int) -> int:
        if index in world["unreadable"]:
            raise InputError(f"place {index} is unreadable")
        return index

    def draw(index: int, rng: Generator) -> tuple[int, str]:
        if rng.random() < 0.5 and index in world["blank"]:
            raise InputError(f"place {index} showed nothing")
        return index, str(rng.bit_generator.state)

    def open_stream(**changes: Any) -> Stream[Any, Any, Any]:
        return stream(read, length, batch_size=world["batch_size"], seed=world["seed"], draw=draw, **changes)

    length, ranks = world["length"], world["ranks"]
    alone = open_stream()
    per_epoch = length // alone.batch_size
    stop = 2 * per_epoch
    shared = [open_stream(rank=rank, ranks=ranks, workers=world["workers"]) for rank in range(ranks)]

    expected = list(alone.run(0, stop))
    assert [step for step, _ in expected] == list(range(stop))
    parts = [dict(one.run(0, stop)) for one in shared]
    for step, batch in expected:
        together = [drawn for part in parts for drawn in part[step] or []]
        assert together == (batch or [])
        assert batch != [] and all(part[step] != [] for part in parts)  # no usable sample is None
        assert np.concatenate([one.indices(step)[1] for one in shared]).tolist() == alone.indices(step)[1].tolist()
        sizes = [len(one.indices(step)[1]) for one in shared]
        assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1
    for name in ("failed", "left_out"):
        assert {k: v for one in shared for k, v in getattr(one, name).items()} == getattr(alone, name)
    start = min(world["start"], stop)  # a run that goes on has forgotten what could not be read
    assert list(open_stream(workers=world["workers"]).run(start, stop)) == expected[start:]

    for epoch in range(2):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        used = [index for step in steps for index, _ in expected[step][1] or []]
        assert len(set(used)) == len(used)
        assert set(used).isdisjoint(world["unreadable"])
        visited = [index for step in steps for index in alone.indices(step)[1].tolist()]
        assert visited == permutation(world["seed"], epoch, length)[: len(visited)].tolist()

    empty = [step for step, batch in expected if batch is None]
    for step in empty[:1]:
        outcomes = []
        for one in (alone, *shared):
            try:
                outcomes.append(one.stand_in(step))
            except InputError as error:
                outcomes.append(str(error))
        assert all(outcome == outcomes[0] for outcome in outcomes)
        assert isinstance(outcomes[0], str) or outcomes[0][0][0] not in alone.indices(step)[1]


def test_epochs_have_other_orders_and_draws() -> None:
    assert not np.array_equal(permutation(5, 0, 7), permutation(5, 1, 7))
    assert not np.array_equal(permutation(5, 0, 7), permutation(6, 0, 7))
    batches = stream(itself, 7, draw=lambda index, rng: (index, rng.random()))
    drawn = [dict(batches.batch(2 * epoch) + batches.batch(2 * epoch + 1)) for epoch in range(2)]
    assert [len(one) for one in drawn] == [6, 6]  # the seventh has its turn in another epoch
    for index in drawn[0].keys() & drawn[1].keys():
        assert drawn[0][index] != drawn[1][index]


def test_shares_of_a_batch_that_does_not_divide() -> None:
    order = permutation(5, 0, 11).tolist()
    shares = [stream(itself, 11, batch_size=5, rank=rank, ranks=3).batch(1) for rank in range(3)]
    assert shares == [order[5:7], order[7:9], order[9:10]]


def test_a_sample_that_cannot_be_reached_is_asked_for_again() -> None:
    down = True

    def read(index: int) -> int:
        if index == 2 and down:
            raise Unreachable("could not be read: no answer")
        if index == 3:
            raise InputError("is damaged")
        return index

    batches = stream(read, 6, batch_size=6, seed=0)
    assert sorted(batches.batch(0) or []) == [0, 1, 4, 5]
    assert (batches.failed, batches.left_out) == ({3: "is damaged"}, {2: "could not be read: no answer"})
    assert batches.unused == 2
    down = False
    assert sorted(batches.batch(1) or []) == [0, 1, 2, 4, 5]
    assert batches.unused == 2  # it was left out once


def test_a_store_that_is_down_for_a_whole_batch_ends_the_search_for_another_place() -> None:
    asked: list[int] = []

    def read(index: int) -> int:
        asked.append(index)
        raise Unreachable("could not be read: no answer")

    batches = stream(read, 8, batch_size=2, seed=0)
    assert batches.batch(0) is None
    with pytest.raises(Unreachable, match="no answer"):
        batches.stand_in(0)
    assert len(asked) == 3


def test_a_batch_without_a_sample_has_a_stand_in_and_says_what_was_left_out() -> None:
    order = permutation(5, 0, 4).tolist()
    read_indices: list[int] = []

    def read(index: int) -> int:
        read_indices.append(index)
        if index == order[0]:
            raise InputError("unreadable")
        return index

    def draw(index: int, rng: Generator) -> int:
        if index == order[1]:
            raise InputError("nothing in sight")
        return index

    batches = stream(read, 4, batch_size=1, draw=draw)
    assert [batches.batch(step) for step in range(4)] == [None, None, [order[2]], [order[3]]]
    assert [batches.stand_in(step) for step in range(2)] == [[order[2]], [order[2]]]
    assert batches.failed == {order[0]: "unreadable"}
    assert batches.left_out == {order[1]: "nothing in sight"}
    assert read_indices.count(order[0]) == 1
    other = stream(read, 4, batch_size=2, draw=draw, rank=1, ranks=2)
    assert other.batch(0) is None
    assert (other.failed, other.left_out) == ({}, {order[1]: "nothing in sight"})
    assert other.stand_in(0) == [order[2]]


def test_a_stand_in_that_wraps_around_the_epoch() -> None:
    order = permutation(5, 0, 4).tolist()

    def read(index: int) -> int:
        if index != order[1]:
            raise InputError("unreadable")
        return index

    batches = stream(read, 4, batch_size=2)
    assert batches.batch(1) is None
    assert batches.stand_in(1) == [order[1]]


@pytest.mark.parametrize("batch_size", [3, 7])
def test_data_of_which_nothing_can_be_used_is_refused_alike_on_every_rank(batch_size: int) -> None:
    def read(index: int) -> int:
        raise InputError(f"place {index}")

    first = permutation(5, 0, 7)[batch_size % 7]
    for rank in range(3):
        batches = stream(read, 7, batch_size=batch_size, rank=rank, ranks=3)
        assert batches.batch(0) is None
        with pytest.raises(InputError, match=f"none of the 7 places can be used; the first: place {first}"):
            batches.stand_in(0)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="no place"):
        stream(itself, 0)
    with pytest.raises(ConfigError, match=r"batch_size = 3 is smaller than the number of ranks, 4.*fewer ranks"):
        stream(itself, 9, ranks=4)
    with pytest.raises(InputError, match="holds 3 places, fewer than the 4 ranks"):
        stream(itself, 3, batch_size=8, ranks=4)
    with pytest.raises(ConfigError, match="rank 2 is not one of 2 ranks"):
        stream(itself, 9, rank=2, ranks=2)
    with pytest.raises(ConfigError, match="workers = -1"):
        stream(itself, 9, workers=-1)


def test_workers_read_at_the_same_time() -> None:
    together = threading.Barrier(2)

    def read(index: int) -> int:
        together.wait(WAIT)  # breaks unless another sample is being read
        return index

    assert [len(batch) for _, batch in stream(read, 8, batch_size=4, workers=2).run(0, 2)] == [4, 4]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_mistake_in_a_thread_arrives_with_its_message(workers: int) -> None:
    bad = permutation(5, 0, 8)[5]

    def read(index: int) -> int:
        if index == bad:
            raise ZeroDivisionError(f"by place {index}")
        return index

    batches = stream(read, 8, batch_size=2, workers=workers).run(0, 4)
    assert [next(batches)[0] for _ in range(2)] == [0, 1]
    with pytest.raises(ZeroDivisionError, match=f"by place {bad}"):
        next(batches)
    assert reading_threads() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_stopping_early_cancels_what_is_not_being_read(workers: int) -> None:
    ahead, go_on = threading.Event(), threading.Event()
    read_indices: list[int] = []

    def read(index: int) -> int:
        read_indices.append(index)
        if len(read_indices) > 8:  # the batch ahead
            ahead.set()
            go_on.wait(WAIT)
        return index

    batches = stream(read, 40, batch_size=8, workers=workers).run(0, 5)
    assert len(next(batches)[1]) == 8
    assert ahead.wait(WAIT)
    threading.Timer(0.5, go_on.set).start()  # while `close` waits for the samples being read
    batches.close()
    assert len(read_indices) <= 8 + workers
    assert reading_threads() == []
    assert list(batches) == []


def test_memory_reads_a_sample_once_for_threads_that_ask_at_once() -> None:
    sample = make_sample("a")
    size = sum(one.values.nbytes + one.valid.nbytes for one in sample.series.values())
    reads: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def read(index: int) -> Sample:
        reads.append(index)
        begun.set()
        assert go_on.wait(WAIT)
        return replace(sample, name=str(index))

    memory = Memory(read, limit=2 * size)
    got: list[Sample] = []
    threads = [threading.Thread(target=lambda: got.append(memory(4))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(WAIT)
    go_on.set()
    for thread in threads:
        thread.join(WAIT)
    assert reads == [4] and len(got) == 4 and all(one is got[0] for one in got)
    assert [memory(index).name for index in (5, 6, 4, 5, 6)] == ["5", "6", "4", "5", "6"]
    assert reads == [4, 5, 6, 6]  # two fit


def test_memory_does_not_remember_an_error() -> None:
    answers = iter([InputError("truncated"), make_sample("a")])

    def read(index: int) -> Sample:
        answer = next(answers)
        if isinstance(answer, InputError):
            raise answer
        return answer

    memory = Memory(read, limit=0)
    with pytest.raises(InputError, match="truncated"):
        memory(0)
    assert memory(0).name == "a"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(1, 9), st.integers(0, 3), st.integers(0, 5), st.integers(1, 6))
def test_like_places_share_batches_and_none_is_lost(
    length: int, batch_size: int, epoch: int, seed: int, kinds: int
) -> None:
    likeness = np.random.default_rng(seed).integers(0, kinds, length)
    order = permutation(seed, epoch, length)
    grouped = group_alike(order, likeness, batch_size, seed, epoch)
    np.testing.assert_array_equal(grouped, group_alike(order, likeness, batch_size, seed, epoch))
    stretch = GROUPED_BATCHES * batch_size
    whole = length // batch_size * batch_size
    for start in range(0, whole, stretch):
        part = slice(start, min(start + stretch, whole))
        assert sorted(grouped[part]) == sorted(order[part])  # each place keeps its stretch
        batches = likeness[grouped[part]].reshape(-1, batch_size)
        mixed = (batches != batches[:, :1]).any(axis=1).sum()
        assert mixed <= len(set(likeness[order[part]].tolist())) - 1  # a batch is mixed only where one kind ends
    np.testing.assert_array_equal(grouped[whole:], order[whole:])


def test_batches_of_a_kind_come_at_random() -> None:
    likeness = np.repeat(np.arange(4), 64)
    first = [
        likeness[group_alike(permutation(seed, 0, 256), likeness, 8, seed, 0)].reshape(-1, 8)[0, 0]
        for seed in range(40)
    ]
    assert set(first) == {0, 1, 2, 3}


def test_without_workers_nothing_is_read_ahead() -> None:
    read: list[int] = []

    def count(index: int) -> int:
        read.append(index)
        return index

    steps = stream(count, 9, workers=0).run(0, 3)
    next(steps)
    assert len(read) == 3
    assert not reading_threads()
    assert [len(batch) for _, batch in steps] == [3, 3]


def test_a_part_that_cannot_be_reached_ends_the_search_for_another_place() -> None:
    asked: list[int] = []

    def draw(index: int, rng: Generator) -> int:
        asked.append(index)
        raise Unreachable("could not be read: no answer")

    places = stream(itself, 9, draw=draw)
    assert places.batch(0) is None
    assert len(asked) == 3
    assert (len(places.left_out), len(places.failed)) == (3, 0)
    with pytest.raises(Unreachable, match="no answer"):
        places.stand_in(0)
    assert len(asked) == 4  # waiting for all others in turn would take for ever


def test_a_place_of_which_nothing_could_be_drawn_has_another_turn() -> None:
    def draw(index: int, rng: Generator) -> int:
        raise InputError("nothing observed here")

    places = stream(itself, 3, draw=draw)
    places.batch(0)
    assert (len(places.left_out), len(places.failed)) == (3, 0)
