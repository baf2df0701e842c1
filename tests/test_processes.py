"""Ranks in processes: values come back in order, failures are told, nothing hangs."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
import torch
import torch.distributed as dist

from tests.processes import endings, run


def _total(rank: int, size: int, factor: int) -> int:
    value = torch.tensor(factor * (rank + 1))
    if size > 1:
        dist.all_reduce(value)
    return int(value)


def _fail_on_one(rank: int, size: int) -> None:
    sys.stdout.write(f"this is rank {rank}\n")
    dist.barrier()  # all are connected and have printed
    if rank == 1:
        raise ValueError("no")


def _die_while_others_wait(rank: int, size: int) -> None:
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.barrier()


def _sleep(rank: int, size: int) -> None:
    time.sleep(60)


@pytest.mark.parametrize(("processes", "total"), [(1, 10), (2, 30), (4, 100)])
def test_ranks_share_a_process_group(processes: int, total: int) -> None:
    assert run(_total, 10, processes=processes) == [total] * processes


def test_a_rank_that_fails_is_told_with_what_it_printed() -> None:
    with pytest.raises(AssertionError, match=r"(?s)rank 0.*this is rank 0.*rank 1: exit code 1.*ValueError: no"):
        run(_fail_on_one)


def test_a_killed_rank_does_not_leave_the_others_waiting() -> None:
    ended = endings(_die_while_others_wait)
    assert ended[1].code == -signal.SIGKILL
    assert ended[0].code == 1
    assert "Error" in ended[0].output


def test_ranks_that_hang_are_cut_off() -> None:
    assert [one.code for one in endings(_sleep, timeout=1)] == [None, None]
