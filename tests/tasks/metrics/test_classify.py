from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics as reference

from skysense.errors import InputError
from skysense.tasks.metrics import accumulator
from skysense.tasks.predictions import ClassScores
from tests.tasks.metrics.made import SIZE, filled, images


def _values(results) -> dict[str, float]:
    return {name: one.value for name, one in results.metrics.items()}


def _judge(truths, scores, classes: int):
    task = "classification" if np.ndim(truths[0]) == 0 else "multilabel"
    found = accumulator(task, [f"c{k}" for k in range(classes)])
    for at, (truth, one) in enumerate(zip(truths, scores, strict=True)):
        found.add(f"i{at:04}", f"g{at // 3}", truth, ClassScores(np.array(one, np.float32)), SIZE)
    return found.results(np.arange(classes), resamples=3)


@pytest.mark.parametrize("classes", [2, 7, 40])
def test_one_class_agrees_with_scikit_learn_and_torchmetrics(classes: int) -> None:
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    of = images("classification", 90, classes, seed=classes)
    results = filled("classification", of, classes).results(np.arange(classes), resamples=3)
    truth, scores = np.array([one[2] for one in of]), np.stack([one[3].scores_K for one in of])
    found = _values(results)
    assert found["OA"] == pytest.approx(reference.accuracy_score(truth, scores.argmax(1)))
    assert found["macro F1"] == pytest.approx(reference.f1_score(truth, scores.argmax(1), average="macro"))
    if classes > 5:
        labels = np.arange(classes)
        assert found["top-5"] == pytest.approx(reference.top_k_accuracy_score(truth, scores, k=5, labels=labels))
    else:
        assert "top-5" not in found
    error = multiclass_calibration_error(torch.tensor(scores), torch.tensor(truth), classes, n_bins=15)
    assert found["ECE"] == pytest.approx(float(error), abs=1e-6)
    assert (results.confusion_KK == reference.confusion_matrix(truth, scores.argmax(1), labels=range(classes))).all()
    constant = np.full_like(truth, classes - 1)
    baseline = results.baselines[f"always class {classes - 1}"]
    assert baseline["OA"].value == pytest.approx(reference.accuracy_score(truth, constant))
    assert baseline["macro F1"].value == pytest.approx(reference.f1_score(truth, constant, average="macro"))


def test_by_hand_with_ties_and_an_absent_class() -> None:
    results = _judge([0, 1, 1], [[0.4, 0.4, 0.2], [0.5, 0.5, 0.0], [0.1, 0.9, 0.0]], 3)
    assert _values(results)["OA"] == pytest.approx(2 / 3)  # of a tie the lower class is the answer
    assert _values(results)["macro F1"] == pytest.approx(2 / 3)  # both F1 are 2/3; class 2 is nowhere
    assert np.isnan(results.per_class["F1"][2])
    assert results.per_class["recall"][:2] == pytest.approx((1, 0.5))
    # confidences 0.4 (right), 0.5 (wrong), 0.9 (right), each in a bin of its own
    assert _values(results)["ECE"] == pytest.approx((0.6 + 0.5 + 0.1) / 3)


def test_top_5_counts_ties_by_class_order() -> None:
    results = _judge([4, 5], [[1 / 6] * 6, [1 / 6] * 6], 6)
    assert _values(results)["top-5"] == pytest.approx(0.5)


def test_full_confidence_lies_in_the_last_bin() -> None:
    results = _judge([0, 1], [[1, 0], [1, 0]], 2)
    assert results.reliability.count_Q.tolist() == [0] * 14 + [2]
    assert _values(results)["ECE"] == pytest.approx(0.5)


def test_several_classes_agree_with_scikit_learn() -> None:
    of = images("multilabel", 70, 6, seed=2)
    results = filled("multilabel", of, 6).results(resamples=3)
    truth, scores = np.stack([one[2] for one in of]), np.stack([one[3].scores_K for one in of])
    found, answer = _values(results), scores > 0.5
    assert found["mAP"] == pytest.approx(reference.average_precision_score(truth, scores, average="macro"))
    assert found["micro mAP"] == pytest.approx(reference.average_precision_score(truth, scores, average="micro"))
    assert found["macro F1"] == pytest.approx(reference.f1_score(truth, answer, average="macro"))
    assert found["micro F1"] == pytest.approx(reference.f1_score(truth, answer, average="micro"))
    assert results.per_class["AP"] == pytest.approx(reference.average_precision_score(truth, scores, average=None))
    edges, error = np.linspace(0, 1, 16), 0.0
    for lo, hi in pairwise(edges):
        inside = (scores >= np.float32(lo)) & (scores < hi) if hi < 1 else scores >= np.float32(lo)
        error += abs(truth[inside].sum() - scores[inside].sum(dtype=float))
    assert found["ECE"] == pytest.approx(error / truth.size, abs=1e-6)


def test_a_constant_answer_reaches_the_prevalence() -> None:
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
    results = _judge(list(truth), [[0.3, 0.2, 0.1]] * 4, 3)
    assert _values(results)["mAP"] == pytest.approx((3 / 4 + 1 / 4) / 2)  # the third class has no positive
    assert results.baselines["the same for every image"]["mAP"].value == pytest.approx(0.5)


def test_no_positive_at_all() -> None:
    results = _judge([np.zeros(2, bool)] * 3, [[0.1, 0.2]] * 3, 2)
    assert np.isnan(_values(results)["mAP"])
    assert np.isnan(results.metrics["mAP"].lo)


@pytest.mark.parametrize(
    ("truth", "scores"),
    [(3, [0.5, 0.5]), (-1, [0.5, 0.5]), (0, [1.0]), (0, [np.nan, 1.0]), (np.array([1, 0]), [0.5, 0.5])],
)
def test_wrong_labels_and_answers_are_refused(truth, scores) -> None:
    with pytest.raises(InputError):
        accumulator("classification", "ab").add("i", "g", truth, ClassScores(np.array(scores, np.float32)), SIZE)
