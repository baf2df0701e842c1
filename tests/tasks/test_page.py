"""Pictures of single images on the page of an evaluation: labels and answers where they lie."""

from __future__ import annotations

import numpy as np
import pytest

from skysense.data.labelled.draw import palette
from skysense.data.labelled.example import Boxes, Change, Example
from skysense.observation import Sample
from skysense.tasks.page import _COLUMNS, pictures_of
from skysense.tasks.predictions import ChangeMap, Detections
from tests.tasks.labelled_samples import optical, sentinel2

BLACK = np.zeros((128, 128, 3), np.uint8)
RED = (230, 60, 20)


def boxes(corners: list[list[float]]) -> Boxes:
    count = len(corners)
    return Boxes(np.array(corners, np.float32).reshape(-1, 4), np.zeros(count, np.int64), np.zeros(count, bool))


def image() -> Sample:
    return Sample("a", {"hr": optical(BLACK)})


@pytest.mark.parametrize(("true", "drawn"), [(0, 20), (15, 30)])
def test_only_the_likeliest_detections_are_drawn(true: int, drawn: int) -> None:
    target = boxes([[5.0, 1.0, 15.0, 3.0]] * true)
    places = np.arange(40)
    found = np.stack([3.0 * places, np.full(40, 50.0), 3.0 * places, np.full(40, 60.0)], axis=1).astype(np.float32)
    prediction = Detections(found, np.linspace(0.4, 0.9, 40, dtype=np.float32), np.ones(40, np.int64))
    truth, answer = pictures_of(Example("a", image(), target, 32, (128, 128)), prediction, classes=2)
    assert truth.shape == (256, 256, 3)  # small pictures are enlarged before lines are drawn on them
    assert (truth == palette(2)[0]).all(axis=-1).any() == (true > 0)
    row = (answer == palette(2)[1]).all(axis=-1)[110]
    lines = int((np.diff(row.astype(int), prepend=0) == 1).sum())
    assert lines == drawn and not row[: 6 * (40 - drawn) - 2].any()


def test_detections_that_nobody_would_believe_are_not_drawn() -> None:
    found = np.array([[10, 10, 40, 40]], np.float32)
    prediction = Detections(found, np.array([0.29], np.float32), np.zeros(1, np.int64))
    _, answer = pictures_of(Example("a", image(), boxes([]), 32, (128, 128)), prediction, classes=1)
    assert not answer.any()


def test_boxes_on_an_image_of_sentinel_2() -> None:
    series = sentinel2(np.random.default_rng(0), np.zeros((4, 4)))
    example = Example("a", Sample("a", {"s2": series}), boxes([[32, 32, 96, 64]]), 32, (128, 128))
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    truth, answer = pictures_of(example, nothing, classes=1)
    assert truth.shape == (256, 256, 3)
    y, x = np.nonzero((truth == palette(1)[0]).all(axis=-1))
    assert (x.min(), y.min(), x.max(), y.max()) == (63, 63, 192, 128)
    assert not (answer == palette(1)[0]).all(axis=-1).any()


@pytest.mark.parametrize("task", ["change", "semantic-change"])
def test_truth_and_answer_of_a_change(task: str) -> None:
    true, said = np.zeros((2, 128, 128), np.uint8)
    true[:64], said[64:] = 1, 1
    masks = (true, said) if task == "semantic-change" else (None, None)
    example = Example("a", image(), Change(true, *masks), 32, (128, 64), after=image())
    shown = pictures_of(example, ChangeMap(said.astype(np.float32), *masks), classes=2)
    assert len(shown) == len(_COLUMNS[task]) and all(one.shape == (128, 64, 3) for one in shown)
    by_name = dict(zip(_COLUMNS[task], shown, strict=True))
    ending = "" if task == "change" else " change"
    truth, answer = by_name[f"truth{ending}"], by_name[f"answer{ending}"]
    if task == "semantic-change":
        np.testing.assert_array_equal(by_name["truth after"][100, 5], np.rint(0.55 * palette(2)[1]))
        np.testing.assert_array_equal(by_name["answer before"][100, 5], np.rint(0.55 * palette(2)[0]))
    np.testing.assert_array_equal(truth[10, 5], np.rint(0.7 * np.array(RED)))
    np.testing.assert_array_equal(truth[100, 5], [0, 0, 0])  # the image, where nothing changed
    np.testing.assert_array_equal(answer[100, 5], np.rint(0.7 * np.array(RED)))
