"""Random views of labelled examples: crops, the eight symmetries of a square, size, brightness.

Everything is drawn from one generator per example, and labels move with their pixels.

Letters: N boxes, H W pixels of the label grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skysense.data.labelled.example import UNLABELLED, Boxes, Change, Example, OrientedBoxes, Target
from skysense.errors import ConfigError, InputError
from skysense.geo import CELL_HR_PX, WINDOW_CELLS
from skysense.observation import Sample, Series
from skysense.sensors import Modality, Unit

_KEPT_SHARE = 0.4
"""Boxes of which less is left in a crop are to be ignored: nobody could say what they are."""


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What training draws at random.

    Attributes:
        crop_cells: side of the crop in cells of 10 m (32 px), a multiple of 4; None for whole examples.
        flips: any of the eight symmetries of a square; four of them where a crop is not square.
        scale: images are enlarged or reduced by up to this factor; 1 for never. Only where the high-resolution image
            is alone: Sentinel pixels are cells.
        brightness: of the high-resolution image, relative change of brightness and contrast of up to so much.
    """

    crop_cells: int | None = None
    flips: bool = True
    scale: float = 1.0
    brightness: float = 0.2

    def __post_init__(self) -> None:
        if self.scale < 1 or not 0 <= self.brightness < 1:
            raise ConfigError(
                f"augment: scale is at least 1 and brightness within 0 .. 1; got {self.scale:g}, {self.brightness:g}"
            )


def augmented(example: Example, config: AugmentConfig, rng: Generator, *, most_cells: int) -> Example:
    """One random view of an example.

    Args:
        example: as it is.
        config: what to draw.
        rng: of this view.
        most_cells: without a crop, a larger image is cropped to this, cells; images of one class stay whole.
    """
    alone = set(example.sample.series) == {"hr"} and example.per_cell == CELL_HR_PX
    if alone and config.scale > 1:
        example = scaled(example, float(np.exp(rng.uniform(-1, 1) * np.log(config.scale))))
    side = config.crop_cells
    whole = isinstance(example.target, int) or (isinstance(example.target, np.ndarray) and example.target.ndim == 1)
    if side is None and not whole and max(example.sample.grid) > most_cells:
        side = most_cells
    if side is not None:
        example = _random_crop(example, side * example.per_cell, rng)
    if config.flips:
        square = example.grid[0] == example.grid[1]
        example = turned(example, int(rng.integers(8)) if square else 2 * int(rng.integers(4)))
    if config.brightness > 0:
        example = _brightened(example, config.brightness, rng)
    return example


def turned(example: Example, symmetry: int) -> Example:
    """An example under one of the eight symmetries of a square; what is padding stays right and below.

    Args:
        example: its grid has its sides exchanged if the symmetry is odd.
        symmetry: bit 0 exchanges rows and columns, bit 1 turns the rows round, bit 2 the columns.
    """
    if symmetry == 0:
        return example
    part = turned_part(example)

    def pixels(array: NDArray, fill: int, per_cell: int) -> NDArray:
        height, width = (side * per_cell // example.per_cell for side in part)
        grid = array.shape[-2:][::-1] if symmetry & 1 else array.shape[-2:]
        return _window(turn_pixels(array[..., :height, :width], symmetry), (0, 0, *grid), fill)

    def points(xy: NDArray[np.float32]) -> NDArray[np.float32]:
        return turn_points(xy, symmetry, part)

    def samples(sample: Sample) -> Sample:
        series = {
            key: _mapped_series(one, partial(pixels, fill=0, per_cell=_per_cell(key)))
            for key, one in sample.series.items()
        }
        return replace(sample, series=series, footprint=None)

    return replace(
        example,
        sample=samples(example.sample),
        after=None if example.after is None else samples(example.after),
        target=_target(example.target, partial(pixels, fill=UNLABELLED, per_cell=example.per_cell), points),
        size=part[::-1] if symmetry & 1 else part,
    )


def turned_part(example: Example) -> tuple[int, int]:
    """Height and width of the part of the label grid that `turned` turns.

    It is what is no padding, `Example.size`. Where a sensor is coarser than the labels its pixels turn whole: then it
    is rounded up to their sides.
    """
    step = _step(example)
    height, width = (-(-side // step) * step for side in example.size)
    return height, width


def _step(example: Example) -> int:
    """Label pixels on the side of a pixel of the coarsest sensor, at least 1."""
    samples = [example.sample, *([] if example.after is None else [example.after])]
    return max(1, *(example.per_cell // _per_cell(key) for sample in samples for key in sample.series))


def _per_cell(key: Modality) -> int:
    """Pixels of a sensor on the side of a cell."""
    return CELL_HR_PX if key == "hr" else 1


def turn_pixels(array: NDArray, symmetry: int) -> NDArray:
    """The last two axes under a symmetry, see `turned`."""
    if symmetry & 1:
        array = array.swapaxes(-1, -2)
    if symmetry & 2:
        array = array[..., ::-1, :]
    if symmetry & 4:
        array = array[..., ::-1]
    return np.ascontiguousarray(array)


def turn_points(xy: NDArray[np.float32], symmetry: int, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Points ``(..., 2)`` x, y in an image of so many rows and columns under a symmetry, see `turned`."""
    rows, cols = grid
    if symmetry & 1:
        xy, rows, cols = xy[..., ::-1], cols, rows
    x, y = xy[..., 0], xy[..., 1]
    return np.stack([cols - x if symmetry & 4 else x, rows - y if symmetry & 2 else y], axis=-1)


def cropped(example: Example, row: int, col: int, height: int, width: int) -> Example:
    """A window of an example in pixels of the label grid; what lies beyond its edge is padding.

    Args:
        example: as it is.
        row: first row, 0 or more.
        col: first column, 0 or more.
        height: of the window.
        width: of the window.

    Raises:
        InputError: a sensor is coarser than the labels, and the window does not start and end on its pixels.
    """
    step = _step(example)
    if any(value % step for value in (row, col, height, width)):
        raise InputError(
            f"{example.name}: a crop of {height} x {width} px at row {row}, column {col} cuts pixels of a sensor",
            fix=f"Use multiples of {step} px, the side of one of its pixels",
        )
    size = (
        max(0, min(height, example.size[0] - row)),
        max(0, min(width, example.size[1] - col)),
    )

    def pixels(array: NDArray, fill: int) -> NDArray:
        return _window(array, (row, col, height, width), fill)

    def samples(sample: Sample) -> Sample:
        series = {}
        for key, one in sample.series.items():
            place = (value * _per_cell(key) // example.per_cell for value in (row, col, height, width))
            series[key] = _mapped_series(one, partial(_window, place=tuple(place), fill=0))
        return replace(sample, series=series, footprint=None)

    target = example.target
    if isinstance(target, np.ndarray) and target.ndim == 2:
        target = pixels(target, UNLABELLED)
    elif isinstance(target, Change):
        masks = (target.changed_HW, target.before_HW, target.after_HW)
        target = Change(*(None if mask is None else pixels(mask, UNLABELLED) for mask in masks))  # type: ignore[arg-type]
    elif isinstance(target, Boxes):
        target = _boxes_within(target, row, col, height, width)
    elif isinstance(target, OrientedBoxes):
        target = _oriented_within(target, row, col, height, width)
    return replace(
        example,
        sample=samples(example.sample),
        after=None if example.after is None else samples(example.after),
        target=target,
        size=size,
    )


def _random_crop(example: Example, side: int, rng: Generator) -> Example:
    step = _step(example)

    def start(length: int) -> int:
        room = max(length - side, 0)
        return int(rng.integers(-(-room // step) + 1)) * step  # the last one may reach into the padding

    if example.size[0] == side == example.size[1] and example.grid == example.size:
        return example
    return cropped(example, start(example.size[0]), start(example.size[1]), side, side)


def _window(array: NDArray, place: tuple[int, ...], fill: int) -> NDArray:
    """A window (row, column, height, width) of the last two axes, filled up where it hangs over."""
    row, col, height, width = place
    part = array[..., row : row + height, col : col + width]
    missing = [(0, 0)] * (array.ndim - 2) + [(0, height - part.shape[-2]), (0, width - part.shape[-1])]
    return np.pad(part, missing, constant_values=fill) if part.shape[-2:] != (height, width) else part


def _boxes_within(boxes: Boxes, row: int, col: int, height: int, width: int) -> Boxes:
    moved = boxes.corners_N4 - np.array([col, row, col, row], np.float32)
    cut = moved.clip(0, np.array([width, height, width, height], np.float32))
    share = _area(cut) / np.maximum(_area(moved), 1e-6)
    keep = (share > 0) & (cut[:, 2] - cut[:, 0] >= 1) & (cut[:, 3] - cut[:, 1] >= 1)
    ignore = boxes.ignore_N | (share < _KEPT_SHARE)
    return Boxes(cut[keep], boxes.label_N[keep], ignore[keep])


def _area(corners_N4: NDArray[np.float32]) -> NDArray[np.float32]:
    return (corners_N4[:, 2] - corners_N4[:, 0]) * (corners_N4[:, 3] - corners_N4[:, 1])


def _oriented_within(boxes: OrientedBoxes, row: int, col: int, height: int, width: int) -> OrientedBoxes:
    """Boxes whose centre is inside, whole; those that only reach in are ignored."""
    moved = boxes.corners_N42 - np.array([col, row], np.float32)
    low, high = moved.min(axis=1), moved.max(axis=1)
    reaches = (high > 0).all(axis=1) & (low < np.array([width, height])).all(axis=1)
    centre = moved.mean(axis=1)
    inside = ((centre >= 0) & (centre < np.array([width, height]))).all(axis=1)
    return OrientedBoxes(moved[reaches], boxes.label_N[reaches], (boxes.ignore_N | ~inside)[reaches])


def scaled(example: Example, factor: float) -> Example:
    """The high-resolution image and its labels enlarged by a factor, padded to whole windows again.

    A side becomes the nearest whole number of pixels; image, masks and boxes all take the ratio of the sides before
    and after, which differs from the factor by up to half a pixel.

    Args:
        example: of that image alone.
        factor: above 0; less than 1 makes it smaller.
    """
    step = CELL_HR_PX * WINDOW_CELLS
    old = example.size
    height, width = (max(round(length * factor), 1) for length in old)
    grid = (-(-height // step) * step, -(-width // step) * step)
    rows, cols = (_nearest(was, now) for was, now in zip(old, (height, width), strict=True))
    ratio_xy = np.array([width / old[1], height / old[0]])

    def nearest(array: NDArray, fill: int) -> NDArray:
        return _window(array[..., rows[:, None], cols[None]], (0, 0, *grid), fill)

    def samples(sample: Sample) -> Sample:
        series = sample.series["hr"]
        real = series.values[..., : old[0], : old[1]]
        values = _window(_resampled(real, (height, width)), (0, 0, *grid), 0)
        series = replace(series, values=values, valid=nearest(series.valid, 0), clear=None)
        return replace(sample, series={"hr": series}, footprint=None)

    return replace(
        example,
        sample=samples(example.sample),
        after=None if example.after is None else samples(example.after),
        target=_target(
            example.target, partial(nearest, fill=UNLABELLED), lambda xy: (xy * ratio_xy).astype(np.float32)
        ),
        size=(height, width),
    )


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    """For each of new pixels along a side the one of the old that its middle lies in."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def _resampled(values_TCHW: NDArray, size: tuple[int, int]) -> NDArray:
    """Values of another size, bilinear, averaged first where there are more pixels than asked for."""
    import torch
    from torch.nn import functional as F

    whole = torch.from_numpy(values_TCHW.astype(np.float32))
    fewer = size[0] < whole.shape[2] or size[1] < whole.shape[3]
    made = F.interpolate(whole, size=size, mode="bilinear", antialias=fewer, align_corners=False).numpy()
    return made.round().astype(values_TCHW.dtype) if values_TCHW.dtype.kind in "ui" else made


def _brightened(example: Example, amount: float, rng: Generator) -> Example:
    """Another brightness, contrast and colour of the high-resolution image, each date for itself."""

    def samples(sample: Sample) -> Sample:
        series = sample.series.get("hr")
        if series is None or series.sensor.unit is not Unit.UINT8:
            return sample
        gain = 1 + rng.uniform(-amount, amount) + rng.uniform(-amount, amount, (len(series.sensor.bands), 1, 1)) / 4
        offset = rng.uniform(-amount, amount) * 64
        values = (series.values * gain + offset).clip(0, 255).astype(np.uint8)
        return replace(sample, series={**sample.series, "hr": replace(series, values=values)})

    after = None if example.after is None else samples(example.after)
    return replace(example, sample=samples(example.sample), after=after)


def _mapped_series(series: Series, pixels: Callable[[NDArray], NDArray]) -> Series:
    return replace(
        series,
        values=pixels(series.values),
        valid=pixels(series.valid),
        clear=None if series.clear is None else pixels(series.clear),
    )


def _target(
    target: Target,
    pixels: Callable[[NDArray], NDArray],
    points: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> Target:
    """A target whose pixels and points are moved."""
    if isinstance(target, Change):
        masks = (target.changed_HW, target.before_HW, target.after_HW)
        return Change(*(None if mask is None else pixels(mask) for mask in masks))  # type: ignore[arg-type]
    if isinstance(target, Boxes):
        ends = points(target.corners_N4.reshape(-1, 2, 2))
        corners = np.concatenate([ends.min(axis=1), ends.max(axis=1)], axis=1).astype(np.float32)
        return replace(target, corners_N4=corners)
    if isinstance(target, OrientedBoxes):
        return replace(target, corners_N42=points(target.corners_N42).astype(np.float32))
    if isinstance(target, np.ndarray) and target.ndim == 2:
        return pixels(target)
    return target
