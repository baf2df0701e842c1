"""Adapt a model to a task: from a labelled data set to a model that answers it, and a page that shows how well.

A run is a folder. One that was cut off goes on from its last whole epoch when it is started again with the same
settings.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from torch.utils.data import DataLoader

from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.example import Example
from skysense.data.labelled.survey import Survey, survey
from skysense.data.places_layout import Split
from skysense.errors import ConfigError, InputError
from skysense.files import flat, make_folder, plain, read_json, write_json
from skysense.model.assembly import SkySense
from skysense.sensors import MODALITIES, Modality
from skysense.tasks.adapted import Adapted, build, plain_config, reading_for
from skysense.tasks.cache import FeatureFolder, load_frozen
from skysense.tasks.config import AdaptConfig
from skysense.tasks.detection.config import DetectorConfig
from skysense.tasks.evaluate import Evaluation, evaluate
from skysense.tasks.feeding import Draws, FrozenImages, Images, Pieces, SameSize, Views, views_batch
from skysense.tasks.lora import merge_lora
from skysense.tasks.module import SCORE, TaskModule

MODEL = "adapted.safetensors"
SETTINGS = "adapt.json"
_CLIP = 10.0
"""Norm that gradients are cut to: ten times what is usual, so that one odd batch cannot undo a run."""

_SMALLEST_ANCHOR = 2.0
"""Cells; nothing smaller can be told from its neighbours."""
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
    device: str | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Learn from the examples for training, keep what is best on those for validation, judge by those for testing.

    Without examples for validation the last epoch is kept; without any for testing those for validation are judged.

    Args:
        config: of the run.
        model: whose encoders are adapted; it is changed.
        data: with splits.
        out: folder of the run; one of the same settings goes on.
        device: ``cpu``, ``cuda``, ``cuda:1``; a GPU if there is one.
        progress: called with what is done, all there is to do, and what it is.

    Raises:
        InputError: no example can be used, or the folder holds another run.
        ConfigError: settings that contradict the model or the data.
        OutputError: no space, no permission.
    """
    out, progress = make_folder(out), progress or (lambda done, total, words: None)
    data.select("train")
    first = _first(data)
    config = replace(config, modalities=_modalities(config, model, first))
    _remember(out, config, data)
    seen = survey(
        reading_for(model, config.modalities or (), config).prepared(data),
        lambda done, total: progress(done, total, f"reading {data.title}"),
    )
    if config.anchor_scale is None:
        config = replace(config, anchor_scale=_anchor_scale(seen, first))
    pl.seed_everything(config.seed, workers=True, verbose=False)
    adapted = build(model, data.task, data.classes, first.per_cell, config)
    module = TaskModule(adapted.encoder, adapted.head, data.task, data.classes, config)
    splits = {split: seen.data.select(split) for split in SPLITS if split in seen.items}
    notes = [*data.notes, *seen.warnings()]
    resumed, epochs = _fit(module, adapted, splits, out, device, progress)
    if config.way == "lora":
        merge_lora(adapted.encoder.model)
    adapted.card |= {"adapted": {"data": data.title, "way": config.way, "epochs": epochs, "simulated": data.simulated}}
    module.eval()
    adapted.save(out / MODEL)
    skipped = {failure.item: failure.message for failure in seen.failures}
    held = splits.get("test") or splits.get("val")
    if held is None:
        notes.append("no example is marked for validation or testing: how good the model is remains unknown")
        return Outcome(out / MODEL, None, epochs, resumed, skipped, notes)
    if "test" not in splits:
        notes.append(
            "no example is marked for testing: those for validation, which chose the epoch, look a little too good"
        )
    evaluation = evaluate(
        adapted, held, out, training_K=seen.amount_K["train"], history=module.history, progress=progress
    )
    return Outcome(out / MODEL, evaluation, epochs, resumed, skipped, notes)


def _first(data: LabelledData) -> Example:
    """The first example that can be read: what it holds, the others are taken to hold."""
    failures = []
    for item in data.items:
        try:
            return data.read_item(item)
        except InputError as error:
            failures.append(str(error))
    raise InputError(f"{data.title} holds no example that can be read; the first: {failures[0]}")


def _modalities(config: AdaptConfig, model: SkySense, first: Example) -> tuple[Modality, ...]:
    """The sensors to use: those asked for, or all that the first example and the model have."""
    held = first.sample.series
    wanted = config.modalities or tuple(key for key in model.modalities if key in held)
    missing = [key for key in wanted if key not in model.modalities or key not in held]
    if missing or not wanted:
        raise ConfigError(
            f"{first.name} has {', '.join(held)} and the model reads {', '.join(model.modalities)}: "
            f"{', '.join(missing) or 'nothing'} cannot be used"
        )
    return tuple(key for key in MODALITIES if key in wanted)


def _anchor_scale(seen: Survey, first: Example) -> float | None:
    """Anchors whose finest level suits the smaller boxes: a quarter of them are smaller."""
    sides = seen.box_sides.get("train")
    if not sides:
        return None
    cell = first.per_cell / 8 if "hr" in first.sample.series else 1  # label pixels of a cell of the finest level
    return float(np.clip(np.quantile(sides, 0.25) / cell, _SMALLEST_ANCHOR, DetectorConfig.anchor_scale))


def _remember(out: Path, config: AdaptConfig, data: LabelledData) -> None:
    """Write the settings of a run down, or refuse to mix two."""
    settings = plain({"config": plain_config(config), "data": data.title, "classes": data.classes, "task": data.task})
    file = out / SETTINGS
    if file.exists():
        before, now = flat(read_json(file)), flat(settings)
        free = {"config.epochs", "config.workers", "config.flips"}
        changed = [f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in now if before.get(key) != now[key]]
        changed = [one for one in changed if one.split(" ")[0] not in free]
        if changed:
            raise InputError(
                f"holds a run with other settings ({'; '.join(changed)})",
                file=out,
                fix="Choose another folder, or these settings",
            )
    write_json(file, settings)


def _fit(
    module: TaskModule,
    adapted: Adapted,
    splits: Mapping[Split, LabelledData],
    out: Path,
    device: str | None,
    progress: Progress,
) -> tuple[int, int]:
    """Learn; the module then holds the best weights. Returns the epochs made before and in all."""
    config, checkpoints, train, val = module.config, out / "checkpoints", splits["train"], splits.get("val")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if config.frozen:
        module.to(place)
    loaders = _frozen_loaders if config.frozen else _live_loaders
    learning, judging = loaders(adapted, train, val, out, progress)
    last, best = checkpoints / "last.ckpt", checkpoints / "best.ckpt"
    callbacks: list[Callback] = [_Bar(progress)]
    if val is not None:
        callbacks.append(_keep(checkpoints, best.stem, SCORE))
        if config.patience is not None:
            callbacks.append(EarlyStopping(SCORE, mode="max", patience=config.patience, verbose=False))
    callbacks.append(_keep(checkpoints, last.stem, None))  # after what it shall remember
    if config.average:
        callbacks.append(EMAWeightAveraging(decay=config.average))
    resumed = int(torch.load(last, weights_only=True, map_location="cpu")["epoch"]) + 1 if last.exists() else 0
    with _quiet():
        trainer = pl.Trainer(
            accelerator="gpu" if place.type == "cuda" else "cpu",
            devices=[place.index or 0] if place.type == "cuda" else 1,
            precision=config.precision,
            max_epochs=config.epochs,
            gradient_clip_val=_CLIP,
            callbacks=callbacks,
            logger=_board(out),
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            inference_mode=True,
        )
        trainer.fit(module, learning, judging, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    epochs = len(module.history)
    if best.exists():
        state = torch.load(best, weights_only=True, map_location="cpu")["state_dict"]
        module.load_state_dict(state, strict=False)
    return resumed, epochs


def _keep(folder: Path, name: str, monitor: str | None) -> ModelCheckpoint:
    """Keeps the best by a value, or the latest."""
    return ModelCheckpoint(
        dirpath=folder, filename=name, monitor=monitor, mode="max", save_top_k=1, enable_version_counter=False
    )


def _live_loaders(
    adapted: Adapted, train: LabelledData, val: LabelledData | None, out: Path, progress: Progress
) -> tuple[DataLoader[Any], DataLoader[Any] | None]:
    """Random views of the images; the encoder learns or is adapted."""
    config = adapted.config
    views = Views(train, config.augment, config.window_cells, config.seed)
    options: dict[str, Any] = {"num_workers": config.workers, "persistent_workers": config.workers > 0}
    learning = DataLoader(
        views,
        batch_size=config.batch_size,
        sampler=Draws(len(views), config.seed),
        collate_fn=views_batch,
        **options,
    )
    if val is None:
        return learning, None
    images = Images(val, config.batch_size)
    return learning, DataLoader(images, batch_size=None, collate_fn=_as_is, **options)


def _frozen_loaders(
    adapted: Adapted, train: LabelledData, val: LabelledData | None, out: Path, progress: Progress
) -> tuple[DataLoader[Any], DataLoader[Any] | None]:
    """Features of all windows, computed now unless they are there."""
    config, reading = adapted.config, adapted.reading
    folder = FeatureFolder(
        out / "features",
        adapted.encoder,
        adapted.task,
        window_cells=config.window_cells,
        batch_size=config.batch_size,
        about={"frames": dict(reading.frames), "clear_only": config.clear_only},
    )

    pieces, _ = folder.fill("train", train, progress)
    draws = Draws(len(pieces), config.seed)
    learning = DataLoader(
        Pieces(pieces), batch_sampler=SameSize(draws, pieces, config.batch_size), collate_fn=load_frozen
    )
    if val is None:
        return learning, None
    images = FrozenImages(*folder.fill("val", val, progress), config.batch_size)
    return learning, DataLoader(images, batch_size=None, collate_fn=_as_is)


def _as_is(chunk: Any) -> Any:
    return chunk


def _board(out: Path) -> Any:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(str(out), name="", version="tensorboard")


class _Bar(Callback):
    """Tells how far the run is."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **options: Any) -> None:
        score = trainer.callback_metrics.get(SCORE)
        words = f"learning, epoch {trainer.current_epoch + 1}" + ("" if score is None else f", {SCORE} {score:.3f}")
        self.progress(trainer.global_step, int(trainer.estimated_stepping_batches), words)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the trainer says to programmers."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
