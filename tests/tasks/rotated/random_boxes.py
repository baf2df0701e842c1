"""Random rotated boxes, and the same as polygons of shapely."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from skysense.tasks.rotated.boxes import corners


def random_boxes(
    count: int, extent: float, sides: tuple[float, float], seed: int, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Boxes with centres in a square from the origin, any angle within two turns."""
    draw = torch.rand(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    least, greatest = sides
    centres, lengths = draw[:, :2] * extent, least + (greatest - least) * draw[:, 2:4]
    return torch.cat([centres, lengths, (draw[:, 4:] - 0.5) * 4 * math.pi], dim=1).to(dtype)


def polygons_iou(a_N5: Tensor, b_N5: Tensor) -> np.ndarray:
    """Of pairs, by shapely; every pair is moved to the origin first, where the corners keep their digits."""
    import shapely

    origin = a_N5[:, :2]
    a, b = (
        shapely.polygons(corners(torch.cat([boxes[:, :2] - origin, boxes[:, 2:]], dim=1)).numpy())
        for boxes in (a_N5.double(), b_N5.double())
    )
    shared = shapely.area(shapely.intersection(a, b))
    return shared / (shapely.area(a) + shapely.area(b) - shared)
