"""The processes that train together: who they are, and what they tell each other.

Every call here is made by all ranks, in the same order and equally often: nothing may depend on what one rank alone
sees, or the others wait for ever. Nothing changes its argument; alone, a rank gets back the very tensor it gave.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from skysense.errors import ConfigError

_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
        device: of this process.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the one that writes what is written once."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Sum over the ranks of tensors of one shape, on the device or in host memory."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def greatest(self, values: Tensor) -> Tensor:
        """Greatest over the ranks, element by element."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def _reduced(self, values: Tensor, operation: Any) -> Tensor:
        if self.size == 1:
            return values
        result = values.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(result, operation)
        return result

    def counts(self, *numbers: int) -> list[list[int]]:
        """Numbers of each rank, in the order of the ranks."""
        if self.size == 1:
            return [list(numbers)]
        found = torch.zeros(self.size, len(numbers), dtype=torch.int64)
        found[self.rank] = torch.tensor(numbers)
        return self.total(found).tolist()

    def rows_of_all(self, rows_RX: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """The rows of all ranks in the order of the ranks, as many or as few as each has. Gradients flow back.

        Args:
            rows_RX: of this rank.
            counts: how many each has, where that is known.
        """
        if self.size == 1:
            return rows_RX
        known = [count for (count,) in self.counts(len(rows_RX))] if counts is None else list(counts)
        gathered: Tensor = _Gathered.apply(rows_RX, self, known)
        return gathered


class _Gathered(torch.autograd.Function):
    """Rows of all ranks. What all ranks want of a row is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks, counts: list[int]) -> Tensor:
        ctx.ranks, ctx.counts = ranks, counts
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.ranks.total(grad).split(ctx.counts)[ctx.ranks.rank], None, None


ALONE = Ranks()


@contextmanager
def open_ranks(device: torch.device | str | None = None) -> Iterator[Ranks]:
    """The ranks that ``torchrun`` started, or of a process group that is there, or this process alone.

    Host memory is reduced by gloo, that of NVIDIA GPUs by NCCL.

    Args:
        device: kind of device of every rank; by default a GPU each if there are any. Of several ranks on a machine each
            takes the GPU of its local rank, or the only one it sees.

    Raises:
        ConfigError: more ranks on this machine than GPUs.
    """
    kind = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    began = not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if kind.type == "cuda" and (began or dist.is_initialized()):
        local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= gpus > 1:
            raise ConfigError(
                f"rank {local} of this machine has no GPU: there are {gpus}. "
                "Start as many processes per machine as it has GPUs"
            )
        kind = torch.device("cuda", local if gpus > 1 else 0)
        torch.cuda.set_device(kind)
    if began:
        accelerator = kind.type == "cuda"
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if accelerator else "gloo", timeout=_TIMEOUT, device_id=kind if accelerator else None
        )
    try:
        if dist.is_initialized():
            yield Ranks(dist.get_rank(), dist.get_world_size(), kind)
        else:
            yield Ranks(device=kind)
    finally:
        if began:
            dist.destroy_process_group()
