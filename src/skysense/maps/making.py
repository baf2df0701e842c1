"""The parts of a map, by whoever is to compute them, with an account of how far it has come."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

from skysense.errors import InputError
from skysense.maps.account import Account
from skysense.maps.answer import Answerer, Recipe
from skysense.maps.job import Job, Settings
from skysense.maps.planner import cell_km2
from skysense.maps.run import compute

Progress = Callable[..., None]
"""Called with steps done, steps in all and words."""


def make(job: Job, recipe: Recipe, answerer: Answerer, settings: Settings, progress: Progress | None = None) -> Account:
    """Compute the parts of a map that are not finished.

    Args:
        job: the map.
        recipe: makes the answerer of other processes.
        answerer: of this process, which computes if it is to do so alone.
        settings: by whom parts are computed.
        progress: called with windows done, windows in all, and how much ground goes by in a second; windows on the
            seams of parts count for each of them.

    Returns:
        What became of the windows of the whole map.

    Raises:
        InputError: nothing is observed anywhere, or the source cannot be read any more.
        OutputError: something could not be written; what is finished stays.
        SkySenseError: a process was killed.
    """
    todo = job.todo()
    if todo:
        tell = _Teller(job, job.windows(todo), progress)
        if settings.engine == "ray":
            from skysense.curate.many import Cluster
            from skysense.maps.many import compute_on_cluster

            gpus = 1 if recipe.device.startswith("cuda") else 0
            cluster = Cluster(settings.cluster, settings.workers)
            compute_on_cluster(job, recipe, todo, cluster, tell.windows, gpus=gpus)
        elif settings.workers > 1:
            from skysense.maps.workers import compute_in_processes

            compute_in_processes(job, recipe, todo, settings.workers, tell.windows)
        else:
            compute(job, answerer, todo, tell.windows)
    account = job.account()
    if not account.observed:
        shutil.rmtree(job.work.folder, ignore_errors=True)  # there is nothing to go on with
        raise InputError("no cell is at least half observed", file=job.source.name, fix="Check its no-data")
    return account


class _Teller:
    """Adds up windows for a progress bar."""

    def __init__(self, job: Job, todo: int, progress: Progress | None) -> None:
        self._total = job.windows(job.parting.parts)
        self._before = self._done = self._total - todo
        cells = job.layout.height * job.layout.width
        self._km2 = cells * cell_km2(job.source.grid) / self._total  # of new ground, a window
        self._start, self._progress = time.monotonic(), progress

    def windows(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        if self._progress is not None:
            seconds = max(time.monotonic() - self._start, 1e-9)
            speed = (self._done - self._before) * self._km2 / seconds
            self._progress(self._done, self._total, f"{speed:.3g} km²/s")
