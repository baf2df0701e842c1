"""A block whose places are all finished becomes a shard, and has an account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from skysense.curate.account import Account, block_name, write_account
from skysense.curate.outcome import AVOIDED, Outcome
from skysense.curate.plan import Planned
from skysense.curate.stage import Stage
from skysense.data.shards.write import write_shard
from skysense.errors import InputError


def pack(root: str | Path, block: int, places: Sequence[Planned], stage: Stage) -> list[Outcome]:
    """Write the shard of a block from its staged places, then its account; then the stage forgets them.

    An end in between does no harm: the next call finds the places, and writes the same shard in place of the first.

    Args:
        root: of the corpus.
        block: which one.
        places: all of its places.
        stage: where they are.

    Returns:
        What became of them, without imagery.

    Raises:
        InputError: a finished place is not there any more.
        OutputError: no space, no permission.
    """
    outcomes = []
    for one in places:
        if one.avoided is not None:
            outcomes.append(Outcome(one.position, AVOIDED, one.avoided))
            continue
        found = stage.read(block, one.position)
        if found is None:
            raise InputError(
                f"the finished place {one.position.name} is not there any more",
                file=stage.folder,
                fix="The same command fetches it again. Are two of them at work on one folder?",
            )
        outcomes.append(found)
    entries = [one.entry for one in outcomes if one.entry is not None]
    shard = write_shard(root, block_name(block), entries)[0] if entries else None
    outcomes = [replace(one, entry=None) for one in outcomes]
    write_account(root, block, Account(outcomes, shard))
    stage.clear(block)
    return outcomes
