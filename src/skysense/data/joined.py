"""Several folders of places as one corpus to learn from: their labels need not agree, for none is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from skysense.data.places import Failure, Place, Places
from skysense.errors import InputError
from skysense.geo import RegionTable
from skysense.observation import Sample


class JoinedPlaces:
    """Folders of places one after the other, with one table of the regions of all of them.

    A place is called ``folder/place`` after the folder it comes from, so that names stay unique and messages tell.

    Args:
        sources: the folders; as many as there are, in this order.

    Raises:
        InputError: no folder, two of the same name, or tables whose regions follow different rules.
    """

    def __init__(self, sources: Sequence[Places]) -> None:
        names = [source.root.resolve().name for source in sources]
        if not sources or len(set(names)) != len(names):
            raise InputError(
                f"folders of places can be joined if each has a name of its own; got {', '.join(names) or 'none'}"
            )
        self.sources = tuple(sources)
        rule, *others = {source.regions.rule for source in sources}
        if others:
            raise InputError("folders of places can be joined if the regions of all follow one rule")
        self.regions = RegionTable((cell for source in sources for cell in source.regions.cells), rule)
        self.failures: list[Failure] = []
        self._places: list[Place] = []
        self._source_of: dict[str, Places] = {}
        for name, source in zip(names, sources, strict=True):
            named = [replace(place, name=f"{name}/{place.name}") for place in source]
            self._places += named
            self.failures += [replace(failure, place=f"{name}/{failure.place}") for failure in source.failures]
            self._source_of |= {place.name: source for place in named}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Place:
        return self._places[index]

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places)

    @property
    def names(self) -> Iterator[str]:
        """Of all places, in order."""
        return (place.name for place in self._places)

    @property
    def simulated(self) -> bool:
        """Whether any of the pixels are made up."""
        return any(source.simulated for source in self.sources)

    def read_sample(self, place: Place) -> Sample:
        """All of a place; its region is the slot in the common table.

        Args:
            place: of these.

        Raises:
            InputError: as `Places.read_sample`.
        """
        sample = self._source_of[place.name].read_sample(place)
        return replace(sample, region=self.regions.slot(place.lon, place.lat))
