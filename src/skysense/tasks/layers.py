"""Layer-wise learning rates: what lies near the input moves less (specification 5.2).

Every encoder counts its layers from its input: the patch embedding is layer 0, block i layer i + 1, the merging of a
Swin stage belongs to its first block. Alignment follows the encoders, fusion is counted from its end like them, and
what was added for the task learns at the full rate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from skysense.model.assembly import SkySense
from skysense.model.blocks import rates
from skysense.model.drop_path import DropPath
from skysense.model.swin import Swin
from skysense.tasks.pyramid import Pyramid

_BLOCK = re.compile(r"(?:stages\.(\d+)\.)?(?:blocks\.(\d+)|merge)")


def parameter_groups(
    encoder: Pyramid | None, others: Iterable[nn.Module], *, rate: float, decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Groups for an optimiser: rates fall from the output to the input of the encoders, vectors are not decayed.

    Args:
        encoder: whose parameters are slowed down, or None if it does not learn.
        others: modules that learn at the full rate.
        rate: full learning rate.
        decay: weight decay of everything that has two axes or more, but tokens and positions.
        layer_decay: factor per layer, 1 for one rate everywhere.

    Returns:
        Dictionaries with ``params``, ``lr`` and ``weight_decay``, without empty ones.
    """
    named: dict[tuple[float, float], list[nn.Parameter]] = {}
    if encoder is not None:
        for name, parameter in encoder.model.named_parameters():
            if parameter.requires_grad:
                scale = layer_decay ** _above(encoder.model, name)
                named.setdefault((rate * scale, _decay(name, parameter, decay)), []).append(parameter)
    for module in others:
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                named.setdefault((rate, _decay(name, parameter, decay)), []).append(parameter)
    return [{"params": some, "lr": lr, "weight_decay": weight} for (lr, weight), some in named.items()]


def _decay(name: str, parameter: nn.Parameter, decay: float) -> float:
    free = parameter.ndim < 2 or name.endswith((".bias", "position", "cls_token"))
    return 0.0 if free else decay


def _above(model: SkySense, name: str) -> int:
    """Layers between a parameter and the output of its part; 0 for what comes after the blocks."""
    part, _, rest = name.partition(".")
    module = getattr(model, part)
    depths: tuple[int, ...] = (len(module.blocks),) if hasattr(module, "blocks") else (0,)
    if isinstance(module, Swin):
        depths = module.config.depths
    blocks = sum(depths)
    last = blocks + 1
    if rest.startswith(("patch_embed", "cls_token", "position", "projection")) and blocks:
        return last
    found = _BLOCK.match(rest)
    if not found:
        return 0
    stage, index = (int(text or 0) for text in found.groups())  # merging belongs to the first block of its stage
    return last - (sum(depths[:stage]) + index + 1)


def set_drop_path(model: SkySense, greatest: float) -> None:
    """Let drop-path rates of every encoder and of fusion grow linearly from 0 to ``greatest``.

    Args:
        model: any of its pieces.
        greatest: rate of the last block, 0 .. 1.
    """
    for piece in model.pieces:
        module = getattr(model, piece)
        paths = [one for one in module.modules() if isinstance(one, DropPath)]
        for path, rate in zip(paths, rates(greatest, len(paths)), strict=True):
            path.rate = rate
