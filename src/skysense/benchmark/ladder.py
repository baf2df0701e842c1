"""What each component of pre-training adds: one sensor by itself, then fusion, alignment, geo-context; resumable.

The paper's ablation (specification 5.4) on the simulated Earth. Every rung is pre-trained anew, with the same seeds,
steps and places; the encoders and the fusion of one seed begin with the same weights on every rung.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skysense.benchmark.evidence import CROPS, RECIPE
from skysense.benchmark.ladder_writing import Rungs, at_the_end, write_ladder
from skysense.benchmark.probe import Progress, random_twin
from skysense.benchmark.stages import claim, earth, pretrained, stage
from skysense.data.earth.world import REGION_TYPES
from skysense.data.places import Places
from skysense.errors import ConfigError
from skysense.files import make_folder, plain
from skysense.model.assembly import Features, SkySense
from skysense.model.loading import load
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.journal import FILE as JOURNAL
from skysense.pretrain.journal import read as read_journal
from skysense.probes.context import ALL_CROPS, AMBIGUOUS_CROPS, CONTEXT_METRICS, context_outcomes
from skysense.probes.features import FrozenFeatures, extract
from skysense.probes.metrics import METRICS, Metric
from skysense.probes.prepare import FRAMES
from skysense.probes.protocol import Method, Outcomes, pool, probe_all
from skysense.probes.seasons import QUARTERS, seasons
from skysense.probes.targets import outer_folds, read_targets, tasks_of
from skysense.sensors import Modality

RANDOM = "random weights"
SINGLE = "single-modal"
MULTI = "+ multi-modal"
ALIGNED = "+ alignment"
CONTEXT = "+ geo-context"
SENSORS = "sensors"
FUSED = "fused"
FUSED_CONTEXT = "fused and context"
ALONE: Mapping[Modality, str] = {"hr": "image alone", "s2": "Sentinel-2 alone", "s1": "Sentinel-1 alone"}

RUNGS: Mapping[str, Mapping[str, Any]] = {
    SINGLE: {"fused": 0.0, "beta": 0.0, "geo_context": False},
    MULTI: {"beta": 0.0, "geo_context": False},
    ALIGNED: {"geo_context": False},
    CONTEXT: {},
}
"""What of the objective each rung changes in the recipe, which is that of the last."""

_FOLDERS = {SINGLE: "single", MULTI: "multi", ALIGNED: "aligned", CONTEXT: "context", RANDOM: "random"}


@dataclass(frozen=True, kw_only=True)
class LadderConfig:
    """How much is run.

    Attributes:
        regions: of the simulated Earth; at least eight, so that each of the four types has two.
        places_per_region: in multiples of sixteen every scene occurs in both splits.
        footprint_cells: side of a place in cells.
        seeds: of pre-training; more may be added to a folder later.
        recipe: of the last rung; its seed is replaced.
    """

    regions: int = 16
    places_per_region: int = 16
    footprint_cells: int = 16
    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: PretrainConfig = field(default=replace(RECIPE, steps=100))

    def __post_init__(self) -> None:
        if self.regions < 2 * len(REGION_TYPES):
            raise ConfigError(f"crops in new regions need two regions of each type: regions >= {2 * len(REGION_TYPES)}")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError("the ladder needs at least one seed, and each only once")
        if not (self.recipe.objective.fused and self.recipe.objective.beta and self.recipe.objective.geo_context):
            raise ConfigError("the recipe of the ladder needs all that its rungs add: fused, beta and geo_context")


def ladder(out: str | Path, *, config: LadderConfig | None = None, progress: Progress | None = None) -> Path:
    """Pre-train every rung with every seed, probe all alike, write ``ladder.md``, ``ladder.json``, ``report.html``.

    Args:
        out: folder of the results; a second call goes on.
        config: how much.
        progress: ``progress(done, in_all, words)`` within each stage; the words name it.

    Returns:
        The HTML page.

    Raises:
        ConfigError: ``out`` was begun with other settings.
        OutputError: no space, no permission; what was finished before stays.
    """
    config = config or LadderConfig()
    out, progress = make_folder(out), progress or (lambda *_: None)
    claim(out, settings(config))
    places = earth(
        out / "earth",
        regions=config.regions,
        places_per_region=config.places_per_region,
        footprint_cells=config.footprint_cells,
        progress=progress,
    )
    by_seed = [
        (
            seed,
            stage(
                _run(out, rung, seed).with_suffix(".npz"), partial(_answers, rung, seed, config, places, out, progress)
            ),
        )
        for seed in config.seeds
        for rung in (*RUNGS, RANDOM)
    ]
    metrics: dict[str, Mapping[str, Metric]] = {task.label: METRICS[task.kind] for task in tasks_of(places)}
    metrics |= dict.fromkeys((ALL_CROPS, AMBIGUOUS_CROPS), CONTEXT_METRICS)
    found = Rungs(
        {title: pool(by_seed, methods, metrics, pairs).table for title, (methods, pairs) in TABLES.items()},
        {rung: at_the_end([read_journal(_run(out, rung, seed) / JOURNAL) for seed in config.seeds]) for rung in RUNGS},
        f"skysense ladder --out runs/ladder --steps {config.recipe.steps} --seeds {len(config.seeds)}",
        facts(config, places),
    )
    return write_ladder(out, found)


def settings(config: LadderConfig) -> dict[str, Any]:
    """The settings as plain JSON values, but for the seeds."""
    content: dict[str, Any] = plain(dataclasses.asdict(config))
    del content["seeds"]
    return content


def recipe_of(rung: str, recipe: PretrainConfig, seed: int) -> PretrainConfig:
    """How a rung is pre-trained with a seed."""
    return replace(recipe, seed=seed, objective=replace(recipe.objective, **RUNGS[rung]))


def method(rung: str, readout: str) -> str:
    """The name of a rung read in one way."""
    return f"{rung}: {readout}"


def _pairs(methods: Sequence[str]) -> list[tuple[str, str]]:
    """Each rung with the one below."""
    return [(methods[at + 1], methods[at]) for at in range(len(methods) - 1)]


_OWN = [
    method(RANDOM, SENSORS),
    method(SINGLE, SENSORS),
    method(SINGLE, FUSED),
    method(MULTI, FUSED),
    method(ALIGNED, FUSED),
    method(CONTEXT, FUSED_CONTEXT),
]


def _same(readout: str) -> list[str]:
    return [method(rung, readout) for rung in (RANDOM, *RUNGS)]


_FUSED = [*_same(FUSED), method(CONTEXT, FUSED_CONTEXT)]
TABLES = {
    "The ladder": (
        _OWN,
        [(_OWN[1], _OWN[0]), (_OWN[3], _OWN[1]), *_pairs(_OWN[2:]), (_OWN[5], _OWN[1]), (_OWN[5], _OWN[2])],
    ),
    "The same readout on every rung: sensors side by side": (_same(SENSORS), _pairs(_same(SENSORS))),
    "The same readout on every rung: the fused feature alone": (_FUSED, _pairs(_FUSED)),
    **{f"One sensor: {words}": (_same(words), _pairs(_same(words))) for words in ALONE.values()},
}
"""Methods and comparisons by title."""


def _answers(rung: str, seed: int, config: LadderConfig, places: Places, out: Path, progress: Progress) -> Outcomes:
    """What a rung answers with a seed; pre-trained first if it is not yet."""
    words, learned = f"{rung}, seed {seed}", SINGLE if rung == RANDOM else rung
    recipe = recipe_of(learned, config.recipe, seed)
    file = pretrained(recipe, places, _run(out, learned, seed), f"{learned}, seed {seed}", progress)
    model = load(file, device="cuda" if torch.cuda.is_available() else "cpu")
    if rung == RANDOM:
        model = random_twin(model, seed)  # what the runs of this seed begin with
    readouts = read_out(model, places, lambda done, total: progress(done, total, f"features, {words}"))
    methods = {name: Method(method(rung, name), "linear", {seed: one}) for name, one in readouts.items()}
    tell = partial(_tell, progress, words)
    targets = [read_targets(places, task) for task in tasks_of(places)]
    found = probe_all(targets, list(methods.values()), outer_folds(list(places)), progress=tell)[seed]
    (crops,) = (one for one in targets if one.task.label == CROPS)
    elsewhere = [one for name, one in methods.items() if name not in ALONE.values()]
    return found | context_outcomes(list(places), crops, elsewhere, progress=tell)[seed]


def _run(out: Path, rung: str, seed: int) -> Path:
    return out / f"{_FOLDERS[rung]}_seed{seed}"


def _tell(progress: Progress, title: str, words: str) -> None:
    progress(0, 1, f"probing {title}: {words}")


def read_out(model: SkySense, places: Places, progress: Any = None) -> dict[str, FrozenFeatures]:
    """Features of places in every way that a rung is read, from one pass of the model.

    The features of sensors by season are many, those of all side by side nine times the width of one: `project` brings
    them to as many numbers as the fused feature with its context has, by the cells of the training split.

    Args:
        model: of three sensors, with or without prototypes.
        places: with a training split.
        progress: called after each batch.
    """
    fused, first, width = model.config.fusion.dim, model.cells_dim, model.config.aligned_dim

    def read(features: Features) -> Tensor:
        return torch.cat([features.cells_BDhw, seasons(features, model.modalities)], dim=1)

    both = extract(model, places, frames=FRAMES, read=read, progress=progress)
    learned = [place.split == "train" for place in places]
    parts = {SENSORS: (first, both.pooled_ND.shape[1])}
    for key, words in ALONE.items():
        parts[words] = (first, first + width * (1 if key == "hr" else QUARTERS))
        first = parts[words][1]
    found = {words: project(both.channels(*part), learned, 2 * fused) for words, part in parts.items()}
    found[FUSED] = both.channels(0, fused)
    return found if model.geo is None else found | {FUSED_CONTEXT: both.channels(0, 2 * fused)}


def project(features: FrozenFeatures, learned: Sequence[bool], width: int) -> FrozenFeatures:
    """Fewer numbers that a linear probe fares with as with all: the leading principal components, turned at random.

    A probe standardises every number that it gets. Components by themselves would all become as loud as the first;
    turned, they keep the distances that the standardised features have in their span.

    Args:
        features: with cells.
        learned: per place, whether its cells may say what the components are.
        width: at most how many components.
    """
    chosen = zip(features.cells_Dhw, features.occupied_hw, learned, strict=True)
    known_MD = np.concatenate([cells[:, mask].T for cells, mask, use in chosen if use]).astype(np.float64)
    mean, scale = known_MD.mean(axis=0), np.maximum(known_MD.std(axis=0), 1e-8)
    _, vectors = np.linalg.eigh(np.cov((known_MD - mean) / scale, rowvar=False))
    leading_DK = vectors[:, ::-1][:, :width]
    turn_KK, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(leading_DK.shape[1],) * 2))
    basis_DK, centre = (leading_DK @ turn_KK / scale[:, None]).astype(np.float32), mean.astype(np.float32)
    cells = tuple(
        np.tensordot(basis_DK.T, one - centre[:, None, None], axes=1) * mask
        for one, mask in zip(features.cells_Dhw, features.occupied_hw, strict=True)
    )
    pooled_ND = (features.pooled_ND - centre) @ basis_DK
    return replace(features, pooled_ND=pooled_ND, cells_Dhw=cells, fused=pooled_ND.shape[1])


def facts(config: LadderConfig, places: Places) -> dict[str, Any]:
    """What a reader should know about the run."""
    recipe, device = config.recipe, "GPU" if torch.cuda.is_available() else "CPU"
    return {
        **({"left out": ", ".join(one.message for one in places.failures)} if places.failures else {}),
        "simulated places": f"{len(places)} in {len(places.regions)} regions, half to learn from and half to test on",
        "pre-training": f"{recipe.preset}, {recipe.steps} steps of {recipe.batch_size} places on every rung, "
        "without labels, on the training half",
        "seeds": ", ".join(map(str, config.seeds)),
        "frames given to the model": ", ".join(f"{count} of {key.upper()}" for key, count in FRAMES.items()),
        "run on": f"{device}, torch {torch.__version__}, {platform.machine()}",
    }
