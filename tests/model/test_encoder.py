"""The verbs of encoders: what decoders, pyramids and layer-wise rates of other libraries ask for."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from timm.models import group_parameters
from torchvision.ops import FeaturePyramidNetwork

from skysense.errors import ConfigError
from skysense.model.config import SwinConfig, ViTConfig
from skysense.model.encoder import Encoder
from skysense.model.swin import Swin
from skysense.model.vit import ViT

SWIN = SwinConfig(
    embed_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 4), window=4, drop_path=0.0, extra_norm_every=2,
    out_indices=(0, 1, 2, 3), pad_small_map=True, position_hidden=16,
)  # fmt: skip
VIT = ViTConfig(in_channels=10, image_size=16, dim=16, depth=4, heads=2, drop_path=0.0, out_indices=(0, 1, 2, 3))


@pytest.fixture(params=["swin", "vit"])
def case(request: pytest.FixtureRequest) -> tuple[Encoder, torch.Tensor]:
    torch.manual_seed(0)
    if request.param == "swin":
        return Swin(SWIN), torch.randn(2, 3, 128, 192)
    return ViT(VIT), torch.randn(2, 10, 16, 24)


def test_intermediates_are_what_forward_returns(case: tuple[Encoder, torch.Tensor]) -> None:
    encoder, x = case
    outputs = encoder(x)
    last, maps = encoder.forward_intermediates(x, norm=True)
    assert torch.equal(last, outputs[-1]) and torch.equal(encoder.forward_features(x), outputs[-1])
    assert len(maps) == 4 and all(torch.equal(one, other) for one, other in zip(maps, outputs, strict=True))
    few = encoder.forward_intermediates(x, indices=[-2, 0], norm=True, stop_early=True, intermediates_only=True)
    assert [torch.equal(one, other) for one, other in zip(few, (outputs[0], outputs[2]), strict=True)] == [True] * 2
    (tail,) = encoder.forward_intermediates(x, indices=1, norm=True, output_fmt="NHWC", intermediates_only=True)
    assert torch.equal(tail.permute(0, 3, 1, 2), outputs[3])
    for one, info in zip(maps, encoder.feature_info, strict=True):
        assert one.shape[1:] == (
            info["num_chs"],
            x.shape[2] // info["reduction"],
            x.shape[3] // info["reduction"],
        )


def test_norm_is_that_of_the_level() -> None:
    encoder, x = Swin(SWIN), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        encoder.output_norms["1"].weight.normal_()
    (raw,) = encoder.forward_intermediates(x, [1], output_fmt="NHWC", intermediates_only=True)
    (normed,) = encoder.forward_intermediates(x, [1], norm=True, output_fmt="NHWC", intermediates_only=True)
    assert torch.equal(encoder.output_norms["1"](raw), normed)


def test_stopping_early_computes_nothing_more(case: tuple[Encoder, torch.Tensor]) -> None:
    encoder, x = case
    called: list[str] = []
    for info in encoder.feature_info:
        encoder.get_submodule(info["module"]).register_forward_hook(lambda *_, name=info["module"]: called.append(name))
    encoder.forward_intermediates(x, [1], stop_early=True, intermediates_only=True)
    assert called == [info["module"] for info in encoder.feature_info[:2]]


def test_what_cannot_be_is_refused(case: tuple[Encoder, torch.Tensor]) -> None:
    encoder, x = case
    for indices in ([4], [-5], [], 0, 5):
        with pytest.raises(ConfigError, match="this encoder has 4"):
            encoder.forward_intermediates(x, indices)
    with pytest.raises(ConfigError, match="neither NCHW nor NHWC"):
        encoder.forward_intermediates(x, output_fmt="NLC")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="intermediates_only"):
        encoder.forward_intermediates(x, [0], stop_early=True)


def test_checkpointing_keeps_less_and_changes_nothing(case: tuple[Encoder, torch.Tensor]) -> None:
    encoder, x = case
    other = copy.deepcopy(encoder)
    other.set_grad_checkpointing()
    kept = []
    for one in (encoder, other):
        sizes: list[int] = []
        pack = lambda tensor, sizes=sizes: (sizes.append(tensor.numel()), tensor)[1]  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = one(x)[-1]
        kept.append(sum(sizes))
        out.sum().backward()
    assert kept[1] < 0.5 * kept[0]
    for (name, one), two in zip(encoder.named_parameters(), other.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(two.grad, one.grad, rtol=1e-5, atol=1e-5, msg=name)
    other.set_grad_checkpointing(False)
    assert other.checkpointing == "none"


def test_a_vit_takes_another_size_once() -> None:
    encoder, x = ViT(VIT), torch.randn(1, 10, 32, 32)
    before = encoder(x)[-1]
    encoder.set_input_size(32)
    assert encoder.position.shape == (1, 65, 16) and encoder.config.image_size == 32
    assert encoder._positions(8, 8) is encoder.position
    assert torch.equal(encoder(x)[-1], before)
    for size in (30, (32, 64), 2):
        with pytest.raises(ConfigError, match="must be square, of whole patches of 4 px"):
            encoder.set_input_size(size)


def test_a_swin_takes_other_windows() -> None:
    config = SwinConfig(**(vars(SWIN) | {"window": 8, "pad_small_map": False}))
    encoder = Swin(SwinConfig(**(vars(SWIN) | {"pad_small_map": False})))
    wider = Swin(config)
    wider.load_state_dict(encoder.state_dict())
    x = torch.randn(1, 3, 256, 256)
    assert not torch.equal(encoder(x)[0], wider(x)[0])
    with torch.no_grad():
        encoder.eval()(x)  # keeps the bias of the old windows
        encoder.set_input_size(256, window_size=8)
        encoder(x)
    encoder.train()
    assert all(torch.equal(one, other) for one, other in zip(encoder(x), wider(x), strict=True))
    with pytest.raises(ConfigError, match="smaller than the window"):
        encoder.set_input_size((256, 200))
    assert encoder.config.window == 8


def test_groups_run_from_the_stem_to_the_end(case: tuple[Encoder, torch.Tensor]) -> None:
    encoder, _ = case
    for coarse in (True, False):
        groups = group_parameters(encoder, encoder.group_matcher(coarse))
        names = [name for group in groups.values() for name in group]
        assert sorted(names) == sorted(name for name, _ in encoder.named_parameters())
        assert all(re.match(r"patch_embed|cls_token|position", name) for name in groups[0])
    if isinstance(encoder, Swin):
        assert len(groups) == 1 + 5  # the stem and each block; a merging goes with the first block after it
        assert "stages.1.merge.norm.bias" in groups[2] and "output_norms.0.bias" in groups[5]
    else:
        assert len(groups) == 1 + 4


def test_a_pyramid_of_torchvision(case: tuple[Encoder, torch.Tensor]) -> None:
    encoder, x = case
    maps = encoder.forward_intermediates(x, norm=True, intermediates_only=True)
    pyramid = FeaturePyramidNetwork([info["num_chs"] for info in encoder.feature_info], 12)
    levels = pyramid({str(level): one for level, one in enumerate(maps)})
    assert [tuple(one.shape) for one in levels.values()] == [(2, 12, *one.shape[2:]) for one in maps]
    sum(one.sum() for one in levels.values()).backward()
    assert all(parameter.grad is not None for name, parameter in encoder.named_parameters() if "embed" in name)


def test_decoders_of_segmentation_models(case: tuple[Encoder, torch.Tensor]) -> None:
    encoder, x = case
    channels = [x.shape[1], 0, *(info["num_chs"] for info in encoder.feature_info)]
    features = [x, x[:, :0], *encoder.forward_intermediates(x, norm=True, intermediates_only=True)]
    decoded = UPerNetDecoder(channels, encoder_depth=5, decoder_channels=16)(list(features))
    assert decoded.shape == (2, 16, *features[2].shape[2:])
    if isinstance(encoder, Swin):
        decoded = FPNDecoder(channels, encoder_depth=5, pyramid_channels=16, segmentation_channels=32)(features)
        assert decoded.shape == (2, 32, *features[2].shape[2:])
    decoded.sum().backward()
    assert all(parameter.grad is not None for name, parameter in encoder.named_parameters() if "embed" in name)
