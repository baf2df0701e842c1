from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from skysense.data.labelled.example import Change
from skysense.errors import InputError
from skysense.tasks.metrics import accumulator
from skysense.tasks.predictions import ChangeMap
from tests.tasks.metrics.made import SIZE, filled, images


def _mask(values) -> np.ndarray:
    return np.array([values], np.uint8)


def _pixels(of, look) -> np.ndarray:
    return np.concatenate([look(one)[: SIZE[0], : SIZE[1]].ravel() for one in of])


def test_change_agrees_with_scikit_learn() -> None:
    of = images("change", 7)
    results = filled("change", of).results(resamples=3)
    truth, scores = _pixels(of, lambda one: one[2].changed_HW), _pixels(of, lambda one: one[3].changed_HW)
    truth, answer = truth[truth < 255], (scores > 0.5)[truth < 255].astype(int)
    found = {name: one.value for name, one in results.metrics.items()}
    assert found["F1"] == pytest.approx(reference.f1_score(truth, answer))
    assert found["precision"] == pytest.approx(reference.precision_score(truth, answer))
    assert found["recall"] == pytest.approx(reference.recall_score(truth, answer))
    assert found["IoU"] == pytest.approx(reference.jaccard_score(truth, answer))
    assert found["OA"] == pytest.approx(reference.accuracy_score(truth, answer))
    assert results.headline == "F1"
    assert results.baselines["nothing changed"]["F1"].value == 0
    share = truth.mean()
    assert results.baselines["everything changed"]["F1"].value == pytest.approx(2 * share / (1 + share))
    assert results.baselines["everything changed"]["IoU"].value == pytest.approx(share)
    assert results.counts["changed pixels"] == truth.sum()


def test_change_by_hand() -> None:
    found = accumulator("change", ("unchanged", "changed"))
    found.add("none", "a", Change(_mask([0, 0])), ChangeMap(np.array([[0.1, 0.2]], np.float32)), (1, 2))
    found.add("missed", "b", Change(_mask([1, 255])), ChangeMap(np.array([[0.5, 0.9]], np.float32)), (1, 2))
    found.add("unknown", "c", Change(_mask([255])), ChangeMap(np.array([[0.5]], np.float32)), (1, 1))
    results = found.results(resamples=3)
    assert [(image.name, image.score) for image in results.worst] == [("missed", 0.0), ("none", 1.0)]
    assert results.metrics["F1"].value == 0
    assert np.isnan(results.metrics["precision"].value)
    # confidences 0.9 and 0.8, right; 0.5, wrong
    assert results.metrics["ECE"].value == pytest.approx((0.1 + 0.2 + 0.5) / 3, abs=1e-6)


def _scores(changed, answered, after, found, classes: int) -> tuple[float, float]:
    """BC and SC, written as the sets they are defined by."""
    bc = np.sum((changed == 1) & (answered == 1)) / np.sum((changed == 1) | (answered == 1))
    ious = []
    for k in range(classes):
        true, said = (changed == 1) & (after == k), (changed == 1) & (found == k) & (after != 255)
        if true.any():
            ious.append(np.sum(true & said) / np.sum(true | said))
    return float(bc), float(np.mean(ious))


def test_semantic_change_agrees_with_its_definition() -> None:
    of = images("semantic-change", 6, 5, seed=4)
    results = filled("semantic-change", of, 5).results(np.arange(5), resamples=3)
    changed, after = _pixels(of, lambda one: one[2].changed_HW), _pixels(of, lambda one: one[2].after_HW)
    scores, found = _pixels(of, lambda one: one[3].changed_HW), _pixels(of, lambda one: one[3].after_HW)
    known = changed < 255
    changed, after, answered, found = changed[known], after[known], (scores > 0.5)[known], found[known]
    bc, sc = _scores(changed, answered, after, found, 5)
    assert results.metrics["BC"].value == pytest.approx(bc)
    assert results.metrics["SC"].value == pytest.approx(sc)
    assert results.metrics["SCS"].value == pytest.approx((bc + sc) / 2)
    assert results.metrics["mIoU"].value == pytest.approx(reference.jaccard_score(after, found, average="macro"))
    assert results.metrics["F1 of change"].value == pytest.approx(reference.f1_score(changed, answered))
    bc, sc = _scores(changed, np.ones_like(changed), after, np.full_like(after, 4), 5)
    assert results.baselines["everything changed, always class 4"]["SCS"].value == pytest.approx((bc + sc) / 2)
    bc, sc = _scores(changed, np.zeros_like(changed), after, np.full_like(after, 4), 5)
    assert results.baselines["nothing changed, always class 4"]["SCS"].value == pytest.approx((0 + sc) / 2)


def test_semantic_change_by_hand() -> None:
    """Two of four pixels changed, one of them is noticed. The class of the unnoticed one is right, which counts for SC;
    what is answered where nothing changed and a class that is only answered are no matter to it."""
    truth = Change(_mask([1, 1, 0, 0, 255]), _mask([0, 0, 0, 0, 255]), _mask([1, 2, 0, 0, 255]))
    answer = ChangeMap(np.array([[0.9, 0.1, 0.8, 0.2, 0.9]], np.float32), None, _mask([0, 2, 1, 0, 0]))
    found = accumulator("semantic-change", ("a", "b", "c"))
    found.add("i", "g", truth, answer, (1, 5))
    results = found.results(resamples=3)
    assert results.metrics["BC"].value == pytest.approx(1 / 3)
    assert results.metrics["SC"].value == pytest.approx((0 + 1) / 2)
    assert results.per_class["IoU where it changed"] == pytest.approx((np.nan, 0, 1), nan_ok=True)
    assert results.metrics["SCS"].value == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_no_change_and_wrong_sizes() -> None:
    found = accumulator("semantic-change", ("a", "b"))
    quiet, silent = (
        Change(_mask([0]), _mask([1]), _mask([1])),
        ChangeMap(np.zeros((1, 1), np.float32), None, _mask([1])),
    )
    found.add("i", "g", quiet, silent, (1, 1))
    results = found.results(resamples=3)
    assert np.isnan(results.metrics["SCS"].value)
    assert results.best[0].score == 1
    with pytest.raises(InputError, match="size of the label"):
        found.add("j", "g", quiet, ChangeMap(np.zeros((1, 2), np.float32), None, _mask([1])), (1, 1))
    with pytest.raises(InputError, match="must be ndarray"):
        found.add("k", "g", Change(_mask([0])), silent, (1, 1))
    with pytest.raises(InputError, match="two classes"):
        accumulator("change", "abc")
