"""How much boxes of any direction overlap.

Letters: D boxes cx, cy, w, h, angle; G boxes as four corners.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from skysense.tasks.rotated.boxes import smallest_rectangles
from skysense.tasks.rotated.iou import rotated_iou


def overlap_oriented(boxes_D5: NDArray[np.float64], corners_G42: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union ``(D, G)``, in double precision.

    Args:
        boxes_D5: cx, cy, w, h in pixels and the angle in radians, from the x axis to the side w.
        corners_G42: x, y of corners; where they are no rectangle, the smallest one around them is taken.
    """
    with torch.no_grad():
        truth_G5 = smallest_rectangles(torch.from_numpy(corners_G42.astype(np.float64)))
        return rotated_iou(torch.from_numpy(boxes_D5), truth_G5).numpy()
