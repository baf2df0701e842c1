"""Two sources of one piece of ground, before and after, read as one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.source import Source, SourceReader
from skysense.observation import Sample
from skysense.sensors import Modality, Sensor


@dataclass(frozen=True)
class Pair(Sample):
    """A window at two dates; itself the earlier one.

    Attributes:
        later: the other one; a pair without is none.
    """

    later: Sample | None = None

    @property
    def before(self) -> Sample:
        """The earlier date alone."""
        return Sample(**{name: getattr(self, name) for name in Sample.__dataclass_fields__})

    @property
    def after(self) -> Sample:
        """The later date, at the place of the earlier one."""
        assert self.later is not None
        return replace(self.later, lon=self.lon, lat=self.lat, region=self.region)


@dataclass(frozen=True)
class PairSource:
    """Imagery of two dates on the grid of the earlier one.

    Attributes:
        before: of the earlier date.
        after: of the later one, on the same grid.

    Raises:
        InputError: they lie on different grids, or have no sensor in common.
    """

    before: Source
    after: Source

    def __post_init__(self) -> None:
        if not set(self.before.sensors) & set(self.after.sensors):
            raise InputError(
                f"has {', '.join(self.after.sensors)}, and {self.before.name} has {', '.join(self.before.sensors)}",
                file=self.after.name,
                fix="What changed is seen by the same sensor at both dates",
            )
        if self.before.grid != self.after.grid:
            raise InputError(f"lies on another grid than {self.before.name}", file=self.after.name)

    @property
    def name(self) -> str:
        """Of both."""
        return f"{self.before.name} and {self.after.name}"

    @property
    def grid(self) -> Grid:
        """Of the earlier date."""
        return self.before.grid

    @property
    def sensors(self) -> dict[Modality, Sensor]:
        """Those of the earlier date."""
        return self.before.sensors

    @property
    def notes(self) -> tuple[str, ...]:
        """Of both dates."""
        sides = (("before", self.before), ("after", self.after))
        return tuple(f"{date}: {note}" for date, source in sides for note in source.notes)

    def about(self) -> dict[str, Any]:
        """What goes into the metadata of a map: that of either date."""
        return {"before": self.before.about(), "after": self.after.about()}

    def decoded_bytes(self, cells: int) -> int:
        """Of both dates."""
        return self.before.decoded_bytes(cells) + self.after.decoded_bytes(cells)

    @contextmanager
    def open(self) -> Iterator[SourceReader]:
        """Open both for reading windows."""
        with self.before.open() as before, self.after.open() as after:
            yield _PairReader(before, after)


class _PairReader:
    """Reads windows of both dates."""

    def __init__(self, before: SourceReader, after: SourceReader) -> None:
        self._readers = (before, after)
        self.pixels_not_finite = 0
        self.lost: list[str] = []

    def read(self, window: Window) -> Sample:
        """See `SourceReader.read`; a window that only one date shows is empty."""
        try:
            before, after = (reader.read(window) for reader in self._readers)
        finally:
            self.pixels_not_finite = sum(reader.pixels_not_finite for reader in self._readers)
            for reader in self._readers:
                self.lost += reader.lost
                reader.lost.clear()
        if not any(series.valid.any() for series in after.series.values()):
            before = replace(
                before, series={key: replace(one, valid=one.valid & False) for key, one in before.series.items()}
            )
        return Pair(**{name: getattr(before, name) for name in Sample.__dataclass_fields__}, later=after)
