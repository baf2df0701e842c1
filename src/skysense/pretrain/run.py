"""A run: all that changes while learning, and one step of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from skysense.errors import ConfigError, SkySenseError
from skysense.geo import RegionTable, region_rule
from skysense.model.assembly import SkySense
from skysense.pretrain.batch import ViewBatch
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.learner import build
from skysense.pretrain.objective import StepTerms
from skysense.pretrain.prototypes import update_prototypes
from skysense.train.checkpoints import Checkpoint
from skysense.train.optimiser import adamw, follow
from skysense.train.parallel import whole_state
from skysense.train.ranks import ALONE
from skysense.train.schedules import cosine, linear_then_flat, warmup_cosine
from skysense.train.together import Together

_STEP = "step"  # of AdamW: how many a parameter has had, one number


class Run:
    """Student, teacher, objective, optimiser, step.

    Args:
        config: every number of the run.
        regions: whose prototypes are learned.
        together: the ranks that run it, each with its own places of a step; this process alone if None.

    Attributes:
        learner: student, teacher and objective.
        step: made so far.
        skipped: how many of them were left out since something was not finite.
        skipped_in_a_row: of these, those since the last that was not.

    Raises:
        ConfigError: a table of regions by another rule than that of the configuration, or fewer places in a step than
            ranks.
    """

    def __init__(self, config: PretrainConfig, regions: RegionTable, together: Together | None = None) -> None:
        self._together = together or Together(ALONE)
        self.config, self.ranks = config, self._together.ranks
        self.step = self.skipped = self.skipped_in_a_row = 0
        if regions.cells and regions.rule is not region_rule(config.objective.region_rule):
            raise ConfigError(f"the table of regions does not follow the rule {config.objective.region_rule!r}")
        if config.batch_size < self.ranks.size:
            raise ConfigError(
                f"batch_size = {config.batch_size} places cannot be divided among {self.ranks.size} processes"
            )
        self.learner, self._compare = build(config, regions, self.ranks)
        self.student, self.teacher = self.learner.student, self.learner.teacher
        self.objective = self.learner.objective
        self.optimiser = adamw(
            (self.student, self.objective),
            weight_decay=config.optimiser.weight_decay,
            betas=config.optimiser.betas,
        )

    def advance(self, views: ViewBatch) -> dict[str, float]:
        """One step; returns what to log.

        A step whose loss or gradient is not finite on any rank changes nothing and is counted, on all ranks alike: both
        are sums over the ranks.

        Args:
            views: of this rank's places; of several ranks all hold frames of the same modalities.

        Raises:
            SkySenseError: too many steps in a row were not finite; names the places of the last one.
        """
        config, progress = self.config, self.step / self.config.steps
        settings, numbers = config.optimiser, config.objective
        views = views.to(self.ranks.device)
        rate = warmup_cosine(
            settings.learning_rate, settings.final_learning_rate, (self.step + 1) / config.steps, settings.warmup
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        temperature = linear_then_flat(
            numbers.teacher_temperature_start, numbers.teacher_temperature, progress, numbers.teacher_warmup
        )
        found: StepTerms = self._compare(views, temperature, self.step % config.watch_every == 0)
        self.optimiser.zero_grad(set_to_none=True)
        found.loss.backward()
        if progress < settings.freeze_last_layer:
            for head in self.student.heads.values():
                head.last_layer.grad = None
        norm = self._clip(settings.clip)
        terms = {"loss": self.objective.loss_of(found.terms)} | found.terms
        values = dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True)) | found.watch
        values |= {"learning_rate": rate, "gradient_norm": norm}
        if math.isfinite(values["loss"]) and math.isfinite(norm):
            self.skipped_in_a_row = 0
            values |= self._learn(views, found, cosine(settings.teacher_momentum, 1.0, progress))
        else:
            self._skip(views)
        values["skipped"] = float(self.skipped)
        self.step += 1
        return values

    def _clip(self, largest: float) -> float:
        """Bound the norm of the gradient of all ranks together; returns what it was."""
        parameters = [p for module in (self.student, self.objective) for p in module.parameters()]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def _learn(self, views: ViewBatch, found: StepTerms, momentum: float) -> dict[str, float]:
        """Optimiser, prototypes, memories, teacher."""
        self.optimiser.step()
        values = {}
        numbers, geo = self.config.objective, self.student.model.geo
        if geo is not None and self.objective.prototype_use is not None:
            values = update_prototypes(
                geo,
                self.objective.prototype_use,
                found.fused_BDhw,
                found.occupied_Bhw,
                views.globals.region_B,
                momentum=numbers.geo_momentum,
                eps=numbers.sinkhorn_eps,
                iterations=numbers.sinkhorn_iterations,
                dead=numbers.geo_dead,
                ranks=self.ranks,
            )
        self.objective.remember(found.goals)
        follow(self.teacher, self.student, momentum)
        return values

    def _skip(self, views: ViewBatch) -> None:
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= self.config.most_skipped:
            names = {name for names in self._together.gather(views.globals.names) for name in names if name}
            raise SkySenseError(
                f"loss or gradient was not finite in {self.skipped_in_a_row} steps in a row, the last of them step "
                f"{self.step} (places {', '.join(sorted(names))}). Lower optimiser.learning_rate, or check these places"
            )

    def whole_teacher(self) -> SkySense | None:
        """The teacher's model, whole, on the first rank; None on the others, which have to call this too."""
        model = self.teacher.model
        if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
            return model if self.ranks.first else None
        state = whole_state(model, self.ranks)
        if not self.ranks.first:
            return None
        with torch.device("meta"):
            whole = SkySense(model.config, regions=model.region_table.cells)
        whole.to_empty(device=self.ranks.device).load_state_dict(state)
        return whole

    def tensors(self) -> dict[str, Tensor]:
        """Everything needed to go on but `numbers`: weights, memories, prototypes, and the optimiser's averages."""
        found = {f"learner.{name}": tensor for name, tensor in self.learner.state_dict().items()}
        for name in [name for name in found if name.startswith("learner.teacher.model.geo.")]:
            del found[name]  # the student's
        for name, parameter in self.learner.named_parameters():
            for key, tensor in self.optimiser.state.get(parameter, {}).items():
                found[f"optimiser.{name}.{key}"] = tensor
        return found

    def numbers(self) -> dict[str, Any]:
        """What else is needed to go on."""
        return {"step": self.step, "skipped": self.skipped, "skipped_in_a_row": self.skipped_in_a_row}

    def load(self, checkpoint: Checkpoint, numbers: Mapping[str, Any]) -> None:
        """Go back to what `tensors` and `numbers` were.

        Args:
            checkpoint: with the tensors.
            numbers: that were saved with them.

        Raises:
            InputError: it holds other tensors, or of another shape.
        """
        self.optimiser.state.clear()  # parameters that had no gradient yet have none
        for name, parameter in self.learner.named_parameters():
            prefix = f"optimiser.{name}."
            kept = [key.removeprefix(prefix) for key in checkpoint.tensors if key.startswith(prefix)]
            state = {key: torch.zeros_like(parameter) for key in kept if key != _STEP}
            if kept:
                self.optimiser.state[parameter] = state | {_STEP: torch.zeros((), device=self.ranks.device)}
        checkpoint.read(self.tensors())
        self.step, self.skipped = int(numbers["step"]), int(numbers["skipped"])
        self.skipped_in_a_row = int(numbers["skipped_in_a_row"])
