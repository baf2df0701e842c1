"""What a pre-training run costs before it is started: FLOPs, memory, bytes to read, time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skysense.errors import ConfigError
from skysense.geo import CELL_HR_PX
from skysense.model.config import preset
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.objective import FUSED, GRANULARITIES
from skysense.pretrain.plan import parameters
from skysense.pretrain.plan.costs import FLOAT
from skysense.pretrain.plan.gpus import SHARE_OF_PEAK, Gpu
from skysense.pretrain.plan.places import Places
from skysense.pretrain.plan.step import Passes, Setting, common_cells, step
from skysense.sensors import MODALITIES, Modality

RESERVE = 2 << 30
"""Bytes that a GPU's driver, kernels and communication take before anything is computed."""
_WHOLE_AT_ONCE = 2  # units: the one that runs, and the next
_STORED = {"hr": 1, "s2": 2, "s1": 4}  # bytes of a stored number: uint8, uint16, float32 (decibel)

KINDS = {
    "parameters": "parameters",
    "gradients": "gradients",
    "optimiser": "moments of AdamW",
    "teacher": "teacher",
    "working": "parameters in use",
    "prototypes": "prototypes of regions",
    "memories": "memories of the teacher",
    "activations": "activations kept for backward",
    "workspace": "temporary, at the widest",
    "reserve": "driver, kernels, communication",
}
"""Kinds of memory of a GPU, as tables call them."""


@dataclass(frozen=True)
class Machine:
    """What a run shall run on.

    Attributes:
        gpu: of which kind.
        gpus: how many; one rank each.
        share_of_peak: that a step reaches, see `skysense.pretrain.plan.gpus.SHARE_OF_PEAK`.

    Raises:
        ConfigError: no GPU, or a share outside 0 .. 1.
    """

    gpu: Gpu
    gpus: int = 1
    share_of_peak: float = SHARE_OF_PEAK

    def __post_init__(self) -> None:
        if self.gpus < 1:
            raise ConfigError(f"{self.gpus} GPUs: at least one is needed")
        if not 0 < self.share_of_peak <= 1:
            raise ConfigError(f"share_of_peak = {self.share_of_peak} must lie within 0 (excluded) .. 1")


@dataclass(frozen=True)
class Plan:
    """What a run costs.

    Attributes:
        config: of the run.
        machine: what it runs on.
        places: what was assumed of them.
        parameters: that learn, by part.
        passes: FLOPs of a step, all ranks together, by part, see `skysense.pretrain.plan.step.PARTS`.
        slowest: FLOPs of a step of the rank that has most places, for which the others wait.
        memory: bytes of one GPU at the highest point of a step, by kind, see `KINDS`.
        shown: bytes of pixels, before compression, that the views of a step show, by sensor.
        whole: bytes of the places of a step as a whole, likewise: what is read where places are read whole.
    """

    config: PretrainConfig
    machine: Machine
    places: Places
    parameters: Mapping[str, int]
    passes: Mapping[str, Passes]
    slowest: float
    memory: Mapping[str, float]
    shown: Mapping[Modality, float]
    whole: Mapping[Modality, float]

    @property
    def flops(self) -> float:
        """Of a step, all ranks together."""
        return sum(one.total for one in self.passes.values())

    @property
    def flops_of_run(self) -> float:
        """Of all steps."""
        return self.flops * self.config.steps

    @property
    def bytes_used(self) -> float:
        """Of one GPU at the highest point of a step."""
        return sum(self.memory.values())

    @property
    def fits(self) -> bool:
        """Whether that is no more than the GPU has."""
        return self.bytes_used <= self.machine.gpu.memory * 2**30

    @property
    def rate(self) -> float:
        """FLOP/s of a GPU at its peak."""
        gpu = self.machine.gpu
        return 1e12 * (gpu.bfloat16 if self.config.precision == "bfloat16" else gpu.float32)

    @property
    def seconds(self) -> float:
        """Of a step."""
        return self.slowest / (self.rate * self.machine.share_of_peak)

    @property
    def hours(self) -> float:
        """Of the run, by the clock."""
        return self.seconds * self.config.steps / 3600

    @property
    def gpu_hours(self) -> float:
        """Of the run."""
        return self.hours * self.machine.gpus

    def to_json(self) -> dict[str, Any]:
        """The numbers as plain values: FLOPs, bytes, seconds."""
        machine, parallel = self.machine, self.config.parallel
        return {
            "preset": self.config.preset,
            "steps": self.config.steps,
            "batch_size": self.config.batch_size,
            "gpu": machine.gpu.title,
            "gpus": machine.gpus,
            "strategy": parallel.strategy,
            "precision": self.config.precision,
            "checkpointing": parallel.checkpointing,
            "share_of_peak": machine.share_of_peak,
            "places": vars(self.places),
            "parameters": dict(self.parameters),
            "flops_per_step": {part: vars(one) | {"total": one.total} for part, one in self.passes.items()},
            "flops_per_step_total": self.flops,
            "flops_total": self.flops_of_run,
            "bytes_per_gpu": dict(self.memory),
            "bytes_per_gpu_total": self.bytes_used,
            "fits": self.fits,
            "bytes_shown_per_step": dict(self.shown),
            "bytes_of_whole_places_per_step": dict(self.whole),
            "seconds_per_step": self.seconds,
            "hours": self.hours,
            "gpu_hours": self.gpu_hours,
        }


def plan(config: PretrainConfig, machine: Machine, places: Places | None = None) -> Plan:
    """Reckon what a run costs; nothing is run.

    Args:
        config: of the run.
        machine: what it shall run on.
        places: what is assumed of the places; those of the published corpus by default.

    Raises:
        ConfigError: an unknown preset, fewer places in a step than GPUs, or views that the model cannot read.
    """
    places = places or Places()
    ranks = machine.gpus
    if config.batch_size < ranks:
        raise ConfigError(f"batch_size = {config.batch_size} places cannot be divided among {ranks} GPUs")
    if places.cells < config.views.global_cells:
        raise ConfigError(
            f"places.cells = {places.cells} is smaller than a view, views.global_cells = {config.views.global_cells}"
        )
    setting = Setting(preset(config.preset), config, places)
    mean, one = step(setting, config.batch_size / ranks), step(setting, most_places(config, machine))
    learned = parameters.by_part(setting.model, setting.heads, masked=bool(config.objective.masked))
    kept = _kept_by_weights(setting, ranks, sum(learned.values()), one.copies)
    # A backward pass begins without gradients, but for the buckets of DDP; with local crops, their pass has filled all
    # of them when that of the global views begins.
    copied = ranks > 1 and config.parallel.strategy == "ddp"
    free = 0.0 if config.views.local_crops or copied else kept["gradients"]
    activations = {"activations": one.kept, "workspace": max(one.forward, one.backward - free) - one.kept}
    return Plan(
        config=config,
        machine=machine,
        places=places,
        parameters=learned,
        passes={
            part: Passes(**{k: v * ranks for k, v in vars(passes).items()}) for part, passes in mean.passes.items()
        },
        slowest=one.flops,
        memory=kept | activations | {"reserve": RESERVE},
        shown={key: config.batch_size * _shown(setting, key) for key in MODALITIES},
        whole={key: config.batch_size * places.share(key) * _of_place(setting, key) for key in MODALITIES},
    )


def most_places(config: PretrainConfig, machine: Machine) -> int:
    """Places of a step on the GPUs that have most: the first ones one more if the batch does not divide."""
    return math.ceil(config.batch_size / machine.gpus)


def _kept_by_weights(setting: Setting, ranks: int, learned: int, copies: float) -> dict[str, float]:
    """Bytes on a rank that are there all the time, by kind."""
    model, objective, heads = setting.model, setting.config.objective, setting.heads
    sharded = ranks > 1 and setting.config.parallel.strategy == "fsdp"
    ours = FLOAT * learned / (ranks if sharded else 1)
    working = _gathered(setting, learned) if sharded else copies
    regions = setting.places.regions if setting.geo else 0
    numbers = regions * model.geo_context.prototypes * (model.fusion.dim + 1)  # and how much each is used
    memories = len(heads) * len(GRANULARITIES) + bool(objective.masked)
    return {
        "parameters": ours,
        "gradients": ours,
        "optimiser": 2 * ours,
        "teacher": ours,
        "working": working,
        "prototypes": float(FLOAT * numbers),
        "memories": float(FLOAT * memories * objective.memory_rows * heads[FUSED].bottleneck),
    }


def _gathered(setting: Setting, learned: int) -> float:
    """Bytes of parameters in use where they are sharded.

    What is in no unit is whole all the time, with its gradients and the teacher's. Of units the one that runs and the
    next are whole, and the gradient of one, which is summed up over ranks in float32. Blocks are gathered in the type
    of products; autocast copies the rest.
    """
    model, heads, number = setting.model, setting.heads, setting.how.number
    rest = learned - parameters.units(model, heads)
    copied = rest + sum(one.parameters - one.prototypes * one.bottleneck for one in heads.values())
    block = parameters.largest_block(model) * ((_WHOLE_AT_ONCE + 1) * number + FLOAT)
    head = max(one.parameters for one in heads.values()) * (_WHOLE_AT_ONCE + 2) * FLOAT
    return rest * 3 * FLOAT + max(block, head) + (copied * number if setting.how.mixed else 0)


def _shown(setting: Setting, key: Modality) -> float:
    """Bytes of a place that its views show: the image where either global view lies; every view's own frames."""
    views, places = setting.config.views, setting.places
    if key == "hr":
        cells = places.hr * (2.0 * views.global_cells**2 - common_cells(views, places))
    else:
        cells = setting.frames[key] * (2.0 * views.global_cells**2 + views.local_crops * views.local_cells**2)
    return min(cells * _stored(setting, key), places.share(key) * _of_place(setting, key))


def _of_place(setting: Setting, key: Modality) -> float:
    """Bytes of a sensor that a place has."""
    series = {"hr": 1, "s2": setting.places.s2_series, "s1": setting.places.s1_series}[key]
    return float(series * setting.places.cells**2 * _stored(setting, key))


def _stored(setting: Setting, key: Modality) -> int:
    """Bytes of a cell of one frame: its numbers, and for the Sentinels whether it was observed."""
    numbers = setting.bands[key] * _STORED[key]
    return numbers * CELL_HR_PX**2 if key == "hr" else numbers + 1
