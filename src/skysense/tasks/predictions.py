"""What an adapted model says about one image, by kind of task; nothing of it needs torch.

Letters: N boxes, K classes, H W pixels of the label grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassScores:
    """Of classification (they add up to one) and multi-label classification (each for itself).

    Attributes:
        scores_K: float32 probability of every class.
    """

    scores_K: NDArray[np.float32]


@dataclass(frozen=True)
class ClassMap:
    """Of segmentation.

    Attributes:
        answer_HW: uint8 likeliest class.
        confidence_HW: float32 its probability.
    """

    answer_HW: NDArray[np.uint8]
    confidence_HW: NDArray[np.float32]


@dataclass(frozen=True)
class Detections:
    """Of detection, best first.

    Attributes:
        boxes_N: float32 ``(N, 4)`` x1, y1, x2, y2, or ``(N, 5)`` cx, cy, w, h in pixels and the angle in radians.
        scores_N: float32, 0 .. 1.
        label_N: int64 class.
    """

    boxes_N: NDArray[np.float32]
    scores_N: NDArray[np.float32]
    label_N: NDArray[np.int64]


@dataclass(frozen=True)
class ChangeMap:
    """Of change detection.

    Attributes:
        changed_HW: float32 probability that something changed.
        before_HW, after_HW: uint8 likeliest class of either date; None without classes.
    """

    changed_HW: NDArray[np.float32]
    before_HW: NDArray[np.uint8] | None = None
    after_HW: NDArray[np.uint8] | None = None


Prediction = ClassScores | ClassMap | Detections | ChangeMap
