"""Parts of a map computed by several processes of this machine, which the parent gives them one at a time.

Processes are spawned, not forked: a forked child of a process that has used a GPU or threads is not safe. A program
that calls this therefore needs ``if __name__ == "__main__":`` around what it does.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import cast

import torch

from skysense.errors import ConfigError, InputError, MissingExtra, OutputError, SkySenseError
from skysense.maps.answer import Recipe
from skysense.maps.job import Job
from skysense.maps.parts import Part
from skysense.maps.run import compute

FAULTS: dict[str, type[SkySenseError]] = {
    one.__name__: one for one in (InputError, OutputError, ConfigError, MissingExtra)
}
"""What a process may end with, by name: not every exception survives the way from one process to another."""


@dataclass(frozen=True)
class Order:
    """What every process is told.

    Attributes:
        job: the map.
        recipe: of its answerer.
        threads: of its model on a CPU.
    """

    job: Job
    recipe: Recipe
    threads: int


def compute_in_processes(
    job: Job, recipe: Recipe, parts: Sequence[Part], workers: int, tell: Callable[[int], None] = lambda _: None
) -> None:
    """Compute parts of a map in several processes.

    Args:
        job: the map.
        recipe: makes the answerer of every process. A model on ``cuda`` goes to one GPU after the other.
        parts: which ones.
        workers: how many processes; no more than there are parts.
        tell: called with the windows that are done.

    Raises:
        InputError, OutputError, ConfigError: as `compute`, in any of the processes.
        SkySenseError: a process was killed.
    """
    workers = min(workers, len(parts))
    order = Order(job, recipe, max(1, torch.get_num_threads() // workers))
    spawn = multiprocessing.get_context("spawn")
    left = list(reversed(parts))
    processes: dict[Connection, SpawnProcess] = {}
    try:
        for number in range(workers):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_work, args=(order, number, theirs), daemon=True, name=f"map-{number}")
            process.start()
            theirs.close()
            processes[ours] = process
        _serve(processes, left, tell)
    finally:
        for connection, process in processes.items():
            process.terminate()
            connection.close()
        for process in processes.values():
            process.join()


def _serve(processes: dict[Connection, SpawnProcess], left: list[Part], tell: Callable[[int], None]) -> None:
    """Give out parts until every process has said that it is done."""
    at_work = set(processes)
    while at_work:
        for ready in wait(at_work):
            connection = cast("Connection", ready)
            try:
                what, value = connection.recv()
            except EOFError:
                processes[connection].join()
                raise _killed(processes[connection].exitcode) from None
            if what == "next":
                connection.send(left.pop() if left else None)
            elif what == "windows":
                tell(value)
            elif what == "done":
                at_work.discard(connection)
            else:
                kind, words = value
                raise FAULTS.get(kind, SkySenseError)(words)


def _killed(status: int | None) -> SkySenseError:
    return SkySenseError(
        f"a process ended with status {status}, perhaps for lack of memory. Finished parts stay; the same command goes "
        "on, and fewer workers or smaller batches take less"
    )


def _work(order: Order, number: int, parent: Connection) -> None:
    """In a process of its own: compute what the parent gives out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    sending = threading.Lock()

    def say(what: str, value: object = None) -> None:
        with sending:
            parent.send((what, value))

    def parts() -> Iterator[Part]:
        while True:
            say("next")
            part = parent.recv()
            if part is None:
                return
            yield part

    try:
        torch.set_num_threads(order.threads)
        if torch.cuda.is_available():
            torch.cuda.set_device(number % torch.cuda.device_count())
        compute(order.job, order.recipe.build(), parts(), lambda windows: say("windows", windows))
        say("done")
    except SkySenseError as error:
        say("fault", (type(error).__name__, str(error)))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone
    except Exception:  # noqa: BLE001 - carried over to the process that waits for it
        say("fault", ("", traceback.format_exc()))
