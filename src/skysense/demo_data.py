"""From archives to data to learn from, without the internet: catalogues, a corpus of shards, ten steps, a card.

An archive is made on this machine and served on the loopback as Planetary Computer serves its own, signed addresses
included. What `skysense curate` does on the real one is then done on this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import yaml

from skysense.benchmark.probe import Progress
from skysense.curate.card.page import write_card
from skysense.curate.catalogue import PRESETS
from skysense.curate.flow import Progress as Come
from skysense.curate.rehearsal import Rehearsal, Scene, kit_archive, read_archive, simulated_archive
from skysense.curate.run import curate
from skysense.curate.sample import Settings
from skysense.curate.settings import Curation
from skysense.data.shards.layout import MANIFEST_FILE
from skysense.data.shards.read import Shards
from skysense.errors import SkySenseError
from skysense.files import make_folder, write_text
from skysense.pretrain.journal import FILE, read
from skysense.pretrain.loop import pretrain
from skysense.pretrain.recipes import recipe

PRESET, REHEARSED = "planetary-computer", "planetary"
"""The catalogue that is played, as the presets and as the rehearsal call it."""

CELLS = 32
"""Side of a place: 320 m."""

ROWS, COLUMNS = 3, 5
"""Places on the aerial images of the simulated archive, which cover about 1 km x 1.6 km."""

APART = 4
"""Dates of the kit's long series of which one is taken: more would take minutes and show no more."""

_TINY = recipe("tiny")
CONFIG = replace(
    _TINY,
    steps=10,
    batch_size=4,
    views=replace(_TINY.views, local_crops=0, s2_frames=4, s1_frames=2),
    checkpoint_every=5,
)
"""Ten steps for two CPU cores: they show that the corpus can be learned from, and teach next to nothing."""


@dataclass(frozen=True)
class Source:
    """What differs between a simulated archive and that of the kit.

    Attributes:
        name: of the folder.
        make: makes the archive in a folder, or leaves it as it is.
        places: longitude and latitude of the places to look for, from the scenes of the archive.
        years: of the series.
        sample: what a place must have.
        about: entries of the catalogue: its title, and whether its pixels are made up.
        terms: licence and attribution of its images.
    """

    name: str
    make: Callable[[Path], Path]
    places: Callable[[Sequence[Scene]], Iterable[tuple[float, float]]]
    years: tuple[int, int]
    sample: Settings
    about: Mapping[str, Any]
    terms: Mapping[str, str]


@dataclass(frozen=True)
class DemoData:
    """What was made, and where it is.

    Attributes:
        archive: folder of scenes.
        catalogue: file that describes it as the presets do the public ones.
        corpus: folder of shards.
        card: page about it.
        model: file of the weights after the last step.
        places: of the corpus.
        reasons: places that were looked for, by what became of them.
        losses: of the first and of the last step.
    """

    archive: Path
    catalogue: Path
    corpus: Path
    card: Path
    model: Path
    places: int
    reasons: dict[str, int]
    losses: tuple[float, float]


def demo_data(out: str | Path, *, kit: str | Path | None = None, progress: Progress | None = None) -> DemoData:
    """Make an archive, curate places of it, learn from them and write their card; a second call goes on after a cut.

    Args:
        out: folder of all of it.
        kit: folder of the kit of small data, whose real pixels the archive then holds; simulated ones by default.
        progress: called with (done, in all, what is being done).

    Raises:
        InputError: ``kit`` is no kit.
        SkySenseError: the port that a call before this one used is taken.
        OutputError: ``out`` cannot be written to.
    """
    tell = progress or (lambda *_: None)
    source = _simulated(tell) if kit is None else _of_kit(Path(kit), tell)
    folder = make_folder(Path(out) / source.name)
    archive = source.make(folder / "archive")
    catalogue, places, corpus = folder / "catalogue.yaml", folder / "places.csv", folder / "corpus"
    if not (corpus / MANIFEST_FILE).is_file():
        with _serve(archive, catalogue) as served:
            write_text(catalogue, _catalogue(served, source))
            write_text(places, _table(source.places(read_archive(archive))))
            settings = Curation(
                years=source.years, places=places, catalogues=(str(catalogue),), most_cloud=60, sample=source.sample
            )
            curate(settings, corpus, progress=lambda now: tell(now.done, now.places, _come(now)))
    shards = Shards(corpus)
    outcome = pretrain(
        CONFIG,
        shards,
        folder / "run",
        on_step=lambda step, values: tell(step + 1, CONFIG.steps, f"3/4 pre-training, loss {values['loss']:.1f}"),
    )
    card = folder / "card.html"
    write_card(shards, card, progress=lambda done, total: tell(done, total, "4/4 writing the card"))
    losses = [line["loss"] for line in read(outcome.model.parent / FILE)]
    reasons = shards.manifest.about["account"]["places"]
    return DemoData(archive, catalogue, corpus, card, outcome.model, len(shards), reasons, (losses[0], losses[-1]))


def _come(now: Come) -> str:
    return f"2/4 curating, {now.stored} places stored, {now.traffic.bytes / 1e6:,.0f} MB"


def _simulated(tell: Progress) -> Source:
    """Scenes of a made-up Earth; places lie side by side on the aerial images, and so have all three sensors."""
    return Source(
        "simulated",
        lambda folder: simulated_archive(
            folder, progress=lambda done, total: tell(done, total, "1/4 making an archive of made-up scenes")
        ),
        _on_aerial_images,
        (2022, 2022),
        Settings(cells=CELLS, fewest_s2=4, fewest_s1=4),
        {"title": "Planetary Computer as it is rehearsed on this machine, with made-up scenes", "simulated": True},
        {"licence": "Apache-2.0, as skysense", "attribution": "Simulated by skysense; every pixel is made up"},
    )


def _of_kit(kit: Path, tell: Progress) -> Source:
    """Scenes of the kit, which lie all over the Earth; a place in the middle of each, with what there is."""

    def make(folder: Path) -> Path:
        tell(0, 1, "1/4 making an archive of the kit")
        return kit_archive(kit, folder, every=APART)

    return Source(
        "kit",
        make,
        _middles,
        (2017, 2022),
        Settings(cells=CELLS, required=(), fewest_s2=1, fewest_s1=1),
        {"title": "Planetary Computer as it is rehearsed on this machine, with scenes of the kit of small data"},
        {"licence": "as the README of the kit says", "attribution": "Sources are named in the README of the kit"},
    )


def _on_aerial_images(scenes: Sequence[Scene]) -> Iterator[tuple[float, float]]:
    """The middles of `ROWS` x `COLUMNS` parts of the ground that aerial images show."""
    boxes = np.array([scene.bbox for scene in scenes if scene.sensor == "naip"])
    (west, south), (east, north) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    for row in range(ROWS):
        for column in range(COLUMNS):
            lon = west + (east - west) * (column + 0.5) / COLUMNS
            yield lon, north - (north - south) * (row + 0.5) / ROWS


def _middles(scenes: Sequence[Scene]) -> Iterator[tuple[float, float]]:
    """The middle of every scene, once where scenes repeat."""
    seen: set[tuple[float, float]] = set()
    for scene in scenes:
        west, south, east, north = scene.bbox
        lon, lat = (west + east) / 2, (south + north) / 2
        near = round(lon, 2), round(lat, 2)  # within about a kilometre
        if near not in seen:
            seen.add(near)
            yield lon, lat


def _table(lonlat: Iterable[tuple[float, float]]) -> str:
    """A list of places as a person would write it."""
    return "\n".join(["lon,lat", *(f"{lon:.6f},{lat:.6f}" for lon, lat in lonlat)]) + "\n"


def _serve(archive: Path, catalogue: Path) -> Rehearsal:
    """Serve an archive at the address that its catalogue had before: it is one of the settings of a corpus.

    Raises:
        SkySenseError: somebody else is there.
    """
    port = 0
    if catalogue.is_file():
        (told,) = yaml.safe_load(catalogue.read_text(encoding="utf-8")).values()
        port = urlsplit(told["url"]).port or 0
    try:
        return Rehearsal(archive, port=port)
    except OSError as error:
        raise SkySenseError(f"port {port} of this machine is taken; try again later, or with another --out") from error


def _catalogue(served: Rehearsal, source: Source) -> str:
    """The preset of Planetary Computer with the addresses of a rehearsal, and with what its pixels are."""
    told: dict[str, Any] = yaml.safe_load(PRESETS.read_text(encoding="utf-8"))[PRESET]
    told |= {**source.about, "url": served.url(REHEARSED)}
    told["signing"] = {
        "files": f"{served.host}/blob/{{account}}/{{container}}/",
        "token_url": f"{served.url('sas')}/token/{{account}}/{{container}}",
    }
    for one in told["collections"]:
        one |= source.terms
    return yaml.safe_dump({f"rehearsal-of-{PRESET}": told}, sort_keys=False)
