"""The whole thread in minutes: places, pre-training, probe, map, and a page that shows them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.benchmark import kit
from skysense.benchmark.evidence import RECIPE
from skysense.benchmark.pictures import neighbour_sheet, prototype_use, sensor_sheet
from skysense.benchmark.probe import Progress, probe_model
from skysense.benchmark.writing import add_tables
from skysense.data.corpus import Corpus
from skysense.data.earth import simulate, simulate_scene
from skysense.data.geotiff import band_names
from skysense.data.joined import JoinedPlaces
from skysense.data.places import Places
from skysense.data.places_layout import DATASET_FILE
from skysense.errors import InputError
from skysense.files import make_folder
from skysense.maps.embed import EmbedResult, embed
from skysense.maps.job import Settings
from skysense.model.assembly import SkySense
from skysense.model.loading import load
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.journal import FILE, read
from skysense.pretrain.loop import Outcome, pretrain
from skysense.pretrain.report import objective_curves
from skysense.probes.features import FrozenFeatures, extract
from skysense.probes.prepare import FRAMES
from skysense.probes.table import Table
from skysense.report import Report, prototypes_in_use
from skysense.sensors import OPTICAL_HR

DEMO = replace(
    RECIPE,
    steps=120,
    checkpoint_every=20,
    optimiser=replace(RECIPE.optimiser, teacher_momentum=0.95),
)
"""A run for two CPU cores: views of 256 px, a teacher that follows quickly because the run is short."""

REAL = replace(DEMO, views=replace(DEMO.views, global_cells=4, local_crops=0))
"""The same on real places, the smallest of which are 6 x 6 cells: views of 128 px, too small for crops of their own."""

THREE_SENSORS, AERIAL = "treesat", "flair"
"""Folders of the converted kit: places for the pictures, and an image with a position to make a map of."""

LEAST_PLACES = 10
"""Data sets of fewer places are learned from but not asked about: their intervals would mean nothing."""

MAP_WINDOW = 8
PICTURE_SIDE = 640
"""About the longest side of the picture of a scene, in pixels."""


@dataclass(frozen=True)
class Source:
    """What differs between simulated and real places.

    Attributes:
        name: of the run, so that a run on the one is not taken for a run on the other.
        corpus: places to pre-train on.
        config: of pre-training.
        probe: the tables of a model.
        shown: places with three sensors, for the pictures.
        scene: an image to make a map of.
        facts: what the places are and where they come from.
        learned: what was learned from, in a sentence.
        asked: how the tables were made.
        pictured: what places the pictures show.
        mapped: what the scene is.
    """

    name: str
    corpus: Corpus
    config: PretrainConfig
    probe: Callable[[SkySense, Progress], Table]
    shown: Places
    scene: Path
    facts: Mapping[str, Any]
    learned: str
    asked: str
    pictured: str
    mapped: str


def demo(
    out: str | Path,
    *,
    kit_places: str | Path | None = None,
    steps: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Pre-train, probe, map and report on simulated or on real places; a second call goes on after a cut.

    Args:
        out: folder of the run.
        kit_places: folder of converted real data sets, see ``examples/kit_to_places.py``; an Earth is simulated by
            default.
        steps: of pre-training, instead of those of `DEMO` or `REAL`.
        progress: called with (done, in all, what is being done).

    Returns:
        The page, ``report.html``.

    Raises:
        InputError: ``kit_places`` lacks a data set that the demo shows.
        ConfigError: ``out`` holds a run of other settings or places.
        OutputError: ``out`` cannot be written to.
    """
    out = make_folder(out)
    tell = progress or (lambda *_: None)
    source = simulated(out, tell) if kit_places is None else real(Path(kit_places))
    config = source.config if steps is None else replace(source.config, steps=steps)
    outcome = pretrain(
        config,
        source.corpus,
        out / f"{source.name}_run",
        on_step=lambda step, values: tell(step + 1, config.steps, f"2/5 pre-training, loss {values['loss']:.1f}"),
    )
    model = load(outcome.model)
    table = source.probe(model, lambda done, total, words="": tell(done, total, f"3/5 probing: {words}"))
    result = embed(
        model,
        source.scene,
        out / f"{source.name}_features.tif",
        settings=Settings(window_cells=MAP_WINDOW),
        overwrite=True,
        progress=lambda done, total, speed: tell(done, total, f"4/5 mapping, {speed}"),
    )
    features = extract(
        model, source.shown, frames=FRAMES, progress=lambda done, total: tell(done, total, "5/5 drawing the report")
    )
    return write_report(out, source, outcome, model, table, features, result)


def simulated(out: Path, tell: Progress) -> Source:
    """An Earth of made-up places; half of them are learned from, the other half is tested on and shown."""
    simulate(out / "places", progress=lambda done, total: tell(done, total, "1/5 simulating an Earth"))
    places = Places(out / "places").readable()
    test = places.select(split="test")
    return Source(
        name="simulated",
        corpus=places.select(split="train"),
        config=DEMO,
        probe=lambda model, progress: probe_model(model, places, progress=progress).table,
        shown=test,
        scene=simulate_scene(out / "scene.tif"),
        facts={"held-out places": len(test)},
        learned="a simulated Earth",
        asked="on places that pre-training never saw",
        pictured="Held-out simulated places",
        mapped="A simulated aerial image",
    )


def real(root: Path) -> Source:
    """Small real data sets; all of their places are learned from, without labels, and cross-validated.

    Raises:
        InputError: no data set that a question is asked of, none with three sensors, or none with an aerial image.
    """
    questions = kit.available(root)
    corpus = JoinedPlaces([Places(file.parent) for file in sorted(root.glob(f"*/{DATASET_FILE}"))])
    count = {source.root.name: len(source) for source in corpus.sources}
    asked = [one for one in questions if sum(count.get(folder, 0) for folder in one.folders) >= LEAST_PLACES]
    shown, aerial = (Places(root / folder).readable() for folder in (THREE_SENSORS, AERIAL))
    image = next((place for place in aerial if place.footprint and "hr" in place.modalities), None)
    if image is None:
        raise InputError("holds no aerial image with a position to make a map of", file=aerial.root)
    kind = "simulated" if corpus.simulated else "real"

    def probe(model: SkySense, progress: Progress) -> Table:
        table = Table()
        for question in asked:
            found = kit.answers(root, question, {REAL.seed: model}, progress)
            table.extend(kit.results(question, list(found.items())).table)
        return table

    return Source(
        name="real",
        corpus=corpus,
        config=REAL,
        probe=probe,
        shown=shown,
        scene=image.file("hr"),
        facts={one.title: f"{len(one)} places; {one.dataset.source}; {one.dataset.licence}" for one in corpus.sources},
        learned=f"{len(corpus)} {kind} places of {len(corpus.sources)} small data sets",
        asked="cross-validated over places. Pre-training has seen the imagery of all of these places, the tested ones "
        "too, and none of their labels; the data sets are so small that intervals are wide and no ranking follows, "
        f"and those of fewer than {LEAST_PLACES} places are not asked about",
        pictured=f"Places of {shown.title}, which pre-training has seen",
        mapped=f"The {kind} aerial image {image.name} of {aerial.title}, which pre-training has seen",
    )


def write_report(
    out: Path,
    source: Source,
    outcome: Outcome,
    model: SkySense,
    table: Table,
    features: FrozenFeatures,
    mapped: EmbedResult,
) -> Path:
    """Write ``report.html`` from what the demo made; returns its path."""
    report = Report("A small SkySense, from imagery to a map", simulated=source.corpus.simulated)
    report.paragraph(
        "A model with the architecture of SkySense, small enough for two CPU cores, has learned without labels from "
        f"{source.learned}. Below: what its features are worth beside what they have to beat, how it learned, a map."
    )
    report.facts(
        {
            "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
            "steps of pre-training": outcome.steps,
            "places learned from": len(source.corpus) + len(source.corpus.failures) - len(outcome.skipped),
            **({"left out": ", ".join(outcome.skipped)} if outcome.skipped else {}),
            **source.facts,
            "model": outcome.model.name,
        }
    )
    report.heading("What the features are worth")
    report.paragraph(
        f"Frozen features with a linear probe or nearest neighbours, {source.asked}. Scores are in percent with 95 % "
        "intervals from resampling places. A run of minutes shows that the path works; what pre-training is worth is "
        "for the evidence to say (make evidence)."
    )
    add_tables(report, [(task, table.of_task(task)) for task in table.tasks])
    report.heading("How it learned")
    report.figure(
        objective_curves(read(outcome.model.parent / FILE)),
        alt="Curves of the loss and its terms over the steps",
        caption="The loss and its terms by step, with a line per source",
    )
    uses = None if model.geo is None else prototype_use(model, source.shown, features)
    if uses is not None and uses.any():
        report.figure(
            prototypes_in_use(uses),
            alt="Bars of how often each geo-context prototype is the nearest one of its region",
            caption=f"Geo-context prototypes nearest to {uses.sum():,} cells, their regions side by side",
        )
    report.heading("What it sees")
    seen = sensor_sheet(source.shown, features)
    seen.savefig(out / "demo.png", dpi=80)
    report.figure(
        seen,
        alt="Rows of one place: aerial image, Sentinel-2 when greenest and least green, Sentinel-1, features in colour",
        caption=f"{source.pictured}, as three sensors see them (each date of "
        "Sentinel-2 stretched by itself), and the features made of all dates together",
    )
    report.figure(
        neighbour_sheet(source.shown, features),
        alt="Rows of an image, its features in false colour, and the images whose features are nearest",
        caption=f"{source.pictured}: image, features (three principal components), nearest places by pooled feature",
    )
    report.heading("A map")
    depth, height, width = mapped.shape
    report.figure(
        scene_and_map(source.scene, mapped),
        alt="An aerial image, and the principal components of its features in false colour",
        caption=f"{source.mapped}, and its map {mapped.path.name}: {depth} features on {height} x {width} cells, "
        "three principal components shown",
    )
    page = out / "report.html"
    report.write(page)
    return page


def scene_and_map(path: Path, mapped: EmbedResult) -> NDArray[np.uint8]:
    """A scene and the picture of its features, ``(H, W, 3)``: side by side, a wide one above its features."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    assert mapped.quicklook is not None
    cells = mapped.shape[1:]
    factor = max(1, PICTURE_SIDE // max(cells))
    height, width = (factor * side for side in cells)
    with rasterio.open(path) as file:
        bands = OPTICAL_HR.select(np.array(file.indexes), band_names(file), axis=0, file=path)
        image = file.read(bands.tolist(), out_shape=(3, height, width))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # it is a picture
        with rasterio.open(mapped.quicklook) as file:
            colours = file.read([1, 2, 3]).repeat(factor, 1).repeat(factor, 2)
    axis = 1 if width > height else 2
    gap = np.full((3, 8, width) if axis == 1 else (3, height, 8), 255, np.uint8)
    return np.ascontiguousarray(np.concatenate([image, gap, colours], axis).transpose(1, 2, 0))
