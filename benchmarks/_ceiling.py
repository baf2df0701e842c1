"""What the machine can do at most, and how much of it a piece of work takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from skysense.doctor import matmul_rate
from skysense.model.linear import has_onednn, linear


def operations(job: Callable[[], object]) -> int:
    """Floating-point operations of the products, convolutions and attention in a piece of work."""
    known = {torch.ops.mkldnn._linear_pointwise: _linear_operations} if has_onednn() else {}
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        job()
    return counter.get_total_flops()


def _linear_operations(x_shape: Sequence[int], weight_shape: Sequence[int], *_: Any, **__: Any) -> int:
    """Of the linear layer of oneDNN, which the counter of torch does not know."""
    return 2 * math.prod(x_shape) * weight_shape[0]


def ceilings(device: str) -> tuple[float, float]:
    """Operations per second of a large product in float32: by `torch.matmul`, and by the faster one of a CPU."""
    plain = matmul_rate(device)
    return plain, max(plain, matmul_rate(device, product=linear))


def share(work: int, seconds: float, rates: tuple[float, float]) -> str:
    """In words: operations, their rate, and its share of the machine's."""
    reached, (plain, best) = work / seconds, rates
    return (
        f"{work / 1e9:.0f} GFLOP in products at {reached / 1e9:.0f} GFLOP/s, {reached / plain:.0%} of a large "
        f"torch.matmul ({plain / 1e9:.0f}), {reached / best:.0%} of the fastest product ({best / 1e9:.0f})"
    )
