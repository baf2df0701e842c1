"""Adapt a model to a task: from a labelled data set to a model that answers it, and a page that shows how well.

A run is a folder. One that was cut off goes on from its last whole epoch when it is started again with the same
settings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import Example
from skysense.data.labelled.survey import Survey, survey
from skysense.data.places_layout import Split
from skysense.errors import ConfigError, InputError
from skysense.files import make_folder
from skysense.model.assembly import SkySense
from skysense.sensors import MODALITIES, Modality
from skysense.tasks.adapted import build, reading_for
from skysense.tasks.config import AdaptConfig
from skysense.tasks.detection.config import DetectorConfig
from skysense.tasks.evaluate import Evaluation, evaluate
from skysense.tasks.fit import device_of, fit
from skysense.tasks.identity import check, identity, names_digest, remember
from skysense.tasks.lora import merge_lora
from skysense.tasks.module import TaskModule

MODEL = "adapted.safetensors"
SPLITS: tuple[Split, ...] = ("train", "val", "test")
_SMALLEST_ANCHOR = 2.0
"""Cells; nothing smaller can be told from its neighbours."""

Progress = Callable[[int, int, str], None]


@dataclass
class Outcome:
    """What a run has made.

    Attributes:
        model: file of the adapted model.
        evaluation: on held-out examples; None if there are none.
        epochs: that were made, in all.
        resumed: epochs that an earlier start had made.
        skipped: per example that could not be used, why.
        notes: what a person should know.
    """

    model: Path
    evaluation: Evaluation | None
    epochs: int
    resumed: int
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def adapt(
    config: AdaptConfig,
    model: SkySense,
    data: LabelledData,
    out: str | Path,
    *,
    opened: Mapping[str, Any] | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Learn from the examples for training, keep what is best on those for validation, judge by those for testing.

    Without examples for validation the last epoch is kept; without any for testing those for validation are judged.

    Args:
        config: of the run.
        model: whose encoders are adapted; they are changed.
        data: with splits.
        out: folder of the run; the same run goes on.
        opened: how the data were opened, plain values for JSON: a part of what tells runs apart, kept for evaluation.
        device: ``cpu``, ``cuda``, ``cuda:1``; a GPU if there is one.
        progress: called with what is done, all there is to do, and what it is.

    Raises:
        InputError: no example can be used, or the folder holds another run.
        ConfigError: settings that contradict the model or the data, or a loss that is no longer a number.
        OutputError: no space, no permission.
    """
    out, progress, place = make_folder(out), progress or (lambda done, total, words: None), device_of(device)
    data.select("train")
    look = _look(config, model, data, progress)
    wanted = identity(replace(config, modalities=look.modalities), model, look.seen.data, opened or {})
    check(out, wanted)
    config = replace(config, modalities=look.modalities, anchor_scale=config.anchor_scale or _anchor_scale(look))
    pl.seed_everything(config.seed, workers=True, verbose=False)
    adapted = build(model, data.task, data.classes, look.per_cell, config)
    module = TaskModule(adapted.encoder, adapted.head, data.task, data.classes, config)
    remember(out, wanted)
    splits = {split: look.seen.data.select(split) for split in SPLITS if split in look.seen.items}
    resumed = fit(module, adapted, splits, out, model=wanted["model"], device=place, progress=progress)
    if config.way == "lora":
        merge_lora(adapted.encoder.model)
    adapted.card |= {
        "adapted": {
            "data": data.title,
            "opened": dict(opened or {}),
            "names": names_digest(data, splits=False),
            "learned": names_digest(data.select("train"), splits=False),
            "way": config.way,
            "epochs": len(module.history),
            "simulated": data.simulated,
        }
    }
    module.eval()
    adapted.save(out / MODEL)
    outcome = Outcome(out / MODEL, None, len(module.history), resumed, look.skipped, look.notes(data))
    if held := splits.get("test") or splits.get("val"):
        counts_K = look.seen.amount_K["train"]
        outcome.evaluation = evaluate(
            adapted, held, out, training_K=counts_K, history=module.history, progress=progress
        )
    return outcome


@dataclass(frozen=True)
class _Look:
    """What one look at every example has shown.

    Attributes:
        seen: of all examples, ready for the encoders.
        modalities: to use.
        per_cell: label pixels on the side of a cell.
        counts: examples with each sensor.
    """

    seen: Survey
    modalities: tuple[Modality, ...]
    per_cell: int
    counts: Mapping[Modality, int]

    @property
    def skipped(self) -> dict[str, str]:
        """Per example that cannot be used, why."""
        return {failure.item: failure.message for failure in self.seen.failures}

    def notes(self, data: LabelledData) -> list[str]:
        """What a person should know."""
        whole, notes = len(self.seen.data), [*data.notes, *self.seen.warnings()]
        for key in self.modalities:
            if self.counts[key] < whole:
                notes.append(f"{whole - self.counts[key]} of {whole} examples have no {key}")
        if "val" not in self.seen.items and "test" not in self.seen.items:
            notes.append("no example is marked for validation or testing: how good the model is remains unknown")
        elif "test" not in self.seen.items:
            notes.append(
                "no example is marked for testing: those for validation, which chose the epoch, look a little too good"
            )
        elif "val" not in self.seen.items:
            notes.append("no example is marked for validation: the last epoch is kept")
        return notes


def _look(config: AdaptConfig, model: SkySense, data: LabelledData, progress: Progress) -> _Look:
    """Read every example once: which sensors there are, what cannot be used, how many labels."""
    missing = [key for key in config.modalities or () if key not in model.modalities]
    if missing:
        raise ConfigError(f"{', '.join(missing)} cannot be used: the model reads {', '.join(model.modalities)}")
    wanted = config.modalities or model.modalities
    counts, grids = Counter[Modality](), Counter[int]()
    ready = reading_for(model, wanted, config).prepared(data)

    def counted(item: Item) -> Example:
        example = ready.read_item(item)
        counts.update(example.sample.series.keys())
        grids[example.per_cell] += 1
        return example

    seen = survey(replace(ready, read_item=counted), lambda done, total: progress(done, total, f"reading {data.title}"))
    if "train" not in seen.items:
        raise InputError(f"{data.title}: no example for training can be used; the first: {seen.failures[0].message}")
    absent = [key for key in config.modalities or () if not counts[key]]
    if absent:
        raise ConfigError(f"{', '.join(absent)} cannot be used: no example of {data.title} has it")
    modalities = tuple(key for key in MODALITIES if key in wanted and counts[key])
    again = reading_for(model, modalities, config).prepared(replace(data, items=seen.data.items))
    if len(grids) > 1 and data.task not in ("classification", "multilabel"):
        raise InputError(f"{data.title}: some labels are as fine as the image, others one per cell of 10 m")
    per_cell = max(grids) if "hr" in modalities or data.task not in ("classification", "multilabel") else 1
    return _Look(replace(seen, data=again), modalities, per_cell, counts)


def _anchor_scale(look: _Look) -> float | None:
    """Anchors whose finest level suits the smaller boxes: a quarter of them are smaller."""
    sides = look.seen.box_sides.get("train")
    if not sides:
        return None
    cell = look.per_cell / 8 if "hr" in look.modalities else 1  # label pixels of a cell of the finest level
    return float(np.clip(np.quantile(sides, 0.25) / cell, _SMALLEST_ANCHOR, DetectorConfig.anchor_scale))
