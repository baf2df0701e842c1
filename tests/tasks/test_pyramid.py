"""Levels for decoders: what single sensors, fusion and missing imagery come to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from skysense.errors import ConfigError
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.observation import collate
from skysense.tasks.pyramid import Pyramid
from tests.tasks.labelled_samples import both_example, example, series_example, tiny


def test_the_image_alone_gives_the_four_stages_of_its_encoder() -> None:
    model = tiny()
    batch = collate([example("segmentation", index).sample for index in range(2)])
    pyramid = Pyramid(model, ["hr"]).eval()
    assert pyramid.channels == (16, 32, 64, 128) and pyramid.strides == (1 / 8, 1 / 4, 1 / 2, 1)
    maps = pyramid(batch)
    frames = batch.frames["hr"]
    image = model.entry_hr(frames.values_BTCHW[:, 0], frames.valid_BTHW[:, 0])
    wanted = model.hr.forward_intermediates(image, norm=True, intermediates_only=True)
    for level, own in zip(maps.levels, wanted, strict=True):
        torch.testing.assert_close(level, own)
    assert [tuple(level.shape[1:]) for level in maps.levels] == [(16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4)]
    torch.testing.assert_close(maps.pooled(), wanted[-1].mean((2, 3)))


def test_one_level_is_the_coarsest() -> None:
    model = tiny()
    batch = collate([example("segmentation", 0).sample])
    four = Pyramid(model, ["hr"])(batch).levels[-1]
    pyramid = Pyramid(model, ["hr"], levels=1)
    assert pyramid.channels == (128,) and pyramid.strides == (1.0,)
    (level,) = pyramid(batch).levels
    torch.testing.assert_close(level, four)


def test_padding_does_not_enter_the_pooled_feature() -> None:
    model = tiny()
    sample = example("segmentation", 0).sample
    series = sample.series["hr"]
    half = series.valid.copy()
    half[:, :, 64:] = False
    batch = collate([replace(sample, series={"hr": replace(series, valid=half)})])
    maps = Pyramid(model, ["hr"], levels=1)(batch)
    torch.testing.assert_close(maps.pooled(), maps.levels[-1][..., :2].mean((2, 3)))


def test_image_and_series_put_the_fused_feature_on_top() -> None:
    model = tiny()
    batch = collate([both_example(index).sample for index in range(2)])
    pyramid = Pyramid(model, ["hr", "s2"]).eval()
    assert pyramid.channels == (16, 32, 64, 96)
    maps = pyramid(batch)
    torch.testing.assert_close(maps.levels[-1], model(batch, ["hr", "s2"]).fused_BDhw)
    alone = Pyramid(tiny(), ["hr"]).eval()(batch)
    for level, own in zip(maps.levels[:-1], alone.levels[:-1], strict=True):
        torch.testing.assert_close(level, own)


def test_series_alone_are_fused_once_per_level_of_the_encoder() -> None:
    model = tiny()
    batch = collate([series_example(index).sample for index in range(2)])
    pyramid = Pyramid(model, ["s2"]).eval()
    assert pyramid.channels == (96, 96) and pyramid.strides == (1.0, 1.0)  # the tiny encoder has two blocks
    first, last = pyramid(batch).levels
    torch.testing.assert_close(last, model(batch, ["s2"]).fused_BDhw)
    model.s2.blocks[1].requires_grad_(False)
    with torch.no_grad():  # the first level does not depend on the second block
        for parameter in model.s2.blocks[1].parameters():
            parameter.mul_(0.5)
    changed_first, changed_last = pyramid(batch).levels
    torch.testing.assert_close(changed_first, first)
    assert not torch.allclose(changed_last, last)


def test_one_sentinel_encoder_works_without_fusion() -> None:
    full = tiny()
    model = SkySense(preset("tiny"), pieces=("s2",)).eval()
    model.s2.load_state_dict(full.s2.state_dict())
    sample = series_example(0).sample
    pyramid = Pyramid(model, ["s2"]).eval()
    assert pyramid.channels == (64, 64) and pyramid.strides == (4.0, 4.0)
    maps = pyramid(collate([sample, sample.only(["s2"])]))
    series = sample.series["s2"]
    frames = torch.from_numpy(series.values.astype(np.int32))
    own = model.s2(model.entry_s2(frames, torch.from_numpy(series.valid)))[-1].mean(0)
    torch.testing.assert_close(maps.levels[-1][1], own)
    assert maps.occupied_Bhw.all()


def test_a_sample_without_the_image_is_zero_and_unoccupied() -> None:
    batch = collate([both_example(0).sample, both_example(1).sample.only(["s2"])])
    maps = Pyramid(tiny(), ["hr"]).eval()(batch)
    assert all(not level[1].any() for level in maps.levels) and level_differs(maps.levels[-1][0])
    assert maps.occupied_Bhw[0].all() and not maps.occupied_Bhw[1].any()
    assert not maps.pooled()[1].any()


def level_differs(level: torch.Tensor) -> bool:
    return bool(level.std() > 0)


def test_what_a_model_lacks_is_said() -> None:
    model = SkySense(preset("tiny"), pieces=("hr", "s2"))
    with pytest.raises(ConfigError, match="no encoder for s1"):
        Pyramid(model, ["s1"])
    with pytest.raises(ConfigError, match="need the pieces that fuse"):
        Pyramid(model, ["hr", "s2"])


def test_halves_are_the_two_dates() -> None:
    batch = collate([example("segmentation", index).sample for index in range(4)])
    maps = Pyramid(tiny(), ["hr"]).eval()(batch)
    before, after = maps.halves()
    torch.testing.assert_close(before.levels[0], maps.levels[0][:2])
    torch.testing.assert_close(after.levels[3], maps.levels[3][2:])
