"""What became of a place: its imagery, or why it has none, and what was left out on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skysense.curate.duplicates import Fingerprint
from skysense.curate.http import Traffic
from skysense.curate.position import Position
from skysense.data.shards.write import Entry
from skysense.sensors import Modality

STORED = "stored"
AVOIDED = "near an evaluation set"
UNEXPECTED = "unexpected error"
UNUSABLE = "unusable item"
"""Items of a catalogue that lack something or contradict themselves."""
COUNTED = ("found", "repeated", "replaced", "merged", "thinned", "unread")
"""What becomes of acquisitions: in the catalogue; there twice; of a baseline that a newer one replaces; part of the
frame of another one; left out so that a series is no longer than wanted; not needed, since others showed the place."""


@dataclass(frozen=True)
class Dropped:
    """An acquisition that could not be used.

    Attributes:
        modality: of it.
        item: its name.
        reason: what an account counts it under.
        detail: for who asks about this one.
    """

    modality: Modality
    item: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Outcome:
    """The end of the work on a place.

    Attributes:
        position: where it is.
        reason: `STORED`, or why it is left out.
        detail: for who asks about this one.
        entry: what is to be stored; None if it is left out.
        mark: to find near-duplicates by; None without imagery that has one.
        dropped: acquisitions that could not be used: those the search left out, then those that were read in vain.
        counts: acquisitions by modality and what became of them, in the words of `COUNTED`.
        traffic: what it took of the network.
        seconds: from begin to end; places are worked on side by side.
    """

    position: Position
    reason: str
    detail: str = ""
    entry: Entry | None = None
    mark: Fingerprint | None = None
    dropped: tuple[Dropped, ...] = ()
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """All but the imagery."""
        where = self.position
        mark = None if self.mark is None else [f"{self.mark.bits:016x}", f"{self.mark.counted:016x}"]
        dropped = [[one.modality, one.item, one.reason, one.detail] for one in self.dropped]
        return {
            "number": where.number,
            "name": where.name,
            "lon": where.lon,
            "lat": where.lat,
            "cell": where.cell,
            "split": where.split,
            "outcome": self.reason,
            "detail": self.detail,
            "mark": mark,
            "dropped": dropped,
            "counts": {key: dict(counts) for key, counts in self.counts.items()},
            "took": {
                "requests": self.traffic.requests,
                "retries": self.traffic.retries,
                "bytes": self.traffic.bytes,
                "seconds": round(self.seconds, 3),
            },
        }


def parse_outcome(told: Mapping[str, Any], entry: Entry | None = None) -> Outcome:
    """The way back of `Outcome.to_json`.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    mark = None if told["mark"] is None else Fingerprint(*(int(part, 16) for part in told["mark"]))
    took = told["took"]
    return Outcome(
        Position(told["number"], told["name"], told["lon"], told["lat"], told["cell"], told["split"]),
        told["outcome"],
        told["detail"],
        entry,
        mark,
        tuple(Dropped(*one) for one in told["dropped"]),
        told["counts"],
        Traffic(requests=took["requests"], retries=took["retries"], bytes=took["bytes"]),
        took["seconds"],
    )


@dataclass
class Tally:
    """Sums over outcomes.

    Attributes:
        places: by reason.
        dropped: acquisitions by modality and reason.
        counts: acquisitions by modality and what became of them.
        took: requests, retries, bytes and seconds (of places side by side).
    """

    places: Counter[str] = field(default_factory=Counter)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    took: Counter[str] = field(default_factory=Counter)

    def add(self, one: Outcome) -> None:
        """Count a place."""
        self.places[one.reason] += 1
        for left in one.dropped:
            self.dropped.setdefault(left.modality, Counter())[left.reason] += 1
        for key, counts in one.counts.items():
            self.counts.setdefault(key, Counter()).update(counts)
        self.took.update(one.to_json()["took"])

    def to_json(self) -> dict[str, Any]:
        """Everything but what it took, which differs from one run to the next."""
        nested = {"dropped": self.dropped, "counts": self.counts}
        return {
            "places": dict(sorted(self.places.items())),
            **{
                what: {key: dict(sorted(one.items())) for key, one in sorted(by.items())} for what, by in nested.items()
            },
        }
