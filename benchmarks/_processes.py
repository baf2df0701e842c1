"""Functions run by several processes of one thread each that make one process group."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
from torch import multiprocessing

SIZE = 2


def together(function: Callable[..., Any], *args: Any, size: int = SIZE) -> list[Any]:
    """Call ``function(*args)``, of a module that can be imported, in every process; what each returned."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    multiprocessing.spawn(_call, args=(size, port, results, function, args), nprocs=size)  # type: ignore[no-untyped-call]
    found = dict(results.get() for _ in range(size))
    return [found[rank] for rank in range(size)]


def _call(rank: int, size: int, port: int, results: Any, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """As `torchrun` would, on this machine alone."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    results.put((rank, function(*args)))
