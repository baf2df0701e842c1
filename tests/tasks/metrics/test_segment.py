from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from skysense.tasks.metrics import accumulator
from skysense.tasks.predictions import ClassMap
from tests.tasks.metrics.made import SIZE, filled, images


def _judge(truth, answer, classes: int, size=None, confidence: float = 0.9):
    truth, answer = np.array(truth, np.uint8), np.array(answer, np.uint8)
    found = accumulator("segmentation", [f"c{k}" for k in range(classes)])
    prediction = ClassMap(answer, np.full(answer.shape, confidence, np.float32))
    found.add("i", "g", truth, prediction, size or truth.shape)
    return found.results(np.arange(classes), resamples=3)


@pytest.mark.parametrize("classes", [2, 12])
def test_agrees_with_scikit_learn_and_torchmetrics(classes: int) -> None:
    import torch
    from torchmetrics.functional.classification import multiclass_jaccard_index

    of = images("segmentation", 9, classes, seed=classes)
    results = filled("segmentation", of, classes).results(np.arange(classes), resamples=3)
    rows, cols = SIZE
    truth, answer, sure = (
        np.stack(maps)[:, :rows, :cols].ravel()
        for maps in zip(*[(one[2], one[3].answer_HW, one[3].confidence_HW) for one in of], strict=True)
    )
    truth, answer, sure = truth[truth < 255], answer[truth < 255], sure[truth < 255].astype(float)
    found = {name: one.value for name, one in results.metrics.items()}
    assert found["mIoU"] == pytest.approx(reference.jaccard_score(truth, answer, average="macro"))
    theirs = multiclass_jaccard_index(torch.tensor(answer.astype(int)), torch.tensor(truth.astype(int)), classes)
    assert found["mIoU"] == pytest.approx(float(theirs), abs=1e-6)
    assert found["OA"] == pytest.approx(reference.accuracy_score(truth, answer))
    assert found["mean F1"] == pytest.approx(reference.f1_score(truth, answer, average="macro"))
    assert results.per_class["IoU"] == pytest.approx(reference.jaccard_score(truth, answer, average=None))
    assert results.per_class["precision"] == pytest.approx(reference.precision_score(truth, answer, average=None))
    assert results.per_class["recall"] == pytest.approx(reference.recall_score(truth, answer, average=None))
    assert (results.confusion_KK == reference.confusion_matrix(truth, answer)).all()
    assert results.counts["labelled pixels"] == truth.size
    which = np.minimum((sure * 15).astype(int), 14)
    gaps = [abs(((truth == answer) - sure)[which == q].sum()) for q in range(15)]
    assert found["ECE"] == pytest.approx(sum(gaps) / truth.size, abs=1e-6)
    constant = np.full_like(truth, classes - 1)
    baseline = results.baselines[f"always class {classes - 1}"]
    assert baseline["mIoU"].value == pytest.approx(reference.jaccard_score(truth, constant, average="macro"))


def test_by_hand() -> None:
    results = _judge([[0, 0, 1, 255]], [[0, 1, 1, 2]], 4)
    assert results.per_class["IoU"] == pytest.approx((1 / 2, 1 / 2, np.nan, np.nan), nan_ok=True)
    assert results.metrics["mIoU"].value == pytest.approx(0.5)
    assert results.metrics["OA"].value == pytest.approx(2 / 3)
    assert results.metrics["ECE"].value == pytest.approx(0.9 - 2 / 3)
    assert results.worst[0].score == pytest.approx(0.5)


def test_a_class_that_is_only_answered_counts_as_zero() -> None:
    results = _judge([[0, 0, 0, 0]], [[0, 0, 0, 2]], 3)
    assert results.per_class["IoU"] == pytest.approx((3 / 4, np.nan, 0), nan_ok=True)
    assert results.metrics["mIoU"].value == pytest.approx(3 / 8)


def test_padding_does_not_count() -> None:
    truth, answer = np.zeros((4, 4)), np.ones((4, 4))
    answer[:2, :3] = 0
    assert _judge(truth, answer, 2, size=(2, 3)).metrics["OA"].value == 1
    assert _judge(truth, answer, 2).metrics["OA"].value == pytest.approx(6 / 16)


def test_nothing_labelled() -> None:
    results = _judge(np.full((3, 3), 255), np.zeros((3, 3)), 2)
    assert all(np.isnan(one.value) for one in results.metrics.values())
    assert results.worst == () and results.best == ()
    assert results.counts["labelled pixels"] == 0
