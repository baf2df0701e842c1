"""The model in the form that is written first: time padded, attention masked, windows as in the equations.

It has the weights of a `skysense.model.assembly.SkySense` and yields the same features. What makes it slow, and what
the package does instead:

* Fusion reads every token of every cell under a mask, padded frames and cells that were not observed among them. The
  package runs sequences of one length together, without a mask; what is not there costs nothing.
* The last block of the fusion works for all tokens, although only the first is read. The package works for that
  one, and multiplies the weights of keys and values with it instead of with all tokens.
* Encoders read padded frames too. The package packs the frames that are there.
* A batch runs as a whole, whatever the size of its tensors. On a CPU the package runs pieces that stay in the cache.
* Attention is written out: logits, mask, softmax. The package masks nothing, adds a bias in place, and calls the fused
  kernel where that is faster.
* Window attention projects queries, keys and values one by one, then normalises, scales and biases in separate passes.
  The package has one projection and one pass of factors; on a CPU that gains next to nothing.

Drop-path is left out: its rates must be zero.

Letters: B places, T padded time, C width of aligned features, D width of a feature, h w cells, H W tokens of a map,
S sequences, L tokens of a sequence or window, W windows, d width of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from skysense.geo import CELL_HR_PX
from skysense.model.assembly import SkySense, cell_grid
from skysense.model.blocks import Block
from skysense.model.fusion import Fusion
from skysense.model.swin import Swin, SwinBlock, WindowAttention, partition, shift_mask, unpartition
from skysense.observation import Batch, Frames
from skysense.pretrain.objective import FUSED
from skysense.sensors import MODALITIES, Modality


@dataclass
class Seen:
    """What a model makes of one view of every place.

    Attributes:
        maps: per source ``(B, T, D, h, w)``; the fused feature, with its context, is one frame.
        valid: per source, bool ``(B, T, h, w)``: cells of present frames that were observed.
        fused_BDhw: the fused feature alone.
    """

    maps: dict[str, Tensor]
    valid: dict[str, Tensor]
    fused_BDhw: Tensor


def see(model: SkySense, batch: Batch) -> Seen:
    """Encode every frame and fuse them under a mask.

    Args:
        model: of the student or the teacher.
        batch: one view of every place, colours changed.
    """
    maps: dict[str, Tensor] = {}
    valid: dict[str, Tensor] = {}
    tokens = []
    for key in (key for key in MODALITIES if key in batch.frames):
        frames = batch.frames[key]
        maps[key], valid[key] = encode(model, key, frames)
        tokens_BThwC = maps[key].permute(0, 1, 3, 4, 2)
        if key in model.config.date_on:
            tokens_BThwC = tokens_BThwC + model.dates(frames.day_BT.flatten()).view(*frames.day_BT.shape, 1, 1, -1)
        tokens.append(tokens_BThwC)
    tokens_SLC = torch.cat(tokens, dim=1).permute(0, 2, 3, 1, 4).flatten(0, 2)
    mask_SL = torch.cat(list(valid.values()), dim=1).permute(0, 2, 3, 1).flatten(0, 2)
    occupied_Bhw = mask_SL.any(dim=1).view(batch.size, *cell_grid(batch))
    fused_BDhw = fuse(model.fusion, tokens_SLC, mask_SL).view(*occupied_Bhw.shape, -1).permute(0, 3, 1, 2)
    fused_BDhw = fused_BDhw * occupied_Bhw[:, None]
    context_BDhw = model.context(fused_BDhw, occupied_Bhw, batch.region_B)
    cells_BDhw = fused_BDhw if context_BDhw is None else torch.cat([fused_BDhw, context_BDhw], dim=1)
    return Seen(maps | {FUSED: cells_BDhw[:, None]}, valid | {FUSED: occupied_Bhw[:, None]}, fused_BDhw)


def encode(model: SkySense, key: Modality, frames: Frames) -> tuple[Tensor, Tensor]:
    """Maps ``(B, T, C, h, w)`` of all frames, padded ones too, and which cells ``(B, T, h, w)`` were observed."""
    shape, values, valid = frames.present_BT.shape, frames.values_BTCHW.flatten(0, 1), frames.valid_BTHW.flatten(0, 1)
    if key == "hr":
        features = swin(model.hr, model.entry_hr(values, valid))
        valid = F.avg_pool2d(valid[:, None].float(), CELL_HR_PX)[:, 0] >= 0.5
    elif key == "s2":
        features = model.align_s2(model.s2(model.entry_s2(values, valid))[-1])
    else:
        features = model.align_s1(model.s1(model.entry_s1(values, valid))[-1])
    height, width = valid.shape[1:]
    features = features[:, :, :height, :width].unflatten(0, shape)
    return features, valid.unflatten(0, shape) & frames.present_BT[:, :, None, None]


def swin(encoder: Swin, image_BCHW: Tensor) -> Tensor:
    """The last map ``(B, C, h, w)``."""
    x_BHWC = encoder.patch_embed(image_BCHW)
    for stage in encoder.stages:
        x_BHWC = stage.merge(x_BHWC)
        for block in stage.blocks:
            x_BHWC = x_BHWC + block.attention_norm(attend_windows(block, x_BHWC))
            x_BHWC = x_BHWC + block.mlp_norm(block.mlp(x_BHWC))
            x_BHWC = block.extra_norm(x_BHWC)
    return encoder.output_norms[str(encoder.config.out_indices[-1])](x_BHWC).permute(0, 3, 1, 2)


def attend_windows(block: SwinBlock, x_BHWC: Tensor) -> Tensor:
    """Pad, shift, attend inside windows, shift back, crop: ``(B, H, W, C)`` to the same."""
    height, width = x_BHWC.shape[1:3]
    window, shift = block.window, block.shift
    if min(height, width) == window and not block.pad_small_map:
        shift = 0
    x_BHWC = F.pad(x_BHWC, (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = x_BHWC.shape[1:3]
    x_BHWC = torch.roll(x_BHWC, (-shift, -shift), (1, 2))
    mask_WLL = shift_mask(rows, columns, window, shift, x_BHWC.device) if shift else None
    x_BWLC = cosine_attention(block.attention, partition(x_BHWC, window), mask_WLL)
    x_BHWC = torch.roll(unpartition(x_BWLC, window, rows, columns), (shift, shift), (1, 2))
    return x_BHWC[:, :height, :width]


def cosine_attention(attention: WindowAttention, x_BWLC: Tensor, mask_WLL: Tensor | None) -> Tensor:
    """softmax(scale * cosine(q, k) + bias + mask) v inside every window: ``(B, W, L, C)`` to the same."""

    def split(projected_BWLC: Tensor) -> Tensor:
        return projected_BWLC.unflatten(-1, (attention.heads, -1)).transpose(2, 3)  # (B, W, heads, L, d)

    query, key, value = attention.qkv.weight.chunk(3)
    q = split(F.linear(x_BWLC, query, attention.q_bias))
    k = split(F.linear(x_BWLC, key))
    v = split(F.linear(x_BWLC, value, attention.v_bias))
    scale = attention.logit_scale.clamp(max=math.log(100)).exp()
    logits = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * scale
    position = attention.position_bias
    table = position.heads(F.relu(position.hidden(position.offsets.to(x_BWLC.dtype))))[position.index]
    length = position.window**2
    logits = logits + 16 * torch.sigmoid(table.view(length, length, -1).permute(2, 0, 1))
    if mask_WLL is not None:
        logits = logits + mask_WLL[:, None]
    return attention.out((logits.softmax(dim=-1) @ v).transpose(2, 3).flatten(3))


def fuse(fusion: Fusion, tokens_SLC: Tensor, mask_SL: Tensor) -> Tensor:
    """The fused feature ``(S, D)`` of sequences of which ``mask_SL`` is there."""
    cls = fusion.cls_token.expand(len(tokens_SLC), -1, -1)
    x_SLD = torch.cat([cls, fusion.projection(tokens_SLC)], dim=1)
    keys_SL = F.pad(mask_SL, (1, 0), value=True)
    for block in fusion.blocks:
        x_SLD = x_SLD + masked_attention(block, block.attention_norm(x_SLD), keys_SL)
        x_SLD = x_SLD + block.mlp(block.mlp_norm(x_SLD))
    return x_SLD[:, 0]


def masked_attention(block: Block, x_SLD: Tensor, keys_SL: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v of all tokens over the tokens that are there: ``(S, L, D)`` to the same."""
    attention = block.attention
    packed = attention.qkv(x_SLD).unflatten(-1, (3, attention.heads, -1))
    q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
    logits = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    logits = logits.masked_fill(~keys_SL[:, None, None, :], float("-inf"))
    return attention.out((logits.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))
