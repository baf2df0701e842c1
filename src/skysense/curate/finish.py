"""The end of a curation: near-duplicates leave the index, which is written; then the folder is a corpus."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.curate.account import TOTALS_FILE, Account, read_account
from skysense.curate.catalogue import Catalogue
from skysense.curate.duplicates import NearDuplicates
from skysense.curate.outcome import STORED, Tally
from skysense.curate.plan import Plan
from skysense.data.places_layout import UNFINISHED
from skysense.data.shards.layout import ENDING, ROWS_FILE, Manifest, ShardInfo, index_dtype, rows_from_bytes
from skysense.data.shards.store import is_remote, read_bytes, write_bytes
from skysense.data.shards.write import write_manifest
from skysense.sensors import Modality

NEAR_DUPLICATE = "near-duplicate"
_AHEAD = 16  # blocks that are read at once


@dataclass
class Summary:
    """What a whole curation came to.

    Attributes:
        tally: sums over all places; near-duplicates are counted by themselves, not as stored.
        near_duplicates: name of a place, and number of the earlier place that it looks like.
        no_room: places that were to be drawn, but would have lain on others.
        shards: how many.
        bytes: stored in them.
    """

    tally: Tally = field(default_factory=Tally)
    near_duplicates: list[tuple[str, int]] = field(default_factory=list)
    no_room: int = 0
    shards: int = 0
    bytes: int = 0


def finish(
    root: str | Path,
    plan: Plan,
    settings: Mapping[str, Any],
    archives: Mapping[Modality, Catalogue],
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Write the index and the manifest of a corpus whose blocks are all done.

    One block after the other is looked at, while those after it are being read; only the rows of the index stay in
    memory. Near-duplicates stay in their shards, where nobody lists them.

    Args:
        root: of the corpus.
        plan: of its places.
        settings: as they were kept.
        archives: catalogue of each modality.
        progress: called with the number of blocks that have been looked at.

    Raises:
        InputError: an account or a shard cannot be read.
        OutputError: no space, no permission.
    """
    summary, duplicates = Summary(), NearDuplicates()
    shards: list[ShardInfo] = []
    rows: list[NDArray[np.void]] = []
    for block, (account, found) in enumerate(_read_ahead(root, plan.blocks)):
        twins = _near_duplicates(account, duplicates)
        for one in account.outcomes:
            number = one.position.number
            if number in twins:
                summary.near_duplicates.append((one.position.name, twins[number]))
                one = replace(one, reason=NEAR_DUPLICATE)
            summary.tally.add(one)
        progress(block + 1)
        if account.shard is None:
            continue
        stored = [one.position.number for one in account.outcomes if one.reason == STORED]
        listed = found[[number not in twins for number in stored]]
        summary.shards += 1
        summary.bytes += account.shard.bytes
        shards.append(replace(account.shard, places=len(listed)))  # also without places: it belongs to the corpus
        rows.append(listed)
    summary.no_room = plan.places - sum(summary.tally.places.values())
    _remove_unfinished(root)
    _write_totals(root, summary)
    write_manifest(root, _manifest(settings, archives, shards, summary), rows)
    return summary


def _near_duplicates(account: Account, duplicates: NearDuplicates) -> dict[int, int]:
    """Numbers of the places of a block that look like an earlier one, and the number of that one."""
    found = {}
    for one in account.outcomes:
        duplicates.begin(one.position)
        for verdict in duplicates.end(one.position.number, one.mark if one.reason == STORED else None):
            if verdict.duplicate_of is not None:
                found[verdict.number] = verdict.duplicate_of
    return found


def _read_ahead(root: str | Path, blocks: int) -> Iterator[tuple[Account, NDArray[np.void]]]:
    """Accounts and rows in order, with a few blocks under way: in a bucket, each takes as long as a round trip."""
    with ThreadPoolExecutor(_AHEAD, "account") as pool:
        under_way: deque[Future[tuple[Account, NDArray[np.void]]]] = deque()
        for block in range(blocks):
            under_way.append(pool.submit(_read, root, block))
            if len(under_way) > _AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def _read(root: str | Path, block: int) -> tuple[Account, NDArray[np.void]]:
    """The account of a block, and the rows of its shard; none without one."""
    account = read_account(root, block)
    if account.shard is None:
        return account, np.empty(0, index_dtype())
    parts = (f"{account.shard.name}{ENDING}", ROWS_FILE)
    return account, rows_from_bytes(read_bytes(root, *parts), "/".join([str(root), *parts]))


def _manifest(
    settings: Mapping[str, Any], archives: Mapping[Modality, Catalogue], shards: list[ShardInfo], summary: Summary
) -> Manifest:
    catalogues = {one.name: one for one in archives.values()}
    used = [(one, key) for one in catalogues.values() for key, other in archives.items() if other.name == one.name]
    collections = [collection for one, key in used for collection in one.of(key)]
    return Manifest(
        title=f"{summary.tally.places[STORED]:,} places of {_years(*settings['years'])}",
        simulated=any(one.simulated for one in catalogues.values()),
        source="; ".join(dict.fromkeys(one.title for one in catalogues.values())),
        licence="; ".join(dict.fromkeys(f"{one.id}: {one.licence}" for one in collections)),
        shards=shards,
        about={
            "curation": dict(settings),
            "attributions": list(dict.fromkeys(one.attribution for one in collections)),
            "account": summary.tally.to_json(),
        },
    )


def _write_totals(root: str | Path, summary: Summary) -> None:
    took = dict(summary.tally.took)
    content = {**summary.tally.to_json(), "took": {**took, "seconds": round(took.get("seconds", 0.0), 3)}}
    content |= {"shards": summary.shards, "bytes": summary.bytes, "no_room": summary.no_room}
    content["near_duplicates"] = summary.near_duplicates
    write_bytes((json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode(), root, TOTALS_FILE)


def _remove_unfinished(root: str | Path) -> None:
    """Remove what an end in the middle of a shard has left; nobody is writing any more."""
    if not is_remote(root):
        for folder in Path(root).glob(f".*{ENDING}.*{UNFINISHED}"):
            shutil.rmtree(folder, ignore_errors=True)


def _years(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"
