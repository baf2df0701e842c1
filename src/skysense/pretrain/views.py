"""Views of a place: windows on the cell lattice, frame subsets, flips, and which cells and frames of two views match.

The definitions the paper leaves open are settled here (specification Q3): window origins lie on cells; what two views
have in common is found by undoing windows and flips; frame t pairs with the same acquisition or the nearest date.

Letters: V views, P pairs, S cells in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.geo import Window
from skysense.observation import Sample, Series
from skysense.pretrain.config import ViewConfig
from skysense.sensors import MODALITIES, Modality


@dataclass(frozen=True)
class Look:
    """Colour augmentation of the image of one view; applied on the device, in batch.

    Attributes:
        brightness, contrast, saturation: factors, 1 for none; saturation 0 is grey.
        blur: standard deviation in pixels, 0 for none.
        solarise_from: brightness of 0 .. 255 from which pixels are inverted, None for none.
    """

    brightness: float
    contrast: float
    saturation: float
    blur: float
    solarise_from: float | None


@dataclass(frozen=True)
class View:
    """One way to look at a place.

    Attributes:
        window: in cells of the place.
        flip_rows, flip_cols: applied after cutting.
        frames: per modality, indices into the place's series, in the view's order; none of a modality that saw nothing.
        shifts: per modality, days added to the date of each of ``frames``.
        look: colour augmentation of the image.
    """

    window: Window
    flip_rows: bool
    flip_cols: bool
    frames: Mapping[Modality, NDArray[np.int64]]
    shifts: Mapping[Modality, NDArray[np.int64]]
    look: Look


_TRIES = 8


def draw_views(rng: Generator, sample: Sample, config: ViewConfig) -> list[View]:
    """Two global views that overlap, then the local crops, each inside one of them.

    Windows in which nothing was observed are drawn again, a few times.

    Raises:
        InputError: if the place is smaller than a global view, or hardly anything of it was observed.
    """
    height, width = sample.grid
    size = config.global_cells
    if min(height, width) < size:
        raise InputError(
            f"place {sample.name!r} is {height} x {width} cells, smaller than a view of {size} x {size}",
            fix="Use a smaller views.global_cells",
        )
    for _ in range(_TRIES):
        views = [
            _draw_view(rng, sample, window, config, second=index == 1)
            for index, window in enumerate(_draw_windows(rng, height, width, config))
        ]
        if all(view.frames for view in views):
            return views
    raise InputError(
        f"place {sample.name!r} has windows without any observed pixel: {_TRIES} draws met some",
        fix="Too little of it was observed to learn from",
    )


def _draw_windows(rng: Generator, height: int, width: int, config: ViewConfig) -> list[Window]:
    size = config.global_cells
    slack = size - max(1, round(config.overlap * size))  # the two global windows may be this far apart
    first = Window(int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1)), size, size)
    second = Window(_near(rng, first.row, slack, height - size), _near(rng, first.col, slack, width - size), size, size)
    windows = [first, second]
    for number in range(config.local_crops):
        outer, room = windows[number % 2], size - config.local_cells
        row, col = (int(rng.integers(room + 1)) for _ in range(2))
        windows.append(Window(outer.row + row, outer.col + col, config.local_cells, config.local_cells))
    return windows


def _near(rng: Generator, start: int, slack: int, last: int) -> int:
    return int(rng.integers(max(0, start - slack), min(last, start + slack) + 1))


def _draw_view(rng: Generator, sample: Sample, window: Window, config: ViewConfig, *, second: bool) -> View:
    limits = {"hr": 1, "s2": config.s2_frames, "s1": config.s1_frames}
    frames, shifts = {}, {}
    for key in MODALITIES:
        if key not in sample.series:
            continue
        series = sample.series[key].crop(window) if key != "hr" else sample.series[key]
        seen = np.flatnonzero(series.valid.any(axis=(1, 2)))  # a frame that saw nothing of this window is no frame
        if len(seen):
            seen = _clear_enough(series, seen, config.most_cloud)
            chosen = np.sort(rng.permutation(seen)[: limits[key]])
            shift = rng.integers(-config.date_jitter, config.date_jitter + 1, len(chosen))
            order = np.argsort(sample.series[key].dates[chosen] + shift, kind="stable")
            frames[key], shifts[key] = chosen[order], shift[order]
    look = Look(
        brightness=1 + config.brightness * rng.uniform(-1, 1),
        contrast=1 + config.contrast * rng.uniform(-1, 1),
        saturation=0.0 if rng.random() < config.grey else 1 + config.saturation * rng.uniform(-1, 1),
        blur=rng.uniform(*config.blur_sigma) if rng.random() < config.blur else 0.0,
        solarise_from=config.solarise_from if rng.random() < config.solarise and second else None,
    )
    return View(window, bool(rng.integers(2)), bool(rng.integers(2)), frames, shifts, look)


def _clear_enough(series: Series, seen: NDArray[np.int64], most: float) -> NDArray[np.int64]:
    """Those frames of a window that are not cloudier than a share of what they saw; the clearest if all are."""
    if series.clear is None or most >= 1:
        return seen
    valid = series.valid[seen]
    cloudy = (valid & ~series.clear[seen]).sum((1, 2)) / valid.sum((1, 2))
    clear_enough = cloudy <= most
    return seen[clear_enough] if clear_enough.any() else seen[[cloudy.argmin()]]


def shown(views: Sequence[View]) -> tuple[Window, dict[Modality, NDArray[np.int64]]]:
    """All that views show of a place: the smallest window that holds theirs, and each sensor's frames, ascending."""
    windows = [view.window for view in views]
    row, col = min(one.row for one in windows), min(one.col for one in windows)
    height = max(one.row + one.height for one in windows) - row
    width = max(one.col + one.width for one in windows) - col
    keys = [key for key in MODALITIES if any(key in view.frames for view in views)]
    frames = {
        key: np.unique(np.concatenate([view.frames[key] for view in views if key in view.frames])) for key in keys
    }
    return Window(row, col, height, width), frames


def within(view: View, window: Window, frames: Mapping[Modality, NDArray[np.int64]]) -> View:
    """The same view of a part of its place.

    Args:
        view: of the whole place.
        window: of the part.
        frames: of the part, ascending, as indices into the series of the whole place.
    """
    moved = replace(view.window, row=view.window.row - window.row, col=view.window.col - window.col)
    return replace(
        view, window=moved, frames={key: np.searchsorted(frames[key], chosen) for key, chosen in view.frames.items()}
    )


def cut(sample: Sample, view: View) -> Sample:
    """The part of a place that a view shows: window, frames, shifted dates, flips. Colours are not touched."""
    series = {
        key: _show(sample.series[key].crop(view.window), frames, view.shifts[key], view)
        for key, frames in view.frames.items()
    }
    return replace(sample, series=series, footprint=None)


def _show(series: Series, frames: NDArray[np.int64], shifts: NDArray[np.int64], view: View) -> Series:
    flip = (slice(None, None, -1 if view.flip_rows else 1), slice(None, None, -1 if view.flip_cols else 1))
    return replace(
        series,
        values=series.values[frames][..., *flip],
        dates=series.dates[frames] + shifts.astype("timedelta64[D]"),
        valid=series.valid[frames][..., *flip],
        clear=None if series.clear is None else series.clear[frames][..., *flip],
    )


def common_cells(student: View, teacher: View) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells that both views contain, as indices into the row-major maps of either view.

    Returns:
        ``(S,)`` indices into the student's map and ``(S,)`` into the teacher's; entry s is the same ground.
    """
    shared = student.window.intersect(teacher.window)
    if shared is None:
        empty = np.empty(0, np.int64)
        return empty, empty
    rows, cols = np.mgrid[shared.slices()]
    return _cell_index(student, rows, cols), _cell_index(teacher, rows, cols)


def _cell_index(view: View, rows: NDArray, cols: NDArray) -> NDArray[np.int64]:
    window = view.window
    row, col = rows - window.row, cols - window.col
    row = window.height - 1 - row if view.flip_rows else row
    col = window.width - 1 - col if view.flip_cols else col
    return (row * window.width + col).ravel()


def pair_frames(
    student: NDArray[np.datetime64], teacher: NDArray[np.datetime64], days: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair each student frame with the nearest teacher frame at most ``days`` away.

    Args:
        student: ``(T,)`` true dates of the student's frames; NaT (one frame without date) pairs with NaT.
        teacher: ``(T',)`` likewise.
        days: largest distance; 0 pairs same acquisition days only.

    Returns:
        ``(P,)`` indices into ``student`` and ``(P,)`` into ``teacher``.
    """
    if np.isnat(student).any() or np.isnat(teacher).any():
        both = np.isnat(student).all() and np.isnat(teacher).all()
        return np.arange(int(both)), np.arange(int(both))
    distance = np.abs((student[:, None] - teacher[None, :]).astype(np.int64))
    nearest = distance.argmin(axis=1)
    chosen = np.flatnonzero(distance[np.arange(len(student)), nearest] <= days)
    return chosen, nearest[chosen]
