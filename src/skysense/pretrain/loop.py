"""Pre-training in one explicit loop: read, look twice, compare, step, follow, remember."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from skysense.data.joined import Corpus
from skysense.data.loader import Memory, Stream
from skysense.errors import ConfigError, InputError, SkySenseError
from skysense.files import make_folder, plain, write_json
from skysense.geo import RegionTable, region_rule
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.model.loading import MODEL_FILE
from skysense.model.weights import save_model
from skysense.observation import Sample
from skysense.pretrain.batch import Drawn, ViewBatch, assemble, draw
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.journal import Journal
from skysense.pretrain.objective import Branch, Objective, StepTerms
from skysense.pretrain.prototypes import update_prototypes
from skysense.train.checkpoints import Checkpoints
from skysense.train.optimiser import adamw, follow
from skysense.train.schedules import cosine, linear_then_flat, warmup_cosine

MEMORY_BYTES = 2 << 30
"""Pixels kept decoded between epochs."""


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        model: file of the teacher's weights.
        steps: made in all.
        resumed_from: step of the checkpoint the run went on from, 0 for a fresh run.
        skipped: places that could not be read, are smaller than a view, or had to be left out of a batch since views of
            them showed nothing; with the reason.
        notes: what a person should know.
    """

    model: Path
    steps: int
    resumed_from: int
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def pretrain(
    config: PretrainConfig,
    places: Corpus,
    out: str | Path,
    *,
    device: torch.device | str | None = None,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
) -> Outcome:
    """Pre-train a model on places, or go on with a run that was cut off.

    Everything random is a function of (seed, epoch, place) or (seed, step), so that a resumed run repeats what the
    uninterrupted one does, bit for bit on the same machine.

    Args:
        config: every number of the run.
        places: what to learn from, one folder or several joined; labels are not read.
        out: folder of the run: checkpoints, ``log.jsonl``, TensorBoard events, and at the end ``model.safetensors``.
        device: a GPU if there is one by default.
        on_step: called after each step with the step and its values, for a progress bar.

    Raises:
        InputError: no place, or none that can be read.
        ConfigError: ``out`` holds a run with another configuration or other places.
        OutputError: ``out`` cannot be written to; earlier checkpoints stay.
        SkySenseError: the loss is not finite.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    out = make_folder(out)
    regions = region_table(config, places)
    run = Run(config, regions, device)
    checkpoints = Checkpoints(out / "checkpoints", config.keep)
    state, notes = checkpoints.latest()
    about = {
        "config": plain(dataclasses.asdict(config)),
        "places": fingerprint(place.name for place in places),
        "regions": fingerprint(str(cell) for cell in regions.cells),
    }
    if state is not None:
        refuse_other_run(state["about"], about, out)
        run.restore(state)
    start = run.step
    write_json(out / "run.json", about)
    notes += [f"no geo-context: {reason}" for reason in _without_context(config, places)]
    stream = open_stream(config, places, regions)
    with Journal(out, start) as journal:
        notes += [journal.note] if journal.note else []
        for step, views in stream.run(start, config.steps):
            began = time.perf_counter()
            values = run.advance(stream.stand_in(step) if views is None else views)
            values["seconds"] = time.perf_counter() - began
            journal.write(step, values)
            if on_step is not None:
                on_step(step, values)
            if run.step % config.checkpoint_every == 0 or run.step == config.steps:
                checkpoints.save(run.step, run.state() | {"about": about})
    model = out / MODEL_FILE
    save_model(model, run.teacher.model)
    skipped = {failure.place: failure.message for failure in places.failures}
    skipped |= {places[index].name: reason for index, reason in (stream.left_out | stream.failed).items()}
    return Outcome(model, run.step, start, skipped, notes)


class Run:
    """All that changes while learning: student, teacher, objective, optimiser, step.

    Raises:
        ConfigError: a table of regions by another rule than that of the configuration.
    """

    def __init__(self, config: PretrainConfig, regions: RegionTable, device: torch.device) -> None:
        self.config, self.device, self.step = config, device, 0
        if regions.cells and regions.rule is not region_rule(config.objective.region_rule):
            raise ConfigError(f"the table of regions does not follow the rule {config.objective.region_rule!r}")
        torch.manual_seed(config.seed)
        dimensions = preset(config.preset)
        geo = dataclasses.replace(dimensions.geo_context, region_rule=config.objective.region_rule)
        model = SkySense(dataclasses.replace(dimensions, geo_context=geo), regions=regions.cells)
        self.student = Branch(model, config.objective).to(device)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.objective = Objective(self.student, config.objective).to(device)
        self.learning: Sequence[nn.Module] = (self.student, self.objective)
        self.optimiser = adamw(self.learning, weight_decay=config.optimiser.weight_decay, betas=config.optimiser.betas)

    def advance(self, views: ViewBatch) -> dict[str, float]:
        """One step; returns what to log.

        Raises:
            SkySenseError: the loss is not finite.
        """
        config, progress = self.config, self.step / self.config.steps
        settings, numbers = config.optimiser, config.objective
        torch.manual_seed(config.seed * 1_000_003 + self.step)  # drop-path is the only user
        views = views.to(self.device)
        rate = warmup_cosine(
            settings.learning_rate, settings.final_learning_rate, (self.step + 1) / config.steps, settings.warmup
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        result, seen = self.objective(
            views,
            self.student,
            self.teacher,
            teacher_temperature=linear_then_flat(
                numbers.teacher_temperature_start, numbers.teacher_temperature, progress, numbers.teacher_warmup
            ),
            watch=self.step % config.watch_every == 0,
        )
        if not bool(result.loss.isfinite()):
            raise SkySenseError(
                f"the loss of step {self.step} is not finite (places {', '.join(sorted(set(views.globals.names)))}). "
                "Lower optimiser.learning_rate, or check these places"
            )
        self.optimiser.zero_grad(set_to_none=True)
        result.loss.backward()
        if progress < settings.freeze_last_layer:
            for head in self.student.heads.values():
                head.last_layer.grad = None
        norm = nn.utils.clip_grad_norm_([p for module in self.learning for p in module.parameters()], settings.clip)
        self.optimiser.step()
        values = self._values(result) | {"learning_rate": rate, "gradient_norm": float(norm)}
        if self.student.model.geo is not None and self.objective.prototype_use is not None:
            values |= update_prototypes(
                self.student.model.geo,
                self.objective.prototype_use,
                seen.fused_BDhw.detach(),
                seen.occupied_Bhw,
                views.globals.region_B,
                momentum=numbers.geo_momentum,
                eps=numbers.sinkhorn_eps,
                iterations=numbers.sinkhorn_iterations,
                dead=numbers.geo_dead,
            )
        follow(self.teacher, self.student, cosine(settings.teacher_momentum, 1.0, progress))
        self.step += 1
        return values

    def _values(self, result: StepTerms) -> dict[str, float]:
        terms = {key: float(value) for key, value in result.terms.items()}
        return {"loss": float(result.loss.detach())} | terms | result.watch

    def state(self) -> dict[str, Any]:
        """Everything needed to go on: tensors and plain values."""
        return {
            "step": self.step,
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`."""
        self.step = int(state["step"])
        for name in ("student", "teacher", "objective", "optimiser"):
            getattr(self, name).load_state_dict(state[name])


def region_table(config: PretrainConfig, places: Corpus) -> RegionTable:
    """The regions of a run: the table of its places if that follows the rule of the configuration, else their own."""
    if not config.objective.geo_context:
        return RegionTable([])
    rule = region_rule(config.objective.region_rule)
    if places.regions.rule is rule:
        return places.regions
    return RegionTable.of(((place.lon, place.lat) for place in places), rule)


def open_stream(
    config: PretrainConfig, places: Corpus, regions: RegionTable, *, rank: int = 0, ranks: int = 1, workers: int = 1
) -> Stream[Drawn, ViewBatch]:
    """Batches of views by step; decoded places are kept in memory while they fit, too small ones are left out."""
    size = config.views.global_cells

    def read(index: int) -> Sample:
        place = places[index]
        if min(place.cells) < size:
            height, width = place.cells
            raise InputError(
                f"is {height} x {width} cells, smaller than a view of {size} x {size}",
                file=place.folder,
                fix="Use a smaller views.global_cells",
            )
        return dataclasses.replace(places.read_sample(place), region=regions.slot(place.lon, place.lat))

    return Stream(
        Memory(read, MEMORY_BYTES),
        len(places),
        batch_size=config.batch_size,
        seed=config.seed,
        draw=partial(draw, config=config.views),
        assemble=partial(assemble, config=config.views, objective=config.objective),
        rank=rank,
        ranks=ranks,
        workers=workers,
    )


def fingerprint(names: Iterable[str]) -> str:
    """Hash of names in order: the order of data depends on that of the places, slots of regions on their table."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def refuse_other_run(found: dict[str, Any], wanted: dict[str, Any], out: Path) -> None:
    """Refuse to go on with a run of another configuration.

    Raises:
        ConfigError: names every key that differs.
    """

    def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        items: dict[str, Any] = {}
        for key, value in tree.items():
            items |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return items

    old, new = flat(found), flat(wanted)
    changed = [f"{key}: {old.get(key)} -> {new.get(key)}" for key in sorted(old | new) if old.get(key) != new.get(key)]
    if changed:
        raise ConfigError(
            f"{out} holds a run with other settings ({'; '.join(changed)}). Choose another folder, or the same settings"
        )


def _without_context(config: PretrainConfig, places: Corpus) -> list[str]:
    if not config.objective.geo_context:
        return ["objective.geo_context is off"]
    nowhere = sum(place.lon is None for place in places)
    return [f"{nowhere} of {len(places)} places have no position"] if nowhere else []
