"""What an adapted model says of a window is what `Predictor` says of an image."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skysense.data.earth import simulate
from skysense.data.labelled.example import TASKS, Example, Task
from skysense.data.labelled.open import open_labelled
from skysense.data.places import Places
from skysense.errors import InputError
from skysense.maps.pairs import Pair
from skysense.maps.task_answers import TaskRecipe
from skysense.model.weights import save_model
from skysense.observation import Sample
from skysense.tasks.predictions import ChangeMap, ClassMap, ClassScores, Detections
from tests.maps.adapted_models import SMALL, adapted
from tests.tasks.labelled_samples import both_example, example, series_example, tiny, trimmed

pytest.importorskip("torchvision")


def window(one: Example) -> Sample:
    """What the engine reads of an example."""
    if one.after is None:
        return one.sample
    return Pair(**{name: getattr(one.sample, name) for name in Sample.__dataclass_fields__}, later=one.after)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("flips", [False, True])
def test_a_window_is_answered_as_an_image(task: Task, flips: bool) -> None:
    model = adapted(task)
    whole, ragged = example(task, 0), trimmed(example(task, 1), 100, 70)
    (wanted, cut) = model.predictor(flips=flips)([model.reading.ready(one) for one in (whole, ragged)])
    answerer = TaskRecipe(model, flips=flips).build()
    first, second = answerer([window(whole), window(ragged)])
    if isinstance(wanted, Detections) and isinstance(cut, Detections):
        for answer, prediction in ((first, wanted), (second, cut)):
            boxes = prediction.boxes_N
            x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2 if task == "detection" else boxes[:, :2]).T
            inside = (x < 70) & (y < 100) if prediction is cut else np.ones(len(x), bool)  # oriented ones may stick out
            assert answer.found is not None and not answer.maps and inside.any()
            np.testing.assert_allclose(answer.found.boxes_NP, boxes[inside], atol=1e-3)
            np.testing.assert_allclose(answer.found.scores_N, prediction.scores_N[inside], atol=1e-5)
        return
    assert set(first.maps) == set(answerer.scores)
    for name, (channels, per_cell) in answerer.scores.items():
        values, seen = second.maps[name]
        assert values.shape == (channels, 4 * per_cell, 4 * per_cell) and values.dtype == np.float32
        if per_cell == 32:
            assert seen[:100, :70].all() and not seen[100:].any() and not seen[:, 70:].any()
        else:
            assert seen.tolist() == [[True, True, False, False]] * 3 + [[False] * 4]  # 70 px are 2.2 cells, 100 are 3.1
    values = {name: values for name, (values, _) in first.maps.items()}
    if isinstance(wanted, ClassScores):
        np.testing.assert_allclose(values["classes"], np.tile(wanted.scores_K[:, None, None], (1, 4, 4)), atol=1e-5)
    elif isinstance(wanted, ClassMap):
        np.testing.assert_allclose(values["mask"].max(axis=0), wanted.confidence_HW, atol=1e-5)
        np.testing.assert_array_equal(values["mask"].argmax(axis=0), wanted.answer_HW)
    else:
        assert isinstance(wanted, ChangeMap)
        np.testing.assert_allclose(values["changed"][0], wanted.changed_HW, atol=1e-5)
        if wanted.before_HW is not None:
            np.testing.assert_array_equal(values["before"].argmax(axis=0), wanted.before_HW)
            np.testing.assert_array_equal(values["after"].argmax(axis=0), wanted.after_HW)


def test_cells_of_a_series_and_sensors_together() -> None:
    cells = adapted("segmentation", replace(SMALL, modalities=("s2",)), per_cell=1)
    one = series_example(0)
    (wanted,) = replace(cells, config=replace(cells.config, window_cells=8)).predictor()([cells.reading.ready(one)])
    answerer = TaskRecipe(cells).build()
    assert answerer.scores == {"mask": (2, 1)}
    (answer,) = answerer([one.sample])
    assert isinstance(wanted, ClassMap)
    np.testing.assert_allclose(answer.maps["mask"][0].max(axis=0), wanted.confidence_HW, atol=1e-5)

    both = adapted("segmentation", replace(SMALL, modalities=("hr", "s2")))
    place = both_example(0)
    hidden = replace(place.sample.series["s2"], valid=place.sample.series["s2"].valid.copy())
    hidden.valid[:, 0, :] = False
    image = replace(place.sample.series["hr"], valid=place.sample.series["hr"].valid.copy())
    image.valid[:, :64] = False
    sample = replace(place.sample, series={"hr": image, "s2": hidden})
    (answer,) = TaskRecipe(both).build()([sample])
    _, seen = answer.maps["mask"]
    assert seen.shape == (128, 128) and not seen[:32].any() and seen[32:].all()  # the series shows cells of row 1


def test_a_place_of_three_sensors_is_answered_as_by_evaluation(tmp_path: Path) -> None:
    simulate(tmp_path, regions=1, places_per_region=1, footprint_cells=8)
    few = replace(SMALL, modalities=("hr", "s2", "s1"), window_cells=8, frames_s2=5, frames_s1=3)
    model = adapted("segmentation", few)
    data = model.reading.prepared(open_labelled(tmp_path, task="segmentation", label="land_cover"))
    (wanted,) = model.predictor()([data.read(0)])
    places = Places(tmp_path)
    sample = places.read_sample(places[0]).read_as(model.encoder.sensors)
    assert set(sample.series) == {"hr", "s2", "s1"} and len(sample.series["s2"].dates) > 5
    (answer,) = TaskRecipe(model).build()([sample])
    assert isinstance(wanted, ClassMap)
    np.testing.assert_allclose(answer.maps["mask"][0].max(axis=0), wanted.confidence_HW, atol=1e-5)
    np.testing.assert_array_equal(answer.maps["mask"][0].argmax(axis=0), wanted.answer_HW)


def test_of_two_dates_what_one_does_not_show_is_not_answered() -> None:
    pair = window(example("change", 0))
    assert isinstance(pair, Pair)
    later = pair.after.series["hr"]
    later = replace(later, valid=later.valid.copy())
    later.valid[:, :, :40] = False
    (answer,) = TaskRecipe(adapted("change")).build()([replace(pair, later=replace(pair.after, series={"hr": later}))])
    _, seen = answer.maps["changed"]
    assert not seen[:, :40].any() and seen[:, 40:].all()


@pytest.mark.parametrize("task", ["detection", "oriented-detection"])
def test_there_are_no_objects_where_nothing_was_observed(task: Task) -> None:
    sample = example(task, 0).sample
    image = sample.series["hr"]
    hidden = replace(image, valid=image.valid.copy())
    hidden.valid[:, 32:96, :64] = False
    (answer,) = TaskRecipe(adapted(task)).build()([replace(sample, series={"hr": hidden})])
    assert answer.found is not None and len(answer.found.scores_N)
    boxes = answer.found.boxes_NP.numpy()
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2 if task == "detection" else boxes[:, :2]).T
    assert not ((x < 64) & (y >= 32) & (y < 96)).any() and (x < 64).any()


def test_a_recipe_is_made_in_any_process_and_says_what_is_no_adapted_model(tmp_path: Path) -> None:
    model = adapted("segmentation")
    model.save(tmp_path / "adapted.safetensors")
    recipe = pickle.loads(pickle.dumps(TaskRecipe(tmp_path / "adapted.safetensors", probabilities=True)))
    one = example("segmentation", 0)
    (loaded,), (kept,) = recipe.build()([one.sample]), TaskRecipe(model).build()([one.sample])
    np.testing.assert_array_equal(loaded.maps["mask"][0], kept.maps["mask"][0])
    assert [layer.name for layer in recipe.build().layers] == ["classes", "probability"]

    save_model(tmp_path / "model.safetensors", tiny())
    with pytest.raises(InputError, match="is no adapted model"):
        TaskRecipe(tmp_path / "model.safetensors").build()
