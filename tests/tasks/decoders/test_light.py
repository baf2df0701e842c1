from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from skysense.errors import ConfigError, InputError
from skysense.tasks.decoders import CellDecoder, LightDecoder
from skysense.tasks.decoders.light import Doubling
from tests.tasks.decoders import by_hand
from tests.tasks.decoders.exports import plain, traced

CHANNELS = (6, 8, 10, 12)


def test_number_of_parameters() -> None:
    assert by_hand.count(LightDecoder(CHANNELS, 5, width=16)) == sum(CHANNELS) * 16 + 2 * 16 + 16 * 5 + 5
    # 64 -> 64, then 64 -> 32 -> 16 -> 16 by convolutions to four times the width, each with its norm
    steps = 9 * (64 * 4 * 32 + 32 * 4 * 16 + 16 * 4 * 16) + 2 * (32 + 16 + 16)
    assert by_hand.count(CellDecoder(10, 5, factor=8, width=64)) == 10 * 64 + 2 * 64 + steps + 16 * 5 + 5


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("channels", [CHANNELS, (5,)])
def test_equals_two_linear_layers_around_the_up_sampling(channels: tuple[int, ...], training: bool) -> None:
    """The head of SegFormer: linear layers, up-sampling, levels side by side, one more linear layer, norm, ReLU."""
    torch.manual_seed(0)
    decoder = by_hand.randomised(LightDecoder(channels, 3, width=16, dropout=0.0)).train(training)
    first = [torch.randn(9, dim, 1, 1, dtype=torch.float64) for dim in channels]
    second = torch.randn(16, 9 * len(channels), 1, 1, dtype=torch.float64)
    for layer, weight, fuse in zip(decoder.projections, first, second.split(9, dim=1), strict=True):
        layer.weight.data = (fuse[:, :, 0, 0] @ weight[:, :, 0, 0])[:, :, None, None]
    maps, state = by_hand.pyramid(channels, finest=(13, 22)), {k: v.clone() for k, v in decoder.state_dict().items()}
    side_by_side = [
        by_hand.resize(F.conv2d(level, weight), maps[0].shape[-2:]) for level, weight in zip(maps, first, strict=True)
    ]
    fused = F.conv2d(torch.cat(side_by_side, 1), second)
    expected = by_hand.conv(state, "classifier", by_hand.norm(state, "norm", fused, training).clamp(min=0))
    torch.testing.assert_close(decoder(maps), expected, rtol=0, atol=1e-9)


def test_doubling_by_hand() -> None:
    torch.manual_seed(0)
    step, x = by_hand.randomised(Doubling(5, 3)).eval(), torch.randn(2, 5, 4, 6, dtype=torch.float64)
    state = step.state_dict()
    packed = by_hand.conv(state, "conv", x)
    expected = torch.zeros(2, 3, 8, 12, dtype=torch.float64)
    for row in range(2):
        for column in range(2):
            expected[:, :, row::2, column::2] = packed[:, 2 * row + column :: 4]
    torch.testing.assert_close(step(x), by_hand.norm(state, "norm", expected, False).clamp(min=0), rtol=0, atol=1e-12)


def test_pixels_of_a_place_begin_alike() -> None:
    torch.manual_seed(0)
    blocks = Doubling(6, 4).eval()(torch.randn(1, 6, 5, 7)).unfold(2, 2, 2).unfold(3, 2, 2)
    assert torch.equal(blocks, blocks[..., :1, :1].expand_as(blocks)) and blocks.std() > 0.1


@pytest.mark.parametrize(("factor", "steps"), [(1, 0), (2, 1), (32, 5)])
def test_from_cells_to_pixels(factor: int, steps: int) -> None:
    decoder = CellDecoder(10, 5, factor=factor, width=32)
    assert decoder(torch.randn(2, 10, 3, 4)).shape == (2, 5, 3 * factor, 4 * factor)
    assert len(decoder.steps) == steps


def test_a_pixel_sees_two_cells_around_it() -> None:
    """One at the resolution of cells, half a cell at the next, and so on."""
    torch.manual_seed(0)
    decoder = CellDecoder(4, 1, factor=32, width=16).eval()
    x = torch.randn(1, 4, 7, 7, requires_grad=True)
    decoder(x)[0, 0, 3 * 32 + 16, 3 * 32 + 16].backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1)) > 0
    assert seen[2:5, 2:5].all()
    assert not seen[0].any() and not seen[6].any() and not seen[:, 0].any() and not seen[:, 6].any()


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    light, cells = LightDecoder(CHANNELS, 5, width=16).double(), CellDecoder(10, 5, factor=8, width=32).double()
    light(by_hand.pyramid(CHANNELS)).square().sum().backward()
    cells(torch.randn(1, 10, 2, 1, dtype=torch.float64)).square().sum().backward()
    assert not by_hand.without_gradient(light)
    assert not by_hand.without_gradient(cells)


def test_programs_for_any_batch_and_size() -> None:
    torch.manual_seed(0)
    light, cells = LightDecoder(CHANNELS, 3, width=8), CellDecoder(10, 3, factor=4, width=16)
    of_pyramid = traced(light, (plain(CHANNELS, 2, (16, 24)),), (8, 4, 2, 1))
    of_cells = traced(cells, (torch.randn(2, 10, 3, 4),), (1,))
    maps, x = plain(CHANNELS, 1, (8, 32)), torch.randn(3, 10, 6, 5)
    torch.testing.assert_close(of_pyramid(maps), light(maps), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(of_cells(x), cells(x), rtol=1e-4, atol=1e-5)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="power of two; got 12"):
        CellDecoder(4, 2, factor=12)
    with pytest.raises(ConfigError, match="power of two; got 0"):
        CellDecoder(4, 2, factor=0)
    with pytest.raises(InputError, match="width 4, the finest first; got 5"):
        CellDecoder(4, 2)(torch.zeros(1, 5, 2, 2))
    with pytest.raises(InputError, match="got 6, 8"):
        LightDecoder(CHANNELS, 2)(by_hand.pyramid(CHANNELS)[:2])
