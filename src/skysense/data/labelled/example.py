"""What a labelled example is: imagery of one place and what is to be said about it.

Labels lie on one grid of pixels: those of the high-resolution image, or, where labels are as coarse as Sentinel
pixels, the cells of the lattice. Imagery is padded right and below to whole windows of the lattice; the padding is not
`valid` and has no label.

Letters: N boxes, K classes, H W pixels of the label grid (padding included).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.observation import Sample

Task = Literal[
    "classification", "multilabel", "segmentation", "detection", "oriented-detection", "change", "semantic-change"
]
TASKS: tuple[Task, ...] = get_args(Task)
UNLABELLED = 255
"""Pixels of a mask that no metric and no loss counts."""


@dataclass(frozen=True)
class Boxes:
    """Horizontal boxes of one image.

    Attributes:
        corners_N4: float32 x1, y1, x2, y2 in pixels of the label grid, x1 < x2 and y1 < y2; pixel (0, 0) covers 0 .. 1.
        label_N: int64 class, 0 .. K - 1.
        ignore_N: bool, neither to be found nor counted as wrong when found (crowds, what is hard to tell).
    """

    corners_N4: NDArray[np.float32]
    label_N: NDArray[np.int64]
    ignore_N: NDArray[np.bool_]

    def __post_init__(self) -> None:
        _check_rows("corners_N4", self.corners_N4, (len(self.label_N), 4))
        _check_rows("ignore_N", self.ignore_N, self.label_N.shape)

    def __len__(self) -> int:
        return len(self.label_N)


@dataclass(frozen=True)
class OrientedBoxes:
    """Rectangles of any direction in one image.

    Attributes:
        corners_N42: float32 x, y of four corners in order round the box, in pixels of the label grid.
        label_N: int64 class, 0 .. K - 1.
        ignore_N: bool, as `Boxes`; DOTA calls them difficult.
    """

    corners_N42: NDArray[np.float32]
    label_N: NDArray[np.int64]
    ignore_N: NDArray[np.bool_]

    def __post_init__(self) -> None:
        _check_rows("corners_N42", self.corners_N42, (len(self.label_N), 4, 2))
        _check_rows("ignore_N", self.ignore_N, self.label_N.shape)

    def __len__(self) -> int:
        return len(self.label_N)


@dataclass(frozen=True)
class Change:
    """What changed between two dates.

    Attributes:
        changed_HW: uint8, 1 where something changed, 0 where not, 255 where unknown.
        before_HW, after_HW: uint8 class of either date, 255 where unknown; None for change without classes.
    """

    changed_HW: NDArray[np.uint8]
    before_HW: NDArray[np.uint8] | None = None
    after_HW: NDArray[np.uint8] | None = None


Target = int | NDArray[np.bool_] | NDArray[np.uint8] | Boxes | OrientedBoxes | Change
"""By task: the class; which of K classes apply ``(K,)``; a mask ``(H, W)`` with 255 for no label; boxes; change."""


@dataclass(frozen=True)
class Example:
    """Imagery and its label.

    Attributes:
        name: what messages call it.
        sample: the imagery, of the earlier date if there are two.
        target: of the task of the data set, see `Target`.
        per_cell: label pixels on the side of a 10 m cell: 32 (those of the high-resolution image) or 1.
        size: height and width of the part of the label grid that is no padding.
        after: the imagery of the later date, for change.

    Raises:
        InputError: a mask of another size than the imagery.
    """

    name: str
    sample: Sample
    target: Target
    per_cell: Literal[1, 32]
    size: tuple[int, int]
    after: Sample | None = None

    def __post_init__(self) -> None:
        rows, cols = self.grid
        for mask in masks_of(self.target):
            if mask.shape != (rows, cols):
                raise InputError(
                    f"{self.name}: the mask is {mask.shape[0]} x {mask.shape[1]} px and the imagery {rows} x {cols} px",
                    fix="Masks must lie on the grid of their image",
                )

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the label grid, with padding."""
        rows, cols = self.sample.grid
        return rows * self.per_cell, cols * self.per_cell


def masks_of(target: Target) -> list[NDArray[np.uint8]]:
    """Every mask among the labels of an example."""
    if isinstance(target, Change):
        return [mask for mask in (target.changed_HW, target.before_HW, target.after_HW) if mask is not None]
    if isinstance(target, np.ndarray) and target.ndim == 2:
        return [cast(NDArray[np.uint8], target)]
    return []


def _check_rows(name: str, found: NDArray, shape: tuple[int, ...]) -> None:
    if found.shape != shape:
        raise InputError(f"{name} must be {shape} for {shape[0]} boxes; got {found.shape}")
