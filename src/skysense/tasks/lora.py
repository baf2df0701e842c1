"""Low-rank adaptation (Hu et al. 2022, arXiv 2106.09685): frozen weights, and a small product learned beside each.

The product is added to the weight itself (a parametrisation of torch), since attention here reads packed weights in
several ways; when learning is over it is merged, and the model is an ordinary one again.

Letters: O outputs, D inputs, R rank.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

RANK, ALPHA = 8, 16.0
"""What an independent check of the published weights used (specification 5.4)."""
_ADAPTED = ("attention.qkv", "mlp.up")


class LowRank(nn.Module):
    """A weight with a learned product of low rank added to it; it begins as zero.

    Args:
        weight_OD: what it is added to.
        rank: of the product.
        alpha: the product counts ``alpha / rank``.
    """

    def __init__(self, weight_OD: Tensor, rank: int = RANK, alpha: float = ALPHA) -> None:
        super().__init__()
        outputs, inputs = weight_OD.shape
        self.scale = alpha / rank
        self.down_RD = nn.Parameter(torch.empty(rank, inputs, dtype=weight_OD.dtype, device=weight_OD.device))
        self.up_OR = nn.Parameter(torch.zeros(outputs, rank, dtype=weight_OD.dtype, device=weight_OD.device))
        nn.init.normal_(self.down_RD, std=inputs**-0.5)

    def forward(self, weight_OD: Tensor) -> Tensor:
        """The adapted weight."""
        return torch.addmm(weight_OD, self.up_OR, self.down_RD, alpha=self.scale)


def add_lora(model: nn.Module, rank: int = RANK, alpha: float = ALPHA) -> int:
    """Freeze a model and let the packed query, key, value weights and the first layer of every MLP be adapted.

    Args:
        model: with transformer blocks of this package.
        rank: of the products.
        alpha: each counts ``alpha / rank``.

    Returns:
        The number of adapted weights.
    """
    model.requires_grad_(False)
    layers = list(_layers(model))
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank, alpha))
    return len(layers)


def merge_lora(model: nn.Module) -> None:
    """Put the learned products into the weights; without any nothing happens."""
    for layer in list(_layers(model)):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _layers(model: nn.Module) -> Iterator[nn.Linear]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.endswith(_ADAPTED):
            yield module
