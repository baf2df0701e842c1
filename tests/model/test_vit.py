from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from skysense.errors import InputError
from skysense.model.config import ViTConfig
from skysense.model.vit import ViT


def vit(**changes: object) -> ViT:
    settings = {"in_channels": 2, "image_size": 16, "dim": 12, "depth": 3, "heads": 3, "drop_path": 0.0}
    return ViT(ViTConfig(**(settings | changes))).eval()  # type: ignore[arg-type]


def test_positions_are_interpolated_unless_the_number_of_tokens_is_the_same() -> None:
    model = vit()
    assert model._positions(4, 4) is model.position
    assert model._positions(2, 8) is model.position  # the published rule counts tokens only
    table = model.position[:, 1:].view(1, 4, 4, 12).permute(0, 3, 1, 2)
    expected = F.interpolate(table, size=(2, 3), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    ours = model._positions(2, 3)
    assert torch.equal(ours[:, 1:], expected)
    assert torch.equal(ours[:, 0], model.position[:, 0])


def test_frames_are_padded_right_and_bottom_with_zeros() -> None:
    model, x = vit(), torch.randn(2, 2, 6, 9)
    (ours,) = model(x)
    assert ours.shape == (2, 12, 2, 3)
    assert torch.equal(ours, model(F.pad(x, (0, 3, 0, 2)))[0])


def test_out_indices_return_blocks_without_the_cls_token() -> None:
    model, x = vit(out_indices=(0, 2)), torch.randn(2, 2, 16, 16)
    last = vit()
    last.load_state_dict(model.state_dict())
    outputs: list[torch.Tensor] = []
    model.blocks[0].register_forward_hook(lambda _m, _i, out: outputs.extend(out))
    first, final = model(x)
    assert torch.equal(final, last(x)[0])
    assert torch.equal(first.flatten(2).transpose(1, 2), outputs[0][:, 1:])


def test_without_a_class_token_there_is_nothing_but_the_patches() -> None:
    model, x = vit(cls_token=False), torch.randn(2, 2, 8, 24)
    assert model.position.shape == (1, 16, 12)
    assert "cls_token" not in model.state_dict()
    table = model.position.view(1, 4, 4, 12).permute(0, 3, 1, 2)
    table = F.interpolate(table, size=(2, 6), mode="bicubic", align_corners=False)
    tokens = (model.patch_embed(x) + table).flatten(2).transpose(1, 2)
    for block in model.blocks:
        tokens = block(tokens)
    torch.testing.assert_close(model(x)[0].flatten(2).transpose(1, 2), tokens, rtol=0, atol=1e-6)


def test_other_bands_are_refused() -> None:
    with pytest.raises(InputError, match="reads 2 bands; got 10"):
        vit()(torch.zeros(1, 10, 16, 16))
