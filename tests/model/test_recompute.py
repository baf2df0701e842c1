"""What is computed again in the backward pass is what was computed before."""

from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch

from skysense.model.config import ViTConfig
from skysense.model.recompute import set_checkpointing
from skysense.model.vit import ViT

VIT = ViTConfig(in_channels=10, image_size=16, dim=64, depth=2, heads=2, drop_path=0.0)


@pytest.mark.parametrize("kind", ["selective", "full"])
def test_two_calls_in_mixed_precision_learn_what_they_learn_without(kind: Literal["selective", "full"]) -> None:
    torch.manual_seed(0)
    plain = ViT(VIT)
    again = copy.deepcopy(plain)
    set_checkpointing(again, kind)
    large, small = torch.randn(3, 10, 16, 16), torch.randn(5, 10, 8, 8)
    for model in (plain, again):
        with torch.autocast("cpu", torch.bfloat16):  # one for both, as global views and local crops have
            out = [model(frames)[-1].float().square().mean() for frames in (large, small)]
        sum(out, torch.zeros(())).backward()
    for (name, one), two in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert one.grad is not None and two.grad is not None
        torch.testing.assert_close(two.grad, one.grad, rtol=0.02, atol=0.02 * float(one.grad.abs().max()), msg=name)
