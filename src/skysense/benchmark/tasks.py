"""What a pre-trained model is worth when it is adapted: every task, beside random weights and the trivial answer.

A model is pre-trained on a simulated Earth without its labels, then adapted to each task on the same places; the same
network is adapted from random weights with the same settings. Real data sets of a kit are so small that their tables
show that the path works; they carry their numbers of images and intervals. Resumable: each run leaves its results.
"""

from __future__ import annotations

import dataclasses
import itertools
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from skysense.benchmark.evidence import RECIPE
from skysense.benchmark.probe import Progress, random_twin
from skysense.benchmark.stages import claim, earth, pretrained
from skysense.benchmark.tasks_writing import Adapted, write_tasks
from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import Example, Task
from skysense.data.labelled.open import open_labelled
from skysense.data.labelled.split import assign_splits
from skysense.data.places import Places
from skysense.data.places_layout import Split
from skysense.errors import ConfigError
from skysense.files import make_folder, plain, read_json
from skysense.geo import Window
from skysense.model.loading import load
from skysense.pretrain.config import PretrainConfig
from skysense.tasks.adapt import adapt
from skysense.tasks.augment import cropped
from skysense.tasks.config import AdaptConfig
from skysense.tasks.evaluate import RESULTS
from skysense.tasks.metrics.results import Results

PRETRAINED, RANDOM = "pre-trained", "random weights"

_BASE = AdaptConfig(
    batch_size=8, decoder_width=64, drop_path=0.0, layer_decay=0.9, average=0.98, learning_rate=1e-3, warmup=0.1
)


@dataclass(frozen=True)
class Case:
    """One task on one data set.

    Attributes:
        title: as tables shall call it.
        folder: of its runs, and of real data where it lies.
        open: the data with splits, from the folder it lies in.
        config: how a model is adapted to it; the seed is replaced.
    """

    title: str
    folder: str
    open: Callable[[Path], LabelledData]
    config: AdaptConfig


def _places(label: str | None = None, task: Task | None = None) -> Callable[[Path], LabelledData]:
    return lambda folder: assign_splits(open_labelled(folder, format="places", label=label, task=task))


_IMAGE = replace(_BASE, modalities=("hr",), epochs=8)
_FROZEN = replace(_BASE, way="linear", epochs=40)
_CHANGE = replace(_IMAGE, epochs=12)

SIMULATED = (
    Case("scenes, image and series", "scenes", _places("scene"), _FROZEN),
    Case("land cover present, image and series", "present", _places("multilabel"), _FROZEN),
    Case("land cover, image alone", "cover", _places("land_cover"), _IMAGE),
    Case("land cover, image and series", "cover_all", _places("land_cover"), replace(_BASE, epochs=8)),
    Case("crops, Sentinel series", "crops", _places("crop_type"), replace(_BASE, modalities=("s2", "s1"), epochs=8)),
    Case("buildings, boxes", "boxes", _places("buildings", "detection"), _IMAGE),
    Case("buildings, oriented", "oriented", _places("buildings", "oriented-detection"), _IMAGE),
    Case("buildings new or gone", "change", _places(task="change"), _CHANGE),
    Case("buildings new or gone, by BIT", "change_bit", _places(task="change"), replace(_CHANGE, decoder="bit")),
    Case("land cover of two dates", "semantic", _places(task="semantic-change"), _CHANGE),
)
"""On the simulated Earth: where claims are made."""


def _labelled(**options: Any) -> Callable[[Path], LabelledData]:
    return lambda folder: assign_splits(open_labelled(folder, **options))


REAL = (
    Case("FLAIR land cover", "land_cover", _labelled(), replace(_IMAGE, epochs=30)),
    Case("FLAIR scenes of 64 px", "scenes", _labelled(), _FROZEN),
    Case("Zanzibar to Catanduanes, building masks", "building_masks", _labelled(), _IMAGE),
    Case("Zanzibar to Catanduanes, building boxes", "building_boxes", _labelled(), _IMAGE),
    Case("Zanzibar to Catanduanes, oriented", "building_quads", _labelled(), _IMAGE),
    Case("cattle, boxes", "cattle", _labelled(tile=256), replace(_IMAGE, epochs=40)),
    Case("trees, boxes", "trees", _labelled(tile=416), replace(_IMAGE, epochs=30)),
    Case(
        "Danish fields, oriented",
        "fields",
        _labelled(task="oriented-detection", stretch=(0, 2500), tile=128),
        replace(_IMAGE, epochs=30),
    ),
    Case("floods, before and after", "floods", _labelled(), _IMAGE),
)
"""Folders of ``examples/kit_to_labelled.py``."""


def cut_places(label: str, side: int) -> Callable[[Path], LabelledData]:
    """Opens places that are too few to keep any for testing: learned from in their west, tested in their east.

    Args:
        label: of the places.
        side: of the windows that they are cut into, in cells.
    """

    def opened(folder: Path) -> LabelledData:
        data = open_labelled(folder, format="places", label=label)
        windows: dict[str, tuple[Item, Window]] = {}
        items = []
        for place in data.items:
            rows, cols = data.read_item(place).sample.grid
            for row, col in itertools.product(range(0, rows - side + 1, side), range(0, cols - side + 1, side)):
                split: Split = "train" if col < cols / 2 else "val" if col < 3 * cols / 4 else "test"
                item = replace(place, name=f"{place.name}@{row},{col}", group=f"{place.name} {split}", split=split)
                windows[item.name] = (place, Window(row, col, side, side))
                items.append(item)
        return replace(data, items=tuple(items), read_item=partial(_window, data, windows))

    return opened


def _window(data: LabelledData, windows: Mapping[str, tuple[Item, Window]], item: Item) -> Example:
    place, window = windows[item.name]
    example = data.read_item(place)
    row, col, height, width = (
        side * example.per_cell for side in (window.row, window.col, window.height, window.width)
    )
    return replace(cropped(example, row, col, height, width), name=item.name)


REAL_PLACES = (
    Case("BigEarthNet classes, both Sentinels", "bigearthnet", _places("classes_19"), _FROZEN),
    Case("TreeSatAI genus, three sensors", "treesat", _places("genus"), _FROZEN),
    Case("WorldCereal crops, series", "crop_patches", cut_places("crop_type", 16), replace(_BASE, epochs=30)),
    Case("Chesapeake land cover", "chesapeake", _places("land_cover"), replace(_IMAGE, epochs=30)),
)
"""Folders of ``examples/kit_to_places.py``."""


@dataclass(frozen=True, kw_only=True)
class TasksConfig:
    """How much is run.

    Attributes:
        regions: of the simulated Earth.
        places_per_region: half of them to learn from.
        footprint_cells: side of a place in cells.
        seeds: of pre-training, random weights and heads; more may be added to a folder later.
        recipe: of pre-training; its seed is replaced.
    """

    regions: int = 8
    places_per_region: int = 32
    footprint_cells: int = 8
    seeds: tuple[int, ...] = (0, 1)
    recipe: PretrainConfig = field(default=replace(RECIPE, steps=250))

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError("the table needs at least one seed, and each only once")


def tasks(
    out: str | Path,
    *,
    kit_labelled: str | Path | None = None,
    kit_places: str | Path | None = None,
    config: TasksConfig | None = None,
    progress: Progress | None = None,
) -> Path:
    """Adapt to every task and write ``tasks.md``, ``tasks.json`` and ``report.html``.

    Args:
        out: folder of the results; a second call goes on.
        kit_labelled: folder of real labelled data, see ``examples/kit_to_labelled.py``; none by default.
        kit_places: folder of real places, see ``examples/kit_to_places.py``; none by default.
        config: how much.
        progress: ``progress(done, in_all, words)`` within each stage; the words name it.

    Returns:
        The HTML page.

    Raises:
        ConfigError: ``out`` was begun with other settings.
        OutputError: no space, no permission; what was finished before stays.
    """
    config, progress = config or TasksConfig(), progress or (lambda *_: None)
    out = make_folder(out)
    claim(out, settings(config))
    places = earth(
        out / "earth",
        regions=config.regions,
        places_per_region=config.places_per_region,
        footprint_cells=config.footprint_cells,
        buildings=True,
        progress=progress,
    )
    models = {
        seed: pretrained(
            replace(config.recipe, seed=seed), places, out / f"pretrained_seed{seed}", f"seed {seed}", progress
        )
        for seed in config.seeds
    }
    simulated = [adapted(case, case.open(out / "earth"), models, out / "simulated", progress) for case in SIMULATED]
    real = [
        adapted(case, case.open(Path(root) / case.folder), models, out / "real", progress)
        for root, cases in ((kit_labelled, REAL), (kit_places, REAL_PLACES))
        for case in cases
        if root is not None and (Path(root) / case.folder).exists()
    ]
    return write_tasks(out, simulated, real, facts(config, places))


def adapted(case: Case, data: LabelledData, models: Mapping[int, Path], out: Path, progress: Progress) -> Adapted:
    """Adapt pre-trained and random weights to one task, each with every seed.

    Args:
        case: the task.
        data: with splits.
        models: files by seed.
        out: folder of the runs.
        progress: as in `tasks`.
    """
    found: dict[str, list[Results]] = {PRETRAINED: [], RANDOM: []}
    for seed, file in models.items():
        for name in found:
            folder = out / case.folder / f"{name.replace(' ', '_')}_seed{seed}"
            if not (folder / RESULTS).exists():
                model = load(file, device="cuda" if torch.cuda.is_available() else "cpu")
                begun = model if name == PRETRAINED else random_twin(model, seed)
                words = f"{case.title}, {name}, seed {seed}"
                adapt(
                    replace(case.config, seed=seed),
                    begun,
                    data,
                    folder,
                    progress=lambda done, total, what, words=words: progress(done, total, f"{words}: {what}"),  # type: ignore[misc]
                )
            found[name].append(Results.from_json(read_json(folder / RESULTS)))
    return Adapted(case.title, case.config.way, data.title, found[PRETRAINED], found[RANDOM])


def settings(config: TasksConfig) -> dict[str, Any]:
    """The settings as plain JSON values, but for the seeds."""
    content: dict[str, Any] = plain(dataclasses.asdict(config))
    del content["seeds"]
    return content


def facts(config: TasksConfig, places: Places) -> dict[str, Any]:
    """What a reader should know about the run."""
    recipe, device = config.recipe, "GPU" if torch.cuda.is_available() else "CPU"
    return {
        "simulated places": f"{len(places)} of {config.footprint_cells} x {config.footprint_cells} cells in "
        f"{len(places.regions)} regions, half to learn from and half to test on",
        "pre-training": f"{recipe.preset}, {recipe.steps} steps of {recipe.batch_size} places, without labels, on the "
        "training half",
        "seeds": ", ".join(map(str, config.seeds)),
        "run on": f"{device}, torch {torch.__version__}, {platform.machine()}",
    }
