"""A curation by many processes on many machines, with Ray Data: the same corpus as from one process, bit by bit.

Blocks depend on no other, so each job is a few blocks that any process does with the functions of
`skysense.curate.run`. Ray hands jobs out, and does a job again whose process died; what it had finished is found. What
is shared besides is a ledger: how far all jobs have come, and whether they are asked to end.
"""

from __future__ import annotations

import logging
import os
import signal as signals
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from skysense.curate.account import SETTINGS_FILE, is_done
from skysense.curate.faults import BudgetSpent, Unavailable
from skysense.curate.finish import Summary
from skysense.curate.flow import Progress
from skysense.curate.http import Traffic
from skysense.curate.run import Pace, Run, spent
from skysense.curate.settings import Curation
from skysense.data.shards.store import find_bytes
from skysense.errors import ConfigError, InputError, OutputError, SkySenseError, Stopped, need

BLOCKS_AT_ONCE = 8
"""Blocks of a job at most: the line to the archive is idle for a moment at the end of each."""
TRIES = 4
"""Times a job is begun; Ray itself would begin one for ever that kills its process."""
_JOBS_EACH = 4  # for every process at least, so that all end at about the same time
_LOOK = 0.5  # seconds between two looks of the driver at the ledger
_NOTE = 2.0  # seconds between two notes of a process
_STORE = 100 * 2**20  # bytes of shared memory of a cluster of our own: what goes round is small

_PATIENCE = 30.0  # seconds that jobs have to end after one has ended with a fault
_OVER, _FAULT = -1, -2  # ask for the end since the budget is spent, or a job has failed; a signal does by its number

_FAULTS: Mapping[str, type[SkySenseError]] = {
    one.__name__: one for one in (Unavailable, BudgetSpent, OutputError, InputError, ConfigError)
}
"""What a process may end with, by name: not every exception survives the way from one process to another."""


@dataclass(frozen=True)
class Cluster:
    """Where the processes run.

    Attributes:
        address: of a Ray cluster that is there, ``"auto"`` for the one of this machine; None starts one on this machine
            and ends it again.
        processes: how many; one for every CPU by default.
    """

    address: str | None = None
    processes: int | None = None

    def __post_init__(self) -> None:
        if self.processes is not None and self.processes < 1:
            raise ConfigError(f"processes must be at least 1; got {self.processes}")


def curate_many(
    curation: Curation,
    out: str | Path,
    pace: Pace | None = None,
    cluster: Cluster | None = None,
    *,
    begin: Callable[[Progress], None] = lambda _: None,
    progress: Callable[[Progress], None] = lambda _: None,
    signal: Callable[[], int] = lambda: 0,
) -> Summary:
    """Make a corpus of shards with many processes, or go on with one; also with one that one process began.

    Args:
        curation: what it holds. Files it names are read by every machine under the same names.
        out: where every machine finds it under the same name: a shared folder, ``s3://bucket/path`` or
            ``gs://bucket/path``.
        pace: how it is done by each process. The budget is that of all together; it is looked at every few seconds, and
            may be exceeded by what comes meanwhile.
        cluster: where.
        begin: called once, when it is known what is to be done.
        progress: called several times a minute.
        signal: the number of a signal that asks for the end, 0 for none.

    Returns:
        What the corpus came to.

    Raises:
        MissingExtra: Ray is not installed.
        Unavailable, BudgetSpent, OutputError, Stopped, ConfigError, InputError: as `skysense.curate.run.curate`.
        SkySenseError: processes died again and again, or this process uses Ray already.
    """
    pace, cluster, out = pace or Pace(), cluster or Cluster(), str(out)
    ray = import_ray(cluster)
    run = Run(curation, out, pace)
    told, todo = run.begin(None)
    begin(told)
    if todo:
        with connected(ray, cluster):
            _do(ray, _Order(curation, out, pace, run.left(), os.getcwd()), todo, cluster, told, progress, signal)
    summary = run.finish()
    if summary is None:
        raise ConfigError(f"{out}: not all machines write to this place. Give one that they share, or s3://...")
    return summary


@dataclass(frozen=True)
class _Order:
    """What every process is told.

    Attributes:
        curation, out, pace: as of `curate_many`.
        budget: bytes that may be received from now on.
        folder: that names of files are relative to.
    """

    curation: Curation
    out: str
    pace: Pace
    budget: int | None
    folder: str


# The driver


def import_ray(cluster: Cluster) -> ModuleType:
    """Ray, told before it is imported what it looks at only then.

    Raises:
        MissingExtra: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told what runs here
    if cluster.address is None:
        # Whoever reaches the ports of a cluster can run programs on it. With this, Ray keeps to the loopback, on Linux
        # too; it has no option for that.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    return need("ray", "scale")


@contextmanager
def connected(ray: ModuleType, cluster: Cluster) -> Iterator[None]:
    """Ray while a ``with`` block runs; its end is the end of all that was begun in it.

    Raises:
        SkySenseError: there is no such cluster, or this process uses Ray already.
    """
    if ray.is_initialized():
        raise SkySenseError("this process uses Ray already; call ray.shutdown() first")
    usual = signals.getsignal(signals.SIGTERM)
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if cluster.address is None:
            ours = {"include_dashboard": False, "object_store_memory": _STORE}
            ray.init("local", num_cpus=cluster.processes, **ours, **quiet)
        else:
            ray.init(cluster.address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SkySenseError(f"no Ray cluster: {error}. `ray start --head` begins one") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signals.signal(signals.SIGTERM, usual)  # Ray takes it, and would end at once
    try:
        yield
    finally:
        ray.shutdown()


def _do(
    ray: ModuleType,
    order: _Order,
    todo: Sequence[int],
    cluster: Cluster,
    told: Progress,
    tell: Callable[[Progress], None],
    signal: Callable[[], int],
) -> None:
    """Have all blocks done, and tell of it.

    Raises:
        Unavailable, BudgetSpent, OutputError, Stopped, ConfigError, InputError, SkySenseError: see `curate_many`.
    """
    ledger = _open_ledger(ray)
    processes = cluster.processes or max(1, int(ray.cluster_resources().get("CPU", 1)))
    jobs = _jobs(todo, processes)
    work = _Work(ray, partial(_job, order=order, ledger=ledger), jobs, min(processes, len(jobs)))
    before, start, asked, ended = told.done, time.monotonic(), 0, False
    while not ended:
        ended = work.ended(_LOOK)
        noted = ray.get(ledger.sum.remote())
        told.done, told.stored, told.seconds = before + noted["done"], noted["stored"], time.monotonic() - start
        told.traffic = Traffic(**{name: noted[name] for name in asdict(told.traffic)})
        tell(told)
        spent_it = order.budget is not None and told.traffic.bytes >= order.budget
        if not asked and (wish := signal() or (_OVER if spent_it else 0)):
            asked = wish
            ray.get(ledger.end.remote(asked))
    if work.fault is None:
        return
    kind, words = work.fault
    if kind == BudgetSpent.__name__ or (kind == Stopped.__name__ and asked == _OVER):
        raise BudgetSpent(spent(order.pace.budget or 0))
    if kind == Stopped.__name__:
        raise Stopped(f"stopped by a signal; {told.done:,} places are finished", 128 + asked)
    raise _FAULTS.get(kind, SkySenseError)(words)


def _jobs(todo: Sequence[int], processes: int) -> list[list[int]]:
    """Blocks that are done one after the other in one process, together."""
    size = min(BLOCKS_AT_ONCE, max(1, len(todo) // (processes * _JOBS_EACH)))
    return [list(todo[at : at + size]) for at in range(0, len(todo), size)]


class _Work:
    """Jobs under way. A thread waits for them, so that the driver's own can look at the ledger and for signals.

    Attributes:
        fault: name of the class of what ended the work, and its words; None if nothing did. Jobs that are asked to end
            have been stopped; where there is another fault, it is why.
    """

    def __init__(self, ray: ModuleType, job: Callable[..., Any], jobs: Sequence[Sequence[int]], processes: int) -> None:
        self.fault: tuple[str, str] | None = None
        self._bug: BaseException | None = None
        self._thread = threading.Thread(target=self._wait, args=(ray, job, jobs, processes), daemon=True)
        self._thread.start()

    def ended(self, seconds: float) -> bool:
        """Wait for a while; whether all jobs have ended."""
        self._thread.join(seconds)
        if self._bug is not None:
            raise self._bug
        return not self._thread.is_alive()

    def _wait(self, ray: ModuleType, job: Callable[..., Any], jobs: Sequence[Sequence[int]], processes: int) -> None:
        data = need("ray.data", "scale")
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.target_max_block_size = 2**20  # what a job returns is small: nothing is held back for lack of memory
        latest = float("inf")
        try:
            items = data.from_items([{"blocks": one} for one in jobs], override_num_blocks=len(jobs))
            for row in items.map(job, compute=data.TaskPoolStrategy(size=processes), num_cpus=1).iter_rows():
                if row["fault"]:
                    latest = min(latest, time.monotonic() + _PATIENCE)
                    if self.fault is None or self.fault[0] == Stopped.__name__:
                        self.fault = row["fault"], row["words"]
                if time.monotonic() > latest:
                    return  # Ray ends what is still under way
        except ray.exceptions.RayTaskError as error:
            self._bug = error
        except ray.exceptions.RayError as error:
            self.fault = SkySenseError.__name__, f"Ray ended the work: {error}. Finished work stays"
        except BaseException as error:  # noqa: BLE001 (it is raised where it is looked for)
            self._bug = error


# The ledger


class _Ledger:
    """An actor that knows how far all jobs have come."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()
        self._jobs: dict[int, Mapping[str, int]] = {}
        self._sum: Counter[str] = Counter()
        self._asked = 0

    def begin(self, job: int) -> int:
        """How often a job has begun, this time included."""
        self._begun[job] += 1
        return self._begun[job]

    def note(self, job: int, now: Mapping[str, int]) -> int:
        """Replace what was noted of a job; why the end is asked for, 0 if it is not."""
        self._sum.subtract(self._jobs.get(job, {}))
        self._sum.update(now)
        self._jobs[job] = now
        return self._asked

    def sum(self) -> Counter[str]:
        return self._sum

    def end(self, why: int) -> None:
        """Ask all jobs to end; the first reason counts."""
        self._asked = self._asked or why


def _open_ledger(ray: ModuleType) -> Any:
    """A ledger on the driver's machine: other machines may come and go."""
    here = need("ray.util.scheduling_strategies", "scale").NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=True
    )
    return ray.remote(num_cpus=0, scheduling_strategy=here)(_Ledger).remote()


# A job


def _job(row: Mapping[str, Any], order: _Order, ledger: Any) -> dict[str, str]:
    """In any process: do some blocks; what ended the work before they were done is returned by name, and ends all."""
    blocks = [int(block) for block in row["blocks"]]
    if need("ray", "scale").get(ledger.begin.remote(blocks[0])) > TRIES:
        ledger.end.remote(_FAULT)
        words = f"{TRIES} processes were killed over blocks {blocks[0]} .. {blocks[-1]}, perhaps for lack of memory"
        return {"fault": SkySenseError.__name__, "words": f"{words}. Finished work stays; fewer workers take less"}
    told = Progress(0, len(blocks), 0, 0, 0)
    notes = _Notes(ledger, blocks[0], told)
    if notes.look():
        return {"fault": Stopped.__name__, "words": ""}
    try:
        run = _opened(order)
        before = [block for block in blocks if is_done(order.out, block)]  # by a process that died
        told.done = run.places(before)
        todo = [block for block in blocks if block not in before]
        run.do(todo, told=told, tell=lambda _: None, signal=notes.look, budget=order.budget)
    except SkySenseError as fault:
        ledger.end.remote(_FAULT)
        return {"fault": type(fault).__name__, "words": str(fault)}
    finally:
        notes.write()
    return {"fault": "", "words": ""}


@lru_cache(maxsize=1)
def _opened(order: _Order) -> Run:
    """The curation as this process has opened it, once for all of its jobs."""
    if os.path.isdir(order.folder):
        os.chdir(order.folder)
    if find_bytes(order.out, SETTINGS_FILE) is None:
        raise ConfigError(f"{order.out} is not seen by all machines. Give a place that they share, or s3://...")
    return Run(order.curation, order.out, order.pace)


class _Notes:
    """What a job tells the ledger, now and then."""

    def __init__(self, ledger: Any, job: int, told: Progress) -> None:
        self._ledger, self._job, self._told = ledger, job, told
        self._next, self._asked = 0.0, 0

    def look(self) -> int:
        """Why the end is asked for, 0 if it is not."""
        if time.monotonic() >= self._next:
            self.write()
            self._next = time.monotonic() + _NOTE
        return self._asked

    def write(self) -> None:
        now = {"done": self._told.done, "stored": self._told.stored, **asdict(self._told.traffic)}
        self._asked = need("ray", "scale").get(self._ledger.note.remote(self._job, now))
