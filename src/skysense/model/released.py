"""Names of the released modules, translated both ways (specification 2.3, 2.4)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from skysense.errors import ConfigError, InputError

Part = Literal["model", "hr", "s2", "s1", "head_s2", "head_s1", "fusion"]
"""What a released file holds: the whole model (with prefixes) or one module (without)."""
PARTS: tuple[Part, ...] = get_args(Part)

MODULES: dict[str, tuple[str, Part]] = {
    "backbone_gep.": ("hr.", "hr"),
    "backbone_s2.": ("s2.", "s2"),
    "backbone_s1.": ("s1.", "s1"),
    "head_s2.": ("align_s2.", "head_s2"),
    "head_s1.": ("align_s1.", "head_s1"),
    "fusion.": ("fusion.", "fusion"),
}
_LEFT_OVER = re.compile(
    r"(^|\.)((mask_token|ctpe|relative_coords_table|relative_position_index)"
    r"|(vocabulary_token|vocabulary_weight)|(attn[123]|norm_attn)\..*)$"  # these of SkySense++
)

# Each rule is (released, ours); {} stands for an index, the same on both sides in order. Names are matched in pieces:
# a leading part, then, for what repeats, a trailing part.
_BLOCK = (
    ("ln1", "attention_norm"),
    ("ln2", "mlp_norm"),
    ("attn.attn.in_proj_weight", "attention.qkv.weight"),
    ("attn.attn.in_proj_bias", "attention.qkv.bias"),
    ("attn.attn.out_proj", "attention.out"),
    ("ffn.layers.0.0", "mlp.up"),
    ("ffn.layers.1", "mlp.down"),
)
_SWIN_BLOCK = (
    ("norm1", "attention_norm"),
    ("norm2", "mlp_norm"),
    ("norm3", "extra_norm"),
    ("attn.w_msa.cpb_mlp.0", "attention.position_bias.hidden"),
    ("attn.w_msa.cpb_mlp.2", "attention.position_bias.heads"),
    ("attn.w_msa.proj", "attention.out"),
    ("attn.w_msa.qkv", "attention.qkv"),
    ("attn.w_msa.logit_scale", "attention.logit_scale"),
    ("attn.w_msa.q_bias", "attention.q_bias"),
    ("attn.w_msa.v_bias", "attention.v_bias"),
    ("ffn.layers.0.0", "mlp.up"),
    ("ffn.layers.1", "mlp.down"),
)
_SWIN = (
    ("patch_embed.projection", "patch_embed.projection"),
    ("patch_embed.norm", "patch_embed.norm"),
    ("stages.{}.downsample.reduction", "stages.{}.merge.reduction"),
    ("stages.{}.downsample.norm", "stages.{}.merge.norm"),
    ("norm{}", "output_norms.{}"),
    *((f"stages.{{}}.blocks.{{}}.{theirs}", f"stages.{{}}.blocks.{{}}.{ours}") for theirs, ours in _SWIN_BLOCK),
)
_LAYERS = tuple((f"layers.{{}}.{theirs}", f"blocks.{{}}.{ours}") for theirs, ours in _BLOCK)
_VIT = (
    ("cls_token", "cls_token"),
    ("pos_embed", "position"),
    ("patch_embed.projection", "patch_embed"),
    *_LAYERS,
)
_FUSION = (("cls_token", "cls_token"), ("porj_linear", "projection"), *_LAYERS)
_HEAD = (("decoder.0", "projection"),)
_RULES: dict[Part, tuple[tuple[str, str], ...]] = {
    "hr": _SWIN,
    "s2": _VIT,
    "s1": _VIT,
    "head_s2": _HEAD,
    "head_s1": _HEAD,
    "fusion": _FUSION,
}


def from_released(state: Mapping[str, Tensor], part: Part) -> tuple[dict[str, Tensor], list[str]]:
    """Translate a released state dict into ours.

    Args:
        state: names and tensors of a released file.
        part: which module the file holds; ``"model"`` for the full checkpoint with its prefixes.

    Returns:
        The state dict of our module, and the names that are known left-overs of released files and
        were ignored: mask tokens, relative-position buffers, a date table inside a file of one module; of SkySense++
        also annotation tokens and what mixes them in, and a class token that its encoders do not use.

    Raises:
        InputError: names that belong to no tensor of that module.
        ConfigError: an unknown part.
    """
    ours, ignored, unknown = translate(state, part)
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(state)} tensors belong to no part of a released {part!r} file: {some(unknown)}",
            fix=f"Is it another module? Known are {', '.join(PARTS)}",
        )
    return ours, ignored


def translate(state: Mapping[str, Tensor], part: Part) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """As `from_released`, but names that belong to no tensor of the module are returned as a third list."""
    _check_part(part)
    ours: dict[str, Tensor] = {}
    ignored: list[str] = []
    unknown: list[str] = []
    idle = _idle_tokens(state)
    for key, tensor in state.items():
        new = _translate(key, part, back=False)
        if key in idle:
            ignored.append(key)
        elif new is not None:
            ours[new] = _as_linear(tensor) if _is_head(new, part) else tensor
        elif is_left_over(key):
            ignored.append(key)
        else:
            unknown.append(key)
    return ours, ignored, unknown


def to_released(state: Mapping[str, Tensor], part: Part) -> dict[str, Tensor]:
    """The inverse of `from_released`: our state dict under the released names.

    Geo-context tensors are left out; the released files know none.

    Raises:
        InputError: names that are not those of our module.
        ConfigError: an unknown part.
    """
    _check_part(part)
    released: dict[str, Tensor] = {}
    unknown: list[str] = []
    for key, tensor in state.items():
        new = _translate(key, part, back=True)
        if new is not None:
            released[new] = tensor[:, :, None, None] if _is_head(key, part) else tensor
        elif not (part == "model" and key.startswith("geo.")):
            unknown.append(key)
    if unknown:
        raise InputError(f"these tensors are not part of our {part!r}: {some(unknown)}")
    return released


def released_name(name: str, part: Part) -> str | None:
    """The released name of one of our tensors of a module; None if there is none."""
    return _translate(name, part, back=True)


def is_left_over(name: str) -> bool:
    """Whether released files are known to hold such a tensor although no module uses it."""
    return _LEFT_OVER.search(name) is not None


def _check_part(part: str) -> None:
    if part not in PARTS:
        raise ConfigError(f"unknown part {part!r}; known: {', '.join(PARTS)}")


def _translate(key: str, part: Part, *, back: bool) -> str | None:
    """The name on the other side, or None; ``back`` is from ours to the released."""
    if part == "model":
        if key == ("dates.table" if back else "ctpe"):
            return "ctpe" if back else "dates.table"
        for released, (ours, module) in MODULES.items():
            source, target = (ours, released) if back else (released, ours)
            if key.startswith(source):
                inner = _translate(key.removeprefix(source), module, back=back)
                return None if inner is None else target + inner
        return None
    for theirs, ours in _RULES[part]:
        source, target = (ours, theirs) if back else (theirs, ours)
        pattern = re.escape(source).replace(r"\{\}", r"(\d+)") + r"(\.weight|\.bias)?"
        match = re.fullmatch(pattern, key)
        if match:
            *indices, suffix = match.groups()
            return target.format(*indices) + (suffix or "")
    return None


def _idle_tokens(state: Mapping[str, Tensor]) -> set[str]:
    """Class tokens whose position table has no row for them: as many rows as a square grid has patches."""
    idle = set()
    for key, tensor in state.items():
        if key.endswith("pos_embed") and tensor.ndim == 3 and math.isqrt(tensor.shape[1]) ** 2 == tensor.shape[1]:
            idle.add(key.removesuffix("pos_embed") + "cls_token")
    return idle


def _is_head(key: str, part: Part) -> bool:
    """Whether one of our names is the weight that is a 1 x 1 convolution in the released files."""
    names = {"model": ("align_s2.projection.weight", "align_s1.projection.weight")}
    return part != "fusion" and key in names.get(part, ("projection.weight",))


def _as_linear(tensor: Tensor) -> Tensor:
    return tensor[:, :, 0, 0] if tensor.ndim == 4 and tensor.shape[2:] == torch.Size([1, 1]) else tensor


def some(names: Sequence[str], limit: int = 8) -> str:
    """The first few of many names."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
