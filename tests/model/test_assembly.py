from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from skysense.errors import InputError
from skysense.model.assembly import SkySense, cell_grid
from skysense.model.config import ModelConfig
from skysense.observation import Batch, Frames
from skysense.sensors import Modality

TOLERANCE = 1e-5


def assert_same(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


@pytest.fixture
def model(model: SkySense) -> SkySense:
    """In float64: what is compared here is what is computed, not how float32 rounds it."""
    return model.double()


def row(batch: Batch, index: int) -> Batch:
    """One sample on its own, without its padded frames."""
    frames: dict[Modality, Frames] = {}
    for key, one in batch.frames.items():
        keep = one.present_BT[index]
        if keep.any():
            frames[key] = Frames(*(tensor[index : index + 1][:, keep] for tensor in vars(one).values()))
    return Batch(frames, batch.region_B[index : index + 1], batch.names[index : index + 1])


def ragged(batch: Batch) -> Batch:
    """Three samples: one whole, one with frames missing and fewer modalities, one with clouded cells."""
    batch.frames["s2"].present_BT[1] = torch.tensor([True, False, True])
    batch.frames["s1"].present_BT[1] = False
    batch.frames["hr"].present_BT[2] = False
    batch.frames["s2"].valid_BTHW[2] = torch.rand(3, 4, 4) < 0.6
    batch.frames["s2"].valid_BTHW[2, 0, 1] = True
    batch.frames["s1"].valid_BTHW[2, :, 1] = False
    batch.frames["s2"].valid_BTHW[2, :, 1, 2] = False
    return batch


@pytest.fixture
def mixed(batch_of: Callable[..., Batch]) -> Batch:
    return ragged(batch_of(size=3))


@torch.no_grad()
def test_neither_padding_nor_batch_mates_change_the_output(model: SkySense, mixed: Batch) -> None:
    together = model(mixed)
    for index in range(3):
        alone = model(row(mixed, index))
        assert_same(together.fused_BDhw[index], alone.fused_BDhw[0])
        assert torch.equal(together.occupied_Bhw[index], alone.occupied_Bhw[0])
        for key, frames in alone.frames.items():
            mine = together.frames[key].sample_N == index
            assert_same(together.frames[key].values_NDhw[mine], frames.values_NDhw)
    assert together.occupied_Bhw.logical_not().nonzero().tolist() == [[2, 1, 2]]
    assert not together.fused_BDhw[2, :, 1, 2].any()


@torch.no_grad()
def test_what_stands_in_padded_frames_does_not_matter(model: SkySense, mixed: Batch) -> None:
    before = model(mixed)
    s2 = mixed.frames["s2"]
    s2.values_BTCHW[1, 1], s2.day_BT[1, 1], s2.valid_BTHW[1, 1] = 7000, 400, False
    assert torch.equal(model(mixed).fused_BDhw, before.fused_BDhw)


@torch.no_grad()
def test_order_of_samples_and_of_frames_with_their_dates_does_not_matter(
    model: SkySense, batch_of: Callable[..., Batch]
) -> None:
    for batch in (batch_of(size=3), ragged(batch_of(size=3))):
        before = model(batch).fused_BDhw
        for key, order in (("s2", [2, 0, 1]), ("s1", [1, 0])):
            one = batch.frames[key]
            batch.frames[key] = Frames(*(tensor[:, order] for tensor in vars(one).values()))
        assert_same(model(batch).fused_BDhw, before)
        turned = [2, 0, 1]
        for key, one in batch.frames.items():
            batch.frames[key] = Frames(*(tensor[turned] for tensor in vars(one).values()))
        assert_same(model(batch).fused_BDhw, before[turned])
        batch.frames["s2"].day_BT = batch.frames["s2"].day_BT.flip(1)
        assert (model(batch).fused_BDhw - before[turned]).abs().max() > 1e-3


@torch.no_grad()
def test_a_zero_date_table_is_no_date(model: SkySense, mixed: Batch) -> None:
    dated = model(mixed).fused_BDhw
    without = Batch(
        {key: dataclasses.replace(one, day_BT=torch.full_like(one.day_BT, -1)) for key, one in mixed.frames.items()},
        mixed.region_B,
        mixed.names,
    )
    undated = model(without).fused_BDhw
    assert (dated - undated).abs().max() > 1e-3
    model.dates.table.zero_()
    assert torch.equal(model(mixed).fused_BDhw, undated)


@torch.no_grad()
def test_dates_act_only_where_the_configuration_says(model: SkySense, config: ModelConfig, mixed: Batch) -> None:
    partial = SkySense(dataclasses.replace(config, date_on=("s2",)), regions=[11, 42]).double().eval()
    partial.load_state_dict(model.state_dict())
    expected = partial(mixed).fused_BDhw
    for key in ("hr", "s1"):
        mixed.frames[key].day_BT.fill_(-1)
    assert_same(model(mixed).fused_BDhw, expected)


@torch.no_grad()
@pytest.mark.parametrize("left_out", ["hr", "s2", "s1"])
def test_leaving_a_modality_out_three_ways(model: SkySense, batch_of: Callable[..., Batch], left_out: Modality) -> None:
    batch = batch_of()
    kept = [key for key in ("hr", "s2", "s1") if key != left_out]
    asked = model(batch, kept)
    assert list(asked.frames) == kept
    frames = {key: one for key, one in batch.frames.items() if key != left_out}
    assert torch.equal(model(Batch(frames, batch.region_B, batch.names)).fused_BDhw, asked.fused_BDhw)
    whole = model.encode(batch)
    del whole[left_out]
    assert torch.equal(model.fuse(whole, batch.size, cell_grid(batch))[0], asked.fused_BDhw)
    batch.frames[left_out].present_BT.fill_(False)
    assert torch.equal(model(batch).fused_BDhw, asked.fused_BDhw)


@torch.no_grad()
def test_absent_frames_and_modalities_are_not_encoded(model: SkySense, mixed: Batch) -> None:
    seen: dict[str, int] = {}
    for key in ("hr", "s2", "s1"):
        module = model.get_submodule(key)
        module.register_forward_pre_hook(lambda _m, args, key=key: seen.update({key: len(args[0])}))
    features = model(mixed)
    assert seen == {"hr": 2, "s2": 8, "s1": 4}
    s2 = features.frames["s2"]
    assert s2.sample_N.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert s2.time_N.tolist() == [0, 1, 2, 0, 2, 0, 1, 2]
    assert torch.equal(s2.day_N, mixed.frames["s2"].day_BT[s2.sample_N, s2.time_N])
    seen.clear()
    model(mixed, ["s1"])
    assert seen == {"s1": 4}


@torch.no_grad()
def test_invalid_pixels_do_not_matter(model: SkySense, mixed: Batch) -> None:
    mixed.frames["hr"].valid_BTHW[0, 0, 10:40, 5:90] = False
    before = model(mixed)
    for one in mixed.frames.values():
        gaps = ~one.valid_BTHW[:, :, None].expand_as(one.values_BTCHW)
        one.values_BTCHW[gaps] = torch.nan if one.values_BTCHW.is_floating_point() else 200
    after = model(mixed)
    assert torch.equal(after.fused_BDhw, before.fused_BDhw)
    for key, frames in before.frames.items():
        assert torch.equal(after.frames[key].values_NDhw, frames.values_NDhw)


@torch.no_grad()
def test_a_cell_less_than_half_observed_has_no_token(model: SkySense, batch_of: Callable[..., Batch]) -> None:
    batch = batch_of(size=1, s2=1, s1=1)
    hr, s1 = batch.frames["hr"], batch.frames["s1"]
    hr.valid_BTHW[0, 0, :32, :32] = False
    hr.valid_BTHW[0, 0, :16, :32] = True  # half of cell (0, 0)
    hr.valid_BTHW[0, 0, :17, 32:64] = False  # more than half of cell (0, 1) is missing
    s1.valid_BTHW[0, 0, 2, 3] = False
    features = model(batch)
    assert features.frames["hr"].valid_Nhw.logical_not().nonzero().tolist() == [[0, 0, 1]]
    assert features.frames["s1"].valid_Nhw.logical_not().nonzero().tolist() == [[0, 2, 3]]
    assert features.occupied_Bhw.all()
    without_hr = model.fuse({key: features.frames[key] for key in ("s2", "s1")}, 1, (4, 4))[0]
    without_s1 = model.fuse({key: features.frames[key] for key in ("hr", "s2")}, 1, (4, 4))[0]
    assert_same(features.fused_BDhw[0, :, 0, 1], without_hr[0, :, 0, 1])
    assert_same(features.fused_BDhw[0, :, 2, 3], without_s1[0, :, 2, 3])
    assert (features.fused_BDhw[0, :, 0, 0] - without_hr[0, :, 0, 0]).abs().max() > 1e-3


@torch.no_grad()
def test_sequences_are_ordered_hr_s2_s1_in_both_ways_of_fusing(model: SkySense, batch_of: Callable[..., Batch]) -> None:
    """A lone gap sends the batch down the path for ragged sequences; whole cells see the same tokens in both."""
    batch = batch_of()
    sequences: list[Tensor] = []
    model.fusion.blocks[0].register_forward_pre_hook(lambda _m, args: sequences.extend(args[0]))
    dense = model(batch)
    (whole,) = sequences
    frames = dense.frames
    expected = [frames["hr"].values_NDhw[1, :, 2, 3] + model.dates.table[0, frames["hr"].day_N[1]]]
    for key, count in (("s2", 3), ("s1", 2)):
        for index in range(count, 2 * count):
            expected.append(frames[key].values_NDhw[index, :, 2, 3] + model.dates.table[0, frames[key].day_N[index]])
    assert_same(whole[16 + 2 * 4 + 3, 1:], model.fusion.projection(torch.stack(expected)))
    frames["s1"].valid_Nhw[0, 0, 0] = False
    sequences.clear()
    fused, occupied = model.fuse(frames, 2, (4, 4))
    assert [tuple(one.shape[:2]) for one in sequences] == [(1, 6), (31, 7)]
    assert_same(sequences[1], whole[1:])
    assert_same(fused.permute(0, 2, 3, 1).flatten(0, 2)[1:], dense.fused_BDhw.permute(0, 2, 3, 1).flatten(0, 2)[1:])
    assert occupied.all()


@torch.no_grad()
def test_grids_that_are_no_multiple_of_four_cells(model: SkySense, batch_of: Callable[..., Batch]) -> None:
    features = model(batch_of(grid=(3, 6)))
    assert features.fused_BDhw.shape == (2, 24, 3, 6)
    for key, count in (("hr", 2), ("s2", 6), ("s1", 4)):
        assert features.frames[key].values_NDhw.shape == (count, 64, 3, 6)


@torch.no_grad()
def test_nothing_to_fuse_is_no_data(model: SkySense, batch_of: Callable[..., Batch]) -> None:
    features = model(batch_of(), [])
    assert features.frames == {}
    assert not features.fused_BDhw.any()
    assert not features.occupied_Bhw.any()
    assert features.cells_BDhw.shape == (2, 48, 4, 4)


@torch.no_grad()
def test_context_stands_beside_the_fused_feature(model: SkySense, batch_of: Callable[..., Batch]) -> None:
    batch = batch_of(size=2)
    batch.region_B[1] = 1
    assert model.geo is not None
    features = model(batch)
    assert features.context_BDhw is not None
    assert not features.context_BDhw.any()  # nothing learned yet
    model.geo.initialised[1] = True
    features = model(batch)
    assert features.context_BDhw is not None
    assert not features.context_BDhw[0].any()
    assert (features.context_BDhw[1] != 0).all()
    assert torch.equal(features.cells_BDhw[:, :24], features.fused_BDhw)
    assert torch.equal(features.cells_BDhw[:, 24:], features.context_BDhw)
    assert features.cells_BDhw.shape[1] == model.cells_dim


@torch.no_grad()
def test_without_regions_there_is_no_context(config: ModelConfig, batch_of: Callable[..., Batch]) -> None:
    model = SkySense(config).eval()
    features = model(batch_of())
    assert features.context_BDhw is None
    assert features.cells_BDhw is features.fused_BDhw
    assert model.cells_dim == 24


def test_gradient_reaches_every_parameter(model: SkySense, mixed: Batch) -> None:
    model.train()
    model(mixed).fused_BDhw.square().mean().backward()
    without = [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


def test_impossible_batches_are_refused(model: SkySense, batch_of: Callable[..., Batch]) -> None:
    with pytest.raises(InputError, match=r"unknown modality radar; known: hr, s2, s1"):
        model(batch_of(), ["s2", "radar"])
    batch = batch_of()
    batch.frames["s2"].day_BT[1, 2] = 365
    with pytest.raises(InputError, match=r"s2 holds the day index 365; days are 0 .. 364, or -1 for no date"):
        model(batch)
    batch.frames["s2"].day_BT[1, 2] = -2
    with pytest.raises(InputError, match=r"s2 holds the day index -2"):
        model(batch)
    batch = batch_of()
    batch.frames["s2"].values_BTCHW = batch.frames["s2"].values_BTCHW[:, :, :9]
    with pytest.raises(InputError, match=r"sentinel-2-l2a has 10 bands .* got 9"):
        model(batch)
    batch = batch_of()
    batch.frames["hr"] = batch_of(grid=(4, 5)).frames["hr"]
    with pytest.raises(InputError, match=r"share one grid of cells; got hr 4 x 5, s2 4 x 4, s1 4 x 4"):
        model(batch)
    hr = batch.frames["hr"]
    batch.frames["hr"] = dataclasses.replace(hr, values_BTCHW=hr.values_BTCHW[..., :100])
    with pytest.raises(InputError, match=r"128 x 100 px; its sides must be multiples of 32"):
        model(batch)
    with pytest.raises(InputError, match=r"no imagery"):
        model(Batch({}, torch.tensor([-1]), ["nowhere"]))
