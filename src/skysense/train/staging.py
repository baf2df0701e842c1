"""Which pieces of the tensors a rank writes, and copies of them on the host that training cannot change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.planner import WriteItem
from torch.distributed.tensor import DTensor

from skysense.train.together import Together


@dataclass(frozen=True)
class Piece:
    """A part of a tensor, or all of it.

    Attributes:
        name: of the tensor.
        offsets: where it lies in the tensor; one number per axis.
        values: on the host.
    """

    name: str
    offsets: tuple[int, ...]
    values: Tensor


class Staging:
    """Copies aside what a rank has to write.

    Each shard of a DTensor and each plain tensor, of which all ranks have the same, is written by one of the ranks that
    have it, so that the ranks write about equally much. Who writes what is settled once, and again if the tensors are
    others. The host memory is kept for the next time: touching new memory takes several times as long as the copy.

    Args:
        together: the ranks that write.
    """

    def __init__(self, together: Together) -> None:
        self._together = together
        self._key: list[object] = []
        self._planned: list[tuple[WriteItem, Piece]] = []

    def stage(self, tensors: Mapping[str, Tensor]) -> list[Piece]:
        """Copies of what this rank has to write; the next call overwrites them.

        Args:
            tensors: the same names on all ranks; DTensors, or plain tensors that are equal on all ranks.
        """
        planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        planner.set_up_planner(dict(tensors), is_coordinator=self._together.ranks.first)
        key = [_description(name, tensor) for name, tensor in tensors.items()]
        if key != self._key:
            self._planned, self._key = self._plan(planner), key
        on_gpu = False
        for item, piece in self._planned:
            values = _values(planner, item)
            piece.values.copy_(values, non_blocking=True)
            on_gpu |= values.is_cuda
        if on_gpu:
            torch.cuda.current_stream(self._together.ranks.device).synchronize()
        return [piece for _, piece in self._planned]

    def _plan(self, planner: DefaultSavePlanner) -> list[tuple[WriteItem, Piece]]:
        mine = self._together.settle(planner.create_local_plan(), lambda plans: planner.create_global_plan(plans)[0])
        return [(item, _piece(item, _values(planner, item))) for item in planner.finish_plan(mine).items]


def _values(planner: DefaultSavePlanner, item: WriteItem) -> Tensor:
    values = planner.resolve_data(item)
    assert isinstance(values, Tensor)
    return values.detach()


def _piece(item: WriteItem, values: Tensor) -> Piece:
    assert item.index.offset is not None
    memory = torch.empty(values.shape, dtype=values.dtype, pin_memory=values.is_cuda)
    return Piece(item.index.fqn, tuple(item.index.offset), memory)


def _description(name: str, tensor: Tensor) -> object:
    """All that the plan depends on."""
    where = (tensor.device_mesh, tensor.placements) if isinstance(tensor, DTensor) else None
    return name, tensor.shape, tensor.dtype, tensor.device, where
