"""What a detector learns from and what it answers, of one image, as tensors on the device of the detector.

Letters: N boxes, P numbers of a box (4 of a horizontal, 5 of an oriented one), K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Truth:
    """The boxes that an image has.

    Attributes:
        boxes_NP: x1, y1, x2, y2, or cx, cy, w, h in label pixels and any angle in radians; sides longer
            than 0.
        label_N: int64 class, 0 .. K - 1.
        ignore_N: bool, neither to be found nor wrong when found.
    """

    boxes_NP: Tensor
    label_N: Tensor
    ignore_N: Tensor

    @property
    def wanted(self) -> tuple[Tensor, Tensor]:
        """Boxes and classes of what is to be found."""
        return self.boxes_NP[~self.ignore_N], self.label_N[~self.ignore_N]

    @property
    def ignored_NP(self) -> Tensor:
        """Boxes of what is not counted."""
        return self.boxes_NP[self.ignore_N]


@dataclass(frozen=True)
class Found:
    """The boxes that a detector sees in an image, best first.

    Attributes:
        boxes_NP: as `Truth`; horizontal ones end at the rim of the image, oriented ones are in le90.
        scores_N: 0 .. 1.
        label_N: int64 class, 0 .. K - 1.
    """

    boxes_NP: Tensor
    scores_N: Tensor
    label_N: Tensor


def wide(x: Tensor) -> Tensor:
    """In float32 at least: in bfloat16 coordinates beyond 256 px are even numbers."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
