"""What is stored of blended probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from skysense.data.labelled.example import TASKS
from skysense.maps.task_layers import TaskLayers

NAN = np.nan
CLASSES = ("water", "wood", "field")


def shares(*pixels: tuple[float, ...]) -> np.ndarray:
    """Probabilities ``(K, 1, W)`` of pixels in a row."""
    return np.array(pixels, np.float32).T[:, None]


def test_segmentation_gives_classes_with_a_legend_and_what_was_asked_for() -> None:
    blended = {"mask": shares((0.2, 0.7, 0.1), (NAN, NAN, NAN), (0.4, 0.2, 0.4), (0, 0, 1))}
    plain = TaskLayers("segmentation", CLASSES, 32)
    assert plain.scores == {"mask": (3, 32)}
    (layer,) = plain.layers
    assert (layer.name, layer.kind, layer.per_cell, layer.classes) == ("classes", "classes", 32, CLASSES)
    assert len(set(layer.colours)) == 3 and layer.colours[0] == "#e69f00"
    assert plain.encode(blended)["classes"].tolist() == [[[1, 255, 0, 2]]]

    asked = TaskLayers("segmentation", CLASSES, 32, probabilities=True, uncertainty=True)
    assert [one.name for one in asked.layers] == ["classes", "probability", "uncertainty"]
    stored = asked.encode(blended)
    assert stored["probability"][:, 0].T.tolist() == [[51, 178, 25], [255, 255, 255], [102, 51, 102], [0, 0, 254]]
    assert stored["uncertainty"].tolist() == [[[76, 255, 152, 0]]]
    decoded = asked.layers[1].decode(stored["probability"])
    np.testing.assert_allclose(decoded, blended["mask"], atol=0.5 / 254 + 1e-6)


def test_several_classes_at_once_are_probabilities_alone() -> None:
    asked = TaskLayers("multilabel", CLASSES, 1, uncertainty=True)
    assert [(one.name, one.bands) for one in asked.layers] == [("probability", CLASSES), ("uncertainty", CLASSES)]
    stored = asked.encode({"classes": shares((0.9, 0.5, 0.0), (NAN, NAN, NAN))})
    assert stored["probability"][:, 0].T.tolist() == [[229, 127, 0], [255, 255, 255]]
    assert stored["uncertainty"][:, 0].T.tolist() == [[25, 127, 0], [255, 255, 255]]


def test_change_is_a_class_above_one_half_and_its_probability() -> None:
    blended = {"changed": np.array([[[0.5, 0.51, NAN, 0.0]]], np.float32)}
    asked = TaskLayers("change", ("unchanged", "changed"), 32, uncertainty=True)
    assert asked.scores == {"changed": (1, 32)}
    stored = asked.encode(blended)
    assert stored["classes"].tolist() == [[[0, 1, 255, 0]]]
    assert stored["changed"].tolist() == [[[127, 130, 255, 0]]]
    assert stored["uncertainty"].tolist() == [[[127, 124, 255, 0]]]
    assert asked.layers[0].classes == ("unchanged", "changed") and asked.layers[0].colours == ("#282828", "#e63c14")


def test_semantic_change_has_the_classes_of_both_dates() -> None:
    before, after = shares((0.6, 0.3, 0.1), (NAN,) * 3), shares((0.1, 0.1, 0.8), (NAN,) * 3)
    blended = {"changed": np.array([[[0.75, NAN]]], np.float32), "before": before, "after": after}
    asked = TaskLayers("semantic-change", CLASSES, 1, probabilities=True, uncertainty=True)
    stored = asked.encode(blended)
    assert set(stored) == {
        "classes", "changed", "before", "after", "before_probability", "after_probability", "uncertainty",
    }  # fmt: skip
    assert stored["before"].tolist() == [[[0, 255]]] and stored["after"].tolist() == [[[2, 255]]]
    assert asked.layers[-1].bands == ("change", "before", "after")
    assert stored["uncertainty"][:, 0, 0].tolist() == [64, 102, 51]


@pytest.mark.parametrize("task", TASKS)
def test_what_is_encoded_is_what_was_announced(task: str) -> None:
    asked = TaskLayers(task, CLASSES, 1, probabilities=True, uncertainty=True)  # type: ignore[arg-type]
    if "detection" in task:
        assert not asked.scores and not asked.layers
        return
    blended = {name: np.full((count, 2, 5), 1 / count, np.float32) for name, (count, _) in asked.scores.items()}
    for layer in asked.layers:
        stored = asked.encode(blended)[layer.name]
        assert stored.shape == (len(layer.bands), 2, 5) and stored.dtype == np.uint8
