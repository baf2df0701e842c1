"""Parts of a map computed by the processes of a Ray cluster, on one or many machines, with Ray Data.

The usual form of batch inference: a pool of actors, each with the model loaded once, and a row of the data set for
every part. Parts depend on no other, so Ray may do one again whose process died. The folder of the output, the source
and the model's file must have the same names on all machines.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from skysense.curate.many import Cluster, connected, import_ray
from skysense.errors import SkySenseError, need
from skysense.maps.answer import Recipe
from skysense.maps.job import Job
from skysense.maps.parts import Part
from skysense.maps.run import compute
from skysense.maps.workers import FAULTS, Order

TRIES = 4
"""Times a part is begun whose process dies; Ray itself would begin one for ever that kills its process."""


def compute_on_cluster(
    job: Job,
    recipe: Recipe,
    parts: Sequence[Part],
    cluster: Cluster,
    tell: Callable[[int], None] = lambda _: None,
    *,
    gpus: float = 0,
) -> None:
    """Compute parts of a map with Ray.

    Args:
        job: the map.
        recipe: makes the answerer of every process.
        parts: which ones.
        cluster: where, and by how many processes.
        tell: called with the windows of every part that is done.
        gpus: that each process needs.

    Raises:
        MissingExtra: Ray is not installed.
        InputError, OutputError, ConfigError: as `compute`, in any of the processes.
        SkySenseError: there is no such cluster, processes died again and again, or this process uses Ray already.
    """
    ray = import_ray(cluster)
    with connected(ray, cluster):
        kind = "GPU" if gpus else "CPU"
        there = max(1, int(ray.cluster_resources().get(kind, 1) / (gpus or 1)))
        processes = min(cluster.processes or there, len(parts))
        threads = max(1, torch.get_num_threads() // processes) if cluster.address is None else torch.get_num_threads()
        order = Order(job, recipe, threads)
        data = need("ray.data", "scale")
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        rows = [{"part": at} for at in (job.parting.parts.index(part) for part in parts)]
        try:
            done = data.from_items(rows, override_num_blocks=len(rows)).map(
                _Worker,
                fn_constructor_args=(order, os.getcwd(), uuid.uuid4().hex),
                compute=data.ActorPoolStrategy(size=processes, max_tasks_in_flight_per_actor=1),
                num_cpus=1,
                num_gpus=gpus or None,
            )
            for row in done.iter_rows():
                if row["fault"]:
                    raise FAULTS.get(row["fault"], SkySenseError)(row["words"])
                tell(int(row["windows"]))
        except ray.exceptions.RayTaskError as error:
            raise SkySenseError(f"a process failed: {error}") from error
        except ray.exceptions.RayError as error:
            raise SkySenseError(
                f"Ray ended the work: {error}. Finished parts stay; the same command goes on"
            ) from error


class _Worker:
    """An actor that has the model."""

    def __init__(self, order: Order, folder: str, run: str) -> None:
        if os.path.isdir(folder):
            os.chdir(folder)  # names of files are relative to it
        torch.set_num_threads(order.threads)
        self._job, self._recipe = order.job, order.recipe
        self._parts = order.job.parting.parts
        self._answerer: Any = None
        self._run = run

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Compute a part, unless a process that died had finished it."""
        part, done = self._parts[int(row["part"])], [0]

        def count(windows: int) -> None:
            done[0] += windows

        try:
            if self._answerer is None:
                self._answerer = self._recipe.build()
            if self._job.work.account(part) is None:
                self._try(part)
                compute(self._job, self._answerer, [part], count)
        except SkySenseError as fault:
            return {"fault": type(fault).__name__, "words": str(fault), "windows": 0}
        return {"fault": "", "words": "", "windows": done[0]}

    def _try(self, part: Part) -> None:
        """Count how often a part is begun, where the next process will find it."""
        name = f"tries-{self._run}-{part.name}"
        before = (self._job.work.kept(name) or {"tries": 0})["tries"]
        if before >= TRIES:
            raise SkySenseError(
                f"{TRIES} processes were killed over part {part.name}, perhaps for lack of memory. Finished parts "
                "stay; fewer workers or smaller batches take less"
            )
        self._job.work.keep(name, {"tries": before + 1})
