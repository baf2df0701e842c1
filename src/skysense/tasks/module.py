"""The learning of a task, as Lightning's Trainer runs it."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn.utils import parametrize

from skysense.data.labelled.example import Task
from skysense.errors import ConfigError
from skysense.tasks.batches import LabelledBatch
from skysense.tasks.cache import Frozen
from skysense.tasks.config import AdaptConfig
from skysense.tasks.feeding import Chunk
from skysense.tasks.heads import Head
from skysense.tasks.keeping import LEAST_SCORE, SCORE
from skysense.tasks.layers import parameter_groups, set_drop_path
from skysense.tasks.lora import add_lora
from skysense.tasks.metrics import accumulator
from skysense.tasks.metrics.accumulate import Accumulator
from skysense.tasks.predict import Predictor
from skysense.tasks.pyramid import Pyramid
from skysense.train.schedules import warmup_poly


class TaskModule(pl.LightningModule):
    """An encoder and a head that learn from labels.

    Args:
        encoder: a model; what of it learns is decided here, by the way to adapt.
        head: of the task.
        task: kind of labels.
        classes: their names.
        config: of the run.
    """

    def __init__(self, encoder: Pyramid, head: Head, task: Task, classes: tuple[str, ...], config: AdaptConfig) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.task, self.classes, self.config = task, classes, config
        self.history: list[dict[str, float]] = []
        self.strict_loading = False  # what is frozen is not in the checkpoints
        self._losses: list[Tensor] = []
        self._least_score: float | None = None
        self._seen: Accumulator[Any] = accumulator(task, classes)
        encoder.requires_grad_(not config.frozen)
        if not config.frozen:
            set_drop_path(encoder.model, config.drop_path)
        if config.way == "lora":
            add_lora(encoder.model)
        self.train()  # the trainer keeps the modes that it finds, and a model may come in that of evaluation

    def train(self, mode: bool = True) -> TaskModule:
        """As always, but a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.config.frozen:
            self.encoder.eval()
        return self

    def predictor(self, *, flips: bool = False) -> Predictor:
        """What judges whole images with the present weights."""
        config = self.config
        return Predictor(
            self.encoder,
            self.head,
            self.task,
            window_cells=config.window_cells,
            batch_size=config.batch_size,
            flips=flips,
        )

    def training_step(self, batch: LabelledBatch | Frozen, number: int) -> Tensor:
        """The loss of a batch."""
        if isinstance(batch, Frozen):
            maps = batch.maps
        else:
            with parametrize.cached():  # weights with low-rank additions are read several times
                maps = self.encoder(batch.batch)
        losses = self.head.losses(maps, batch)
        total: Tensor = torch.stack(list(losses.values())).sum()
        self._losses.append(total.detach())
        self.log_dict({f"loss/{name}": value.detach() for name, value in losses.items()}, batch_size=len(batch.sizes))
        return total

    def validation_step(self, chunk: Chunk, number: int) -> None:
        """Judge some images."""
        predictor = self.predictor()
        found = predictor(chunk.examples) if chunk.examples else predictor.of_frozen(chunk)
        for judged, prediction in zip(chunk.judged, found, strict=True):
            self._seen.add(judged.name, judged.group, judged.target, prediction, judged.size)

    def on_validation_epoch_end(self) -> None:
        """Log the score of all images."""
        if not len(self._seen):
            return
        results = self._seen.results(resamples=1)
        self.log(SCORE, results.metrics[results.headline].value)  # NaN where there is nothing to judge by
        self._least_score = self._seen.least_score()
        self._seen = accumulator(self.task, self.classes)

    def on_train_epoch_start(self) -> None:
        """Seed what the epoch draws (dropout, drop-path): a run that goes on draws the same."""
        torch.manual_seed(self.config.seed * 1_000_003 + self.current_epoch)

    def on_validation_epoch_start(self) -> None:
        """Judge nothing by weights that are no numbers; errors as `on_train_epoch_end`."""
        self._mean_loss()

    def on_train_epoch_end(self) -> None:
        """Remember the epoch, for the curves of the report.

        Raises:
            ConfigError: the loss is no longer a number.
        """
        loss = self._mean_loss()
        self._losses.clear()
        row = {"step": float(self.current_epoch + 1), "loss": loss}
        score = float(self.trainer.callback_metrics.get(SCORE, math.nan))
        if math.isfinite(score):
            row[SCORE] = score
            if self._least_score is not None:
                row[LEAST_SCORE] = self._least_score
        self.history.append(row)

    def _mean_loss(self) -> float:
        """Mean loss of the epoch so far."""
        loss = float(torch.stack(self._losses).mean())
        learning = (one for one in self.parameters() if one.requires_grad)
        if not (math.isfinite(loss) and all(bool(torch.isfinite(one).all()) for one in learning)):
            raise ConfigError(
                f"loss or weights are no longer numbers in epoch {self.current_epoch + 1} (loss {loss:g}): choose a "
                f"smaller learning_rate than {self.config.rate:g}"
            )
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW by layers; the rate rises linearly and falls linearly (specification 5.2: poly of power 1)."""
        config = self.config
        encoder = None if config.frozen else self.encoder
        groups = parameter_groups(
            encoder,
            [self.head],
            rate=config.rate,
            decay=config.weight_decay,
            layer_decay=config.layer_decay if config.way == "full" else 1.0,
        )
        # in mixed precision the trainer clips gradients, which it does not let a fused optimiser do
        optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.999), fused=config.precision == "32-true")
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: warmup_poly(1.0, step / steps, config.warmup)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches move, images to judge are moved window by window."""
        return batch.to(device) if isinstance(batch, LabelledBatch | Frozen) else batch

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what learns, and the history."""
        learning = {name for name, one in self.named_parameters() if one.requires_grad}
        fixed = {name for name, _ in self.named_parameters()} - learning
        checkpoint["state_dict"] = {key: value for key, value in checkpoint["state_dict"].items() if key not in fixed}
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the history."""
        self.history = list(checkpoint["history"])
