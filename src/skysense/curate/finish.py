"""The end of a curation: near-duplicates leave the index, which is written; then the folder is a corpus."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
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
from skysense.data.shards.layout import ENDING, ROWS_FILE, Manifest, ShardInfo, check_rows
from skysense.data.shards.store import is_remote, read_bytes, write_bytes
from skysense.data.shards.write import write_manifest
from skysense.sensors import Modality

NEAR_DUPLICATE = "near-duplicate"


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
    root: str | Path, plan: Plan, settings: Mapping[str, Any], archives: Mapping[Modality, Catalogue]
) -> Summary:
    """Write the index and the manifest of a corpus whose blocks are all done.

    One block after the other is looked at; only the rows of the index stay in memory. Near-duplicates stay in their
    shards, where nobody lists them.

    Args:
        root: of the corpus.
        plan: of its places.
        settings: as they were kept.
        archives: catalogue of each modality.

    Raises:
        InputError: an account or a shard cannot be read.
        OutputError: no space, no permission.
    """
    summary, duplicates = Summary(), NearDuplicates()
    shards: list[ShardInfo] = []
    rows: list[NDArray[np.void]] = []
    for block in range(plan.blocks):
        account = read_account(root, block)
        twins = _near_duplicates(account, duplicates)
        for one in account.outcomes:
            number = one.position.number
            if number in twins:
                summary.near_duplicates.append((one.position.name, twins[number]))
                one = replace(one, reason=NEAR_DUPLICATE)
            summary.tally.add(one)
        if account.shard is None:
            continue
        stored = [one.position.number for one in account.outcomes if one.reason == STORED]
        listed = _rows(root, account.shard)[[number not in twins for number in stored]]
        summary.shards += 1
        summary.bytes += account.shard.bytes
        if len(listed):
            shards.append(replace(account.shard, places=len(listed)))
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


def _rows(root: str | Path, shard: ShardInfo) -> NDArray[np.void]:
    parts = (f"{shard.name}{ENDING}", ROWS_FILE)
    content = read_bytes(root, *parts)
    return check_rows(np.load(io.BytesIO(content), allow_pickle=False), "/".join([str(root), *parts]))


def _manifest(
    settings: Mapping[str, Any], archives: Mapping[Modality, Catalogue], shards: list[ShardInfo], summary: Summary
) -> Manifest:
    catalogues = {one.name: one for one in archives.values()}
    used = [(one, key) for one in catalogues.values() for key, other in archives.items() if other.name == one.name]
    collections = [collection for one, key in used for collection in one.of(key)]
    return Manifest(
        title=f"{summary.tally.places[STORED]:,} places of {settings['years'][0]} to {settings['years'][1]}",
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
