"""A curation from its settings to a corpus; what is done already is not done again.

curate(Curation(years=(2021, 2021), places=Path("places.csv")), "corpus")
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from skysense.curate.account import done_blocks, keep_settings, read_account
from skysense.curate.faults import BudgetSpent
from skysense.curate.finish import Summary, finish
from skysense.curate.flow import Flow, Progress
from skysense.curate.plan import Plan
from skysense.curate.settings import Curation, identity, open_archives
from skysense.curate.stage import Stage
from skysense.errors import ConfigError

WORKERS, CONNECTIONS = 8, 32


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a curation is done, which does not change what comes of it.

    Attributes:
        workers: places at once.
        connections: files at once, of all places together.
        budget: bytes that may be received in all, by this call and by those before it; None for no limit. What was
            being fetched when a process was killed is not counted.
        scratch: folder for finished places of unfinished blocks, see `Stage`.

    Raises:
        ConfigError: nothing at once, or a budget of nothing.
    """

    workers: int = WORKERS
    connections: int = CONNECTIONS
    budget: int | None = None
    scratch: Path | None = None

    def __post_init__(self) -> None:
        for name in ("workers", "connections", "budget"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1; got {value}")


def curate(
    curation: Curation,
    out: str | Path,
    pace: Pace | None = None,
    *,
    blocks: Iterable[int] | None = None,
    begin: Callable[[Progress], None] = lambda _: None,
    progress: Callable[[Progress], None] = lambda _: None,
    signal: Callable[[], int] = lambda: 0,
) -> Summary | None:
    """Make a corpus of shards, or go on with one.

    Args:
        curation: what it holds.
        out: a folder, ``s3://bucket/path`` or ``gs://bucket/path``.
        pace: how it is done.
        blocks: some of the blocks, while other processes do others; all by default.
        begin: called once, when it is known what is to be done.
        progress: called whenever a place is finished.
        signal: the number of a signal that asks for the end, 0 for none.

    Returns:
        What the corpus came to; None while there are blocks that are not done.

    Raises:
        Unavailable, BudgetSpent, OutputError: the archive does not answer, the budget is spent, there is no space. What
            is finished stays, and the same call goes on.
        Stopped: by a signal; the same holds.
        ConfigError: settings that contradict each other, or other ones than the corpus was begun with.
        InputError: a file that cannot be used, or an archive that refuses the search.
    """
    pace = pace or Pace()
    archives, plan = open_archives(curation), Plan(curation)
    settings = identity(curation, archives, plan.identity)
    keep_settings(out, settings)
    stage = Stage(out, json.dumps(settings, sort_keys=True), pace.scratch)
    done = done_blocks(out)
    wanted = range(plan.blocks) if blocks is None else sorted(set(blocks))
    before = [block for block in wanted if block in done]
    places_before = sum(map(plan.size, before))
    told = Progress(sum(map(plan.size, wanted)), len(wanted), places_before, len(before), done=places_before)
    begin(told)
    todo = [block for block in wanted if block not in done]
    if todo:
        flow = Flow(
            curation,
            archives,
            plan,
            out,
            stage,
            workers=pace.workers,
            connections=pace.connections,
            budget=None if pace.budget is None else _left(pace.budget, out, done, stage),
            told=told,
            tell=progress,
            signal=signal,
        )
        try:
            flow.do(todo)
        except BudgetSpent as fault:
            raise BudgetSpent(_spent(pace.budget or 0)) from fault
    if len(done_blocks(out)) < plan.blocks:
        return None
    stage.remove()
    return finish(out, plan, settings, archives)


def _left(budget: int, out: str | Path, done: Collection[int], stage: Stage) -> int:
    """What earlier calls have left of a budget.

    Raises:
        BudgetSpent: nothing.
    """
    received = stage.received() + sum(one.traffic.bytes for block in done for one in read_account(out, block).outcomes)
    if received >= budget:
        raise BudgetSpent(_spent(budget))
    return budget - received


def _spent(budget: int) -> str:
    return f"the budget of {budget:,} bytes is spent. Finished work stays; go on with a larger one"
