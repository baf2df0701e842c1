"""Which detection finds which true box, in one image and of one class, by the rules of COCO and of Pascal VOC.

Letters: D detections, best first, G true boxes, T thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COCO_THRESHOLDS = np.linspace(0.5, 0.95, 10)
VOC_THRESHOLD = 0.5


@dataclass(frozen=True)
class Matches:
    """What became of each detection.

    Attributes:
        hit_TD: it found a true box.
        ignored_TD: it lies on a box that is to be ignored, and counts neither as right nor as wrong.
    """

    hit_TD: NDArray[np.bool_]
    ignored_TD: NDArray[np.bool_]


def overlap(a_D4: NDArray[np.float64], b_G4: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much horizontal boxes x1, y1, x2, y2 overlap.

    Returns:
        Intersection over union ``(D, G)``, and the share of each box of ``a`` that lies in each of ``b`` ``(D, G)``.
    """
    low_DG2, high_DG2 = (
        np.maximum(a_D4[:, None, :2], b_G4[None, :, :2]),
        np.minimum(a_D4[:, None, 2:], b_G4[None, :, 2:]),
    )
    common_DG = np.clip(high_DG2 - low_DG2, 0, None).prod(axis=-1)
    area_D, area_G = (np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=-1) for boxes in (a_D4, b_G4))
    union_DG = area_D[:, None] + area_G - common_DG
    return common_DG / np.maximum(union_DG, 1e-12), common_DG / np.maximum(area_D[:, None], 1e-12)


def match_coco(iou_DG: NDArray[np.float64], within_DG: NDArray[np.float64], ignore_G: NDArray[np.bool_]) -> Matches:
    """Match as COCO does, at each of its ten thresholds.

    Each detection takes the true box it overlaps most among those that nobody took. If it reaches none, it may lie on a
    box to be ignored (a crowd): any number of detections may, and what counts is the share of the detection within.

    Args:
        iou_DG: intersection over union.
        within_DG: share of each detection within each box, used for boxes to be ignored.
        ignore_G: boxes to be ignored.
    """
    thresholds_T = np.minimum(COCO_THRESHOLDS, 1 - 1e-10)
    hit_TD = np.zeros((len(thresholds_T), len(iou_DG)), bool)
    iou_DF, crowd_D = iou_DG[:, ~ignore_G], within_DG[:, ignore_G].max(axis=1, initial=0)
    taken_TF = np.zeros((len(thresholds_T), iou_DF.shape[1]), bool)
    rows_T = np.arange(len(thresholds_T))
    for at in np.flatnonzero(iou_DF.max(axis=1, initial=0) >= thresholds_T[0]):
        free_TF = np.where(taken_TF, -1, iou_DF[at])
        best_T = free_TF.shape[1] - 1 - free_TF[:, ::-1].argmax(axis=1)  # of equal overlaps the last, as COCO
        hit_TD[:, at] = hit_T = free_TF[rows_T, best_T] >= thresholds_T
        taken_TF[rows_T[hit_T], best_T[hit_T]] = True
    return Matches(hit_TD, ~hit_TD & (crowd_D >= thresholds_T[:, None]))


def match_voc(iou_DG: NDArray[np.float64], ignore_G: NDArray[np.bool_]) -> Matches:
    """Match as Pascal VOC and DOTA do, at an overlap of more than a half.

    Each detection points at the true box it overlaps most. If that box is difficult, the detection does not count; if
    a better detection has found it already, it is wrong.

    Args:
        iou_DG: intersection over union.
        ignore_G: difficult boxes.
    """
    count, boxes = iou_DG.shape
    hit_TD, ignored_TD = np.zeros((1, count), bool), np.zeros((1, count), bool)
    if boxes:
        best_D, found_G = iou_DG.argmax(axis=1), np.zeros(boxes, bool)
        for at in np.flatnonzero(iou_DG.max(axis=1) > VOC_THRESHOLD):
            box = best_D[at]
            ignored_TD[0, at] = ignore_G[box]
            hit_TD[0, at] = not ignore_G[box] and not found_G[box]
            found_G[box] = True
    return Matches(hit_TD, ignored_TD)
