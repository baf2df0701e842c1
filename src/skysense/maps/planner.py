"""One line before the work: how much of it there is, how large it becomes, how long it takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

import numpy as np

from skysense.geo import Window
from skysense.maps.answer import Answerer
from skysense.maps.feed import prepare
from skysense.maps.grid import Grid
from skysense.maps.job import Job
from skysense.maps.parts import Part
from skysense.maps.product.layer import Layer
from skysense.maps.sources.position import Positions

TRIAL_FROM = 50
"""Batches of a map from which on a few are computed for an estimate; of a smaller one they are too large a share."""


def plan_words(job: Job, answerer: Answerer, seconds_per_window: float | None = None) -> str:
    """What a run will do, for people.

    Args:
        job: the map.
        answerer: of its windows.
        seconds_per_window: as tried out; without it nothing is said about time.
    """
    todo = job.todo()
    parts = len(job.parting.parts)
    left = "" if len(todo) == parts else f", {len(todo)} of them left"
    cells = job.layout.height * job.layout.width
    bands = ", ".join(f"{len(layer.bands)} {layer.kind} {layer.stored}" for layer in answerer.layers)
    words = (
        f"{len(job.layout):,} windows of {job.layout.size} cells in {parts:,} part{'s' if parts > 1 else ''}{left}, "
        f"about {cells * cell_km2(job.source.grid):.3g} km²"
    )
    if bands:
        words += f", {bands}: up to {_size(sum(stored_bytes(layer, cells) for layer in answerer.layers))}"
    if seconds_per_window is not None:
        words += f", about {_time(seconds_per_window * job.windows(todo))}"
    return words


def stored_bytes(layer: Layer, cells: int) -> float:
    """Bytes of a layer and its overviews before they are compressed."""
    return cells * layer.per_cell**2 * len(layer.bands) * layer.dtype.itemsize * 4 / 3


def try_out(job: Job, answerer: Answerer, parts: Sequence[Part]) -> float | None:
    """Seconds a window takes, from two batches, the first of which warms up; None for a map too small to ask."""
    if job.windows(parts) < TRIAL_FROM * job.batch_size:
        return None
    whole = Part(0, 0, Window(0, 0, job.layout.height, job.layout.width))
    seconds = []
    todo = [(whole, job.layout.shuffled())]
    with closing(prepare(job.source, todo, job.batch_size, answerer.regions, job.layout.size)) as batches:
        for some in batches:
            if some.samples:
                start = time.perf_counter()
                answerer(some.samples)
                seconds.append((time.perf_counter() - start) / some.looked_at)  # windows without data take no time
            if len(seconds) == 2:
                return seconds[1]
    return None


def cell_km2(grid: Grid) -> float:
    """Ground of a cell in km²; on a grid of degrees that of the middle of the map."""
    if not grid.crs.is_geographic:
        metres = grid.crs.linear_units_factor[1]
        return abs(grid.transform.determinant) * metres**2 / 1e6
    _, lat = Positions(grid).centre(Window(0, 0, grid.height, grid.width))
    metres = np.pi * 6_371_008.8 / 180  # of a degree on a sphere of the Earth's mean radius
    return float(abs(grid.transform.determinant) * metres**2 * np.cos(np.radians(lat or 0)) / 1e6)


def _size(count: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def _time(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
