"""What the machine can do at most, and how much of it a piece of work takes."""

from __future__ import annotations

from collections.abc import Callable

from torch.utils.flop_counter import FlopCounterMode


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
