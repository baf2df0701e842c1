"""The whole thread in minutes: places, pre-training, probe, map, and a page that shows them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from skysense.benchmark.evidence import RECIPE
from skysense.benchmark.probe import FRAMES, probe_model
from skysense.data.earth import simulate, simulate_scene
from skysense.data.places import Places
from skysense.files import make_folder
from skysense.maps.embed import EmbedResult, embed
from skysense.model.assembly import SkySense
from skysense.model.weights import load_model
from skysense.pretrain.journal import FILE, read
from skysense.pretrain.loop import Outcome, pretrain
from skysense.probes.features import FrozenFeatures, extract
from skysense.probes.protocol import Results
from skysense.report import Report, loss_curves, pca_colours, picture_sheet, prototypes_in_use

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Progress = Callable[..., None]

DEMO = replace(
    RECIPE,
    steps=120,
    checkpoint_every=20,
    views=replace(RECIPE.views, s2_frames=4, s1_frames=2),
    optimiser=replace(RECIPE.optimiser, teacher_momentum=0.95),
)
"""A run for two CPU cores: views of 256 px, few frames, a teacher that follows quickly because the run is short."""

NEIGHBOURS = 3
ROWS = 4


def demo(out: str | Path, *, steps: int | None = None, progress: Progress | None = None) -> Path:
    """Simulate, pre-train, probe, embed, report; a second call goes on where the first was cut off.

    With ``SKYSENSE_DATA`` set a real aerial tile of the kit is mapped beside the simulated scene.

    Args:
        out: folder of the run.
        steps: of pre-training, instead of those of `DEMO`.
        progress: called with (done, in all, what is being done).

    Returns:
        The page, ``report.html``.

    Raises:
        OutputError: ``out`` cannot be written to.
    """
    out = make_folder(out)
    config = DEMO if steps is None else replace(DEMO, steps=steps)
    tell = progress or (lambda *_: None)
    simulate(out / "places", progress=lambda done, total: tell(done, total, "1/5 simulating an Earth"))
    places = Places(out / "places")
    train, test = places.select(split="train"), places.select(split="test")
    outcome = pretrain(
        config,
        train,
        out / "run",
        on_step=lambda step, values: tell(step + 1, config.steps, f"2/5 pre-training, loss {values['loss']:.1f}"),
    )
    model = load_model(outcome.model)
    results = probe_model(
        model, places, progress=lambda done, total, words="": tell(done, total, f"3/5 probing: {words}")
    )
    maps = [
        embed(
            model,
            scene,
            out / f"{name}_features.tif",
            window_cells=8,
            overwrite=True,
            progress=lambda done, total: tell(done, total, "4/5 mapping"),
        )
        for name, scene in _scenes(out).items()
    ]
    features = extract(
        model, test, frames=FRAMES, progress=lambda done, total: tell(done, total, "5/5 drawing the report")
    )
    return write_report(out, outcome, model, results, test, features, maps)


def _scenes(out: Path) -> dict[str, Path]:
    scenes = {"simulated": simulate_scene(out / "scene.tif")}
    kit = os.environ.get("SKYSENSE_DATA")
    tiles = sorted(Path(kit).glob("flair/*/*image*.tif")) + sorted(Path(kit).glob("flair/**/*.tif")) if kit else []
    return scenes | ({"real": tiles[0]} if tiles else {})


def write_report(
    out: Path,
    outcome: Outcome,
    model: SkySense,
    results: Results,
    test: Places,
    features: FrozenFeatures,
    maps: Sequence[EmbedResult],
) -> Path:
    """Write ``report.html`` from what the demo made; returns its path."""
    report = Report("A small SkySense, from imagery to a map", simulated=True)
    report.paragraph(
        "A model with the architecture of SkySense, small enough for two CPU cores, has learned without labels from a "
        "simulated Earth. Below: how it learned, what its features are worth beside what they have to beat, and a map."
    )
    report.facts(
        {
            "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
            "steps of pre-training": outcome.steps,
            "held-out places": len(test),
            "model": outcome.model.name,
        }
    )
    report.heading("What the features are worth")
    report.paragraph(
        "Frozen features with a linear probe or nearest neighbours, on places that pre-training never saw; 95 % "
        "intervals from resampling places. A run of minutes shows that the path works; "
        "what pre-training is worth is for `make evidence` to say."
    )
    report.table(*results.table.grid(), caption="Score in percent with 95 % interval")
    report.table(*results.table.difference_grid(), caption="Paired differences, pre-trained minus the other")
    report.heading("How it learned")
    rows = read(outcome.model.parent / FILE)
    shown = [{key: row[key] for key in row if "/" not in key or key.split("/")[0] in _CURVES} for row in rows]
    report.figure(loss_curves(shown), alt="Curves of the loss and its terms over the steps", caption="Terms by step")
    if model.geo is not None and bool(model.geo.initialised.any()):
        report.figure(
            prototypes_in_use(prototype_counts(model, features)),
            alt="Bars of how often each geo-context prototype is the nearest one",
            caption="Geo-context prototypes in use on held-out places, all regions together",
        )
    report.heading("What it sees")
    seen = sensors(test, features)
    seen.savefig(out / "demo.png", dpi=80)
    report.figure(
        seen,
        alt="Rows of one place: aerial image, Sentinel-2 when green and when bare, Sentinel-1, features in colour",
        caption="Held-out places as three sensors see them, and the features made of all dates together",
    )
    report.figure(
        neighbours(test, features),
        alt="Rows of an image, its features in false colour, and the three images whose features are nearest",
        caption="Held-out places: image, features (three principal components), nearest neighbours by pooled feature",
    )
    report.heading("A map")
    for result in maps:
        if result.quicklook is not None:
            report.figure(
                _read_rgb(result.quicklook),
                alt="Principal components of the features of a scene, in false colour",
                caption=f"{result.path.name}: {result.shape[0]} features, {result.shape[1]} x {result.shape[2]} cells",
            )
    page = out / "report.html"
    report.write(page)
    return page


_CURVES = ("pixel", "object", "image", "align")


def prototype_counts(model: SkySense, features: FrozenFeatures) -> list[float]:
    """How often each prototype slot is the nearest (cosine) of a cell, over all learned regions."""
    import torch
    from torch.nn import functional as F

    assert model.geo is not None
    fused = np.concatenate(
        [
            cells[: model.config.fusion.dim, mask].T
            for cells, mask in zip(features.cells_Dhw, features.occupied_hw, strict=True)
        ]
    )
    known = model.geo.prototypes[model.geo.initialised]
    cells = F.normalize(torch.from_numpy(fused[::7]), dim=-1)  # a part of the cells says it as well
    nearest = (cells @ F.normalize(known, dim=-1).flatten(0, 1).T).argmax(1)
    return nearest.bincount(minlength=known.shape[0] * known.shape[1]).double().tolist()


def neighbours(places: Places, features: FrozenFeatures) -> Figure:
    """A sheet of places with their features in colour and their nearest neighbours."""
    pooled = features.pooled_ND - features.pooled_ND.mean(0)
    unit = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    colours = pca_colours(features.cells_Dhw, features.occupied_hw)
    chosen = np.linspace(0, len(places) - 1, min(ROWS, len(places))).round().astype(int).tolist()
    rows, names = [], []
    for index in chosen:
        near = similarity[index].argsort()[::-1][:NEIGHBOURS].tolist()
        rows.append([_image(places, index), colours[index], *(_image(places, one) for one in near)])
        names.append(str(places[index].labels.get("scene", places[index].name)))
    return picture_sheet(rows, ["image", "features", *[f"neighbour {n + 1}" for n in range(NEIGHBOURS)]], names)


def sensors(places: Places, features: FrozenFeatures) -> Figure:
    """A sheet of places: image, Sentinel-2 at its greenest and barest, Sentinel-1 over the year, features."""
    colours = pca_colours(features.cells_Dhw, features.occupied_hw)
    rows, names = [], []
    for index in np.linspace(0, len(places) - 1, min(ROWS, len(places))).round().astype(int).tolist():
        series = places.read_sample(places[index]).series
        s2, s1 = series["s2"], series["s1"]
        clear = s2.valid.all((1, 2)) if s2.clear is None else (s2.valid & s2.clear).all((1, 2))
        frames = np.flatnonzero(clear) if clear.any() else np.arange(len(s2.dates))
        values = s2.values[frames].astype(np.float32)
        green = ((values[:, 6] - values[:, 2]) / (values[:, 6] + values[:, 2] + 1)).mean((1, 2))
        optical = [_stretch(values[frame, 2::-1], 0, 2500) for frame in (green.argmax(), green.argmin())]
        radar = np.where(s1.valid[:, None], s1.values, np.nan)
        vv, vh = np.nanmean(radar, axis=0)
        rows.append(
            [
                _image(places, index),
                *optical,
                _stretch(np.stack([vv + 12, vh + 18, vv - vh - 6]), -9, 9),
                colours[index],
            ]
        )
        names.append(str(places[index].labels.get("scene", places[index].name)))
    return picture_sheet(rows, ["image", "Sentinel-2, green", "Sentinel-2, bare", "Sentinel-1", "features"], names)


def _stretch(values_3hw: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    return (np.clip((values_3hw - low) / (high - low), 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)


def _image(places: Places, index: int) -> NDArray[np.uint8]:
    return places.read_sample(places[index], ["hr"]).series["hr"].values[0].transpose(1, 2, 0)[::2, ::2]


def _read_rgb(path: Path) -> NDArray[np.uint8]:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # it is a picture
        with rasterio.open(path) as file:
            small = file.read([1, 2, 3]).transpose(1, 2, 0)
    return small.repeat(4, 0).repeat(4, 1)  # one cell is one pixel: too small to see
