"""Tensors of every kind that a run saves, as functions of the step; the ranks that save them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from skysense.train.checkpoints import Checkpoints
from skysense.train.ranks import Ranks

SHARDED = ("matrix", "thin", "half", "long")


def state(step: int) -> dict[str, Tensor]:
    """Whole tensors, other ones for each step."""
    torch.manual_seed(step)
    return {
        "matrix": torch.randn(7, 3),
        "thin": torch.randn(1, 5),  # with two ranks or more some have nothing of it
        "half": torch.randn(5, 4).bfloat16(),
        "long": torch.randint(2**60, (10,)),
        "turned": torch.randn(4, 6).T,
        "flags": torch.rand(9) > 0.5,
        "scalar": torch.randn(()),
        "count": torch.tensor(step),
        "none": torch.zeros(0, 4),
        "double": torch.randn(3, dtype=torch.float64),
    }


def spread(tensors: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    """The same with some sharded over the ranks, as parameters are under FSDP2."""
    if size == 1:
        return tensors
    mesh = init_device_mesh("cpu", (size,))
    shard = {name: distribute_tensor(tensors[name], mesh, [Shard(0)]) for name in SHARDED}
    return tensors | shard


def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The opposite of `spread`."""
    return {name: one.full_tensor() if isinstance(one, DTensor) else one for name, one in tensors.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Equal in names, types, shapes and every bit."""
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


def checkpoints(folder: str, rank: int, size: int, keep: int = 2) -> Checkpoints:
    """Those of a rank on the host."""
    return Checkpoints(folder, keep, Ranks(rank, size, torch.device("cpu")))


def is_whole(rank: int, size: int, folder: str) -> int | None:
    """Step of the newest checkpoint; its values and those beside it are those of the step, on this rank."""
    found, _ = checkpoints(folder, rank, size).newest()
    if found is None:
        return None
    into = spread({name: torch.zeros_like(one) for name, one in state(0).items()}, size)
    found.read(into)
    assert same(whole(into), state(found.step))
    assert found.about == {"step": found.step}
    return found.step
