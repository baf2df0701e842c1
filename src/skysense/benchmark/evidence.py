"""The tables of the documentation, from nothing: simulate, pre-train, probe, compare, write; resumable.

A second call with the same settings goes on where the first was cut off, also within a pre-training run.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from skysense.benchmark import kit
from skysense.benchmark.probe import (
    CHANCE,
    COMPARISONS,
    METHODS,
    RANDOM,
    RAW_FOREST,
    Progress,
    model_features,
    model_methods,
    raw_methods,
)
from skysense.benchmark.stages import claim, earth, pretrained, stage
from skysense.benchmark.writing import Findings, write_findings
from skysense.data.earth.world import REGION_TYPES
from skysense.data.places import Places
from skysense.errors import ConfigError
from skysense.files import make_folder, plain
from skysense.model.assembly import SkySense
from skysense.model.loading import MODEL_FILE, load
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.recipes import recipe
from skysense.probes.context import (
    ALL_CROPS,
    AMBIGUOUS_CROPS,
    CONTEXT_METRICS,
    POSITION,
    WITH_CONTEXT,
    WITHOUT_CONTEXT,
    WRONG_REGION,
    context_methods,
    context_outcomes,
    wrong_regions,
)
from skysense.probes.features import extract
from skysense.probes.metrics import METRICS
from skysense.probes.prepare import FRAMES
from skysense.probes.protocol import Method, Outcomes, Results, pool, probe_all
from skysense.probes.raw import extract_raw
from skysense.probes.targets import Targets, outer_folds, read_targets, tasks_of

_TINY = recipe("tiny")
RECIPE = replace(_TINY, steps=350, optimiser=replace(_TINY.optimiser, teacher_momentum=0.98), checkpoint_every=100)
"""Views of a quarter of the paper's ground and few frames, so that two CPU cores can do it once per seed."""

CROPS = "crop_type"
CONTEXT_ORDER = (WITH_CONTEXT, WITHOUT_CONTEXT, WRONG_REGION, POSITION, RANDOM, RAW_FOREST, CHANCE)
CONTEXT_COMPARISONS = tuple((WITH_CONTEXT, other) for other in (WITHOUT_CONTEXT, WRONG_REGION, POSITION))


@dataclass(frozen=True, kw_only=True)
class EvidenceConfig:
    """How much evidence.

    Attributes:
        regions: of the simulated Earth; at least eight, so that each of the four types has two.
        places_per_region: in multiples of sixteen every scene occurs in both splits.
        footprint_cells: side of a place in cells.
        seeds: of pre-training, random weights and forests.
        recipe: of pre-training; its seed is replaced.
    """

    regions: int = 16
    places_per_region: int = 32
    footprint_cells: int = 16
    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: PretrainConfig = field(default=RECIPE)

    def __post_init__(self) -> None:
        if self.regions < 2 * len(REGION_TYPES):
            raise ConfigError(
                f"evidence on geo-context needs two regions of each type: regions >= {2 * len(REGION_TYPES)}"
            )
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError("evidence needs at least one seed, and each only once")


def evidence(
    out: str | Path,
    *,
    kit_places: str | Path | None = None,
    config: EvidenceConfig | None = None,
    progress: Progress | None = None,
) -> Path:
    """Work out what pre-training is worth and write ``evidence.md``, ``evidence.json`` and ``report.html``.

    Args:
        out: folder of the results; a second call goes on.
        kit_places: folder of converted real data sets, see ``examples/kit_to_places.py``; none by default.
        config: how much.
        progress: ``progress(done, in_all, words)`` within each stage; the words name it.

    Returns:
        The HTML page.

    Raises:
        ConfigError: ``out`` was begun with other settings.
        InputError: ``kit_places`` holds nothing that is known.
        OutputError: no space, no permission; what was finished before stays.
    """
    config = config or EvidenceConfig()
    out = make_folder(out)
    claim(out, settings(config))
    work = Work(config, out, progress)
    questions = [] if kit_places is None else kit.available(Path(kit_places))
    places = work.earth()
    models = [work.pretrained(places, seed) for seed in config.seeds]
    by_seed = [(seed, work.probe_seed(places, seed)) for seed in config.seeds]
    by_seed += work.probe_raw(places)
    metrics = {task.label: METRICS[task.kind] for task in tasks_of(places)}
    context = {ALL_CROPS: CONTEXT_METRICS, AMBIGUOUS_CROPS: CONTEXT_METRICS}
    findings = Findings(
        simulated=pool(by_seed, METHODS, metrics, COMPARISONS).table,
        context=pool(by_seed, CONTEXT_ORDER, context, CONTEXT_COMPARISONS).table,
        real={question.title: work.real(Path(kit_places or ""), question).table for question in questions},
        facts=facts(config, places, models[0]),
    )
    return write_findings(out, findings, places, work.folder(config.seeds[0]))


class Work:
    """The stages; each leaves its file and is skipped if it is there.

    Args:
        config: how much evidence.
        out: folder of the results.
        progress: as in `evidence`.
    """

    def __init__(self, config: EvidenceConfig, out: Path, progress: Progress | None) -> None:
        self.config, self.out = config, out
        self.progress: Progress = progress or (lambda *_: None)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def folder(self, seed: int) -> Path:
        """Of one seed's pre-training run."""
        return self.out / f"seed{seed}"

    def earth(self) -> Places:
        """The simulated places."""
        config = self.config
        return earth(
            self.out / "earth",
            regions=config.regions,
            places_per_region=config.places_per_region,
            footprint_cells=config.footprint_cells,
            progress=self.progress,
        )

    def pretrained(self, places: Places, seed: int) -> Path:
        """The model pre-trained with a seed, on the places of the training split, without their labels."""
        recipe = replace(self.config.recipe, seed=seed)
        return pretrained(recipe, places, self.folder(seed), f"seed {seed}", self.progress)

    def model(self, seed: int) -> SkySense:
        """The same, loaded."""
        return load(self.folder(seed) / MODEL_FILE, device=self.device)

    def probe_seed(self, places: Places, seed: int) -> Outcomes:
        """What the pre-trained model of a seed and its random twin answer, within regions and in new ones."""

        def work() -> Outcomes:
            model = self.model(seed)
            features = model_features(model, places, seed, cells=True, progress=self.progress)
            wrong = extract(
                model,
                places,
                frames=FRAMES,
                regions=wrong_regions(list(places), model.region_table, seed=seed),
                progress=lambda done, total: self.progress(done, total, "features, prototypes of a wrong region"),
            )
            words = self._words(f"probing, seed {seed}")
            folds = outer_folds(list(places))
            found = probe_all(self._targets(places), model_methods(features, seed), folds, progress=words)[seed]
            elsewhere = [
                *context_methods(list(places), {seed: features["pre-trained"]}, {seed: wrong}, "linear"),
                Method(RANDOM, "linear", {seed: features["random weights"]}),
            ]
            return found | self._new_regions(places, elsewhere, words)[seed]

        return stage(self.out / f"probes_seed{seed}.npz", work)

    def probe_raw(self, places: Places) -> list[tuple[int, Outcomes]]:
        """What raw pixels answer; the forest once per seed, the others under the first seed."""

        def work() -> Mapping[int, Outcomes]:
            raw = extract_raw(places, progress=lambda done, total: self.progress(done, total, "raw pixels"))
            words = self._words("probing raw pixels")
            found = probe_all(
                self._targets(places), raw_methods(raw, self.config.seeds), outer_folds(list(places)), progress=words
            )
            elsewhere = self._new_regions(places, raw_methods(raw, self.config.seeds)[1:], words)
            return {seed: found[seed] | elsewhere[seed] for seed in found}

        return self._per_seed("probes_raw", work)

    def real(self, root: Path, question: kit.Question) -> Results:
        """One table on real pixels."""

        def work() -> Mapping[int, Outcomes]:
            models = {seed: self.model(seed) for seed in self.config.seeds}
            return kit.answers(root, question, models, self.progress)

        name = "_".join(question.folders)
        return kit.results(question, self._per_seed(f"real_{name}", work))

    def _targets(self, places: Places) -> Sequence[Targets]:
        return [read_targets(places, task) for task in tasks_of(places)]

    def _new_regions(
        self, places: Places, methods: Sequence[Method], tell: Callable[[str], None]
    ) -> dict[int, Outcomes]:
        (task,) = (task for task in tasks_of(places) if task.label == CROPS)
        return context_outcomes(list(places), read_targets(places, task), methods, progress=tell)

    def _per_seed(self, name: str, work: Callable[[], Mapping[int, Outcomes]]) -> list[tuple[int, Outcomes]]:
        """Stages of several seeds that are worked out together."""
        worked: dict[int, Outcomes] = {}

        def of_seed(seed: int) -> Outcomes:
            if not worked:
                worked.update(work())
            return worked[seed]

        return [
            (seed, stage(self.out / f"{name}_seed{seed}.npz", partial(of_seed, seed))) for seed in self.config.seeds
        ]

    def _words(self, title: str) -> Callable[[str], None]:
        return lambda words: self.progress(0, 1, f"{title}: {words}")


def settings(config: EvidenceConfig) -> dict[str, Any]:
    """The settings as plain JSON values, with the names that stages are kept under."""
    content: dict[str, Any] = plain(dataclasses.asdict(config))
    return content | {"seeds": list(config.seeds), "methods": [*METHODS, *CONTEXT_ORDER[:4]]}


def facts(config: EvidenceConfig, places: Places, model: Path) -> dict[str, Any]:
    """What a reader should know about the run."""
    recipe, device = config.recipe, "GPU" if torch.cuda.is_available() else "CPU"
    parameters = sum(tensor.numel() for tensor in load(model).parameters())
    return {
        **({"left out": ", ".join(one.message for one in places.failures)} if places.failures else {}),
        "simulated places": f"{len(places)} in {len(places.regions)} regions, half to learn from and half to test on",
        "model": f"{recipe.preset}, {parameters / 1e6:.2f} M parameters",
        "pre-training": f"{recipe.steps} steps of {recipe.batch_size} places, without labels, on the training half",
        "seeds": ", ".join(map(str, config.seeds)),
        "frames given to the model": ", ".join(f"{count} of {key.upper()}" for key, count in FRAMES.items()),
        "run on": f"{device}, torch {torch.__version__}, {platform.machine()}",
    }
