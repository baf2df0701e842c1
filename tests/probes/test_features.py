from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from skysense.data.earth import simulate
from skysense.data.places import Places
from skysense.errors import InputError
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.observation import collate
from skysense.probes.features import extract, masked_mean
from skysense.probes.raw import extract_raw, raw_cells, raw_statistics
from skysense.probes.targets import read_targets, tasks_of
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_10M, SENTINEL2_L2A


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    root = tmp_path_factory.mktemp("earth")
    simulate(root, regions=2, places_per_region=3, footprint_cells=4, seed=1)
    return Places(root)


@pytest.fixture(scope="module")
def model(places: Places) -> SkySense:
    torch.manual_seed(0)
    model = SkySense(preset("tiny"), regions=places.regions.cells)
    assert model.geo is not None
    model.geo.initialised.fill_(True)
    return model.eval()


def test_features_are_those_of_the_model(places: Places, model: SkySense) -> None:
    features = extract(model, places, batch_size=4)
    with torch.inference_mode():
        alone = model(collate([places.read_sample(places[4])]))
    assert features.names == tuple(place.name for place in places)
    np.testing.assert_allclose(features.cells_Dhw[4], alone.cells_BDhw[0].numpy(), atol=2e-4)
    np.testing.assert_allclose(features.pooled_ND[4], features.cells_Dhw[4].mean(axis=(1, 2)), atol=1e-5)
    assert features.fused == model.config.fusion.dim
    assert features.without_context().pooled_ND.shape == (6, features.fused)
    assert np.array_equal(features.without_context().cells_Dhw[2], features.cells_Dhw[2][: features.fused])


def test_what_is_read_of_a_cell_can_be_chosen(places: Places, model: SkySense) -> None:
    usual, width = extract(model, places), model.config.fusion.dim
    found = extract(model, places, read=lambda seen: torch.cat([seen.cells_BDhw, -seen.fused_BDhw], 1))
    assert np.array_equal(found.channels(0, 2 * width).pooled_ND, usual.pooled_ND)
    turned = found.channels(2 * width, 3 * width)
    assert np.array_equal(turned.cells_Dhw[3], -usual.cells_Dhw[3][:width])
    assert (found.channels(10, 2 * width).fused, turned.fused) == (width - 10, 0)


def test_a_look_at_a_model_in_training_leaves_each_part_in_its_mode(places: Places, model: SkySense) -> None:
    model.train()
    model.hr.eval()  # a part that was frozen by hand
    modes = [one.training for one in model.modules()]
    trained = extract(model, [places.read_sample(places[0])])
    assert [one.training for one in model.modules()] == modes
    assert np.array_equal(trained.pooled_ND, extract(model.eval(), [places.read_sample(places[0])]).pooled_ND)


def test_a_model_of_four_bands_takes_them_by_name(places: Places) -> None:
    config = preset("tiny")
    torch.manual_seed(0)
    model = SkySense(replace(config, s2=replace(config.s2, in_channels=4))).eval()
    sample = places.read_sample(places[0])
    four = sample.series["s2"].values[:, [0, 1, 2, 6]]
    series = replace(sample.series["s2"], sensor=SENTINEL2_10M, values=four)
    with torch.inference_mode():
        alone = model(collate([replace(sample, series={**sample.series, "s2": series}, region=None)]))
    found = extract(model, [sample]).cells_Dhw[0]
    np.testing.assert_allclose(found, alone.fused_BDhw[0].numpy(), atol=1e-5)
    with pytest.raises(InputError, match="missing or doubled: B5"):
        raw_statistics(replace(sample, series={"s2": series}))
    with pytest.raises(InputError, match="sentinel-1-grd cannot be read as optical-hr"):
        sample.series["s1"].read_as(OPTICAL_HR)


def test_another_region_changes_the_context_alone(places: Places, model: SkySense) -> None:
    right = extract(model, places)
    slot = places.regions.slot(places[0].lon, places[0].lat)
    assert slot is not None
    wrong = extract(model, places, regions={places[0].name: 1 - slot})
    fused = right.fused
    np.testing.assert_allclose(wrong.pooled_ND[:, :fused], right.pooled_ND[:, :fused], atol=1e-6)
    assert np.abs(wrong.pooled_ND[0, fused:] - right.pooled_ND[0, fused:]).max() > 1e-2
    np.testing.assert_allclose(wrong.pooled_ND[1:], right.pooled_ND[1:], atol=1e-6)


def test_fewer_frames_and_sensors_are_what_the_model_sees(places: Places, model: SkySense) -> None:
    sample = places.read_sample(places[0], ["s2"])
    first = replace(sample, series={"s2": sample.series["s2"].take(np.array([0, len(sample.series["s2"].dates) - 1]))})
    limited = extract(model, [places.read_sample(places[0])], modalities=["s2"], frames={"s2": 2}, cells=False)
    np.testing.assert_allclose(limited.pooled_ND, extract(model, [first]).pooled_ND, atol=1e-5)
    assert limited.cells_Dhw == ()


def test_the_mode_of_the_model_is_left_as_it_was(places: Places, model: SkySense) -> None:
    model.train()
    done: list[tuple[int, int]] = []
    extract(model, places, frames={"s2": 1, "s1": 1}, batch_size=4, progress=lambda *seen: done.append(seen))
    assert model.training
    assert done == [(4, 6), (6, 6)]
    model.eval()


def test_the_mean_is_over_occupied_cells() -> None:
    cells = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    occupied = np.array([[True, False], [True, False]])
    assert masked_mean(cells, occupied).tolist() == [1, 5]
    assert masked_mean(cells, np.zeros((2, 2), bool)).tolist() == [0, 0]


def test_position_is_appended_to_places_and_cells(places: Places, model: SkySense) -> None:
    features = extract(model, places, frames={"s2": 1, "s1": 1})
    more = features.append(np.arange(12).reshape(6, 2))
    assert more.pooled_ND[3, -2:].tolist() == [6, 7]
    assert (more.cells_Dhw[3][-2] == 6).all()
    assert np.array_equal(more.cells_Dhw[3][:-2], features.cells_Dhw[3])


def test_raw_statistics_by_hand(places: Places) -> None:
    sample = places.read_sample(places[0])
    vector = raw_statistics(sample)
    image = sample.series["hr"].values[0]
    np.testing.assert_allclose(vector[:3], image.mean(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(vector[9:12], np.median(image.reshape(3, -1), axis=1))
    s2 = sample.series["s2"]
    summer = (s2.days * 4 // 365) == 2
    expected = np.median(s2.values[summer].transpose(1, 0, 2, 3).reshape(10, -1), axis=1)
    np.testing.assert_allclose(vector[15 + 50 + 20 : 15 + 50 + 30], expected)
    assert vector.shape == (123,)


def test_raw_features_of_what_is_missing_are_the_sensors_mean(places: Places) -> None:
    sample = places.read_sample(places[0], ["s1"])
    vector, cells = raw_statistics(sample), raw_cells(sample)
    np.testing.assert_allclose(vector[:3], OPTICAL_HR.mean, rtol=1e-5)
    assert (vector[3:6] == 0).all()
    np.testing.assert_allclose(cells[:10, 1, 2], SENTINEL2_L2A.mean, rtol=1e-5)
    np.testing.assert_allclose(cells[48:51, 3, 3], OPTICAL_HR.mean, rtol=1e-5)
    one = sample.series["s1"]
    winter = one.values[(one.days * 4 // 365) == 0]
    np.testing.assert_allclose(cells[40:42, 0, 1], np.median(winter[:, :, 0, 1], axis=0), rtol=1e-5)
    assert cells.shape == (54, 4, 4)
    series = replace(one, valid=np.zeros_like(one.valid))
    np.testing.assert_allclose(
        raw_cells(replace(sample, series={"s1": series}))[40:42, 0, 0], SENTINEL1.mean, rtol=1e-5
    )


def test_labels_come_in_the_order_of_the_places(places: Places) -> None:
    tasks = {task.label: read_targets(places, task) for task in tasks_of(places)}
    scenes = tasks["scene"]
    assert scenes.scene_N is not None
    assert [scenes.task.classes[index] for index in scenes.scene_N] == [place.labels["scene"] for place in places]
    several = tasks["multilabel"]
    assert several.several_NK is not None
    assert {several.task.classes[k] for k in np.flatnonzero(several.several_NK[2])} == set(
        places[2].labels["multilabel"]
    )
    crops = tasks["crop_type"]
    assert crops.cells_hw is not None
    mask = places.read_mask(places[1], "crop_type").astype(int)
    assert np.array_equal(crops.cells_hw[1], np.where(mask == 0, -1, mask))
    assert extract_raw(places).names == crops.names
