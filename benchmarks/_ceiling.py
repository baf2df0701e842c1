"""What the machine can do at most, and how much of it a piece of work takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

_SIDE, _TRIES = 1024, 9


def matmul_rate(device: str) -> float:
    """Operations per second of a product of two square float32 matrices that lie in the cache: best of several."""
    a, b = (torch.randn(_SIDE, _SIDE, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(_TRIES):
        began = time.perf_counter()
        a @ b
        if a.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * _SIDE**3 / best


def operations(job: Callable[[], object]) -> int:
    """Floating-point operations of the products, convolutions and attention in a piece of work."""
    with FlopCounterMode(display=False) as counter:
        job()
    return counter.get_total_flops()


def share(work: int, seconds: float, rate: float) -> str:
    """In words: operations, their rate, and its share of the machine's."""
    return (
        f"{work / 1e9:.0f} GFLOP in products at {work / seconds / 1e9:.0f} GFLOP/s, "
        f"{work / seconds / rate:.0%} of the {rate / 1e9:.0f} GFLOP/s of a large product"
    )
