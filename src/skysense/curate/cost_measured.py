"""What places have cost, from the accounts of a corpus that was curated.

Letters: P places that were drawn, R one value and the draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.curate.account import SETTINGS_FILE, done_blocks, read_account
from skysense.curate.cost import PerPlace, seconds_of_core
from skysense.curate.cost_figures import DRAWS, Uncertain
from skysense.curate.outcome import AVOIDED, STORED, Outcome
from skysense.data.shards.store import find_bytes, parse_json
from skysense.errors import InputError
from skysense.sensors import MODALITIES

FEWEST = 8
"""Places without which there is no speaking of a spread."""
_LOST = ("repeated", "replaced", "thinned")
_AT_ONCE = 4_000_000  # numbers: resamples of so many places are summed up together


@dataclass(frozen=True)
class Measured:
    """What a corpus tells.

    Attributes:
        each: what a stored place costs.
        drawn, stored: how many places were worked on, and how many of them are stored.
        simulated: whether an archive of made-up scenes was asked, whose tiles are smaller than true ones.
    """

    each: PerPlace
    drawn: int
    stored: int
    simulated: bool


def measured(root: str | Path, figures: Mapping[str, Uncertain], *, seed: int = 0) -> Measured:
    """Costs of a stored place, with the spread between places.

    Places are resampled with replacement, all their numbers together; every resample gives ratios of sums, since places
    that were not kept cost something too. Accounts do not tell seconds of a core: these are reckoned from the frames.

    Args:
        root: of a corpus, finished or not.
        figures: of `skysense.curate.cost_figures.draw_all`.
        seed: of the resamples.

    Raises:
        InputError: no accounts, or of too few places.
    """
    accounts = [read_account(root, block) for block in sorted(done_blocks(root))]
    if not accounts:
        raise InputError(
            "holds no accounts of a curation", file=root, fix="Give the folder that `skysense curate` wrote"
        )
    rows: list[dict[str, float]] = []
    for account in accounts:
        bytes_of_place = account.shard.bytes / account.shard.places if account.shard else 0.0
        rows += [_row(one, bytes_of_place) for one in account.outcomes if one.reason != AVOIDED]
    stored = sum(row["stored"] > 0 for row in rows)
    if stored < FEWEST:
        raise InputError(f"holds {stored} stored places; {FEWEST} are needed to see how they differ", file=root)
    sums = _resampled(rows, seed)
    ratio = {name: one / np.maximum(sums["stored"], 1) for name, one in sums.items()}
    frames = {key: ratio[f"frames_{key}"] for key in ("s2", "s1")}
    read: dict[str, Uncertain] = {key: ratio[f"read_{key}"] for key in MODALITIES}
    each = PerPlace(
        requests={"all": ratio["requests"] - ratio["searches"]},
        received={"all": ratio["received"]},
        stored={"all": ratio["bytes"]},
        searches=ratio["searches"],
        processor=seconds_of_core(figures, frames, read, ratio["images"], ratio["received"]),
        kept=_share(stored, len(rows), seed),
        retries=sums["retries"] / np.maximum(sums["requests"], 1),
    )
    return Measured(each, len(rows), stored, _simulated(root))


def _row(one: Outcome, bytes_of_place: float) -> dict[str, float]:
    """The numbers of a place."""
    kept = one.reason == STORED
    row = {
        "drawn": 1.0,
        "stored": float(kept),
        "bytes": bytes_of_place * kept,
        "requests": float(one.traffic.requests),
        "retries": float(one.traffic.retries),
        "received": float(one.traffic.bytes),
        "searches": float(len(one.counts)),
    }
    for key in MODALITIES:
        counts = one.counts.get(key, {})
        passed = counts.get("found", 0) - sum(counts.get(name, 0) for name in _LOST)
        row[f"frames_{key}"] = float(kept * (passed - counts.get("merged", 0)))
        row[f"read_{key}"] = float(kept * (passed - counts.get("unread", 0)))
    row["images"] = float(row["read_hr"] > 0)
    return row


def _resampled(rows: Sequence[Mapping[str, float]], seed: int) -> dict[str, Uncertain]:
    """Sums over all places, and over each resample of them."""
    rng, count, names = np.random.default_rng(seed), len(rows), list(rows[0])
    values_PN = np.array([[row[name] for name in names] for row in rows])
    sums = [values_PN.sum(0)[None]]
    step = max(1, _AT_ONCE // count)
    for start in range(0, DRAWS, step):
        weights: NDArray[Any] = rng.multinomial(count, np.full(count, 1 / count), size=min(step, DRAWS - start))
        sums.append(weights @ values_PN)
    return dict(zip(names, np.concatenate(sums).T, strict=True))


def _share(some: int, count: int, seed: int) -> Uncertain:
    """A share of places; resamples of a share of all would say that there is no doubt (Jeffreys' interval does not)."""
    draws = np.random.default_rng(seed).beta(some + 0.5, count - some + 0.5, DRAWS)
    return np.concatenate([[some / count], draws])


def _simulated(root: str | Path) -> bool:
    content = find_bytes(root, SETTINGS_FILE)
    if content is None:
        return False
    catalogues = parse_json(content, f"{root}/{SETTINGS_FILE}").get("catalogues", {})
    return any(one.get("simulated", False) for one in catalogues.values())
