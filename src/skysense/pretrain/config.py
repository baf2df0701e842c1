"""Every number of a pre-training run, with its source.

``spec`` is the project's specification of the published system; where the paper leaves a number open the default of its
section 8 is taken and said so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from skysense.errors import ConfigError
from skysense.geo import WINDOW_CELLS, region_rule

MOST_BLUR = 2.0
"""Largest standard deviation of the blur, pixels: its kernel has a fixed size."""


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """How a place becomes two global views and some local crops.

    Attributes:
        global_cells: side of a global view in 10 m cells; 16 is 512 px of the image (the size that fits the published
            compute).
        local_cells: side of a local crop in cells: a sixteenth of the area of a global view (spec Q3: 0.05 to 0.4).
        local_crops: local crops per place ("a few", spec Q3); they take part in image terms only.
        overlap: least share of a side that the two global views have in common, so that the pixel and object terms
            always have cells to run on.
        s2_frames: frames drawn per view; the paper samples 20 (spec 3.2).
        s1_frames: the paper samples 10 (spec 3.2).
        most_cloud: frames that are cloudier than this share of what was observed in a view's window are dropped; where
            all are, the clearest stays. 1 keeps all, since the published model sees clouds (spec Q13). Only series that
            know their clouds are concerned.
        pair_days: frames of two views pair if they are the same acquisition or the nearest within this many days; the
            revisit time of Sentinel-2.
        date_jitter: dates move by up to this many days (the paper perturbs dates, range unknown; spec 1.4).
        brightness, contrast, saturation: relative strength of colour jitter on the image; a little weaker than DINO's
            (0.4, 0.4, 0.2), since colour is what land cover looks like.
        grey, blur, solarise: probabilities on the image; kinds as in DINO, solarise on the second view only, grey and
            blur rarer than there.
        blur_sigma: least and largest standard deviation of the blur in pixels, at most 2 (DINO).
        solarise_from: brightness of 0 .. 255 from which pixels are inverted (DINO).
    """

    global_cells: int = 16
    local_cells: int = 4
    local_crops: int = 2
    overlap: float = 0.5
    s2_frames: int = 20
    s1_frames: int = 10
    most_cloud: float = 1.0
    pair_days: int = 5
    date_jitter: int = 3
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.2
    grey: float = 0.1
    blur: float = 0.3
    solarise: float = 0.2
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarise_from: float = 128.0

    def __post_init__(self) -> None:
        for name in ("global_cells", "local_cells"):
            cells = getattr(self, name)
            if cells <= 0 or cells % WINDOW_CELLS:
                raise ConfigError(f"views.{name} = {cells} must be a positive multiple of {WINDOW_CELLS} cells")
        if self.local_cells > self.global_cells:
            raise ConfigError("views.local_cells must not exceed views.global_cells")
        if not 0 < self.overlap <= 1:
            raise ConfigError(f"views.overlap = {self.overlap} must lie within 0 (excluded) .. 1")
        if min(self.s2_frames, self.s1_frames) < 1 or self.local_crops < 0:
            raise ConfigError("views need at least one frame per series and no negative number of local crops")
        for name in ("most_cloud", "grey", "blur", "solarise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"views.{name} = {getattr(self, name)} must be a share of 0 .. 1")
        if not 0 <= self.solarise_from <= 255:
            raise ConfigError(f"views.solarise_from = {self.solarise_from} must lie within 0 .. 255")
        least, largest = self.blur_sigma
        if not 0 < least <= largest <= MOST_BLUR:
            raise ConfigError(
                f"views.blur_sigma = {least:g}, {largest:g} must be ascending, within 0 .. {MOST_BLUR:g} px"
            )


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The terms of the objective (spec 4) and what they depend on.

    Attributes:
        pixel, object, image: switches of the three granularities (weights within L_FGCL; 1 in the paper).
        masked: weight, beside those three, of the masked-token term of the high-resolution image; 0 leaves it out. The
            paper has no such term, but the released file holds a mask token (spec Q14).
        masked_share: share of the cells of a masked view that the student does not see; a cell of 32 px is one token
            of the last map (the unit of SimMIM; iBOT and DINOv2 hide 0.1 to 0.5).
        masked_views: share of the global views that are masked (0.5 in iBOT and DINOv2).
        fused: weight of the terms of the fused feature beside those of each sensor; 1 in the paper. 0 leaves them out:
            sensors are then learned one by one, as in the first row of the paper's ablation (spec 5.4), and the fusion
            stays as it was drawn.
        alpha: weight of the multi-granularity contrastive part (spec Q8).
        beta: weight of the cross-modal alignment (spec Q8).
        head_hidden, head_bottleneck, head_prototypes: DINO head; None takes a size that fits the preset (spec Q4).
        pixel_cells: cells per view drawn for the pixel term: a sample of all (spec 4), for the cost of the head.
        object_clusters: N_C (spec Q9).
        sinkhorn_eps, sinkhorn_iterations: Sinkhorn-Knopp of objects and geo-context prototypes; the iterations are
            also those of the teacher's assignment (spec Q9).
        student_temperature: of the student's softmax (spec Q4).
        teacher_temperature, teacher_temperature_start, teacher_warmup: of the teacher's assignment over the head's
            prototypes, by Sinkhorn-Knopp; it rises over this share of the run (spec Q4).
        memory_rows: the teacher's latest vectors, per source and granularity, that are assigned along with those of a
            step, so that a small batch need not use every prototype.
        alignment_temperature: start value of the learned temperature (spec Q10); its inverse stays below 100, as in
            CLIP.
        geo_context: learn and use geo-context prototypes (spec 1.6).
        region_rule: which region a position lies in, one of `skysense.geo.REGION_RULES`; the model remembers it.
        geo_momentum: EMA momentum of the prototypes and of their use (spec Q12).
        geo_dead: a prototype is dead if its use, the moving average of the share of its region's cells that are nearest
            to it, falls below this share of the equal share; it is then put on the cell of the batch that the region's
            prototypes describe worst. 0 for never. The rule is ours, spec 1.6 says nothing: Sinkhorn-Knopp moves every
            prototype, but none need ever be the nearest. With these defaults one goes unused for 459 updates of its
            region before it is dead (0.99 ** 459 < 0.01).
        logit_rows: rows of logits held at once.
    """

    pixel: float = 1.0
    object: float = 1.0
    image: float = 1.0
    masked: float = 0.0
    masked_share: float = 0.3
    masked_views: float = 0.5
    fused: float = 1.0
    alpha: float = 1.0
    beta: float = 1.0
    head_hidden: int | None = None
    head_bottleneck: int | None = None
    head_prototypes: int | None = None
    pixel_cells: int = 16
    object_clusters: int = 8
    sinkhorn_eps: float = 0.05
    sinkhorn_iterations: int = 3
    student_temperature: float = 0.1
    teacher_temperature: float = 0.07
    teacher_temperature_start: float = 0.04
    teacher_warmup: float = 0.3
    memory_rows: int = 0
    alignment_temperature: float = 0.07
    geo_context: bool = True
    region_rule: str = "equal_area"
    geo_momentum: float = 0.99
    geo_dead: float = 0.01
    logit_rows: int = 8192

    def __post_init__(self) -> None:
        if min(self.pixel, self.object, self.image, self.masked, self.fused, self.alpha, self.beta) < 0:
            raise ConfigError("weights of the objective must not be negative")
        if self.alpha * (self.pixel + self.object + self.image + self.masked) + self.beta == 0:
            raise ConfigError("all terms of the objective are switched off")
        if not 0 < self.masked_share < 1:
            raise ConfigError(f"objective.masked_share = {self.masked_share} must lie between 0 and 1, both excluded")
        if not 0 < self.masked_views <= 1:
            raise ConfigError(f"objective.masked_views = {self.masked_views} must lie within 0 (excluded) .. 1")
        if self.memory_rows < 0:
            raise ConfigError("objective.memory_rows must not be negative")
        if min(self.student_temperature, self.teacher_temperature, self.teacher_temperature_start) <= 0:
            raise ConfigError("temperatures must be positive")
        if self.sinkhorn_iterations < 1 or self.sinkhorn_eps <= 0:
            raise ConfigError("Sinkhorn-Knopp needs at least one iteration and a positive eps")
        region_rule(self.region_rule)
        if not 0 <= self.geo_momentum < 1:
            raise ConfigError(f"objective.geo_momentum = {self.geo_momentum} must lie within 0 .. 1 (excluded)")
        if not 0 <= self.geo_dead < 1:
            raise ConfigError(f"objective.geo_dead = {self.geo_dead} must lie within 0 .. 1 (excluded)")


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """AdamW with a cosine schedule, and the teacher's momentum (spec Q4, Q11).

    Attributes:
        learning_rate: peak. For `tiny` on small batches; spec Q11 has 2e-4 per 1024 places for the published size.
        final_learning_rate: at the end of the cosine.
        warmup: share of the run with linear warm-up (spec Q11: 10,000 steps of the published run).
        weight_decay: on matrices only.
        betas: of AdamW's moving averages (as in DINO; its eps is that of PyTorch, 1e-8).
        clip: largest norm of the gradient (3 in DINO).
        freeze_last_layer: share of the run in which the heads' last layer does not move (DINO: the first epoch).
        teacher_momentum: start of the teacher's EMA momentum, which goes to 1 by a cosine.
    """

    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    warmup: float = 0.1
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 3.0
    freeze_last_layer: float = 0.02
    teacher_momentum: float = 0.996

    def __post_init__(self) -> None:
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"optimiser.betas = {list(self.betas)} must be two numbers within 0 .. 1 (excluded)")


@dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """How the work of a step is spread, and what is kept of it. The result is the same to rounding.

    Attributes:
        strategy: of several ranks: ``ddp`` keeps all weights on each, ``fsdp`` shards weights, gradients, the
            optimiser's state and the teacher.
        checkpointing: what blocks keep for the backward pass: everything, their products and attentions, or only what
            goes in; the rest is computed again.
        compile: compile each block (`torch.compile`); the first steps take minutes then.
    """

    strategy: Literal["ddp", "fsdp"] = "ddp"
    checkpointing: Literal["none", "selective", "full"] = "none"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.compile and self.checkpointing == "selective":
            raise ConfigError(
                "parallel.checkpointing = selective cannot look into compiled blocks; "
                "with parallel.compile use none or full"
            )


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Looks at what the teacher's features are worth while it learns; see `skysense.pretrain.probing`.

    Attributes:
        every: steps between looks; 0 for none.
        data: folder of labelled places; by default the folder that is learned from, whose held-out places are tested.
        labels: which labels to ask; by default all that can be asked.
        places: most places that are looked at, half of them to fit the probes on.
        seed: of the choice of these places, and of the probes.
    """

    every: int = 0
    data: str | None = None
    labels: tuple[str, ...] = ()
    places: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.every < 0:
            raise ConfigError(f"probe.every = {self.every} must not be negative; 0 for no probes")
        if self.places < 4:
            raise ConfigError(f"probe.places = {self.places} must be at least 4: two to fit on, two to test on")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pre-training run.

    Attributes:
        preset: model preset, see `skysense.model.config.PRESETS`.
        seed: of initialisation, order of data and views.
        steps: optimiser steps.
        batch_size: places per step, of all ranks together.
        views, objective, optimiser: see there.
        precision: of encoders, fusion and heads; ``bfloat16`` keeps weights, terms and Sinkhorn-Knopp in float32.
        workers: threads that read the places of a step; more than one pays where large images are decoded. With 0
            nothing is read ahead.
        probe: looks at what the features are worth while they are learned.
        parallel: how the work is spread over ranks; it may change when a run goes on.
        most_skipped: steps in a row whose loss or gradient is not finite, before the run stops. Such a step is skipped.
        checkpoint_every: steps between checkpoints.
        keep: checkpoints kept.
        watch_every: steps between looks at collapse.
    """

    preset: str = "tiny"
    seed: int = 0
    steps: int = 1000
    batch_size: int = 16
    precision: Literal["float32", "bfloat16"] = "float32"
    views: ViewConfig = field(default_factory=ViewConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    workers: int = 1
    most_skipped: int = 10
    checkpoint_every: int = 100
    keep: int = 2
    watch_every: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "most_skipped", "checkpoint_every", "keep", "watch_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.workers < 0:
            raise ConfigError(f"workers = {self.workers} must be 0 or more")
