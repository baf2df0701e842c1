"""What a run keeps of its weights: the latest for going on, the best by validation, a moving average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from torch import Tensor

from skysense.errors import InputError
from skysense.files import atomic_path

LAST, BEST = "last.ckpt", "best.ckpt"
SCORE = "score"
"""What validation is called: the metric that is published for the task."""
LEAST_SCORE = "least_score"
"""In the history of a detector, and on the card of its model: the score of the best F1 on examples for validation."""
AVERAGE = "average"
"""Under this name a checkpoint holds averaged weights."""


class Keeper(Checkpoint):
    """Writes ``last.ckpt`` after every epoch, and ``best.ckpt`` after the best; each is whole or not there.

    The best score travels in the checkpoints, so that a folder may be renamed. An epoch without a score (nothing to
    judge by) is never the best.

    Args:
        folder: for the two files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.best = folder, float("-inf")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called when the epoch was validated and is in the history."""
        score = float(trainer.callback_metrics.get(SCORE, torch.nan))
        better = score > self.best
        if better:
            self.best = score
        for name in [BEST] * better + [LAST]:  # killed between the two, the epoch is made again
            with atomic_path(self.folder / name) as temporary:
                trainer.save_checkpoint(temporary)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run has to know."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on."""
        self.best = float(state_dict["best"])


class Average(Callback):
    """A moving average of the weights that learn; validation judges it, and checkpoints hold it beside the weights.

    Args:
        decay: per step. The first steps count more: at step n it is at most ``(1 + n) / (10 + n)``.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights as they are, unless a checkpoint brings an average."""
        learning = _learning(pl_module)
        self.weights = {
            name: self.weights.get(name, one.detach().clone()).to(one.device) for name, one in learning.items()
        }

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Follow the weights."""
        step = trainer.global_step
        decay = min(self.decay, (1 + step) / (10 + step))
        learning = _learning(pl_module)
        torch._foreach_lerp_([self.weights[name] for name in learning], list(learning.values()), 1 - decay)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge the average."""
        self._swap(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Learn on with the weights."""
        self._swap(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep it."""
        checkpoint[AVERAGE] = self.weights

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with it."""
        self.weights = checkpoint[AVERAGE]

    @torch.no_grad()
    def _swap(self, module: pl.LightningModule) -> None:
        for name, weight in _learning(module).items():
            kept = weight.detach().clone()
            weight.copy_(self.weights[name])
            self.weights[name] = kept


def read_checkpoint(file: Path) -> dict[str, Any]:
    """A checkpoint of `Keeper`; tensors are read when they are used.

    Raises:
        InputError: it is damaged.
    """
    try:
        content: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu", mmap=True)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(
            f"is damaged ({str(error).splitlines()[0]})",
            file=file,
            fix="Remove it; without last.ckpt a run begins anew",
        ) from error
    return content


def least_score(history: Sequence[Mapping[str, float]]) -> float | None:
    """That of the epoch whose weights are kept; None where nothing was found in it, or there was no validation."""
    judged = [row for row in history if SCORE in row]
    return max(judged, key=lambda row: row[SCORE]).get(LEAST_SCORE) if judged else None


def weights_of(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The weights to judge and keep: averaged where there is an average."""
    state: dict[str, Tensor] = checkpoint["state_dict"]
    return state | checkpoint.get(AVERAGE, {})


def _learning(module: pl.LightningModule) -> dict[str, Tensor]:
    return {name: one for name, one in module.named_parameters() if one.requires_grad}
