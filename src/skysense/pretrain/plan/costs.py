"""What the parts of the model cost in a training step, in closed form.

FLOPs are those of matrix products, convolutions and attention, a multiplication with its addition counted as two, as
`torch.utils.flop_counter` counts them. Bytes are those of an accelerator: its attention keeps no logits (the fused
kernels of `skysense.model.blocks.attend` and `skysense.model.swin.fused_window_attention`).

Letters: N images or frames, S sequences, L tokens of one, D width, H hidden width of an MLP, h heads, W windows,
C width of aligned features, P prototypes of a region.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from skysense.model.config import STAGES, FusionConfig, GeoContextConfig, SwinConfig, ViTConfig
from skysense.model.recompute import Checkpointing
from skysense.model.swin import PATCH

FLOAT = 4
"""Bytes of what is float32 in either precision: weights, norms with what goes in and out, sums of branches, terms."""
_STATISTICS = 2 * FLOAT  # of a norm, per token
_SCALES = 5 * FLOAT  # of queries and keys of length one, per token and head
_FUSED_HEAD = 8  # the fused kernels with a bias want heads of a multiple of this width
_ATTENTION_BACKWARD = 2.5  # five products for the two of the forward pass: the logits are made again


@dataclass(frozen=True)
class How:
    """How a step is computed.

    Attributes:
        number: bytes of a number that products and attention read and write; the rest is `FLOAT`.
        checkpointing: of every transformer block, see `skysense.model.recompute`.
    """

    number: int
    checkpointing: Checkpointing = "none"

    @property
    def mixed(self) -> bool:
        """Whether there are numbers of two types."""
        return self.number < FLOAT


@dataclass(frozen=True)
class Cost:
    """What a part of a step costs.

    Attributes:
        forward: FLOPs of the forward pass.
        backward: FLOPs of the backward pass.
        again: FLOPs that the backward pass makes a second time, see `How.checkpointing`.
        kept: bytes that wait for the backward pass.
        up: the most bytes that are there at once in the forward pass, what waits included.
        down: likewise in the backward pass, beside the gradients of parameters.
    """

    forward: float = 0.0
    backward: float = 0.0
    again: float = 0.0
    kept: float = 0.0
    up: float = 0.0
    down: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """One after the other; in the backward pass the other comes first, and what it kept is gone then."""
        return Cost(
            self.forward + other.forward,
            self.backward + other.backward,
            self.again + other.again,
            self.kept + other.kept,
            up=max(self.up, self.kept + other.up, self.kept + other.kept),
            down=max(self.down, self.kept + other.down, self.kept + other.kept),
        )


def together(costs: Iterable[Cost]) -> Cost:
    """One after the other."""
    return sum(costs, Cost())


def product(rows: float, inner: float, outer: float) -> float:
    """FLOPs of ``(rows, inner) @ (inner, outer)``."""
    return 2.0 * rows * inner * outer


@dataclass(frozen=True)
class _Bytes:
    """What a block has autograd keep.

    Attributes:
        entry: what goes into the block.
        products: results of products and attention.
        everything: without checkpointing.
        forward: the most that is there at once in a forward pass without autograd, beside the entry.
        in_both: of these, results of products.
        gradients: the widest of the backward pass.
    """

    entry: float
    products: float
    everything: float
    forward: float
    in_both: float
    gradients: float

    def cost(self, how: How) -> dict[str, float]:
        """The bytes of a `Cost`; a block that is computed again has everything for a moment."""
        selective = how.checkpointing == "selective"
        kept = {"none": self.everything, "selective": self.entry + self.products, "full": self.entry}[how.checkpointing]
        return {
            "kept": kept,
            "up": kept + self.forward - self.in_both if selective else max(self.entry + self.forward, kept),
            "down": max(self.everything, kept) + self.gradients,
        }


def block(sequences: float, length: float, dim: int, heads: int, hidden: int, drops: bool, how: How) -> Cost:
    """One pre-norm block of the ViTs or of fusion, `skysense.model.blocks.Block`."""
    tokens, a = sequences * length, how.number
    products = product(tokens, dim, 3 * dim) + product(tokens, dim, dim) + product(tokens, dim, 2 * hidden)
    attention = 2 * product(tokens, dim, length)
    sums = heads * FLOAT  # log-sum-exp, kept by attention
    # Everything: input and sum as norms take them; what these give, queries, keys, values, mixed values; before and
    # after the GELU.
    bytes_ = _Bytes(
        entry=tokens * dim * FLOAT,
        products=tokens * ((6 * dim + hidden) * a + sums),
        everything=tokens * (2 * dim * FLOAT + (6 * dim + 2 * hidden) * a + sums + 2 * _STATISTICS),
        forward=tokens * (2 * dim * FLOAT + 2 * hidden * a),
        in_both=tokens * hidden * a,
        gradients=tokens * (2 * dim * FLOAT + hidden * a),
    )
    # Without drop-path nothing waits for the last product, and it is not made again.
    last = 0.0 if drops else product(tokens, hidden, dim)
    return Cost(
        forward=products + attention,
        backward=2 * products + _ATTENTION_BACKWARD * attention,
        again=products + attention - last if how.checkpointing == "full" else 0.0,
        **bytes_.cost(how),
    )


def last_block(sequences: float, length: float, dim: int, heads: int, hidden: int, drops: bool, how: How) -> Cost:
    """The last block of fusion: all tokens are asked by one, `skysense.model.blocks.SelfAttention.from_first`."""
    tokens, a = sequences * length, how.number
    # query; query by the weights of keys; shares by the weights of values; output; MLP
    weights = 4 * product(sequences, dim, dim) + product(sequences, dim, 2 * hidden)
    attention = 2 * product(sequences * heads, dim, length)
    wide, shares = heads * dim, heads * length
    # Norms are read twice, by logits and by shares, and in mixed precision each has a copy.
    normed, logits = (2 * a if how.mixed else a), (a + FLOAT if how.mixed else a)
    bytes_ = _Bytes(
        entry=tokens * dim * FLOAT,
        products=sequences * (2 * dim + hidden) * a,
        everything=tokens * (dim * (FLOAT + normed) + _STATISTICS)
        + sequences * ((2 * wide + 4 * dim + 2 * hidden) * a + shares * logits + dim * FLOAT + _STATISTICS),
        forward=tokens * dim * (FLOAT + (a if how.mixed else 0)) + sequences * 2 * wide * a,
        in_both=0.0,
        gradients=tokens * 2 * dim * FLOAT,
    )
    last = 0.0 if drops else product(sequences, hidden, dim)
    # selective: products head by head are made again, see `skysense.model.recompute`
    by_head = attention + 2 * product(sequences, dim, dim)
    return Cost(
        forward=weights + attention,
        backward=2 * (weights + attention),
        again={"none": 0.0, "selective": by_head, "full": weights + attention - last}[how.checkpointing],
        **bytes_.cost(how),
    )


def swin_block(images: float, side: int, config: SwinConfig, stage: int, index: int, how: How) -> Cost:
    """One block of the Swin on maps of ``side`` tokens, `skysense.model.swin.SwinBlock`."""
    dim, heads, window, a = config.dims[stage], config.num_heads[stage], config.window, how.number
    hidden = round(dim * config.mlp_ratio)
    padded = math.ceil(side / window) * window
    shifted = index % 2 == 1 and (config.pad_small_map or side != window)
    inside, tokens, windows = images * padded**2, images * side**2, (padded // window) ** 2
    head = dim // heads
    fused = heads * math.ceil(head / _FUSED_HEAD) * _FUSED_HEAD  # width of all heads as the kernel takes them
    viewed = fused == dim and not shifted  # the kernel then takes the packed values, and its result, as they are
    products = product(inside, dim, 4 * dim)
    mlp = product(tokens, dim, 2 * hidden)
    attention = 2 * product(inside, fused, window**2)
    offsets, wide = (2 * window - 1) ** 2, config.position_hidden
    bias, heads_of_bias = product(offsets, 2, wide), product(offsets, wide, heads)
    sums = heads * FLOAT
    unit = (
        3 * dim * a if a == FLOAT else 2 * dim * FLOAT + (3 * dim * a if viewed else 0)
    )  # before they have length one
    asked = (2 * dim if viewed else 3 * fused) * a  # queries, keys, values as attention takes them
    mixed = (fused + (0 if viewed else dim)) * a
    extra = dim * FLOAT + _STATISTICS if config.extra_norm_every and (index + 1) % config.extra_norm_every == 0 else 0
    table = heads * window**4 * (windows if shifted else 1) * a + offsets * (wide + heads) * a
    bytes_ = _Bytes(
        entry=tokens * dim * FLOAT,
        products=inside * ((4 * dim + fused) * a + sums) + (tokens * (hidden + dim) + offsets * (wide + heads)) * a,
        # windows, then what attention keeps; both norms keep their input, the MLP its own and both sides of the GELU
        everything=inside * (dim * a + unit + asked + mixed + heads * _SCALES + sums)
        + tokens * (2 * dim * FLOAT + (dim + 2 * hidden) * a + 2 * _STATISTICS + extra)
        + table,
        forward=max(inside * (7 * dim * a + (0 if viewed else asked)), tokens * (2 * dim * FLOAT + 2 * hidden * a)),
        in_both=tokens * hidden * a,
        gradients=tokens * (2 * dim * FLOAT + hidden * a),
    )
    forward = products + mlp + attention + bias + heads_of_bias
    return Cost(
        forward=forward,
        backward=2 * (products + mlp + heads_of_bias) + bias + _ATTENTION_BACKWARD * attention,
        again=forward if how.checkpointing == "full" else 0.0,
        **bytes_.cost(how),
    )


def swin(images: float, cells: int, config: SwinConfig, how: How) -> Cost:
    """The encoder of the high-resolution image on square images of whole cells."""
    side, a = cells * 2 ** (STAGES - 1), how.number
    tokens, pixels = images * side**2, config.in_channels * PATCH**2
    patches = product(tokens, pixels, config.embed_dim)
    parts = [Cost(patches, patches, kept=tokens * (pixels * a + config.embed_dim * FLOAT + _STATISTICS))]
    for stage, depth in enumerate(config.depths):
        dim = config.dims[stage]
        if stage:
            side = math.ceil(side / 2)
            rows = images * side**2
            merging = product(rows, 2 * dim, dim)
            sorted_weight = 2 * dim * dim * a if rows > dim else 0
            read = rows * (2 * dim * a + dim * FLOAT + _STATISTICS)  # by the product, by the norm
            parts.append(Cost(merging, 2 * merging, kept=read + sorted_weight))
        parts += [swin_block(images, side, config, stage, index, how) for index in range(depth)]
    output = images * side**2 * (config.dims[-1] * FLOAT + _STATISTICS)
    return together([*parts, Cost(kept=output)])


def vit(frames: float, cells: int, config: ViTConfig, how: How) -> Cost:
    """An encoder of Sentinel frames, square, of whole patches."""
    patches, a = (cells // config.patch) ** 2, how.number
    pixels, hidden = config.in_channels * config.patch**2, round(config.dim * config.mlp_ratio)
    embedding = product(frames * patches, pixels, config.dim)
    length = patches + int(config.cls_token)
    size = (frames, length, config.dim, config.heads, hidden)
    blocks = [block(*size, drops, how) for drops in _dropping(config.drop_path, config.depth)]
    return together([Cost(embedding, embedding, kept=frames * patches * pixels * a), *blocks])


def align(frames: float, cells: int, config: ViTConfig, width: int, how: How) -> Cost:
    """The up-sampling head; its result is counted with the features."""
    patches = frames * (cells // config.patch) ** 2
    cost = product(patches, config.dim, width * config.patch**2)
    return Cost(cost, 2 * cost, kept=patches * config.dim * how.number)


def fusion(sequences: float, tokens: float, config: FusionConfig, how: How) -> Cost:
    """The temporal fusion transformer over sequences of ``tokens`` aligned features."""
    rows, hidden = sequences * tokens, round(config.dim * config.mlp_ratio)
    projection = product(rows, config.input_dim, config.dim)
    first = Cost(projection, 2 * projection, kept=rows * config.input_dim * how.number)
    *drops, drops_last = _dropping(config.drop_path, config.depth)
    size = (sequences, 1 + tokens, config.dim, config.heads, hidden)
    return together([first, *(block(*size, one, how) for one in drops), last_block(*size, drops_last, how)])


def geo_context(cells: float, config: GeoContextConfig, dim: int) -> Cost:
    """Attention of fused features to the prototypes of their region, which have no gradient."""
    attention = 2 * product(cells, dim, config.prototypes)
    return Cost(attention, attention, kept=cells * (dim + config.prototypes) * FLOAT)


def _dropping(greatest: float, depth: int) -> list[bool]:
    """Which blocks leave branches out while training; the first never does."""
    return [greatest > 0 and index > 0 for index in range(depth)]
