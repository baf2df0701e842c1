"""Frames with gaps through encoders and fusion, as a graph can hold it: nothing is packed, what is absent is masked.

The package packs what was observed, so that absent frames cost nothing; shapes then depend on the numbers. A graph
keeps all frames and hides what is absent from the others: the answers are the same, the cost is that of complete
imagery.

A pixel with NaN in any band was not observed. A frame without an observed pixel is no frame.

Letters: B samples, T frames, C bands, H W pixels, N = B * T frames, D width, h w cells, S sequences, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from skysense.geo import CELL_HR_PX
from skysense.model.assembly import SkySense
from skysense.model.blocks import Block, SelfAttention, reshaped
from skysense.model.entry import Entry
from skysense.model.fusion import Fusion
from skysense.sensors import Modality

_HALF = 0.5
"""A cell of a frame that is less than half observed is left out."""


@dataclass
class Encoded:
    """What an encoder makes of the frames of one modality.

    Attributes:
        levels: maps ``(N, D_i, H_i, W_i)``, finest first.
        day_BT: day of the year - 1, -1 for none; None where nobody asks.
        present_BT: bool, frames with an observed pixel.
        valid_BThw: bool, cells of which at least half was observed.
    """

    levels: tuple[Tensor, ...]
    day_BT: Tensor | None
    present_BT: Tensor
    valid_BThw: Tensor


def observed(values_NCHW: Tensor) -> Tensor:
    """Pixels without NaN in any band ``(N, H, W)``."""
    return ~values_NCHW.isnan().any(dim=1)


def entered(model: SkySense, key: Modality, values_NCHW: Tensor) -> Tensor:
    """Frames in physical units, NaN where nothing was observed, as the encoder reads them."""
    entry = getattr(model, f"entry_{key}")
    assert isinstance(entry, Entry)
    return entry(values_NCHW, observed(values_NCHW))


def encoded(model: SkySense, key: Modality, values_BTCHW: Tensor, day_BT: Tensor | None) -> Encoded:
    """Encode every frame by itself.

    Args:
        model: with the encoder of the modality.
        key: the modality.
        values_BTCHW: in physical units; NaN where nothing was observed.
        day_BT: int64 day of the year - 1, -1 for none.
    """
    frames = values_BTCHW.flatten(0, 1)
    seen_N1HW = observed(frames)[:, None].to(frames.dtype)
    levels = getattr(model, key)(entered(model, key, frames))
    cells_N1hw = F.avg_pool2d(seen_N1HW, CELL_HR_PX) if key == "hr" else seen_N1HW
    shape = values_BTCHW.shape[:2]
    valid_BThw = (cells_N1hw[:, 0] >= _HALF).unflatten(0, shape)
    present_BT = (seen_N1HW.amax(dim=(1, 2, 3)) > 0).unflatten(0, shape)
    return Encoded(tuple(levels), day_BT, present_BT, valid_BThw)


def tokens_of(model: SkySense, key: Modality, part: Encoded, level: int = -1) -> Tensor:
    """Tokens ``(B, T, h, w, C)`` of one modality for fusion, with their date.

    Args:
        model: with the pieces that align and date.
        key: the modality.
        part: its frames.
        level: of the encoder.
    """
    map_NDhw = part.levels[level]
    if key != "hr":
        map_NDhw = (model.align_s2 if key == "s2" else model.align_s1)(map_NDhw)
    tokens_BThwC = map_NDhw.permute(0, 2, 3, 1).unflatten(0, part.present_BT.shape)
    if key in model.config.date_on:
        assert part.day_BT is not None
        tokens_BThwC = tokens_BThwC + model.dates(part.day_BT)[:, :, None, None]
    return tokens_BThwC


def fused_cells(fusion: Fusion, tokens: Sequence[Tensor], valid: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Fuse the tokens of every cell.

    Args:
        fusion: the transformer.
        tokens: per modality ``(B, T, h, w, C)``.
        valid: per modality bool ``(B, T, h, w)``, tokens that are there.

    Returns:
        ``(B, D, h, w)``, zero where a cell has no token, and the bool mask ``(B, h, w)`` of those that have one.
    """
    tokens_BhwLC = torch.cat(list(tokens), dim=1).permute(0, 2, 3, 1, 4)
    valid_BhwL = torch.cat(list(valid), dim=1).permute(0, 2, 3, 1)
    occupied_Bhw = valid_BhwL.any(dim=-1)
    tokens_SLC = reshaped(tokens_BhwLC, -1, *tokens_BhwLC.shape[3:])
    fused_SD = _fused(fusion, tokens_SLC, reshaped(valid_BhwL, -1, valid_BhwL.shape[3]))
    fused_BDhw = fused_SD.unflatten(0, occupied_Bhw.shape).permute(0, 3, 1, 2)
    return fused_BDhw * occupied_Bhw[:, None].to(fused_BDhw.dtype), occupied_Bhw


def _fused(fusion: Fusion, tokens_SLC: Tensor, valid_SL: Tensor) -> Tensor:
    """`Fusion.forward` with tokens that nobody attends to: ``(S, D)``."""
    front_S1D = fusion.cls_token.expand(tokens_SLC.shape[0], -1, -1)
    x_SLD = torch.cat([front_S1D, fusion.projection(tokens_SLC)], dim=1)
    # added to the logits: what is absent has no share; the learned token in front is always there
    hidden_SL = torch.zeros_like(valid_SL, dtype=x_SLD.dtype).masked_fill(~valid_SL, -torch.inf)
    mask_S1L = F.pad(hidden_SL, (1, 0))[:, None]
    blocks = [block for block in fusion.blocks if isinstance(block, Block)]
    *first, last = blocks
    for block in first:
        x_SLD = _run(block, x_SLD, mask_S1L)
    return _run(last, x_SLD, mask_S1L, queries=1)[:, 0]


def _run(block: Block, x_SLD: Tensor, mask_S1L: Tensor, queries: int | None = None) -> Tensor:
    """`Block.forward` in evaluation, with a mask."""
    normed_SLD = block.attention_norm(x_SLD)
    if queries is None:
        x_SLD = x_SLD + _attended(block.attention, normed_SLD, mask_S1L)
    else:
        x_SLD = x_SLD[:, :queries] + _from_first(block.attention, normed_SLD, mask_S1L, queries)
    return x_SLD + block.mlp(block.mlp_norm(x_SLD))


def _attended(attention: SelfAttention, x_SLD: Tensor, mask_S1L: Tensor) -> Tensor:
    packed = attention.qkv(x_SLD).unflatten(-1, (3, attention.heads, -1))
    q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
    shares = ((q * attention.scale) @ k.transpose(-2, -1) + mask_S1L[:, None]).softmax(dim=-1)
    return attention.out((shares @ v).transpose(1, 2).flatten(2))


def _from_first(attention: SelfAttention, x_SLD: Tensor, mask_S1L: Tensor, queries: int) -> Tensor:
    """As `SelfAttention.from_first`: the weights of keys and values meet the few queries."""
    dim = x_SLD.shape[-1]
    query_DD, key_DD, value_DD = attention.qkv.weight.chunk(3)
    query_bias, _, value_bias = attention.qkv.bias.chunk(3)
    key_hdD, value_hdD = (weight.view(attention.heads, -1, dim) for weight in (key_DD, value_DD))
    q = F.linear(x_SLD[:, :queries], query_DD, query_bias).unflatten(-1, (attention.heads, -1)) * attention.scale
    asked = torch.einsum("sqhd,hdc->sqhc", q, key_hdD).flatten(1, 2)
    shares = (asked @ x_SLD.transpose(1, 2) + mask_S1L).softmax(dim=-1)
    seen = (shares @ x_SLD).unflatten(1, (queries, attention.heads))
    mixed = torch.einsum("sqhc,hdc->sqhd", seen, value_hdD).flatten(2) + value_bias
    return attention.out(mixed)
