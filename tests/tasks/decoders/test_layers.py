from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from skysense.errors import ConfigError, InputError
from skysense.tasks.decoders.layers import (
    BatchNorm,
    ConvNormReLU,
    check_dates,
    check_levels,
    classifier,
    in_bins,
    resized,
)
from tests.tasks.decoders import by_hand


def test_one_value_per_channel_takes_the_running_statistics_and_leaves_them() -> None:
    norm = by_hand.randomised(BatchNorm(3)).train()
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x = torch.randn(1, 3, 1, 1, dtype=torch.float64)
    in_training = norm(x)
    torch.testing.assert_close(in_training, by_hand.norm({f"n.{k}": v for k, v in before.items()}, "n", x, False))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    assert torch.equal(in_training, norm.eval()(x))
    in_training.sum().backward()
    assert not by_hand.without_gradient(norm)


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (1, 3, 2, 1)])
def test_two_values_per_channel_are_a_batch(shape: tuple[int, ...]) -> None:
    ours, theirs, x = BatchNorm(3), nn.BatchNorm2d(3), torch.randn(shape)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_mean, theirs.running_mean) and ours.running_mean.any()
    assert ours.num_batches_tracked == 1


def test_norms_become_those_of_several_ranks() -> None:
    layer = ConvNormReLU(2, 3, 3)
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(layer)
    assert type(synced.norm) is nn.SyncBatchNorm
    assert synced.state_dict().keys() == layer.state_dict().keys()


def test_beginnings() -> None:
    torch.manual_seed(0)
    layer, last = ConvNormReLU(64, 128, 3), classifier(512, 100)
    assert layer.conv.bias is None
    assert float(layer.conv.weight.detach().std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert float(last.weight.detach().std()) == pytest.approx(0.01, rel=0.02) and not last.bias.any()


@pytest.mark.parametrize("size", [(7, 5), (2, 3), (3, 4), (1, 1)])
def test_resizing_lies_between_pixel_centres(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(resized(x, size), by_hand.resize(x, size), rtol=0, atol=1e-12)
    assert torch.equal(resized(x, x.shape[-2:]), x)


def test_what_is_refused() -> None:
    maps = [torch.zeros(1, 4, 8, 8), torch.zeros(1, 8, 4, 4)]
    check_levels(maps, [4, 8])
    check_dates(maps, maps)
    with pytest.raises(InputError, match="reads levels of width 8, 4, the finest first; got 4, 8"):
        check_levels(maps, (8, 4))
    with pytest.raises(InputError, match=r"got 4\."):
        check_levels(maps[:1], (4, 8))
    with pytest.raises(InputError, match="same shapes"):
        check_dates(maps, [maps[0], torch.zeros(2, 8, 4, 4)])
    with pytest.raises(InputError, match="same shapes"):
        check_dates(maps, maps[:1])
    with pytest.raises(ConfigError, match="at least one class; got 0"):
        classifier(4, 0)


@given(st.integers(1, 13), st.integers(1, 13), st.integers(1, 13), st.integers(1, 13))
def test_means_in_bins_are_the_same_in_a_graph(rows: int, columns: int, height: int, width: int) -> None:
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    wanted = F.adaptive_avg_pool2d(x, (rows, columns))
    assert torch.equal(in_bins(x, (rows, columns)), wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_exporting", lambda: True)
        torch.testing.assert_close(in_bins(x, (rows, columns)), wanted)
