"""Adapt a model to a task: from a labelled data set to a model that answers it, and a page that shows how well.

A run is a folder. One that was cut off goes on from its last whole epoch when it is started again with the same
settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from skysense.data.labelled.dataset import LabelledData
from skysense.data.places_layout import Split
from skysense.files import make_folder
from skysense.model.assembly import SkySense
from skysense.tasks.adapted import build
from skysense.tasks.config import AdaptConfig
from skysense.tasks.evaluate import Evaluation, evaluate
from skysense.tasks.fit import device_of, fit
from skysense.tasks.identity import check, identity, names_digest, remember
from skysense.tasks.keeping import LEAST_SCORE, least_score
from skysense.tasks.look import look_at
from skysense.tasks.lora import merge_lora
from skysense.tasks.module import TaskModule

MODEL = "adapted.safetensors"
SPLITS: tuple[Split, ...] = ("train", "val", "test")

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
    out, told, place = make_folder(out), progress or (lambda done, total, words: None), device_of(device)
    data.select("train")
    look = look_at(
        config, model, data, opened or {}, out, lambda done, total: told(done, total, f"reading {data.title}")
    )
    wanted = identity(replace(config, modalities=look.modalities), model, look.data, opened or {})
    check(out, wanted)
    config = replace(config, modalities=look.modalities, anchor_scale=config.anchor_scale or look.anchor_scale)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    adapted = build(model, data.task, data.classes, look.per_cell, config)
    module = TaskModule(adapted.encoder, adapted.head, data.task, data.classes, config)
    remember(out, wanted)
    splits = {split: look.data.select(split) for split in SPLITS if split in look.found.items}
    resumed = fit(module, adapted, splits, out, model=wanted["model"], device=place, progress=told)
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
            LEAST_SCORE: least_score(module.history),
            "cells": max(splits["train"].read(0).sample.grid),  # windows of maps of one answer each are like this
        }
    }
    module.eval()
    adapted.save(out / MODEL)
    outcome = Outcome(out / MODEL, None, len(module.history), resumed, look.skipped, look.notes(data))
    if held := splits.get("test") or splits.get("val"):
        counts_K = np.array(look.found.training_K)
        outcome.evaluation = evaluate(adapted, held, out, training_K=counts_K, history=module.history, progress=told)
    return outcome
