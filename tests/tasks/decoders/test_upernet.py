from __future__ import annotations

import pytest
import torch
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from torch import Tensor, nn

from skysense.errors import InputError
from skysense.tasks.decoders import UperNet
from skysense.tasks.decoders.upernet import BINS
from tests.tasks.decoders import by_hand
from tests.tasks.decoders.exports import plain, traced

CHANNELS = (6, 8, 10, 12)
PUBLISHED = (352, 704, 1408, 2816)


def closed_form(channels: tuple[int, ...], classes: int, width: int) -> int:
    """Weights of the convolutions, scale and shift of each norm, and the classifier with its bias."""
    *finer, top = channels
    norms = 2 * width
    pooling = 4 * (top * width + norms) + 9 * (top + 4 * width) * width + norms
    levels = sum(dim * width + norms + 9 * width * width + norms for dim in finer)
    fusion = 9 * len(channels) * width * width + norms
    return pooling + levels + fusion + width * classes + classes


@pytest.mark.parametrize("channels", [CHANNELS, (5,), (3, 9)])
def test_number_of_parameters(channels: tuple[int, ...]) -> None:
    assert by_hand.count(UperNet(channels, 7, width=16)) == closed_form(channels, 7, 16)


def test_number_of_parameters_as_published() -> None:
    with torch.device("meta"):
        published = UperNet(PUBLISHED, 16)
    # pyramid pooling: 4 x 1,442,816 and 22,414,336; laterals 1,264,640; FPN 3 x 2,360,320; fusion 9,438,208; 8,208
    assert by_hand.count(published) == closed_form(PUBLISHED, 16, 512) == 45_977_616
    assert BINS == (1, 2, 3, 6) and published.dropout.p == 0.1 and isinstance(published.dropout, nn.Dropout2d)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("channels", [CHANNELS, (5,), (3, 9)])
def test_equals_the_arithmetic_by_hand(channels: tuple[int, ...], training: bool) -> None:
    torch.manual_seed(0)
    decoder = by_hand.randomised(UperNet(channels, 7, width=16, dropout=0.0)).train(training)
    maps, state = by_hand.pyramid(channels, finest=(23, 38)), {k: v.clone() for k, v in decoder.state_dict().items()}
    ours = decoder(maps)
    assert ours.shape == (2, 7, 23, 38) and ours.std() > 0.1
    torch.testing.assert_close(ours, by_hand.upernet(state, maps, training), rtol=0, atol=1e-9)


def test_four_maps_of_one_size() -> None:
    """Blocks of a ViT."""
    torch.manual_seed(0)
    decoder = by_hand.randomised(UperNet((8,) * 4, 3, width=16)).eval()
    maps = [torch.randn(1, 8, 7, 9, dtype=torch.float64) for _ in range(4)]
    torch.testing.assert_close(decoder(maps), by_hand.upernet(decoder.state_dict(), maps, False), rtol=0, atol=1e-9)


def test_equals_that_of_segmentation_models() -> None:
    """Up to the classifier, and without the norms that theirs puts on the levels."""
    torch.manual_seed(0)
    ours = by_hand.randomised(UperNet(CHANNELS, 3, width=16)).eval()
    theirs = UPerNetDecoder([3, 0, *CHANNELS], encoder_depth=5, decoder_channels=16).double().eval()
    theirs.feature_norms = nn.ModuleList(nn.Identity() for _ in CHANNELS)
    pairs = [(our, block[1]) for our, block in zip(ours.pooling.branches, theirs.psp.blocks, strict=True)]
    pairs += [(ours.pooling.fusion, theirs.psp.out_conv), (ours.fusion, theirs.fusion_block)]
    coarse_first = [block.conv_norm_relu for block in theirs.fpn_lateral_blocks]
    pairs += list(zip(reversed(ours.laterals), coarse_first, strict=True))
    pairs += list(zip(reversed(ours.smoothers), theirs.fpn_conv_blocks, strict=True))
    for our, their in pairs:
        their.load_state_dict(dict(zip(their.state_dict(), our.state_dict().values(), strict=True)))
    maps = by_hand.pyramid(CHANNELS)
    fused = theirs([maps[0], maps[0], *maps])
    torch.testing.assert_close(ours(maps), ours.classifier(fused), rtol=0, atol=1e-9)


@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_reach_every_parameter(batch: int) -> None:
    """Also from one image, whose map pooled to one pixel has no statistics."""
    torch.manual_seed(0)
    decoder = UperNet(CHANNELS, 5, width=16).double()
    maps = [one.requires_grad_() for one in by_hand.pyramid(CHANNELS, batch)]
    decoder(maps).square().sum().backward()
    assert not by_hand.without_gradient(decoder)
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in maps)


def test_dropout_leaves_whole_channels_out_in_training_only() -> None:
    torch.manual_seed(0)
    decoder, seen = UperNet((4,), 2, width=64, dropout=0.5), list[Tensor]()
    decoder.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = [torch.randn(8, 4, 9, 9)]
    decoder(x)
    silent = (seen[0] == 0).all(dim=-1).all(dim=-1).float().mean()
    assert 0.4 < float(silent) < 0.6
    assert torch.equal(decoder.eval()(x), decoder(x))


def test_a_program_for_any_batch_and_size() -> None:
    torch.manual_seed(0)
    decoder = UperNet(CHANNELS, 3, width=8)
    program = traced(decoder, (plain(CHANNELS, 2, (16, 24)),), (8, 4, 2, 1))
    for batch, size in ((1, (8, 8)), (3, (40, 16))):
        maps = plain(CHANNELS, batch, size)
        torch.testing.assert_close(program(maps), decoder(maps), rtol=1e-4, atol=1e-5)


def test_other_levels_are_refused() -> None:
    with pytest.raises(InputError, match="width 6, 8, 10, 12, the finest first; got 12, 10, 8, 6"):
        UperNet(CHANNELS, 3, width=8)(by_hand.pyramid(CHANNELS)[::-1])
