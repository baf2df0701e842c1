"""A curation from its settings to a corpus; what is done already is not done again.

curate(Curation(years=(2021, 2021), places=Path("places.csv")), "corpus")
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
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
        progress: called whenever a place is finished, and in the end whenever the places of a block are listed.
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
    run = Run(curation, out, pace)
    told, todo = run.begin(blocks)
    begin(told)
    if todo:
        try:
            run.do(todo, told=told, tell=progress, signal=signal, budget=run.left())
        except BudgetSpent as fault:
            raise BudgetSpent(spent(pace.budget or 0)) from fault

    def listed(blocks: int) -> None:
        told.listed = blocks
        progress(told)

    return run.finish(listed)


class Run:
    """A curation that is opened for work on a corpus, in one of the processes that make it.

    Args:
        curation: what the corpus holds.
        out: its root.
        pace: how it is made.

    Attributes:
        plan: all positions.

    Raises:
        ConfigError, InputError: see `curate`.
    """

    def __init__(self, curation: Curation, out: str | Path, pace: Pace) -> None:
        self._curation, self._out, self._pace = curation, out, pace
        self._archives, self.plan = open_archives(curation), Plan(curation)
        self._settings = identity(curation, self._archives, self.plan.identity)
        keep_settings(out, self._settings)
        self._stage = Stage(out, json.dumps(self._settings, sort_keys=True), pace.scratch)

    def begin(self, blocks: Iterable[int] | None) -> tuple[Progress, list[int]]:
        """How far some blocks have come, all by default, and those that are not done."""
        done = done_blocks(self._out)
        wanted = range(self.plan.blocks) if blocks is None else sorted(set(blocks))
        before = [block for block in wanted if block in done]
        places_before = self.places(before)
        told = Progress(self.places(wanted), len(wanted), places_before, len(before), done=places_before)
        return told, [block for block in wanted if block not in done]

    def places(self, blocks: Iterable[int]) -> int:
        """How many places some blocks have at most."""
        return sum(map(self.plan.size, blocks))

    def left(self) -> int | None:
        """Bytes that earlier calls have left of the budget; None for no limit.

        Raises:
            BudgetSpent: nothing.
        """
        budget = self._pace.budget
        if budget is None:
            return None
        accounts = (read_account(self._out, block) for block in done_blocks(self._out))
        received = self._stage.received() + sum(one.traffic.bytes for account in accounts for one in account.outcomes)
        if received >= budget:
            raise BudgetSpent(spent(budget))
        return budget - received

    def do(
        self,
        todo: Sequence[int],
        *,
        told: Progress,
        tell: Callable[[Progress], None],
        signal: Callable[[], int],
        budget: int | None,
    ) -> None:
        """Do some blocks.

        Args:
            todo: the blocks.
            told: is kept up to date.
            tell: called whenever a place is finished.
            signal: the number of a signal that asks for the end, 0 for none.
            budget: bytes that may be received.

        Raises:
            Unavailable, BudgetSpent, OutputError, Stopped, InputError: see `curate`.
        """
        flow = Flow(
            self._curation,
            self._archives,
            self.plan,
            self._out,
            self._stage,
            workers=self._pace.workers,
            connections=self._pace.connections,
            budget=budget,
            told=told,
            tell=tell,
            signal=signal,
        )
        flow.do(todo)

    def finish(self, progress: Callable[[int], None] = lambda _: None) -> Summary | None:
        """Write the index, and return what the corpus came to; None while there are blocks that are not done.

        Raises:
            InputError, OutputError: see `skysense.curate.finish.finish`.
        """
        if len(done_blocks(self._out)) < self.plan.blocks:
            return None
        self._stage.remove()
        return finish(self._out, self.plan, self._settings, self._archives, progress=progress)


def spent(budget: int) -> str:
    """What is said when there is nothing left of a budget."""
    return f"the budget of {budget:,} bytes is spent. Finished work stays; go on with a larger one"
