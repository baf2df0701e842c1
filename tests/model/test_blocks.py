from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from skysense.model.blocks import Block, SelfAttention, attend, rates
from skysense.model.drop_path import DropPath, stir


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    layer = DropPath(0.25)
    out = layer(torch.ones(4000, 3, 2))
    assert torch.equal(out, out[:, :1, :1].expand_as(out))
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(out.mean().item() - 1) < 0.03
    layer.eval()
    x = torch.randn(2, 3)
    assert layer(x) is x


def test_words_decide_by_themselves_who_is_left_out() -> None:
    layer, words = DropPath(0.3), torch.randint(2**32, (20_000,))
    x = torch.ones(20_000, 2)
    factor = layer.factor(x, words)
    assert factor is not None and factor.shape == (20_000, 1)
    assert torch.equal(factor[5:9], layer.factor(x[5:9], words[5:9]))  # whoever else is there
    assert abs(float(factor.mean()) - 1) < 0.02
    others = layer.factor(x, stir(words, 1))
    assert others is not None
    both = ((factor == 0) & (others == 0)).double().mean()  # draws of two blocks have nothing to do with each other
    assert abs(float(both) - 0.09) < 0.01
    assert layer.eval().factor(x, words) is None
    assert DropPath(0.0).factor(x, words) is None


def test_stirred_words_are_spread_evenly_even_if_words_are_neighbours() -> None:
    found = torch.stack([stir(torch.arange(4096), number) for number in range(8)])
    assert int(found.min()) >= 0 and int(found.max()) < 2**32
    assert len(found.unique()) == found.numel()
    share = (found.flatten() >> 28).bincount(minlength=16).double() / found.numel()
    assert float((share - 1 / 16).abs().max()) < 0.01
    assert torch.equal(found[3], stir(torch.arange(4096), torch.full((4096,), 3)))


def test_rates_grow_linearly() -> None:
    torch.testing.assert_close(torch.tensor(rates(0.3, 4)), torch.tensor([0.0, 0.1, 0.2, 0.3]))
    assert rates(0.3, 1) == [0.0]


def test_attention_equals_the_one_of_torch() -> None:
    ours, theirs = SelfAttention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    x = torch.randn(5, 7, 12)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0], rtol=0, atol=1e-6)


def test_first_queries_are_those_of_all_and_so_are_their_gradients() -> None:
    block = Block(12, 3, 4, 0.0, 1e-5).double()
    with torch.no_grad():
        block.attention.qkv.bias.normal_()
    x = torch.randn(5, 7, 12, dtype=torch.float64, requires_grad=True)
    weights = [x, *block.parameters()]
    of_few, of_all = block(x, 2), block(x)[:, :2]
    torch.testing.assert_close(of_few, of_all, rtol=0, atol=1e-12)
    target = torch.randn_like(of_few)
    for ours, theirs in zip(
        torch.autograd.grad(of_few, weights, target), torch.autograd.grad(of_all, weights, target), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [9, 40])  # shorter and longer than what a CPU writes out
def test_the_products_used_on_a_cpu_equal_the_fused_kernel(length: int) -> None:
    q, k, v = torch.randn(3, 3, 2, length, 4)
    fused = F.scaled_dot_product_attention(q, k, v, scale=0.7)
    torch.testing.assert_close(attend(q, k, v, scale=0.7), fused, rtol=0, atol=1e-6)


def test_drop_path_spares_the_attention_branch() -> None:
    block = Block(12, 3, 4, 0.999, 1e-5)
    x = torch.randn(50, 7, 12)
    kept = block(x)
    expected = x + block.attention(block.attention_norm(x))
    dropped = (kept - expected).abs().amax((1, 2)) < 1e-6
    assert dropped.sum() >= 48
