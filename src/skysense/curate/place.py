"""One place, from its position to its sample: search, passes, pixels, one grid."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from skysense.curate import sentinel2
from skysense.curate.acquisition import Acquisition, Asset
from skysense.curate.catalogue import Catalogue
from skysense.curate.cog import Pixels, read_stack
from skysense.curate.duplicates import fingerprint
from skysense.curate.frame import Frame, Reading
from skysense.curate.gather import HARMONISED_BY, Seen, see_images, see_pass
from skysense.curate.grid import PlaceGrid, grid_at
from skysense.curate.http import Session
from skysense.curate.merge import Pass, find_passes, thin
from skysense.curate.outcome import STORED, UNEXPECTED, UNUSABLE, Dropped, Outcome
from skysense.curate.position import Position
from skysense.curate.refusal import Refused
from skysense.curate.sample import Made, check_enough, make_sample, middle_of
from skysense.curate.search import Found, search
from skysense.curate.settings import Curation
from skysense.data.shards.write import Entry
from skysense.errors import SkySenseError
from skysense.sensors import MODALITIES, OPTICAL_HR, SENTINEL1, SENTINEL2_L2A, Modality

_READ: Mapping[Modality, tuple[str, ...]] = {
    "hr": OPTICAL_HR.bands,
    "s2": (*SENTINEL2_L2A.bands, sentinel2.CLASSES),
    "s1": SENTINEL1.bands,
}
"""What is read of an acquisition, as far as it is there."""

MOST_UNEXPECTED = 5
"""Places one after the other that end in an error nobody thought of, from which on it is no matter of the place."""

Layers = dict[str, Pixels]


@dataclass
class _Notes:
    """What is remembered of the way to a sample."""

    dropped: list[Dropped] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, modality: Modality, **found: int) -> None:
        self.counts.setdefault(modality, Counter()).update(found)

    def drop(self, modality: Modality, seen: Sequence[Seen]) -> None:
        for one in seen:
            self.dropped += [Dropped(modality, item, reason) for item, reason in one.dropped]
        self.count(modality, unread=sum(one.unread for one in seen))


class PlaceMaker:
    """Makes samples of positions; several threads may call it.

    Files are read in a pool that all places share. A place asks at once for all that it will need for certain, so that
    the pool has work while the place is being put together, or while another one is searched for.

    Args:
        curation: the settings.
        archives: catalogue of each modality.
        session: connections to archives.
        reads: the pool; nothing that runs in it waits for it.
        go_on: called before everything that takes time; raises to give up.
    """

    def __init__(
        self,
        curation: Curation,
        archives: Mapping[Modality, Catalogue],
        session: Session,
        reads: Executor,
        go_on: Callable[[], None],
    ) -> None:
        self._curation, self._archives, self._session = curation, archives, session
        self._reads, self._go_on = reads, go_on
        self._unexpected = 0  # in a row, by now
        self._licences = {key: _licence(catalogue, key) for key, catalogue in archives.items()}

    def make(self, position: Position) -> Outcome:
        """Everything about a place.

        Raises:
            Unavailable, BudgetSpent: the archive does not answer, or no more may be fetched: the run has to stop.
            SkySenseError: what is wrong with every place alike, as an archive that refuses the search, or an error that
                nobody thought of in `MOST_UNEXPECTED` places in a row.
        """
        notes, session, start = _Notes(), self._session.counting(), time.monotonic()
        entry, reason, detail, mark = None, STORED, "", None
        try:
            made = self._made(position, session, notes)
            entry, mark = Entry(made.sample, position.split, made.attributes), fingerprint(made.sample)
        except Refused as refusal:
            reason, detail = str(refusal.reason), str(refusal)
        except (SkySenseError, OSError, MemoryError):
            raise
        except Exception as error:  # a product nobody thought of must not end a run of weeks
            reason, detail = UNEXPECTED, f"{type(error).__name__}: {error}"
            if self._unexpected + 1 >= MOST_UNEXPECTED:
                raise SkySenseError(
                    f"{MOST_UNEXPECTED} places in a row ended in an unexpected error, the last ({position.name}) in "
                    f"{detail}. Finished work stays; this is likely to be a fault of skysense: please report it"
                ) from error
        self._unexpected = self._unexpected + 1 if reason == UNEXPECTED else 0
        counts = {key: {what: count for what, count in one.items() if count} for key, one in notes.counts.items()}
        seconds = time.monotonic() - start
        return Outcome(position, reason, detail, entry, mark, tuple(notes.dropped), counts, session.traffic, seconds)

    def _made(self, position: Position, session: Session, notes: _Notes) -> Made:
        grid = grid_at(position.lon, position.lat, self._curation.sample.cells)
        passes = self._look(grid, session, notes)
        check_enough({key: len(found) for key, found in passes.items()}, self._curation.sample)
        frames: dict[Modality, Sequence[Frame]] = {}
        series: list[Modality] = [key for key in ("s2", "s1") if key in passes]
        begun = {key: [self._begin(one.acquisitions[0], grid, session) for one in passes[key]] for key in series}
        for key in series:
            seen = [
                see_pass(one, self._reader(grid, session, first))
                for one, first in zip(passes[key], begun[key], strict=True)
            ]
            notes.drop(key, seen)
            frames[key] = [one.frame for one in seen if one.frame is not None]
        images = passes.get("hr", ())
        check_enough({"hr": len(images), **{key: len(found) for key, found in frames.items()}}, self._curation.sample)
        seen = see_images(images, self._reader(grid, session), middle_of(frames.get("s2") or frames.get("s1") or ()))
        notes.drop("hr", seen)
        frames["hr"] = [one.frame for one in seen if one.frame is not None]
        return make_sample(position.name, grid, frames, self._curation.sample, licences=self._licences)

    def _look(self, grid: PlaceGrid, session: Session, notes: _Notes) -> dict[Modality, Sequence[Pass]]:
        """Passes of each modality that there is an archive for."""
        asked = {
            key: self._reads.submit(self._search, key, grid, session) for key in MODALITIES if key in self._archives
        }
        passes: dict[Modality, Sequence[Pass]] = {}
        for key, answer in asked.items():
            found = answer.result()
            notes.dropped += [Dropped(key, item, UNUSABLE, why) for item, why in found.dropped]
            together = find_passes(found.acquisitions, grid)
            passes[key] = thin(together.passes, self._curation.sample.most(key))
            notes.count(
                key,
                found=len(found.acquisitions),
                repeated=together.repeated,
                replaced=together.replaced,
                merged=together.merged,
                thinned=len(together.passes) - len(passes[key]),
            )
        return passes

    def _search(self, modality: Modality, grid: PlaceGrid, session: Session) -> Found:
        self._go_on()
        start, end = self._curation.span(modality)
        return search(
            self._archives[modality],
            modality,
            grid,
            start,
            end,
            most_cloud=self._curation.most_cloud,
            session=session,
        )

    def _begin(self, acquisition: Acquisition, grid: PlaceGrid, session: Session) -> list[Future[Layers]]:
        """Ask for all files of an acquisition."""
        files: dict[tuple[str, int], dict[str, Asset]] = {}
        for name in _READ[acquisition.modality]:
            if name in acquisition.assets:
                asset = acquisition.assets[name]
                files.setdefault((asset.href, 2 if name in sentinel2.AT_20_M else 1), {})[name] = asset
        return [
            self._reads.submit(self._read, acquisition.modality, together, repeats, grid, session)
            for (_, repeats), together in files.items()
        ]

    def _read(
        self, modality: Modality, assets: Mapping[str, Asset], repeats: int, grid: PlaceGrid, session: Session
    ) -> Layers:
        """Bands of one file, whose pixels are so many times those of the modality's grid each way."""
        self._go_on()
        how = HARMONISED_BY[modality]
        pixels = read_stack(
            list(assets.values()), grid, how.METRES_PER_PX * repeats, resampling=how.RESAMPLING, session=session
        )
        values, observed = (layers.repeat(repeats, axis=1).repeat(repeats, axis=2) for layers in pixels)
        return {name: (values[at], observed[at]) for at, name in enumerate(assets)}

    def _reader(
        self, grid: PlaceGrid, session: Session, first: list[Future[Layers]] | None = None
    ) -> Callable[[Acquisition], Reading]:
        """Reads acquisitions of a pass, the first of which has been asked for already."""
        begun = [first] if first is not None else []

        def read(acquisition: Acquisition) -> Reading:
            files = begun.pop() if begun else self._begin(acquisition, grid, session)
            layers: Layers = {}
            for file in files:  # in a fixed order, so that of several faults always the same one is told
                layers |= file.result()
            return Reading(
                acquisition,
                {name: values for name, (values, _) in layers.items()},
                {name: observed for name, (_, observed) in layers.items()},
            )

        return read


def _licence(catalogue: Catalogue, modality: Modality) -> str:
    """Licences and attributions of what a catalogue offers of a modality."""
    return "; ".join(f"{one.licence}. {one.attribution}" for one in catalogue.of(modality))
