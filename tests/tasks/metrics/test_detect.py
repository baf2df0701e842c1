from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from skysense.data.labelled.example import Boxes, OrientedBoxes
from skysense.errors import InputError
from skysense.tasks.metrics import accumulator
from skysense.tasks.metrics.detect import score_of_best_f1
from skysense.tasks.predictions import Detections
from tests.tasks.metrics.made import SIZE, filled, images


def coco(of, classes: int) -> np.ndarray:
    """What pycocotools says: mAP, mAP50, mAP75."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths, answers = [], []
    for at, (_, _, target, found) in enumerate(of):
        for box, label, ignore in zip(target.corners_N4.astype(float), target.label_N, target.ignore_N, strict=True):
            side = box[2:] - box[:2]
            truths.append(
                {"image_id": at, "category_id": int(label), "bbox": [*box[:2], *side], "area": side.prod()}
                | {"iscrowd": int(ignore), "id": len(truths) + 1}
            )
        for box, label, score in zip(found.boxes_N.astype(float), found.label_N, found.scores_N, strict=True):
            bbox = [*box[:2], *(box[2:] - box[:2])]
            answers.append({"image_id": at, "category_id": int(label), "bbox": bbox, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        data.dataset = {
            "images": [{"id": at} for at in range(len(of))],
            "annotations": truths,
            "categories": [{"id": k} for k in range(classes)],
        }
        data.createIndex()
        judge = COCOeval(data, data.loadRes(answers), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats[:3]


def overlap_horizontal(a, b) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def overlap_oriented(a, corners) -> float:
    from shapely import affinity, box
    from shapely.geometry import Polygon

    cx, cy, w, h, angle = map(float, a)
    ours = affinity.rotate(box(cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), angle, use_radians=True)
    theirs = Polygon(corners.astype(float))
    common = ours.intersection(theirs).area
    return common / (ours.area + theirs.area - common)


def voc(of, classes: int, overlap) -> tuple[float, float]:
    """VOC's mAP at 11 points and as area, one detection after the other."""
    eleven, areas = [], []
    for label in range(classes):
        answers = [
            (-float(score), at, place)
            for at, (_, _, _, found) in enumerate(of)
            for place, (score, k) in enumerate(zip(found.scores_N, found.label_N, strict=True))
            if k == label
        ]
        total = sum(int(((one[2].label_N == label) & ~one[2].ignore_N).sum()) for one in of)
        if not total:
            continue
        used, right, wrong, precision, recall = set(), 0, 0, [], []
        for _, at, place in sorted(answers):
            target, found = of[at][2], of[at][3]
            boxes = target.corners_N4 if isinstance(target, Boxes) else target.corners_N42
            mine = [g for g in range(len(target)) if target.label_N[g] == label]
            ious = [overlap(found.boxes_N[place].astype(float), boxes[g].astype(float)) for g in mine]
            if ious and max(ious) > 0.5:
                box = mine[int(np.argmax(ious))]
                if target.ignore_N[box]:
                    continue
                right, wrong = (right, wrong + 1) if (at, box) in used else (right + 1, wrong)
                used.add((at, box))
            else:
                wrong += 1
            precision.append(right / (right + wrong))
            recall.append(right / total)
        precision, recall = np.array(precision), np.array(recall)
        eleven.append(np.mean([max(precision[recall >= level], default=0) for level in np.arange(0, 1.1, 0.1)]))
        steps = np.diff(recall, prepend=0)
        areas.append(sum(step * precision[at:].max() for at, step in enumerate(steps)))
    return float(np.mean(eleven)), float(np.mean(areas))


@pytest.mark.parametrize("seed", range(6))
def test_horizontal_boxes_agree_with_pycocotools_and_with_a_loop(seed: int) -> None:
    of = images("detection", 25, 3, seed=seed)
    found = {name: one.value for name, one in filled("detection", of, 3).results(resamples=3).metrics.items()}
    mean, half, high = coco(of, 3)
    assert found["mAP"] == pytest.approx(mean, abs=1e-6)
    assert found["mAP50"] == pytest.approx(half, abs=1e-6)
    assert found["mAP75"] == pytest.approx(high, abs=1e-6)
    eleven, area = voc(of, 3, overlap_horizontal)
    assert found["mAP50 (VOC 11 points)"] == pytest.approx(eleven, abs=1e-6)
    assert found["mAP50 (VOC area)"] == pytest.approx(area, abs=1e-6)
    assert 0.1 < found["mAP"] < found["mAP50"] < 0.9


def test_no_more_than_a_hundred_detections_of_a_class_count() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 500, (150, 2))
    boxes = np.concatenate([low, low + 10], axis=1).astype(np.float32)
    scores = np.sort(rng.random(150)).astype(np.float32)[::-1]
    label = np.zeros(150, int)
    of = [("i", "g", Boxes(boxes, label, np.zeros(150, bool)), Detections(boxes, scores, label))]
    metrics = filled("detection", of, 1).results(resamples=3).metrics
    assert metrics["mAP50"].value == pytest.approx(coco(of, 1)[1], abs=1e-6)
    assert metrics["mAP50"].value < 0.7
    assert metrics["mAP50 (VOC area)"].value == 1


@pytest.mark.parametrize("seed", range(4))
def test_oriented_boxes_agree_with_a_loop(seed: int) -> None:
    of = images("oriented-detection", 20, 2, seed=seed)
    results = filled("oriented-detection", of, 2).results(resamples=3)
    eleven, area = voc(of, 2, overlap_oriented)
    assert results.metrics["mAP50"].value == pytest.approx(eleven, abs=1e-6)
    assert results.metrics["mAP50 (area)"].value == pytest.approx(area, abs=1e-6)
    assert 0.2 < area < 0.98


def _boxes(corners, label=None, ignore=None) -> Boxes:
    corners = np.array(corners, np.float32).reshape(-1, 4)
    count = len(corners)
    return Boxes(corners, np.array(label or [0] * count, int), np.array(ignore or [False] * count, bool))


def _found(boxes, scores, label=None) -> Detections:
    boxes = np.array(boxes, np.float32).reshape(len(scores), -1) if scores else np.zeros((0, 4), np.float32)
    return Detections(boxes, np.array(scores, np.float32), np.array(label or [0] * len(scores), int))


A, B = [0, 0, 10, 10], [20, 20, 30, 30]


@pytest.mark.parametrize(
    ("truth", "found", "area", "half", "own"),
    [
        (_boxes([A, B]), _found([A, B], [0.9, 0.8]), 1, 1, 1),
        (_boxes([A, B]), _found([], []), 0, 0, 0),
        (_boxes([A, B]), _found([A], [0.9]), 0.5, 51 / 101, 0.5),
        (_boxes([A]), _found([A, A, A], [0.9, 0.9, 0.9]), 1, 1, 1),  # duplicates after the last box cost nothing
        (_boxes([A, B]), _found([A, A, B], [0.9, 0.8, 0.7]), 5 / 6, (51 + 50 * 2 / 3) / 101, 5 / 6),
        (_boxes([A]), _found([A], [0.9], [1]), 0, 0, 0),  # another class
        (_boxes([A, B], ignore=[False, True]), _found([B, A], [0.9, 0.8]), 1, 1, 1),
        (_boxes([]), _found([A], [0.7]), np.nan, np.nan, 0.3),
        (_boxes([]), _found([], []), np.nan, np.nan, 1),
        (_boxes([A], ignore=[True]), _found([A], [0.7]), np.nan, np.nan, 1),
    ],
)
def test_by_hand(truth: Boxes, found: Detections, area: float, half: float, own: float) -> None:
    judge = accumulator("detection", ("a", "b"))
    judge.add("i", "g", truth, found, SIZE)
    results = judge.results(resamples=3)
    assert results.metrics["mAP50 (VOC area)"].value == pytest.approx(area, nan_ok=True)
    assert results.metrics["mAP50"].value == pytest.approx(half, nan_ok=True)
    assert results.worst[0].score == pytest.approx(own, abs=1e-6)


def test_calibration_compares_scores_with_hits() -> None:
    judge = accumulator("detection", ("a",))
    judge.add("i", "g", _boxes([A, B], ignore=[False, True]), _found([A, [50, 50, 60, 60], B], [0.9, 0.7, 0.8]), SIZE)
    results = judge.results(resamples=3)
    assert results.metrics["ECE"].value == pytest.approx((0.1 + 0.7) / 2, abs=1e-6)  # what lies on B does not count
    assert results.per_class["recall"] == (1.0,)
    assert results.counts == {"images": 1, "groups": 1, "boxes": 1, "boxes to be ignored": 1, "detections": 3}


@pytest.mark.parametrize("task", ["detection", "oriented-detection"])
def test_the_least_score_is_that_of_the_best_f1_of_all(task) -> None:
    """Every score tried, with hits as recall counts them."""
    of = images(task, 20, 2, seed=3)
    boxes = sum(int((~target.ignore_N).sum()) for _, _, target, _ in of)

    def f1(least: float) -> float:
        kept = []
        for name, group, target, found in of:
            at = found.scores_N >= least
            kept.append((name, group, target, Detections(found.boxes_N[at], found.scores_N[at], found.label_N[at])))
        per_class = filled(task, kept, 2).results(resamples=2).per_class
        return 2 * float(np.dot(per_class["recall"], per_class["boxes"])) / (sum(per_class["detections"]) + boxes)

    scores = np.unique(np.concatenate([found.scores_N for *_, found in of])).astype(float)
    tried = [f1(least) for least in scores]
    found = filled(task, of, 2).least_score()
    assert found == pytest.approx(scores[np.flatnonzero(np.array(tried) > max(tried) - 1e-12)[-1]])
    assert scores[0] < found < scores[-1] and max(tried) > tried[0] + 0.01


def test_where_nothing_is_hit_no_score_is_best() -> None:
    assert score_of_best_f1(np.array([]), np.array([], bool), 3) is None
    assert score_of_best_f1(np.array([0.4, 0.6]), np.array([False, False]), 3) is None
    tied = score_of_best_f1(np.array([0.5, 0.9, 0.5, 0.2]), np.array([True, True, False, False]), 2)
    assert tied == 0.5  # 2 of 3 are right, 2 of 2 found: 0.8; without those of 0.5 it is 2/3
    judge = accumulator("classification", ("a", "b"))
    assert judge.least_score() is None


def test_a_box_is_the_same_after_half_a_turn() -> None:
    corners = np.array([[[0, 0], [10, 0], [10, 4], [0, 4]]], np.float32)
    target = OrientedBoxes(corners, np.zeros(1, int), np.zeros(1, bool))
    for box in ([5, 2, 10, 4, 0], [5, 2, 10, 4, np.pi], [5, 2, 4, 10, np.pi / 2], [5, 2, 4, 10, -np.pi / 2]):
        judge = accumulator("oriented-detection", ("a",))
        judge.add("i", "g", target, _found([box], [0.9]), SIZE)
        assert judge.results(resamples=2).metrics["mAP50"].value == 1


@pytest.mark.parametrize(
    ("truth", "found", "words"),
    [
        (_boxes([A], [2]), _found([], []), "there are 2 classes"),
        (_boxes([A]), _found([A], [np.nan]), "not finite"),
        (_boxes([A]), _found([[1, 2, 3, 4, 0.5]], [0.5]), "4 finite numbers"),
        (np.zeros((2, 2), np.uint8), _found([], []), "must be boxes"),
    ],
)
def test_wrong_labels_and_answers_are_refused(truth, found, words: str) -> None:
    with pytest.raises(InputError, match=words):
        accumulator("detection", ("a", "b")).add("i", "g", truth, found, SIZE)
