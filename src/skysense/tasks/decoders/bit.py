"""BIT: change between two dates through a few semantic tokens (Chen et al., TGRS 2021, arXiv 2103.00208).

Each date is summed up in a few tokens; a transformer relates the tokens of both; the pixels of each date then look up
in its own tokens what they mean; what differs after that has changed.

Letters: B pairs, D_i H_i W_i width and grid of level i, the finest first; C width, L tokens per date, N queries, M
memory tokens, P pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skysense.model.blocks import Mlp, initialise
from skysense.model.linear import Linear
from skysense.model.norm import LayerNorm
from skysense.tasks.decoders.layers import ConvNormReLU, check_dates, check_levels, classifier, resized

WIDTH = 32
TOKENS = 4
HEADS = 8
ENCODER_DEPTH, ENCODER_HEAD_DIM = 1, 64
DECODER_DEPTH, DECODER_HEAD_DIM = 8, 8
"""Dimensions of the released configuration with the best results; the MLPs are twice as wide as the map."""


class Attention(nn.Module):
    """Multi-head attention whose heads may together be wider than the map; no bias on queries, keys and values.

    Logits are scaled by the width of a head.

    Args:
        dim: C, width of queries and memory.
        head_dim: width of each of the 8 heads.
    """

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        self.query = Linear(dim, HEADS * head_dim, bias=False)
        self.key = Linear(dim, HEADS * head_dim, bias=False)
        self.value = Linear(dim, HEADS * head_dim, bias=False)
        self.out = Linear(HEADS * head_dim, dim)

    def forward(self, x_BNC: Tensor, memory_BMC: Tensor) -> Tensor:
        """What each of N queries finds in M tokens: ``(B, N, C)``."""
        q, k, v = (
            layer(tokens).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for layer, tokens in ((self.query, x_BNC), (self.key, memory_BMC), (self.value, memory_BMC))
        )
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """A pre-norm layer of either transformer: attention to a memory, or to itself, then an MLP.

    Pixels and the tokens they look at share a norm: tokens are means of pixels.

    Args:
        dim: C.
        head_dim: width of a head.
    """

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(dim)
        self.attention = Attention(dim, head_dim)
        self.mlp_norm = LayerNorm(dim)
        self.mlp = Mlp(dim, 2 * dim)

    def forward(self, x_BNC: Tensor, memory_BMC: Tensor | None = None) -> Tensor:
        """``(B, N, C)`` to the same; the memory is x itself if None."""
        normed = self.attention_norm(x_BNC)
        x_BNC = x_BNC + self.attention(normed, normed if memory_BMC is None else self.attention_norm(memory_BMC))
        return x_BNC + self.mlp(self.mlp_norm(x_BNC))


class BIT(nn.Module):
    """The bitemporal image transformer, on the pyramids of two dates.

    The paper reads one map of a ResNet through a 3 x 3 convolution to 32 channels. Here every level goes through a
    linear layer to that width, is up-sampled to the finest and summed up; the 3 x 3 convolution follows.

    Args:
        channels: D_i, width of every level, the finest first.
        classes: K; two for changed or not.
        width: C.
        tokens: L.
        scale: how many times finer than the finest level the logits are. The paper classifies at the pixels of the
            image, four times finer than its map.

    Raises:
        ConfigError: no class.
    """

    def __init__(
        self, channels: Sequence[int], classes: int = 2, width: int = WIDTH, tokens: int = TOKENS, scale: int = 4
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.scale = scale
        self.projections = nn.ModuleList(nn.Conv2d(dim, width, 1, bias=False) for dim in channels)
        self.neck = nn.Conv2d(width, width, 3, padding=1)
        self.tokenizer = nn.Conv2d(width, tokens, 1, bias=False)  # the softmax over pixels would drop a bias
        self.position = nn.Parameter(torch.randn(1, 2 * tokens, width))
        self.encoder = nn.ModuleList(Layer(width, ENCODER_HEAD_DIM) for _ in range(ENCODER_DEPTH))
        self.decoder = nn.ModuleList(Layer(width, DECODER_HEAD_DIM) for _ in range(DECODER_DEPTH))
        initialise(self)
        self.compare = ConvNormReLU(width, width, 3)
        self.classifier = classifier(width, classes, kernel=3)

    def forward(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
        """Score every pixel of the image.

        Args:
            first: ``(B, D_i, H_i, W_i)`` of the first date, the finest first.
            second: the same of the second date.

        Returns:
            Logits ``(B, K, scale * H_0, scale * W_0)``.

        Raises:
            InputError: dates of different shapes, or levels that the decoder was not made for.
        """
        check_dates(first, second)
        check_levels(first, self.channels)
        # both dates go through the same weights: one batch, the first dates before the second
        map_BCHW = self._fused([torch.cat(pair) for pair in zip(first, second, strict=True)])
        pixels_BPC = map_BCHW.flatten(2).transpose(1, 2)
        tokens_BLC = self._related(self._tokens(map_BCHW))
        for layer in self.decoder:
            pixels_BPC = layer(pixels_BPC, tokens_BLC)
        height, width = map_BCHW.shape[-2:]
        before, after = pixels_BPC.transpose(1, 2).unflatten(2, (height, width)).unflatten(0, (2, -1))
        difference = resized((after - before).abs(), (height * self.scale, width * self.scale))
        return self.classifier(self.compare(difference))

    def _fused(self, maps: Sequence[Tensor]) -> Tensor:
        """One map ``(2B, C, H_0, W_0)`` of all levels."""
        finest, *coarser = (layer(level) for layer, level in zip(self.projections, maps, strict=True))
        fused = finest
        for level in coarser:
            fused = fused + resized(level, finest.shape[-2:])
        return self.neck(fused)

    def _tokens(self, map_BCHW: Tensor) -> Tensor:
        """Means of the pixels ``(2B, L, C)``, each with weights of its own."""
        weights_BLP = self.tokenizer(map_BCHW).flatten(2).softmax(dim=-1)
        return weights_BLP @ map_BCHW.flatten(2).transpose(1, 2)

    def _related(self, tokens_BLC: Tensor) -> Tensor:
        """The tokens of each date, ``(2B, L, C)``, after those of both dates of a pair have seen each other."""
        both = torch.cat(tokens_BLC.unflatten(0, (2, -1)).unbind(), dim=1) + self.position
        for layer in self.encoder:
            both = layer(both)
        return torch.cat(both.chunk(2, dim=1))
