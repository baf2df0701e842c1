"""The learning itself: batches, Lightning's Trainer, what is kept."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch.utils.data import DataLoader

from skysense.data.labelled.dataset import LabelledData
from skysense.data.places_layout import Split
from skysense.errors import ConfigError, InputError
from skysense.tasks.adapted import Adapted
from skysense.tasks.cache import FeatureFolder, load_frozen
from skysense.tasks.feeding import Draws, FrozenImages, Images, Pieces, SameSize, Views, views_batch
from skysense.tasks.keeping import BEST, LAST, SCORE, Average, Keeper, read_checkpoint, weights_of
from skysense.tasks.module import TaskModule

_CLIP = 10.0
"""Norm that gradients are cut to: ten times what is usual, so that one odd batch cannot undo a run."""

Progress = Callable[[int, int, str], None]
Loaders = tuple[DataLoader[Any], DataLoader[Any] | None]


def fit(
    module: TaskModule,
    adapted: Adapted,
    splits: Mapping[Split, LabelledData],
    out: Path,
    *,
    model: str,
    device: torch.device,
    progress: Progress,
) -> int:
    """Learn, or go on; the module then holds the weights to keep.

    Args:
        module: with weights as they begin.
        adapted: the encoder and the head of the module.
        splits: examples, ready for the encoder.
        out: folder of the run.
        model: fingerprint of what is adapted.
        device: to learn on.
        progress: called with steps done, all steps, and words.

    Returns:
        Epochs that an earlier start had made.

    Raises:
        ConfigError: the loss is no longer a number.
        InputError: a damaged checkpoint, or an example that can no longer be read.
        OutputError: a checkpoint cannot be written.
    """
    config, folder = module.config, out / "checkpoints"
    last, best = folder / LAST, folder / BEST
    before = read_checkpoint(last) if last.exists() else None
    resumed = 0 if before is None else int(before["epoch"]) + 1
    module.to(device)
    if before is None or not _over(before, resumed, config.epochs, config.patience):
        make = _frozen_loaders if config.frozen else _live_loaders
        learning, judging = make(adapted, splits["train"], splits.get("val"), out, model, progress)
        callbacks: list[Callback] = [_Bar(progress), Keeper(folder)]
        if judging is not None and config.patience is not None:
            callbacks.append(EarlyStopping(SCORE, mode="max", patience=config.patience, strict=False, verbose=False))
        if config.average:
            callbacks.append(Average(config.average))
        with _quiet():
            trainer = pl.Trainer(
                accelerator="gpu" if device.type == "cuda" else "cpu",
                devices=[device.index or 0] if device.type == "cuda" else 1,
                precision=config.precision,
                max_epochs=config.epochs,
                gradient_clip_val=_CLIP,
                callbacks=callbacks,
                logger=_board(out),
                log_every_n_steps=1,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
            )
            _run(trainer, module, learning, judging, None if before is None else last)
    kept = read_checkpoint(best if best.exists() else last)
    module.load_state_dict(weights_of(kept), strict=False)
    module.history = list(read_checkpoint(last)["history"])
    return resumed


def _run(
    trainer: pl.Trainer,
    module: TaskModule,
    learning: DataLoader[Any],
    judging: DataLoader[Any] | None,
    last: Path | None,
) -> None:
    try:
        trainer.fit(module, learning, judging, ckpt_path=None if last is None else str(last), weights_only=True)
    except SystemExit as error:  # how the trainer ends after Ctrl-C
        raise KeyboardInterrupt from error
    except InputError as error:
        if "Original Traceback" in str(error):  # of a process that reads examples: its last line says what it was
            words = str(error).strip().splitlines()[-1].removeprefix("skysense.errors.InputError: ")
            raise InputError(words) from error
        raise


def _over(checkpoint: Mapping[str, Any], made: int, epochs: int, patience: int | None) -> bool:
    """Whether a run has nothing left to do."""
    waited = [
        state["wait_count"] for name, state in checkpoint["callbacks"].items() if name.startswith("EarlyStopping")
    ]
    return made >= epochs or (patience is not None and any(count >= patience for count in waited))


def _live_loaders(
    adapted: Adapted, train: LabelledData, val: LabelledData | None, out: Path, model: str, progress: Progress
) -> Loaders:
    """Random views of the images; the encoder learns or is added to."""
    config = adapted.config
    views = Views(train, config.augment, config.window_cells, config.seed)
    learning = DataLoader(
        views,
        batch_size=config.batch_size,
        sampler=Draws(len(views), config.seed),
        collate_fn=views_batch,
        **_workers(config.workers),
    )
    if val is None:
        return learning, None
    images = Images(val, config.batch_size)
    return learning, DataLoader(images, batch_size=None, collate_fn=_as_is, **_workers(config.workers))


def _frozen_loaders(
    adapted: Adapted, train: LabelledData, val: LabelledData | None, out: Path, model: str, progress: Progress
) -> Loaders:
    """Features of all windows, computed now unless they are there."""
    config, reading, encoder = adapted.config, adapted.reading, adapted.encoder
    folder = FeatureFolder(
        out / "features",
        encoder,
        adapted.task,
        window_cells=config.window_cells,
        batch_size=config.batch_size,
        about={
            "model": model,
            "modalities": list(encoder.modalities),
            "channels": list(encoder.channels),
            "frames": dict(reading.frames),
            "clear_only": config.clear_only,
            "window_cells": config.window_cells,
            "task": adapted.task,
        },
    )
    pieces, _ = folder.fill("train", train, progress)
    draws = Draws(len(pieces), config.seed)
    learning = DataLoader(
        Pieces(pieces),
        batch_sampler=SameSize(draws, pieces, config.batch_size),
        collate_fn=load_frozen,
        **_workers(config.workers),
    )
    if val is None:
        return learning, None
    images = FrozenImages(*folder.fill("val", val, progress), config.batch_size)
    return learning, DataLoader(images, batch_size=None, collate_fn=_as_is)


def _workers(count: int) -> dict[str, Any]:
    return {"num_workers": count, "persistent_workers": count > 0}


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


def device_of(name: str | None) -> torch.device:
    """A device by name; a GPU if there is one by default.

    Raises:
        ConfigError: there is none of that name.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is unknown; cpu, cuda and cuda:1 are known") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"there is no device {name!r} here; this machine has {torch.cuda.device_count()} GPUs")
    return device
