"""Functions run as the ranks of a process group, each in a process of its own that cannot outlive its test.

Processes are forked from a server that has imported torch and nothing else: one starts in a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PATIENCE = 10.0
"""Seconds that the other ranks have to end after one has failed; they may wait for it in a collective for ever."""

_context = multiprocessing.get_context("forkserver")
# The last two are what DTensor and the test modules import at first use.
_context.set_forkserver_preload(["torch.distributed.checkpoint", "torch.distributed.fsdp", "torch._dynamo", "pytest"])


@dataclass(frozen=True)
class Ended:
    """How one rank ended.

    Attributes:
        code: exit code: 0, 1 after an exception, minus the signal that killed it; None if it was cut off.
        value: what the function returned, None if it did not.
        output: what it printed, with the traceback of its exception.
    """

    code: int | None
    value: Any
    output: str


def run(function: Callable[..., Any], *args: Any, processes: int = 2, timeout: float = 60) -> list[Any]:
    """Call ``function(rank, size, *args)`` in every process; what the ranks returned.

    Args:
        function: of a module that can be imported (no closure). If there are two processes or more, it finds a gloo
            process group.
        args: can be pickled, as must be what the function returns.
        processes: number of ranks.
        timeout: seconds after which all are killed.

    Raises:
        AssertionError: a rank failed, was killed or cut off; with the output of all.
    """
    ended = endings(function, *args, processes=processes, timeout=timeout)
    if any(one.code != 0 for one in ended):
        told = (f"-- rank {rank}: exit code {one.code}\n{one.output}" for rank, one in enumerate(ended))
        raise AssertionError("\n".join(told))
    return [one.value for one in ended]


def endings(function: Callable[..., Any], *args: Any, processes: int = 2, timeout: float = 60) -> list[Ended]:
    """As `run`, for ranks that may fail or be killed: how each ended."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        ranks = [
            _context.Process(target=_rank, args=(folder, rank, processes, timeout, function, args))
            for rank in range(processes)
        ]
        for process in ranks:
            process.start()
            stack.callback(process.join)
            stack.callback(process.kill)
        _wait(ranks, timeout)
        return [_ended(folder, rank, process) for rank, process in enumerate(ranks)]


def _wait(ranks: list[BaseProcess], timeout: float) -> None:
    """Until all have ended, the time is over, or one has failed and the patience with the others is over."""
    deadline, failed = time.monotonic() + timeout, False
    while running := [process for process in ranks if process.exitcode is None]:
        wait([process.sentinel for process in running], max(0.0, deadline - time.monotonic()))
        if time.monotonic() >= deadline:
            return
        if not failed and any(process.exitcode for process in ranks):
            deadline, failed = min(deadline, time.monotonic() + PATIENCE), True


def _ended(folder: Path, rank: int, process: BaseProcess) -> Ended:
    value, output = folder / f"value-{rank}", folder / f"output-{rank}"
    return Ended(
        process.exitcode,
        pickle.loads(value.read_bytes()) if process.exitcode == 0 else None,
        output.read_text(errors="replace") if output.exists() else "",
    )


def _rank(
    folder: Path, rank: int, size: int, timeout: float, function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    import torch
    import torch.distributed as dist

    output = os.open(folder / f"output-{rank}", os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(output, stream)
    torch.set_num_threads(1)
    try:
        if size > 1:
            store = dist.FileStore(str(folder / "store"), size)
            dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=timeout))
        value = function(rank, size, *args)
        (folder / f"value-{rank}").write_bytes(pickle.dumps(value))
        if size > 1:
            dist.barrier()  # nobody takes the connections away from those who still talk
            dist.destroy_process_group()
    except BaseException:  # noqa: BLE001 (the process ends here, whatever it was)
        traceback.print_exc()
        os._exit(1)
