"""How many parameters every part has, and which block is the largest; from the configuration alone.

Letters: C width of aligned features, D width of a part, H hidden width of an MLP.
"""

from __future__ import annotations

from collections.abc import Mapping

from skysense.model.config import ModelConfig, SwinConfig, ViTConfig
from skysense.model.swin import PATCH
from skysense.observation import DAYS
from skysense.pretrain.plan.heads import HeadSizes


def swin_block(config: SwinConfig, stage: int, index: int) -> int:
    """Of one block of the Swin."""
    dim, heads, wide = config.dims[stage], config.num_heads[stage], config.position_hidden
    attention = 4 * dim**2 + 3 * dim + heads + (3 + heads) * wide
    extra = config.extra_norm_every > 0 and (index + 1) % config.extra_norm_every == 0
    return attention + _mlp(dim, round(dim * config.mlp_ratio)) + (6 if extra else 4) * dim


def swin(config: SwinConfig) -> int:
    """Of the encoder of the high-resolution image."""
    first = config.embed_dim
    count = (config.in_channels * PATCH**2 + 3) * first
    for stage, (dim, depth) in enumerate(zip(config.dims, config.depths, strict=True)):
        count += 2 * dim**2 + 2 * dim if stage else 0  # patch merging
        count += sum(swin_block(config, stage, index) for index in range(depth))
    return count + sum(2 * config.dims[stage] for stage in config.out_indices)


def block(dim: int, mlp_ratio: float) -> int:
    """Of one block of the ViTs or of fusion."""
    return 4 * dim**2 + 4 * dim + _mlp(dim, round(dim * mlp_ratio)) + 4 * dim


def vit(config: ViTConfig) -> int:
    """Of an encoder of Sentinel frames."""
    dim, extra = config.dim, int(config.cls_token)
    tokens = (config.image_size // config.patch) ** 2 + 2 * extra
    embedding = (config.in_channels * config.patch**2 + 1) * dim
    return embedding + tokens * dim + config.depth * block(dim, config.mlp_ratio)


def by_part(model: ModelConfig, heads: Mapping[str, HeadSizes], masked: bool) -> dict[str, int]:
    """Of everything that learns, by part.

    Args:
        model: dimensions.
        heads: of every source.
        masked: whether the objective has the masked term.
    """
    width, fusion = model.aligned_dim, model.fusion
    projections = len(model.modalities) * (width**2 + 2 * width) + 1
    return {
        "hr": swin(model.hr),
        "s2": vit(model.s2),
        "s1": vit(model.s1),
        "align": _aligned(model),
        "fusion": (width + 2) * fusion.dim + fusion.depth * block(fusion.dim, fusion.mlp_ratio) + DAYS * width,
        "heads": sum(one.parameters for one in heads.values()) + projections + (model.hr.embed_dim if masked else 0),
    }


def of_blocks(model: ModelConfig) -> int:
    """Of all transformer blocks."""
    hr = model.hr
    swins = sum(swin_block(hr, stage, index) for stage, depth in enumerate(hr.depths) for index in range(depth))
    return swins + sum(one.depth * block(one.dim, one.mlp_ratio) for one in (model.s2, model.s1, model.fusion))


def units(model: ModelConfig, heads: Mapping[str, HeadSizes]) -> int:
    """Of what is gathered only while it runs, where parameters are sharded: blocks, up-sampling, heads."""
    return of_blocks(model) + _aligned(model) + sum(one.parameters for one in heads.values())


def largest_block(model: ModelConfig) -> int:
    """Of the largest unit that is no head."""
    hr = model.hr
    blocks = [swin_block(hr, stage, depth - 1) for stage, depth in enumerate(hr.depths)]
    blocks += [block(one.dim, one.mlp_ratio) for one in (model.s2, model.s1, model.fusion)]
    return max(*blocks, *((vit.dim + 1) * model.aligned_dim * vit.patch**2 for vit in (model.s2, model.s1)))


def _aligned(model: ModelConfig) -> int:
    return sum((vit.dim + 1) * model.aligned_dim * vit.patch**2 for vit in (model.s2, model.s1))


def _mlp(dim: int, hidden: int) -> int:
    return 2 * dim * hidden + hidden + dim
