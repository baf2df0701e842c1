"""How one model is spread over ranks: copied (DDP) or sharded (FSDP2), and what else makes a large one fit.

Both ways average gradients over the ranks; a loss that is summed over ranks has to be multiplied by their number.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from skysense.model.blocks import Block
from skysense.model.swin import SwinBlock
from skysense.train.ranks import Ranks

_VARIANTS = 64
"""Compiled forms of the code that blocks share: sizes, kinds of numbers, with and without gradients. Beyond torch's own
limit of 8 the rest would run uncompiled, in silence."""


def compile_blocks(model: nn.Module) -> None:
    """Compile what every block of a model does with a tensor; sizes stay open, since batches differ."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _VARIANTS)
    for module in model.modules():
        if isinstance(module, Block | SwinBlock):
            setattr(module, "one", torch.compile(module.one, dynamic=True))  # noqa: B010 - a method, for mypy


def copied(module: nn.Module, ranks: Ranks) -> nn.Module:
    """DDP: every rank has the whole module, equal at the beginning; gradients are averaged while they come.

    Modalities that no rank has in a step leave their encoder without gradient. Buffers are not touched: they change
    alike on all ranks.
    """
    if ranks.size == 1:
        return module
    options: dict[str, Any] = {"find_unused_parameters": True, "gradient_as_bucket_view": True}
    newer = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters  # torch 2.14 renamed it
    options["forward_sync_buffers" if newer else "broadcast_buffers"] = False
    return DistributedDataParallel(module, device_ids=None if ranks.device.type == "cpu" else [ranks.device], **options)


def shard(
    module: nn.Module, blocks: Iterable[nn.Module], others: Iterable[nn.Module], ranks: Ranks, *, mixed: bool
) -> None:
    """FSDP2: shard a module over the ranks, in place; it may be on the meta device.

    Args:
        module: the whole; what is in no unit is gathered for the whole forward and backward pass.
        blocks: units, gathered only while they run; in bfloat16 if ``mixed``.
        others: units that are gathered in float32 always.
        ranks: to shard over.
        mixed: whether blocks run in bfloat16. Gradients are reduced in float32 in any case.
    """
    mesh = init_device_mesh(ranks.device.type, (ranks.size,))
    whole = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    half = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=half if mixed else whole)
    for other in others:
        fully_shard(other, mesh=mesh, mp_policy=whole)
    fully_shard(module, mesh=mesh, mp_policy=whole)


@torch.no_grad()
def fill(module: nn.Module, whole: nn.Module | None, ranks: Ranks) -> None:
    """Give a sharded module the weights of one that only the first rank has, tensor by tensor.

    Args:
        module: sharded, with memory.
        whole: the same module, not sharded, in host memory; None on other ranks.
        ranks: that share the module.
    """
    source = None if whole is None else whole.state_dict()
    for name, target in module.state_dict().items():
        if source is None:
            value = torch.empty(target.shape, dtype=target.dtype, device=ranks.device)
        else:
            value = source[name].to(ranks.device)
        if isinstance(target, DTensor):
            target.copy_(distribute_tensor(value, target.device_mesh, target.placements))
        else:
            dist.broadcast(value, src=0)
            target.copy_(value)


@torch.no_grad()
def whole_state(module: nn.Module, ranks: Ranks) -> dict[str, Tensor]:
    """The state of a module in host memory on the first rank, gathered tensor by tensor; nothing on the others."""
    state: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        full: Any = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if ranks.first:
            state[name] = full.cpu()
    return state
