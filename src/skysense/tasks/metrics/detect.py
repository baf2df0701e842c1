"""Detection, with horizontal boxes and with boxes of any direction.

Letters: M images, K classes, P groups, R resamples, D detections, G true boxes, T ways to match.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.example import Boxes, OrientedBoxes, Target
from skysense.errors import InputError
from skysense.tasks.metrics.accumulate import MODEL, Accumulator, Summary, expect
from skysense.tasks.metrics.calibration import Binned, binned, calibration_error, reliability_of
from skysense.tasks.metrics.counts import Floats, mean_defined, ratio
from skysense.tasks.metrics.matching import COCO_THRESHOLDS, Matches, match_coco, match_voc, overlap
from skysense.tasks.metrics.oriented import overlap_oriented
from skysense.tasks.metrics.precision import Curves, Kind
from skysense.tasks.predictions import Detections, Prediction

COCO_LIMIT = 100
"""Detections per image and class that COCO looks at."""

_VOC = -1
"""Matches by the rule of Pascal VOC are the last row."""

Metrics = Mapping[str, tuple[Kind, tuple[int, ...]]]
"""By name: the kind of average precision, and which rows of matches it is averaged over."""


@dataclass(frozen=True)
class _Found:
    label_D: NDArray[np.int64]
    score_D: NDArray[np.float64]
    hit_TD: NDArray[np.bool_]
    ignored_TD: NDArray[np.bool_]
    boxes_K: NDArray[np.int64]
    ignored_boxes: int
    own: float
    bins: Binned


class _Finding(Accumulator[_Found]):
    """What both kinds of boxes share.

    Each image is matched once, class by class; average precision then follows for any weighting of groups. Detections
    of equal score are taken in the order of the names of their images.
    """

    metrics: ClassVar[Metrics]
    ways: ClassVar[int]

    def least_score(self) -> float | None:
        """The score at which all classes together have the best F1, at an overlap of 0.5; None where nothing is hit."""
        looks = [self._images[name][1] for name in sorted(self._images)]
        counted = [~look.ignored_TD[_VOC] for look in looks]
        return score_of_best_f1(
            np.concatenate([look.score_D[kept_D] for look, kept_D in zip(looks, counted, strict=True)]),
            np.concatenate([look.hit_TD[_VOC][kept_D] for look, kept_D in zip(looks, counted, strict=True)]),
            sum(int(look.boxes_K.sum()) for look in looks),
        )

    @abstractmethod
    def _match(self, target: Target, found: Detections, of_D: NDArray[np.int64], of_G: NDArray[np.int64]) -> Matches:
        """Match the detections ``of_D``, best first, to the true boxes ``of_G`` of the same class: ``(T, D)``."""

    def _look(self, target: Target, prediction: Prediction, size: tuple[int, int]) -> _Found:
        found, classes = expect(prediction, Detections, "answer"), len(self.classes)
        if not isinstance(target, Boxes | OrientedBoxes):
            raise InputError(f"the label must be boxes; got {type(target).__name__}")
        for kind, label in (("label", target.label_N), ("answer", found.label_N)):
            if len(label) and not (label.min() >= 0 and label.max() < classes):
                raise InputError(f"a {kind} is of class {label.min()} or {label.max()} and there are {classes} classes")
        if len(found.scores_N) and not np.isfinite(found.scores_N).all():
            raise InputError("an answer has a score that is not finite")
        order_D = np.argsort(-found.scores_N, kind="stable")
        label_D, score_D = found.label_N[order_D], found.scores_N[order_D].astype(np.float64)
        hit_TD, ignored_TD = (np.zeros((self.ways, len(order_D)), bool) for _ in range(2))
        for label in np.unique(label_D):
            at_D = np.flatnonzero(label_D == label)
            matches = self._match(target, found, order_D[at_D], np.flatnonzero(target.label_N == label))
            hit_TD[:, at_D], ignored_TD[:, at_D] = matches.hit_TD, matches.ignored_TD
        counted_D = ~ignored_TD[_VOC]
        boxes_K = np.bincount(target.label_N[~target.ignore_N], minlength=classes)
        return _Found(
            label_D,
            score_D,
            hit_TD,
            ignored_TD,
            boxes_K,
            int(target.ignore_N.sum()),
            _own(label_D, score_D, hit_TD[_VOC], counted_D, boxes_K),
            binned(score_D[counted_D], hit_TD[_VOC][counted_D]),
        )

    def _summary(
        self, looks: Sequence[_Found], place_M: NDArray[np.int64], places: int, majority: int | None
    ) -> Summary:
        classes = len(self.classes)
        boxes_PK = np.zeros((places, classes))
        np.add.at(boxes_PK, place_M, np.stack([look.boxes_K for look in looks]))
        label_D, score_D = (np.concatenate([getattr(look, name) for look in looks]) for name in ("label_D", "score_D"))
        hit_TD, ignored_TD = (
            np.concatenate([getattr(look, name) for look in looks], axis=1) for name in ("hit_TD", "ignored_TD")
        )
        place_D = place_M.repeat([len(look.label_D) for look in looks])
        curves: list[list[tuple[list[int], Curves]]] = []
        for label in range(classes):
            of_D = np.flatnonzero(label_D == label)
            of_D = of_D[np.argsort(-score_D[of_D], kind="stable")]
            curves.append(_curves(place_D[of_D], hit_TD[:, of_D], ignored_TD[:, of_D], boxes_PK[:, label]))
        error = calibration_error([look.bins for look in looks], place_M, places)

        def values(weights_RP: Floats) -> dict[str, dict[str, Floats]]:
            by_class = _by_class(curves, self.metrics, self.ways, weights_RP)
            found = {name: mean_defined(one_RK) for name, one_RK in by_class.items()}
            return {MODEL: found | {"ECE": error(weights_RP)}}

        counted_D = ~ignored_TD[_VOC]
        hits_K = np.bincount(label_D[hit_TD[_VOC]], minlength=classes).astype(float)
        boxes_K = boxes_PK.sum(axis=0)
        together = _by_class(curves, self.metrics, self.ways, np.ones((1, places)))
        table = {name.replace("mAP", "AP"): one[0] for name, one in together.items()}
        return Summary(
            values,
            [look.own for look in looks],
            table
            | {
                "recall": ratio(hits_K, boxes_K),
                "boxes": boxes_K,
                "detections": np.bincount(label_D[counted_D], minlength=classes).astype(float),
            },
            {
                "boxes": int(boxes_K.sum()),
                "boxes to be ignored": sum(look.ignored_boxes for look in looks),
                "detections": len(label_D),
            },
            None,
            reliability_of([look.bins for look in looks]),
        )


class Detection(_Finding):
    """Horizontal boxes.

    Metrics, each averaged over classes with a box to be found: COCO's average precision at an overlap (IoU) of 0.5
    (mAP50; the headline), of 0.75 (mAP75), and over ten overlaps from 0.5 to 0.95 (mAP), with at most 100 detections
    per image and class; average precision at 0.5 by the rules of Pascal VOC, as area under the curve and at 11 points;
    expected calibration error (ECE) of scores against hits at 0.5. Boxes to be ignored count as crowds in COCO's
    metrics and as difficult in VOC's. The own score of an image is its VOC area averaged over its classes; without a
    box to be found it is what the highest score lacks to 1.
    """

    task = "detection"
    metrics: ClassVar[Metrics] = {
        "mAP50": ("101 points", (0,)),
        "mAP": ("101 points", tuple(range(len(COCO_THRESHOLDS)))),
        "mAP75": ("101 points", (5,)),
        "mAP50 (VOC area)": ("area", (_VOC,)),
        "mAP50 (VOC 11 points)": ("11 points", (_VOC,)),
    }
    ways = len(COCO_THRESHOLDS) + 1

    def _match(self, target: Target, found: Detections, of_D: NDArray[np.int64], of_G: NDArray[np.int64]) -> Matches:
        truth, boxes = expect(target, Boxes, "label"), _shaped(found, 4)
        ignore_G = truth.ignore_N[of_G]
        iou_DG, within_DG = overlap(boxes[of_D], truth.corners_N4[of_G].astype(np.float64))
        coco, voc = match_coco(iou_DG[:COCO_LIMIT], within_DG[:COCO_LIMIT], ignore_G), match_voc(iou_DG, ignore_G)
        beyond = ((0, 0), (0, max(0, len(of_D) - COCO_LIMIT)))
        return Matches(
            np.concatenate([np.pad(coco.hit_TD, beyond), voc.hit_TD]),
            np.concatenate([np.pad(coco.ignored_TD, beyond, constant_values=True), voc.ignored_TD]),
        )


class OrientedDetection(_Finding):
    """Boxes of any direction, judged as DOTA does (Xia et al., CVPR 2018): overlap of the boxes as they lie.

    Metrics, each averaged over classes with a box to be found, at an overlap (IoU) of more than 0.5 with difficult
    boxes left out: average precision at 11 points of recall (mAP50; the headline, the rule of VOC 2007 that DOTA and
    DIOR-R are published with) and as area under the curve; expected calibration error (ECE) of scores against hits.
    The own score of an image is as in `Detection`.
    """

    task = "oriented-detection"
    metrics: ClassVar[Metrics] = {"mAP50": ("11 points", (_VOC,)), "mAP50 (area)": ("area", (_VOC,))}
    ways = 1

    def _match(self, target: Target, found: Detections, of_D: NDArray[np.int64], of_G: NDArray[np.int64]) -> Matches:
        truth, boxes = expect(target, OrientedBoxes, "label"), _shaped(found, 5)
        return match_voc(overlap_oriented(boxes[of_D], truth.corners_N42[of_G]), truth.ignore_N[of_G])


def score_of_best_f1(score_D: Floats, hit_D: NDArray[np.bool_], boxes: int) -> float | None:
    """The least score of the detections that have the best F1, of equally good ones the highest.

    ``F1 = 2 hits / (detections + boxes)``; detections of one score are kept or left out together.

    Args:
        score_D: of each detection, in any order.
        hit_D: whether it found a box.
        boxes: to be found.

    Returns:
        None where nothing is hit.
    """
    order_D = np.argsort(-score_D, kind="stable")
    score_D, hits_D = score_D[order_D], hit_D[order_D].cumsum()
    if not len(score_D) or not hits_D[-1]:
        return None
    f1_D = 2 * hits_D / (np.arange(1, len(score_D) + 1) + boxes)
    f1_D[:-1][score_D[:-1] == score_D[1:]] = 0  # more of the same score follow
    return float(score_D[f1_D.argmax()])


def _shaped(found: Detections, numbers: int) -> NDArray[np.float64]:
    boxes = found.boxes_N.astype(np.float64)
    if boxes.shape != (len(found.label_N), numbers) or not np.isfinite(boxes).all():
        raise InputError(f"the answer must be boxes of {numbers} finite numbers; got {boxes.shape}")
    return boxes


def _own(
    label_D: NDArray[np.int64],
    score_D: NDArray[np.float64],
    hit_D: NDArray[np.bool_],
    counted_D: NDArray[np.bool_],
    boxes_K: NDArray[np.int64],
) -> float:
    if not boxes_K.any():
        return 1 - float(score_D[counted_D].max(initial=0))
    average = []
    for label in np.flatnonzero(boxes_K):
        hits_D = hit_D[counted_D & (label_D == label)]
        curve = Curves(np.zeros(len(hits_D), np.int64), hits_D[None], boxes_K[[label]].astype(float))
        average.append(curve.average_precision(np.ones((1, 1)), [("area",)])[0]["area"][0])
    return float(np.mean(average))


def _curves(
    place_D: NDArray[np.int64], hit_TD: NDArray[np.bool_], ignored_TD: NDArray[np.bool_], boxes_P: Floats
) -> list[tuple[list[int], Curves]]:
    """Curves of one class, those together that leave out the same detections, with the rows of matches they are of."""
    patterns, pattern_T = np.unique(ignored_TD, axis=0, return_inverse=True)
    found = []
    for at, ignored_D in enumerate(patterns):
        rows = np.flatnonzero(pattern_T == at).tolist()
        found.append((rows, Curves(place_D[~ignored_D], hit_TD[rows][:, ~ignored_D], boxes_P)))
    return found


def _by_class(
    curves: Sequence[Sequence[tuple[list[int], Curves]]], metrics: Metrics, ways: int, weights_RP: Floats
) -> dict[str, Floats]:
    """Average precision ``(R, K)`` of each metric."""
    kinds_T = [
        [kind for kind in get_args(Kind) if any(kind == one and way in rows for one, rows in metrics.values())]
        for way in [*range(ways - 1), _VOC]
    ]
    found: dict[str, Floats] = {name: np.empty((len(weights_RP), len(curves))) for name in metrics}
    for label, parts in enumerate(curves):
        values_T: dict[int, dict[Kind, Floats]] = {}
        for way_T, curve in parts:
            values_T |= zip(way_T, curve.average_precision(weights_RP, [kinds_T[way] for way in way_T]), strict=True)
        for name, (kind, rows) in metrics.items():
            found[name][:, label] = np.mean([values_T[way % ways][kind] for way in rows], axis=0)
    return found
