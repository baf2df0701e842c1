from __future__ import annotations

import pytest
import torch
from torch import Tensor

from skysense.model import blocks
from skysense.model.config import FusionConfig
from skysense.model.fusion import DateTable, Fusion


def fusion() -> Fusion:
    model = Fusion(FusionConfig(input_dim=10, dim=12, depth=3, heads=3, drop_path=0.0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def masked(model: Fusion, tokens_SNC: Tensor, valid_SN: Tensor) -> Tensor:
    """The same with padding and a mask instead of buckets."""
    x = torch.cat([model.cls_token.expand(len(tokens_SNC), -1, -1), model.projection(tokens_SNC)], 1)
    mask = torch.cat([torch.ones(len(valid_SN), 1, dtype=torch.bool), valid_SN], 1)[:, None, None]
    for block in model.blocks:
        heads = block.attention.heads
        q, k, v = (
            part.unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in block.attention.qkv(block.attention_norm(x)).chunk(3, -1)
        )
        logits = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf)
        x = x + block.attention.out((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))
        x = x + block.mlp(block.mlp_norm(x))
    return torch.where(valid_SN.any(1, keepdim=True), x[:, 0], 0.0)


def test_buckets_equal_padding_with_a_mask() -> None:
    model, tokens = fusion(), torch.randn(40, 10)
    row = torch.randint(0, 40, (30, 6))
    valid = torch.rand(30, 6) < 0.5
    valid[3], valid[7] = False, True
    ours = model.fuse(tokens, row, valid)
    torch.testing.assert_close(ours, masked(model, tokens[row], valid), rtol=0, atol=1e-5)
    assert not ours[3].any()


def test_no_work_is_spent_on_absent_tokens() -> None:
    model, seen = fusion(), []
    model.projection.register_forward_hook(lambda _m, args, _o: seen.append(args[0].shape[:2]))
    valid = torch.tensor([[True, False, True], [False, False, False], [True, True, True], [True, True, False]])
    model.fuse(torch.randn(5, 10), torch.zeros(4, 3, dtype=torch.long), valid)
    assert sorted(tuple(shape) for shape in seen) == [(1, 3), (2, 2)]


def test_pieces_of_a_batch_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens, rows = fusion(), torch.randn(30, 10), torch.arange(30).view(10, 3)
    valid = torch.rand(10, 3) > 0.3
    whole = model.fuse(tokens, rows, valid)
    seen: list[int] = []
    model.projection.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    monkeypatch.setattr(blocks, "_CPU_NUMBERS", 400)
    torch.testing.assert_close(model.fuse(tokens, rows, valid), whole, rtol=0, atol=1e-6)
    assert max(seen) <= 4
    assert sum(seen) == int(valid.any(1).sum())


def test_nothing_at_all_gives_zeros() -> None:
    ours = fusion().fuse(torch.randn(5, 10), torch.zeros(4, 3, dtype=torch.long), torch.zeros(4, 3, dtype=torch.bool))
    assert torch.equal(ours, torch.zeros(4, 12))


def test_the_order_of_tokens_does_not_matter_and_kept_tokens_do() -> None:
    model, tokens = fusion(), torch.randn(4, 6, 10)
    torch.testing.assert_close(model(tokens.flip(1)), model(tokens), rtol=0, atol=1e-5)
    torch.testing.assert_close(model(tokens, keep=3)[:, :1], model(tokens), rtol=0, atol=1e-5)
    assert model(tokens, keep=7).shape == (4, 7, 12)


def test_date_table_gives_nothing_without_a_date_and_learns_the_days_it_was_asked_for() -> None:
    table = DateTable(3)
    ours = table(torch.tensor([-1, 0, 364]))
    assert not ours[0].any()
    assert torch.equal(ours[1:], table.table[0, [0, 364]])
    ours.sum().backward()
    assert table.table.grad is not None
    assert table.table.grad[0].any(1).nonzero().flatten().tolist() == [0, 364]


def test_dates_begin_as_a_circle_of_days() -> None:
    """Neighbours begin alike, also over New Year; seasons begin apart; all of it is small beside what frames show."""
    torch.manual_seed(0)
    days = DateTable(256).table.detach()[0]
    similarity = torch.nn.functional.normalize(days, dim=-1) @ torch.nn.functional.normalize(days, dim=-1).T
    assert float(similarity[0, 364]) > 0.99
    assert float(similarity.diagonal(1).min()) > 0.99
    assert float(similarity.diagonal(90).max()) < 0.5
    assert 0.1 < float(days.std()) < 0.3
