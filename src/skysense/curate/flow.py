"""Places flow through a few threads, block after block, until all are done or something ends the run.

Places in flight are few, whatever the size of the corpus, and finished ones wait on disk for the rest of their block:
memory stays flat. The next block begins before the last places of the one before have come, and shards are packed
beside, so that the line to the archive is never idle.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from skysense.curate.catalogue import Catalogue
from skysense.curate.halt import GiveUp, Halt
from skysense.curate.http import Session, Traffic
from skysense.curate.outcome import STORED, Outcome
from skysense.curate.pack import pack
from skysense.curate.place import PlaceMaker
from skysense.curate.plan import Plan, Planned
from skysense.curate.settings import Curation
from skysense.curate.stage import Stage
from skysense.errors import Stopped
from skysense.sensors import Modality

_LOOK = 0.2  # seconds between two looks at whether a signal came


@dataclass
class Progress:
    """How far a call has come.

    Attributes:
        places: of the blocks that were asked for, at most.
        blocks: that were asked for.
        places_before, blocks_before: that were done by earlier calls.
        done: places that are finished, earlier ones included.
        stored: places with imagery that this call finished.
        traffic: of this call.
        seconds: of this call.
        listed: blocks whose places are in the index that is written in the end.
    """

    places: int
    blocks: int
    places_before: int
    blocks_before: int
    done: int
    stored: int = 0
    traffic: Traffic = field(default_factory=Traffic)
    seconds: float = 0.0
    listed: int = 0


class Flow:
    """One call of a curation.

    Args:
        curation: the settings.
        archives: catalogue of each modality.
        plan: of the places.
        out: root of the corpus.
        stage: of finished places.
        workers: places at once.
        connections: files at once.
        budget: bytes that may be received.
        told: is kept up to date.
        tell: is called whenever a place is finished.
        signal: the number of a signal that asks for the end, 0 for none.
    """

    def __init__(
        self,
        curation: Curation,
        archives: Mapping[Modality, Catalogue],
        plan: Plan,
        out: str | Path,
        stage: Stage,
        *,
        workers: int,
        connections: int,
        budget: int | None,
        told: Progress,
        tell: Callable[[Progress], None],
        signal: Callable[[], int],
    ) -> None:
        self._curation, self._archives, self._plan, self._out, self._stage = curation, archives, plan, out, stage
        self._workers, self._connections, self._budget = workers, connections, budget
        self._told, self._tell, self._signal = told, tell, signal
        self._halt = Halt()
        self._places: dict[int, list[Planned]] = {}  # of blocks that have begun
        self._missing: dict[int, int] = {}  # how many of them are not finished
        self._full: deque[int] = deque()  # blocks that can be packed

    def do(self, todo: Sequence[int]) -> None:
        """Do some blocks.

        Raises:
            Unavailable, BudgetSpent, OutputError, Stopped, InputError: see `skysense.curate.run.curate`.
        """
        signings = {one.signing for one in self._archives.values() if one.signing is not None}
        session = Session(tuple(signings), budget=self._budget, connections=self._connections, sleep=self._halt.sleep)
        with (
            session,
            ThreadPoolExecutor(self._connections, "read") as reads,
            ThreadPoolExecutor(self._workers, "place") as places,
            ThreadPoolExecutor(1, "pack") as packing,
        ):
            maker = PlaceMaker(self._curation, self._archives, session, reads, self._halt.go_on)
            try:
                self._turn(maker, places, packing, self._coming(todo), session)
            except BaseException as fault:
                self._halt.call(fault)  # before the pools are waited for
                raise
        if self._halt.fault is not None:
            raise self._halt.fault

    def _turn(
        self,
        maker: PlaceMaker,
        places: ThreadPoolExecutor,
        packing: ThreadPoolExecutor,
        coming: Iterator[tuple[int, Planned]],
        session: Session,
    ) -> None:
        """Start what can be started, and take what has landed, until nothing is left."""
        working: set[Future[tuple[int, Outcome] | None]] = set()
        packs: set[Future[None]] = set()
        start = time.monotonic()
        while True:
            while not self._halt and len(working) <= self._workers and (place := next(coming, None)) is not None:
                working.add(places.submit(self._make, maker, *place))  # one more than threads: none has to wait
            while self._full:
                block = self._full.popleft()
                packs.add(packing.submit(self._pack, block, self._places.pop(block)))
            if not working and not packs:
                return
            open_work: set[Future[Any]] = {*working, *packs}
            landed, _ = wait(open_work, timeout=_LOOK, return_when=FIRST_COMPLETED)
            self._told.traffic, self._told.seconds = session.traffic, time.monotonic() - start
            for future in [one for one in working if one in landed]:
                working.remove(future)
                self._note(future.result())
            packs -= landed
            if number := self._signal():
                self._halt.call(Stopped(self._stopped(), 128 + number))

    def _coming(self, todo: Sequence[int]) -> Iterator[tuple[int, Planned]]:
        """Places that are to be worked on; those that were finished before are only counted."""
        for block in todo:
            places = self._plan.block(block)
            waiting = [one for one in places if one.avoided is None and not self._stage.has(block, one.position)]
            self._places[block], self._missing[block] = places, len(waiting)
            self._told.done += self._plan.size(block) - len(waiting)
            if not waiting:
                self._full.append(block)
            for one in waiting:
                yield block, one

    def _make(self, maker: PlaceMaker, block: int, place: Planned) -> tuple[int, Outcome] | None:
        """In a thread: one place, up to its file in the stage."""
        try:
            self._halt.go_on()
            outcome = maker.make(place.position)
            self._stage.write(block, outcome)
        except GiveUp:
            return None
        except BaseException as fault:  # noqa: BLE001 (whatever it is, all other threads have to end too)
            self._halt.call(fault)
            return None
        return block, replace(outcome, entry=None)

    def _note(self, landed: tuple[int, Outcome] | None) -> None:
        """A place is finished, and perhaps its block with it."""
        if landed is None:
            return
        block, outcome = landed
        self._missing[block] -= 1
        if not self._missing[block]:
            del self._missing[block]
            self._full.append(block)
        self._told.done += 1
        self._told.stored += outcome.reason == STORED
        self._tell(self._told)

    def _stopped(self) -> str:
        return f"stopped by a signal; {self._told.done:,} places are finished, and the same command goes on from there"

    def _pack(self, block: int, places: Sequence[Planned]) -> None:
        """In a thread: one block, up to its account."""
        try:
            pack(self._out, block, places, self._stage)
        except BaseException as fault:  # noqa: BLE001 (as in `_make`)
            self._halt.call(fault)
