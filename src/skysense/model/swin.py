"""Swin transformer V2 as published for the high-resolution image (specification 1.1).

It keeps what a tidy mind would change, because the published weights were trained with it: zero padding inside the
attention is not masked, the window shift depends on the smaller side of the map only, patch merging orders its input
channel by channel, and some blocks end with one more normalisation.

Letters: B batch, H W token grid, C width, L tokens of a window, W windows, h heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skysense.errors import ConfigError, InputError
from skysense.model.blocks import RESIDUAL_START, Mlp, initialise, joined, pieces, rates, reshaped
from skysense.model.config import STAGES, SwinConfig
from skysense.model.drop_path import DropPath, scaled, stir
from skysense.model.encoder import Encoder
from skysense.model.linear import Linear, linear
from skysense.model.norm import LayerNorm
from skysense.model.position_bias import RelativePositionBias

PATCH = 4
_MAX_LOGIT_SCALE = math.log(100.0)
_TINY_SQUARE = 1e-24
_MASKED = -100.0  # finite, as published: the cosine logits reach 100


class WindowAttention(nn.Module):
    """Cosine attention inside windows, with a learned scale and a relative-position bias per head."""

    def __init__(self, dim: int, heads: int, window: int, position_hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.position_bias = RelativePositionBias(window, heads, position_hidden)
        self.out = Linear(dim, dim)

    def forward(self, x_BWLC: Tensor, mask_WLL: Tensor | None, bias_hLL: Tensor) -> Tensor:
        """Attend inside every window.

        Args:
            x_BWLC: tokens.
            mask_WLL: added to the logits, the same for every sample; None for nothing.
            bias_hLL: of `RelativePositionBias`, which is reckoned once for all pieces of a batch.
        """
        batch, windows, length, _ = x_BWLC.shape
        qkv_bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        packed = linear(x_BWLC, self.qkv.weight, qkv_bias).view(batch, windows, length, 3, self.heads, -1)
        q, k, v = packed.permute(3, 0, 1, 4, 2, 5).unbind(0)
        wide = torch.promote_types(self.logit_scale.dtype, torch.float32)  # in bfloat16 the greatest would be 99
        scale_h11 = self.logit_scale.to(wide).clamp(max=_MAX_LOGIT_SCALE).exp()
        mixed = window_attention(_scaled(q, scale_h11), _scaled(k), v, bias_hLL.to(q.dtype), mask_WLL)
        return self.out(mixed.transpose(2, 3).flatten(3))


def window_attention(q: Tensor, k: Tensor, v: Tensor, bias_hLL: Tensor, mask_WLL: Tensor | None) -> Tensor:
    """softmax(q k^T + bias + mask) v over ``(B, W, h, L, d)``: a bias per head, a mask per window.

    The fused kernel of a CPU has no gradient for a bias; two batched products take a fifth less there at 64 tokens.
    """
    if q.device.type != "cpu" and not torch.compiler.is_exporting():
        return fused_window_attention(q, k, v, bias_hLL, mask_WLL)
    logits = q @ k.transpose(-2, -1)
    logits += bias_hLL
    if mask_WLL is not None:
        logits += mask_WLL[:, None]
    return logits.softmax(dim=-1) @ v


def fused_window_attention(q: Tensor, k: Tensor, v: Tensor, bias_hLL: Tensor, mask_WLL: Tensor | None) -> Tensor:
    """`window_attention` by one kernel of an accelerator.

    Such kernels know four axes: windows join the samples, or the heads where each window has a mask of its own. With a
    bias they want heads whose width is a multiple of 8; those of the published model are 44 wide. Zeros change nothing.
    """
    axis = 0 if mask_WLL is None else 1
    bias = bias_hLL if mask_WLL is None else (bias_hLL + mask_WLL[:, None]).flatten(0, 1)
    flat = [part.flatten(axis, axis + 1) for part in (q, k, v)]
    width = v.shape[-1]
    if width % 8:
        flat = [F.pad(part, (0, -width % 8)) for part in flat]
    mixed = F.scaled_dot_product_attention(flat[0], flat[1], flat[2], attn_mask=bias[None].to(q.dtype), scale=1.0)
    return mixed[..., :width].reshape(q.shape)


def _scaled(x: Tensor, target: Tensor | None = None) -> Tensor:
    """Queries or keys of length one, or another; a padded token has a key of zero, which stays zero."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    factor = wide.square().sum(dim=-1, keepdim=True).clamp_min(_TINY_SQUARE).rsqrt()
    return (wide * (factor if target is None else factor * target)).to(x.dtype)


def shift_mask(height: int, width: int, window: int, shift: int | Tensor, device: torch.device) -> Tensor:
    """What keeps tokens apart that a cyclic shift has brought into one window: ``(W, L, L)`` of 0 and -100.

    Args:
        height: rows of the padded map, a multiple of the window.
        width: columns of it, likewise.
        window: side of the window.
        shift: tokens the map was rolled up and left.
        device: where the mask shall live.
    """

    def zone(length: int) -> Tensor:
        place = torch.arange(length, device=device)
        return (place >= length - window).long() + (place >= length - shift).long()

    zones = zone(height)[:, None] * 3 + zone(width)[None, :]
    zones = partition(zones[None, :, :, None], window)[0, :, :, 0]
    return torch.where(zones[:, None, :] == zones[:, :, None], 0.0, _MASKED)


def partition(x_BHWC: Tensor, window: int) -> Tensor:
    """A map, sides multiples of the window, as windows in raster order: ``(B, W, L, C)``."""
    batch, height, width, dim = x_BHWC.shape
    grid = x_BHWC.view(batch, height // window, window, width // window, window, dim)
    return reshaped(grid.transpose(2, 3), batch, -1, window * window, dim)


def unpartition(x_BWLC: Tensor, window: int, height: int, width: int) -> Tensor:
    """The inverse of `partition`: ``(B, height, width, C)``."""
    batch, _, _, dim = x_BWLC.shape
    grid = x_BWLC.view(batch, height // window, width // window, window, window, dim)
    return reshaped(grid.transpose(2, 3), batch, height, width, dim)


class SwinBlock(nn.Module):
    """Window attention and MLP, each normalised after it and before its residual."""

    def __init__(self, config: SwinConfig, stage: int, index: int, drop_path: float) -> None:
        super().__init__()
        dim, eps = config.dims[stage], config.layer_norm_eps
        self.window = config.window
        self.shift = config.window // 2 if index % 2 else 0
        self.pad_small_map = config.pad_small_map
        self.attention = WindowAttention(dim, config.num_heads[stage], config.window, config.position_hidden)
        self.attention_norm = LayerNorm(dim, eps)
        self.mlp = Mlp(dim, round(dim * config.mlp_ratio))
        self.mlp_norm = LayerNorm(dim, eps)
        self.drop_path = DropPath(drop_path)
        every = config.extra_norm_every
        has_extra = every > 0 and (index + 1) % every == 0
        self.extra_norm = LayerNorm(dim, eps) if has_extra else nn.Identity()

    @overload
    def forward(self, x_BHWC: Tensor, words: None = None) -> Tensor: ...

    @overload
    def forward(self, x_BHWC: Sequence[Tensor], words: Sequence[Tensor] | None = None) -> list[Tensor]: ...

    def forward(
        self, x_BHWC: Tensor | Sequence[Tensor], words: Sequence[Tensor] | None = None
    ) -> Tensor | list[Tensor]:
        """``(B, H, W, C)`` to the same shape; or several, whose words decide which samples drop-path leaves out."""
        bias_hLL = self.attention.position_bias()
        if isinstance(x_BHWC, Tensor):
            return self.one(x_BHWC, bias_hLL, self._factors(x_BHWC, None))
        some = [None] * len(x_BHWC) if words is None else words
        return [
            self.one(part, bias_hLL, self._factors(part, word_B)) for part, word_B in zip(x_BHWC, some, strict=True)
        ]

    def _factors(self, x_BHWC: Tensor, words_B: Tensor | None) -> Sequence[Tensor | None]:
        """What drop-path multiplies attention and MLP with."""
        words = [None, None] if words_B is None else [stir(words_B, branch) for branch in range(2)]
        return [self.drop_path.factor(x_BHWC, some) for some in words]

    def one(self, x_BHWC: Tensor, bias_hLL: Tensor, factors: Sequence[Tensor | None]) -> Tensor:
        """`forward` of one tensor, with the relative-position bias ``(h, L, L)`` and what drop-path multiplies."""
        attended, mapped = factors
        # The published order: drop-path first, so that a dropped branch still adds the bias of its norm.
        x_BHWC = x_BHWC + self.attention_norm(scaled(self._attend(x_BHWC, bias_hLL), attended))
        x_BHWC = x_BHWC + self.mlp_norm(scaled(self.mlp(x_BHWC), mapped))
        return self.extra_norm(x_BHWC)

    def _attend(self, x_BHWC: Tensor, bias_hLL: Tensor) -> Tensor:
        height, width = x_BHWC.shape[1:3]
        right, down = -width % self.window, -height % self.window
        if right or down:
            x_BHWC = F.pad(x_BHWC, (0, 0, 0, right, 0, down))
        rows, columns = x_BHWC.shape[1:3]
        shift = self._shift(height, width, x_BHWC.device)
        mask = None
        if not isinstance(shift, int) or shift:
            x_BHWC = rolled(x_BHWC, -shift)
            mask = shift_mask(rows, columns, self.window, shift, x_BHWC.device)
        mixed_BWLC = self.attention(partition(x_BHWC, self.window), mask, bias_hLL)
        x_BHWC = unpartition(mixed_BWLC, self.window, rows, columns)
        if mask is not None:
            x_BHWC = rolled(x_BHWC, shift)
        return x_BHWC[:, :height, :width]

    def _shift(self, height: int, width: int, device: torch.device) -> int | Tensor:
        """How far windows are shifted: not at all if one side, even if only one, is as small as the window."""
        if self.pad_small_map or not self.shift:
            return self.shift
        smaller = torch.sym_min(height, width)
        if not isinstance(smaller, torch.SymInt):
            return 0 if smaller == self.window else self.shift
        # in an exported program the size is open: chosen when it runs
        return torch.where(torch.scalar_tensor(smaller, device=device) == self.window, 0, self.shift)


def rolled(x_BHWC: Tensor, shift: int | Tensor) -> Tensor:
    """A map rolled down and right by ``shift`` tokens, which may be a number that is known only at run time."""
    if isinstance(shift, int):
        return torch.roll(x_BHWC, (shift, shift), (1, 2))
    for axis in (1, 2):
        length = x_BHWC.shape[axis]
        x_BHWC = x_BHWC.index_select(axis, (torch.arange(length, device=x_BHWC.device) - shift) % length)
    return x_BHWC


class PatchMerging(nn.Module):
    """Halve the map and double the width; columns are ordered channel first, then row, then column."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.reduction = Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(2 * dim, eps)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """``(B, H, W, C)`` to ``(B, ceil(H/2), ceil(W/2), 2C)``; odd maps are zero padded right and bottom."""
        batch, height, width, dim = x_BHWC.shape
        if height % 2 or width % 2:
            x_BHWC = F.pad(x_BHWC, (0, 0, 0, width % 2, 0, height % 2))
        grid = x_BHWC.view(batch, (height + 1) // 2, 2, (width + 1) // 2, 2, dim)
        weight, pixels = self.reduction.weight, grid.numel() // (4 * dim)
        if torch.compiler.is_exporting() or pixels > len(weight):
            # sorting the weights, row and column before channel, lets whole pixels of the map be copied
            weight = weight.unflatten(1, (dim, 4)).transpose(1, 2).flatten(1)
            return self.norm(linear(grid.transpose(2, 3).flatten(3), weight))
        return self.norm(linear(grid.permute(0, 1, 3, 5, 2, 4).flatten(3), weight))


class PatchEmbedding(nn.Module):
    """Patches of 4 x 4 pixels to tokens; sizes that are no multiple of 4 are zero padded right and bottom."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.projection = nn.Conv2d(config.in_channels, config.embed_dim, PATCH, PATCH)
        self.norm = nn.LayerNorm(config.embed_dim, config.layer_norm_eps)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """``(B, bands, H, W)`` to ``(B, ceil(H/4), ceil(W/4), C)``."""
        right, down = -image_BCHW.shape[3] % PATCH, -image_BCHW.shape[2] % PATCH
        if right or down:
            image_BCHW = F.pad(image_BCHW, (0, right, 0, down))
        return self.norm(self.projection(image_BCHW).permute(0, 2, 3, 1))


class Stage(nn.Module):
    """Patch merging (not in the first stage) and blocks."""

    def __init__(self, config: SwinConfig, stage: int, drop_paths: list[float]) -> None:
        super().__init__()
        eps = config.layer_norm_eps
        self.merge = PatchMerging(config.dims[stage - 1], eps) if stage else nn.Identity()
        self.blocks = nn.ModuleList(SwinBlock(config, stage, index, rate) for index, rate in enumerate(drop_paths))

    def forward(self, parts: Sequence[Tensor], run: Callable[..., list[Tensor]]) -> list[Tensor]:
        """Maps ``(B, H, W, C)``, pieces of a batch, to the next; ``run`` calls a block."""
        parts = [self.merge(part) for part in parts]
        for block in self.blocks:
            parts = run(block, parts)
        return parts


@dataclass(frozen=True)
class Hidden:
    """What the encoder must not see of some images; only pre-training hides anything.

    Attributes:
        tokens_Bhw: bool, tokens of the last map (32 x 32 px) whose patches are hidden; images are whole such tokens.
        embedding_C: what takes the place of the embedding of each hidden patch.
    """

    tokens_Bhw: Tensor
    embedding_C: Tensor

    def split(self, sizes: Sequence[int]) -> list[Hidden]:
        """The same for consecutive pieces of the batch."""
        return [replace(self, tokens_Bhw=part) for part in self.tokens_Bhw.split(list(sizes))]

    def cover(self, patches_BHWC: Tensor) -> Tensor:
        """Embedded patches with the hidden ones replaced."""
        side = 2 ** (STAGES - 1)
        hidden_BHW = self.tokens_Bhw.repeat_interleave(side, 1).repeat_interleave(side, 2)
        return torch.where(hidden_BHW[..., None], self.embedding_C.to(patches_BHWC.dtype), patches_BHWC)


class Swin(Encoder):
    """The spatial encoder of the high-resolution image."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbedding(config)
        drop_paths = rates(config.drop_path, sum(config.depths))
        ends = [sum(config.depths[: stage + 1]) for stage in range(STAGES)]
        self.stages = nn.ModuleList(
            Stage(config, stage, drop_paths[end - depth : end])
            for stage, (end, depth) in enumerate(zip(ends, config.depths, strict=True))
        )
        self.output_norms = nn.ModuleDict(
            {str(stage): nn.LayerNorm(config.dims[stage], config.layer_norm_eps) for stage in config.out_indices}
        )
        initialise(self)
        self._begin()
        self.feature_info = [
            {"num_chs": width, "reduction": PATCH * 2**stage, "module": f"stages.{stage}"}
            for stage, width in enumerate(config.dims)
        ]

    def _begin(self) -> None:
        """Keep the brightness of patches, and let blocks begin near the identity.

        The norm after the patch embedding takes away how bright a patch is unless the embedding has biases; those of
        `torch.nn.Conv2d` are what the released code begins with. Norms after the branches begin at a tenth (the
        authors of Swin V2 take zero): at one, window means and random features bury what single cells show.
        """
        projection = self.patch_embed.projection
        assert projection.bias is not None
        bound = projection.weight[0].numel() ** -0.5
        nn.init.uniform_(projection.bias, -bound, bound)
        for module in self.modules():
            if isinstance(module, SwinBlock):
                nn.init.constant_(module.attention_norm.weight, RESIDUAL_START)
                nn.init.constant_(module.mlp_norm.weight, RESIDUAL_START)

    def forward(
        self, image_BCHW: Tensor, hidden: Hidden | None = None, words_B: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Encode images.

        Args:
            image_BCHW: normalised image; sides that are no multiples of 4, 8, 16, 32 px are zero padded to them.
            hidden: what of it stays unseen.
            words_B: random words of the images, for drop-path; see `skysense.model.drop_path`.

        Returns:
            One map ``(B, C_i, H / 2**(i+2), W / 2**(i+2))`` per stage of ``out_indices``, normalised; channels last
            in memory.

        Raises:
            ConfigError: a map smaller than the window with ``pad_small_map`` off.
        """
        maps = self.levels(image_BCHW, self.config.out_indices, hidden, words_B)
        return tuple(self._normed(maps[i], i).permute(0, 3, 1, 2) for i in self.config.out_indices)

    def levels(
        self, x: Tensor, wanted: Collection[int], hidden: Hidden | None = None, words_B: Tensor | None = None
    ) -> dict[int, Tensor]:
        """The maps of some stages before the output norms, see `Encoder`."""
        self._check(x)
        tokens = math.ceil(x.shape[2] / PATCH) * math.ceil(x.shape[3] / PATCH)
        widest = tokens * round(self.config.embed_dim * self.config.mlp_ratio)
        images = pieces(x, widest)
        sizes = [part.shape[0] for part in images]
        covers = [None] * len(images) if hidden is None else hidden.split(sizes)
        embedded = (self.patch_embed(image) for image in images)
        parts = [
            patches if cover is None else cover.cover(patches) for patches, cover in zip(embedded, covers, strict=True)
        ]
        maps = {}
        run = self._runner(None if words_B is None else list(words_B.split(sizes)))
        for index, stage in enumerate(self.stages[: max(wanted) + 1]):
            parts = stage(parts, run)
            if index in wanted:
                maps[index] = joined(parts)
        return maps

    def _normed(self, map_NhwD: Tensor, level: int) -> Tensor:
        return self.output_norms[str(level)](map_NhwD) if str(level) in self.output_norms else map_NhwD

    def set_input_size(self, img_size: int | tuple[int, int], window_size: int | None = None) -> None:
        """Say what size images will have: refuse what the encoder cannot read, or change the windows.

        No table depends on the size of the image. Windows of another side have their position bias made anew from the
        same weights; the published ones were trained with 8.

        Args:
            img_size: height and width in pixels.
            window_size: side of the attention windows, tokens; unchanged if None.

        Raises:
            ConfigError: images whose last map is smaller than a window, with ``pad_small_map`` off.
        """
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        config = self.config if window_size is None else replace(self.config, window=window_size)
        _check_size(config, height, width)
        self.config = config
        for module in self.modules():
            if isinstance(module, SwinBlock):
                module.window, module.shift = config.window, config.window // 2 if module.shift else 0
            elif isinstance(module, RelativePositionBias):
                module.window = config.window
                module.place_constants(module.offsets)

    def set_outputs(self, indices: Sequence[int]) -> None:
        """Choose the stages that `forward` returns; norms that were not there begin as identity.

        Raises:
            ConfigError: stages that do not exist or are not in order.
        """
        self.config = replace(self.config, out_indices=tuple(indices))
        like = self.patch_embed.norm.weight
        for stage in self.config.out_indices:
            if str(stage) not in self.output_norms:
                norm = nn.LayerNorm(self.config.dims[stage], self.config.layer_norm_eps)
                self.output_norms[str(stage)] = norm.to(like)
        for name in set(self.output_norms) - {str(stage) for stage in indices}:
            del self.output_norms[name]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of parameter names for layer-wise learning rates: the stem, then stages or every block."""
        if coarse:
            return {"stem": r"^patch_embed", "blocks": [(r"^stages\.(\d+)", None), (r"^output_norms", (99999,))]}
        return {
            "stem": r"^patch_embed",
            "blocks": [
                (r"^stages\.(\d+)\.merge", (0,)),
                (r"^stages\.(\d+)\.blocks\.(\d+)", None),
                (r"^output_norms", (99999,)),
            ],
        }

    def _check(self, image_BCHW: Tensor) -> None:
        config, (_, bands, height, width) = self.config, image_BCHW.shape
        if bands != config.in_channels:
            raise InputError(f"the high-resolution encoder reads {config.in_channels} bands; got {bands}")
        _check_size(config, height, width)


def _check_size(config: SwinConfig, height: int, width: int) -> None:
    smallest = math.ceil(min(height, width) / (PATCH * 2 ** (STAGES - 1)))
    if smallest < config.window and not config.pad_small_map:
        raise ConfigError(
            f"an image of {height} x {width} px leaves a last map smaller than the window ({config.window}); "
            f"use at least {PATCH * 2 ** (STAGES - 1) * (config.window - 1) + 1} px, or set pad_small_map"
        )
