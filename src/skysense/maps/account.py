"""What became of the windows of a map: counted part by part, so that a run that went on has the same account."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from skysense.geo import Window


@dataclass(frozen=True)
class Skipped:
    """A window that could not be used; its cells are no-data unless a neighbour covers them.

    Attributes:
        window: in cells of the map.
        reason: for people.
    """

    window: Window
    reason: str

    def __str__(self) -> str:
        return f"cells from row {self.window.row}, column {self.window.col}: {self.reason}"


@dataclass
class Account:
    """What became of windows. One that lies in several parts is counted in that of its first cell.

    Attributes:
        windows: how many.
        empty: of these, windows without an observed pixel; they cost nothing.
        skipped: windows that could not be used.
        lost: frames that were left out since they could not be read, for people, and in how many windows.
        not_finite: observed pixels with NaN or infinite values, which count as no-data; where windows overlap, twice.
        no_context: windows in regions whose prototypes the model never learned.
        observed: pixels of the map's first score that have a value; windows with an answer where none is blended.
        devices: what it was computed on; a run may have gone on elsewhere.
    """

    windows: int = 0
    empty: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    not_finite: int = 0
    no_context: int = 0
    observed: int = 0
    devices: set[str] = field(default_factory=set)

    def add(self, other: Account) -> None:
        """Count what another account has counted."""
        self.windows += other.windows
        self.empty += other.empty
        self.skipped += other.skipped
        self.lost.update(other.lost)
        self.not_finite += other.not_finite
        self.no_context += other.no_context
        self.observed += other.observed
        self.devices |= other.devices

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "windows": self.windows,
            "empty": self.empty,
            "skipped": [[one.window.row, one.window.col, one.window.height, one.reason] for one in self.skipped],
            "lost": dict(sorted(self.lost.items())),
            "not_finite": self.not_finite,
            "no_context": self.no_context,
            "observed": self.observed,
            "devices": sorted(self.devices),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Account:
        """The way back of `to_json`."""
        skipped = [Skipped(Window(row, col, size, size), reason) for row, col, size, reason in values["skipped"]]
        counts = {name: int(values[name]) for name in ("windows", "empty", "not_finite", "no_context", "observed")}
        return cls(skipped=skipped, lost=Counter(values["lost"]), devices=set(values["devices"]), **counts)

    def notes(self) -> tuple[str, ...]:
        """What a person should know."""
        notes = []
        if self.not_finite:
            notes.append(
                f"{self.not_finite} pixels read in its windows hold NaN or infinite values and count as no-data"
            )
        if self.no_context:
            notes.append(
                f"{self.no_context} of {self.windows} windows lie in regions whose prototypes this model never "
                "learned: their geo-context is zero"
            )
        if len(self.devices) > 1:
            notes.append(f"parts were computed on {' and '.join(sorted(self.devices))}, which round differently")
        for reason, windows in self.lost.items():
            notes.append(f"left out of {windows} window{'s' if windows > 1 else ''}: {reason}")
        return tuple(notes)
