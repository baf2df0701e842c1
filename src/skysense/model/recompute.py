"""What blocks keep for the backward pass, and what is computed again there instead."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from skysense.model.drop_path import stir_all

Checkpointing = Literal["none", "selective", "full"]
"""``none`` keeps everything, ``selective`` the products and attentions of each block, ``full`` only what goes in."""


class Blocks(nn.Module):
    """What runs blocks one after the other: an encoder, the fusion transformer.

    A block takes all pieces of a batch at once. It is so called equally often whatever the data: where parameters are
    sharded over ranks, each call gathers those of the block, and all ranks have to take part.

    Attributes:
        checkpointing: what the blocks keep for the backward pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.checkpointing: Checkpointing = "none"

    def _runner(self, words: list[Tensor] | None) -> Callable[..., list[Tensor]]:
        """What calls blocks, one after the other, for all pieces of a batch.

        Args:
            words: random words of the samples of each piece, for drop-path.
        """
        number = itertools.count()

        def run(block: nn.Module, parts: Sequence[Tensor], **options: Any) -> list[Tensor]:
            options["words"] = stir_all(words, next(number))
            if self.checkpointing == "none" or not torch.is_grad_enabled():
                return block(list(parts), **options)
            context = _CONTEXT[self.checkpointing]
            return checkpoint(_with_own_casts, block, list(parts), use_reentrant=False, **context, **options)

        return run


def _with_own_casts(block: nn.Module, parts: list[Tensor], **options: Any) -> list[Tensor]:
    """A block that casts its weights whenever it runs in mixed precision.

    Copies that autocast shares would be made in the first of several calls only, but each time a block is computed
    again: this has to do what was done at first. Nor do copies wait for it then.
    """
    kind = parts[0].device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return block(parts, **options)
    with torch.autocast(kind, torch.get_autocast_dtype(kind), cache_enabled=False):
        return block(parts, **options)


def set_checkpointing(model: nn.Module, kind: Checkpointing) -> None:
    """Choose for all blocks of a model what they keep."""
    for module in model.modules():
        if isinstance(module, Blocks):
            module.checkpointing = kind


def _names(*names: str) -> set[Any]:
    """Those operators that this build of torch has."""
    found = set()
    for name in names:
        space, _, rest = name.partition(".")
        operator = getattr(getattr(torch.ops, space), rest, None)
        if operator is not None:
            found.add(operator.default)
    return found


_DEAR = _names(
    "aten.mm",
    "aten.addmm",
    "mkldnn._linear_pointwise",
    "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "aten._scaled_dot_product_efficient_attention",
    "aten._scaled_dot_product_cudnn_attention",
)
"""Worth their memory: recomputing the rest (norms, GELU, softmax of small windows, copies) costs hardly any time.

Not among them is ``aten.bmm``: a CPU adds the bias of a window to its result in place; what is kept must not change.
"""


def _policy(context: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operator in _DEAR else CheckpointPolicy.PREFER_RECOMPUTE


_CONTEXT: dict[Checkpointing, dict[str, Any]] = {
    "full": {},
    "selective": {"context_fn": partial(create_selective_checkpoint_contexts, _policy)},
}
