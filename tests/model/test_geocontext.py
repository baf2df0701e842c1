from __future__ import annotations

import math

import pytest
import torch

from skysense.errors import ConfigError, InputError
from skysense.model.config import GeoContextConfig
from skysense.model.geocontext import GeoContext


def context(known: list[int]) -> GeoContext:
    geo = GeoContext(GeoContextConfig(prototypes=4), 6, [3, 8, 90])
    geo.initialised[known] = True
    return geo


def test_attention_equals_the_formula() -> None:
    geo, fused = context([0, 1, 2]), torch.randn(2, 6, 2, 3)
    ours = geo(fused, torch.ones(2, 2, 3, dtype=torch.bool), torch.tensor([2, 0]))
    for sample, region in enumerate((2, 0)):
        for row in range(2):
            for col in range(3):
                query = fused[sample, :, row, col]
                weights = [math.exp(float(query @ prototype) / math.sqrt(6)) for prototype in geo.prototypes[region]]
                expected = sum(
                    weight / sum(weights) * prototype
                    for weight, prototype in zip(weights, geo.prototypes[region], strict=True)
                )
                torch.testing.assert_close(ours[sample, :, row, col], expected, rtol=0, atol=1e-6)


def test_zero_without_region_without_learned_prototypes_and_in_empty_cells() -> None:
    geo = context([1])
    occupied = torch.ones(3, 2, 2, dtype=torch.bool)
    occupied[2, 1, 0] = False
    ours = geo(torch.randn(3, 6, 2, 2), occupied, torch.tensor([-1, 0, 1]))
    assert not ours[:2].any()
    assert torch.equal(ours[2].any(0), occupied[2])


def test_prototypes_are_no_parameters_and_gradient_reaches_the_query() -> None:
    geo, fused = context([0]), torch.randn(1, 6, 2, 2, requires_grad=True)
    assert not list(geo.parameters())
    geo(fused, torch.ones(1, 2, 2, dtype=torch.bool), torch.tensor([0])).square().sum().backward()
    assert fused.grad is not None
    assert fused.grad.abs().max() > 1e-4


def test_wrong_regions_are_refused() -> None:
    with pytest.raises(ConfigError, match="strictly ascending"):
        GeoContext(GeoContextConfig(), 6, [8, 3])
    with pytest.raises(InputError, match="slot 3 is beyond the 3 regions"):
        context([0])(torch.randn(1, 6, 1, 1), torch.ones(1, 1, 1, dtype=torch.bool), torch.tensor([3]))
