from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from skysense.errors import ConfigError, InputError
from skysense.model import blocks, swin
from skysense.model.config import ModelConfig, SwinConfig, preset
from skysense.model.position_bias import RelativePositionBias, relative_index, relative_offsets
from skysense.model.swin import (
    Hidden,
    PatchMerging,
    Swin,
    SwinBlock,
    fused_window_attention,
    partition,
    shift_mask,
    unpartition,
    window_attention,
)

WINDOW = 4


def block_of(*, index: int, pad_small_map: bool = True) -> SwinBlock:
    config = SwinConfig(
        embed_dim=8, depths=(2, 2, 2, 2), num_heads=(2, 2, 2, 2), window=WINDOW, pad_small_map=pad_small_map
    )
    block = SwinBlock(config, 0, index, 0.0)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(std=0.5)
        block.attention.logit_scale[1] = 9.0  # beyond ln 100
    return block


def slow_attention(block: SwinBlock, x_BHWC: Tensor, shift: int) -> Tensor:
    """Cosine attention token by token: who shares a window after the shift, and who was neighbour before it."""
    attention = block.attention
    batch, height, width, dim = x_BHWC.shape
    rows, columns = math.ceil(height / WINDOW) * WINDOW, math.ceil(width / WINDOW) * WINDOW
    x = torch.zeros(batch, rows, columns, dim)
    x[:, :height, :width] = x_BHWC
    bias_table = attention.position_bias()
    scale = attention.logit_scale.flatten().clamp(max=math.log(100)).exp()
    q, k, v = (x @ attention.qkv.weight.T).chunk(3, -1)
    q, v = q + attention.q_bias, v + attention.v_bias
    out = torch.zeros_like(x)

    def zone(place: int, length: int) -> int:
        """Stretch of the padded axis, in shifted coordinates."""
        return 0 if place < length - WINDOW else 1 if place < length - shift else 2

    places = [(r, c) for r in range(rows) for c in range(columns)]
    for r, c in places:
        sr, sc = (r - shift) % rows, (c - shift) % columns
        mates = [
            (i, j)
            for i, j in places
            if ((i - shift) % rows) // WINDOW == sr // WINDOW and ((j - shift) % columns) // WINDOW == sc // WINDOW
        ]
        for head, part in enumerate(torch.arange(dim).chunk(attention.heads)):
            logits = []
            for i, j in mates:
                si, sj = (i - shift) % rows, (j - shift) % columns
                cosine = F.cosine_similarity(q[:, r, c, part], k[:, i, j, part], dim=-1, eps=1e-20)
                here, there = ((a % WINDOW) * WINDOW + b % WINDOW for a, b in ((sr, sc), (si, sj)))
                apart = shift and (zone(sr, rows), zone(sc, columns)) != (zone(si, rows), zone(sj, columns))
                logits.append(cosine * scale[head] + bias_table[head, here, there] - (100.0 if apart else 0.0))
            weights = torch.stack(logits, -1).softmax(-1)
            out[:, r, c, part] = sum(weights[:, n, None] * v[:, i, j, part] for n, (i, j) in enumerate(mates))
    return attention.out(out)[:, :height, :width]


@pytest.mark.parametrize(
    ("index", "height", "width", "shift"),
    [(0, 8, 8, 0), (1, 8, 8, 2), (1, 7, 10, 2), (0, 3, 5, 0), (1, 4, 8, 2)],
)
def test_window_attention_equals_a_plain_loop(index: int, height: int, width: int, shift: int) -> None:
    block, x = block_of(index=index), torch.randn(2, height, width, 8)
    with torch.no_grad():
        torch.testing.assert_close(
            block._attend(x, block.attention.position_bias()), slow_attention(block, x, shift), rtol=0, atol=2e-5
        )


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("width", "dtype", "atol"), [(11, torch.float64, 1e-12), (16, torch.bfloat16, 0.06)])
def test_the_kernel_of_an_accelerator_equals_the_products_of_a_cpu(
    masked: bool, width: int, dtype: torch.dtype, atol: float
) -> None:
    packed = torch.randn(3, 2, 6, 3, 16, width, dtype=dtype, requires_grad=True)
    bias = torch.randn(3, 16, 16, dtype=dtype, requires_grad=True)
    mask = shift_mask(8, 12, 4, 2, torch.device("cpu")) if masked else None
    results = []
    for attend in (fused_window_attention, window_attention):
        mixed = attend(*packed.unbind(0), bias, mask)
        results.append([mixed, *torch.autograd.grad(mixed.float().square().sum(), [packed, bias])])
    assert results[0][0].dtype == dtype
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=atol)
    for one, other in zip(results[0][1:], results[1][1:], strict=True):
        assert float((one - other).norm() / other.norm()) < (1e-6 if dtype == torch.float64 else 0.05)


def test_the_scale_of_queries_ends_at_100_in_bfloat16_too() -> None:
    attention = block_of(index=0).attention
    with torch.no_grad():
        attention.logit_scale.fill_(9.0)
    seen = []
    half = attention.bfloat16()
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(swin, "window_attention", lambda q, k, v, *_: seen.append((q, k)) or v)
        half(torch.randn(1, 1, WINDOW**2, 8, dtype=torch.bfloat16), None, half.position_bias())
    q, k = seen[0]
    lengths = q.double().norm(dim=-1)
    assert float((lengths.mean() - 100).abs()) < 0.4
    assert float((k.double().norm(dim=-1) - 1).abs().max()) < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_token_of_zeros_has_a_query_of_zeros(dtype: torch.dtype) -> None:
    assert not swin._scaled(torch.zeros(2, 3, dtype=dtype)).any()


def test_map_as_small_as_the_window_is_not_shifted_unless_padding_is_allowed() -> None:
    x = torch.randn(1, 8, 4, 8)
    for pad_small_map, shift in ((False, 0), (True, 2)):
        block = block_of(index=1, pad_small_map=pad_small_map)
        with torch.no_grad():
            ours = block._attend(x, block.attention.position_bias())
            torch.testing.assert_close(ours, slow_attention(block, x, shift), rtol=0, atol=2e-5)
            assert (ours - slow_attention(block, x, 2 - shift)).abs().max() > 1e-2


def test_partition_is_undone() -> None:
    x = torch.randn(2, 8, 12, 3)
    windows = partition(x, 4)
    assert windows.shape == (2, 6, 16, 3)
    assert torch.equal(windows[1, 4].view(4, 4, 3), x[1, 4:8, 4:8])
    assert torch.equal(unpartition(windows, 4, 8, 12), x)


def test_shift_mask_parts_only_the_last_windows() -> None:
    mask = shift_mask(8, 12, 4, 2, torch.device("cpu"))
    assert mask.shape == (6, 16, 16)
    assert [float(window.min()) for window in mask] == [0, 0, -100, -100, -100, -100]
    rows = torch.arange(16) // 4
    assert torch.equal(mask[3], torch.where((rows[:, None] < 2) == (rows[None] < 2), 0.0, -100.0))


def test_offsets_and_index_of_relative_positions() -> None:
    offsets, index = relative_offsets(8).view(15, 15, 2), relative_index(8).view(64, 64)
    assert offsets[7, 7].tolist() == [0, 0]
    torch.testing.assert_close(offsets[14, 0], torch.tensor([1.0, -1.0]) * math.log2(9) / 3)
    torch.testing.assert_close(offsets[8, 7, 0], torch.tensor(math.log2(8 / 7 + 1) / 3))
    # query at row 3, column 1; key at row 5, column 0: offset (-2, +1)
    assert index[3 * 8 + 1, 5 * 8 + 0] == (-2 + 7) * 15 + (1 + 7)


class TestKeptBias:
    """In eval mode the bias is kept, and never outlives its weights."""

    def fresh(self) -> RelativePositionBias:
        return RelativePositionBias(4, 2, 8).eval()

    def test_is_kept_only_without_autograd(self) -> None:
        bias = self.fresh()
        with torch.no_grad():
            assert bias() is bias()
        assert bias() is not bias()
        assert bias().requires_grad
        bias.train()
        with torch.no_grad():
            assert bias() is not bias()

    def test_follows_every_way_of_changing_weights(self) -> None:
        bias, other = self.fresh(), self.fresh()
        optimiser = torch.optim.AdamW(bias.parameters(), lr=0.1, foreach=True)

        def average() -> None:
            torch._foreach_lerp_(list(bias.parameters()), list(other.parameters()), 0.5)

        def learn() -> None:
            with torch.enable_grad():
                optimiser.zero_grad()
                bias().square().sum().backward()
            optimiser.step()

        def move() -> None:
            bias.double()
            for parameter in bias.parameters():
                parameter.data = parameter.data * 0.5
            bias.float()

        changes = [
            average,
            learn,
            move,
            lambda: bias.load_state_dict(other.state_dict()),
            lambda: bias.heads.weight.mul_(1.5),
            lambda: setattr(bias.heads, "weight", torch.nn.Parameter(torch.randn(2, 8))),
        ]
        with torch.no_grad():
            before = bias()
            for change in changes:
                change()
                after = bias()
                torch.testing.assert_close(after, bias._compute(), rtol=0, atol=0)
                assert (after - before).abs().max() > 1e-3
                before = after

    def test_works_with_weights_made_in_inference_mode(self) -> None:
        with torch.inference_mode():
            bias = self.fresh()
            first = bias()
            bias.heads.weight.add_(1)
            assert (bias() - first).abs().max() > 1e-3


@pytest.mark.parametrize(("height", "width"), [(5, 6), (1, 4)])  # more and fewer pixels than rows of the weights
def test_merging_orders_columns_channel_first(height: int, width: int) -> None:
    merge = PatchMerging(3, 1e-5)
    merge.norm = torch.nn.Identity()
    x = torch.randn(2, height, width, 3)
    padded = F.pad(x.permute(0, 3, 1, 2), (0, 0, 0, 1))
    expected = F.unfold(padded, 2, stride=2).transpose(1, 2) @ merge.reduction.weight.T
    torch.testing.assert_close(merge(x).flatten(1, 2), expected, rtol=0, atol=1e-6)


def test_extra_norm_follows_every_nth_block_of_a_stage() -> None:
    config = SwinConfig(embed_dim=8, depths=(1, 2, 5, 1), num_heads=(1, 1, 1, 1), extra_norm_every=2)
    names = [name for name, _ in Swin(config).named_parameters() if name.endswith("extra_norm.weight")]
    blocks = ["stages.1.blocks.1", "stages.2.blocks.1", "stages.2.blocks.3"]
    assert names == [f"{block}.extra_norm.weight" for block in blocks]


def test_drop_path_grows_over_all_blocks_and_leaves_the_bias_of_the_norm() -> None:
    config = SwinConfig(embed_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 1, 1), drop_path=0.4, pad_small_map=True)
    swin = Swin(config)
    rates = [block.drop_path.rate for stage in swin.stages for block in stage.blocks]
    torch.testing.assert_close(torch.tensor(rates), torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4]))
    block = SwinBlock(config, 0, 0, 0.999)
    torch.nn.init.constant_(block.attention_norm.bias, 0.25)
    torch.nn.init.constant_(block.mlp_norm.bias, 0.5)
    x = torch.randn(20, 8, 8, 8)
    changes = (block(x) - x - 0.75).abs().amax((1, 2, 3))
    assert (changes < 1e-5).sum() >= 18


def test_maps_have_strides_4_to_32_and_are_rounded_up(config: ModelConfig) -> None:
    swin = Swin(dataclasses.replace(config.hr, out_indices=(0, 2, 3)))
    maps = swin(torch.randn(1, 3, 70, 130))
    assert [tuple(one.shape) for one in maps] == [(1, 8, 18, 33), (1, 32, 5, 9), (1, 64, 3, 5)]
    stages = list(swin.levels(torch.zeros(1, 3, 64, 64), range(4)).values())
    assert [tuple(one.shape) for one in stages] == [(1, 16, 16, 8), (1, 8, 8, 16), (1, 4, 4, 32), (1, 2, 2, 64)]


def test_images_it_cannot_read_are_refused(config: ModelConfig) -> None:
    swin = Swin(dataclasses.replace(config.hr, pad_small_map=False))
    with pytest.raises(ConfigError, match=r"224 x 256 px .* window \(8\); use at least 225 px, or set pad_small_map"):
        swin(torch.zeros(1, 3, 224, 256))
    assert swin(torch.zeros(1, 3, 225, 225))[-1].shape == (1, 64, 8, 8)
    with pytest.raises(InputError, match="reads 3 bands; got 4"):
        swin(torch.zeros(1, 4, 256, 256))


def test_pieces_of_a_batch_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, images = Swin(preset("tiny").hr).eval(), torch.randn(5, 3, 64, 96)
    seen: list[int] = []
    encoder.patch_embed.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    with torch.inference_mode():
        whole = encoder(images)[-1]
        monkeypatch.setattr(blocks, "_CPU_NUMBERS", 2 * 16 * 24 * 64)
        torch.testing.assert_close(encoder(images)[-1], whole, rtol=0, atol=1e-5)
    assert seen == [5, 2, 2, 1]


def test_only_embeddings_of_hidden_tokens_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patch by patch, and in pieces of a batch too."""
    encoder, images = Swin(preset("tiny").hr).eval(), torch.randn(5, 3, 64, 96)
    hidden = Hidden(torch.rand(5, 2, 3) < 0.4, torch.randn(16))
    assert hidden.tokens_Bhw.any() and not hidden.tokens_Bhw.all()
    inputs: list[Tensor] = []
    encoder.stages[0].register_forward_pre_hook(lambda _m, args: inputs.extend(args[0]))
    with torch.inference_mode():
        patches = encoder.patch_embed(images)
        whole = encoder(images, hidden)[-1]
        expected = patches.clone()
        for image, row, column in hidden.tokens_Bhw.nonzero().tolist():
            expected[image, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = hidden.embedding_C
        assert torch.equal(inputs[0], expected)
        assert not torch.equal(whole, encoder(images)[-1])
        monkeypatch.setattr(blocks, "_CPU_NUMBERS", 2 * 16 * 24 * 64)
        inputs.clear()
        torch.testing.assert_close(encoder(images, hidden)[-1], whole, rtol=0, atol=1e-5)
        assert len(inputs) == 3
        torch.testing.assert_close(torch.cat(inputs), expected, rtol=0, atol=1e-5)


def test_a_cell_begins_with_what_its_own_pixels_show() -> None:
    """A cell that is brighter moves its own feature most, although all its patches keep their pattern."""
    torch.manual_seed(0)
    encoder = Swin(preset("tiny").hr).eval()
    image = torch.randn(1, 3, 256, 256) * 0.2
    brighter = image.clone()
    brighter[..., 64:96, 128:160] += 1  # row 2, column 4 of the cells
    with torch.inference_mode():
        moved = (encoder(brighter)[-1] - encoder(image)[-1])[0].norm(dim=0)
    assert int(moved.argmax()) == 2 * 8 + 4
    assert float(moved[2, 4]) > 3 * float(moved.flatten()[torch.arange(64) != 2 * 8 + 4].max())
