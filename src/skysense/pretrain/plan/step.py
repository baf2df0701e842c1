"""The FLOPs and the activations of one step on one rank, part by part.

Letters: B places of the rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from skysense.errors import ConfigError
from skysense.geo import CELL_HR_PX
from skysense.model.config import ModelConfig
from skysense.observation import DAYS
from skysense.pretrain.config import PretrainConfig, ViewConfig
from skysense.pretrain.objective import FUSED, head_sizes
from skysense.pretrain.plan import costs, heads, parameters
from skysense.pretrain.plan.costs import FLOAT, Cost, How
from skysense.pretrain.plan.heads import HeadSizes, SourceRows
from skysense.pretrain.plan.places import Places
from skysense.sensors import Modality

PARTS = {
    "hr": "image encoder",
    "s2": "Sentinel-2",
    "s1": "Sentinel-1",
    "align": "up-sampling",
    "fusion": "fusion",
    "heads": "heads, terms",
    "geo": "geo-context",
}
"""Parts of a step, as tables call them."""


@dataclass(frozen=True)
class Passes:
    """FLOPs of one part, by pass.

    Attributes:
        teacher: forward over the global views.
        student: forward over the global views; for the terms, of both branches together.
        crops: the student's forward over the local crops.
        backward: of everything the student did.
        again: what checkpointing computes a second time.
    """

    teacher: float
    student: float
    crops: float
    backward: float
    again: float

    @property
    def total(self) -> float:
        """Of all passes."""
        return self.teacher + self.student + self.crops + self.backward + self.again


@dataclass(frozen=True)
class Step:
    """One step of one rank.

    Attributes:
        passes: FLOPs by part, see `PARTS`.
        pixels: bytes of what the views show.
        kept: bytes that wait for the backward pass, pixels and the features of the views included.
        forward: the most bytes that are there at once in the forward pass.
        backward: likewise in the backward pass, beside gradients of parameters.
        copies: bytes of weights in bfloat16 that are beside all these where weights are whole.
    """

    passes: Mapping[str, Passes]
    pixels: float
    kept: float
    forward: float
    backward: float
    copies: float

    @property
    def flops(self) -> float:
        """Of all parts."""
        return sum(one.total for one in self.passes.values())


@dataclass(frozen=True)
class Setting:
    """What a step is made of, and what of.

    Attributes:
        model: dimensions.
        config: views and objective.
        places: what is assumed of them.
    """

    model: ModelConfig
    config: PretrainConfig
    places: Places

    @property
    def how(self) -> How:
        """How a step is computed."""
        return How(2 if self.config.precision == "bfloat16" else FLOAT, self.config.parallel.checkpointing)

    @property
    def geo(self) -> bool:
        """Whether there are prototypes of regions."""
        return self.config.objective.geo_context and self.places.regions > 0

    @property
    def bands(self) -> dict[Modality, int]:
        """Of every sensor."""
        return {"hr": self.model.hr.in_channels, "s2": self.model.s2.in_channels, "s1": self.model.s1.in_channels}

    @property
    def frames(self) -> dict[Modality, float]:
        """Of every sensor in a view, in the mean over the places."""
        views, places = self.config.views, self.places
        return {"hr": places.hr, "s2": places.s2 * views.s2_frames, "s1": places.s1 * views.s1_frames}

    @property
    def heads(self) -> dict[str, HeadSizes]:
        """Of every source."""
        model = self.model
        dims = {key: model.aligned_dim for key in model.modalities}
        fused = {FUSED: model.fusion.dim * (2 if self.geo else 1)}
        hidden, bottleneck, prototypes = head_sizes(model.aligned_dim, self.config.objective)
        return {key: HeadSizes(dim, hidden, bottleneck, prototypes) for key, dim in (dims | fused).items()}


def step(setting: Setting, batch: float) -> Step:
    """What one step of B places costs.

    Raises:
        ConfigError: as `check_sizes`.
    """
    check_sizes(setting)
    views = setting.config.views
    whole = _Views.of(setting, 2 * batch, views.global_cells)
    crops = _Views.of(setting, views.local_crops * batch, views.local_cells)
    sources = _sources(setting, batch)
    terms = _terms(setting, batch, sources)
    passes = {
        part: Passes(
            teacher=cost.forward,
            student=cost.forward,
            crops=crops.parts[part].forward,
            backward=cost.backward + crops.parts[part].backward,
            again=cost.again + crops.parts[part].again,
        )
        for part, cost in whole.parts.items()
    }
    passes["heads"] = Passes(0.0, terms.forward, 0.0, terms.backward, terms.again)
    if setting.geo:
        update = heads.prototypes(whole.cells, setting.model.geo_context, setting.model.fusion.dim)
        passes["geo"] = replace(passes["geo"], student=passes["geo"].student + update.forward)
    pixels = whole.pixels + crops.pixels
    global_views = pixels + whole.encoders.kept + whole.fused.kept
    all_views = global_views + crops.encoders.kept + crops.fused.kept
    return Step(
        passes={part: passes[part] for part in PARTS if part in passes},
        pixels=pixels,
        kept=all_views + terms.kept + whole.fused_features,  # these for the prototypes of regions
        # There are the features of the teacher, of the student, and of the crops; while tokens are fused, also those in
        # sequences.
        forward=max(
            pixels + 2 * whole.features + whole.encoders.up,
            pixels + 2 * whole.features + whole.tokens + whole.encoders.kept + whole.fused.up,
            global_views + 2 * whole.features + crops.features + crops.encoders.up,
            global_views + 2 * whole.features + crops.features + crops.tokens + crops.encoders.kept + crops.fused.up,
            all_views + 2 * whole.features + crops.features + terms.up,
        ),
        # The crops go first. Features have gradients until their encoders are reached; that of the image is the last.
        backward=max(
            global_views + whole.features + crops.features + crops.encoders.kept + crops.fused.down,
            global_views + whole.features + crops.encoders.down,
            pixels + whole.features + whole.encoders.kept + whole.fused.down,
            pixels + whole.encoders.down,
        ),
        copies=_copies(setting),
    )


def _copies(setting: Setting) -> float:
    """Bytes of weights that autocast keeps in bfloat16: those of products, but for blocks that are computed again."""
    model, found, how = setting.model, setting.heads, setting.how
    if not how.mixed:
        return 0.0
    count = sum(parameters.by_part(model, found, masked=False).values()) - DAYS * model.aligned_dim
    count -= sum(one.prototypes * one.bottleneck for one in found.values())
    return how.number * (count - (parameters.of_blocks(model) if how.checkpointing != "none" else 0))


def check_sizes(setting: Setting) -> None:
    """Refuse views that the model cannot read.

    Raises:
        ConfigError: images whose last map is smaller than an attention window.
    """
    views, hr = setting.config.views, setting.model.hr
    least = 1 if hr.pad_small_map else hr.window
    for name in ("global_cells", "local_cells")[: 2 if views.local_crops else 1]:
        cells = getattr(views, name)
        if cells < least:
            raise ConfigError(
                f"views.{name} = {cells} ({cells * CELL_HR_PX} px) is less than what the image encoder of "
                f"{setting.config.preset!r} reads, {least} cells ({least * CELL_HR_PX} px): use --views.{name} {least}"
            )


def common_cells(config: ViewConfig, places: Places) -> int:
    """Cells that the two global views of a place have in common, in the mean over where they may lie."""
    size = config.global_cells
    slack = min(size - max(1, round(config.overlap * size)), max(places.cells - size, 0))
    apart = slack * (slack + 1) / (2 * slack + 1)  # mean of |offset| for offsets from -slack to slack
    return math.ceil((size - apart) ** 2)


@dataclass(frozen=True)
class _Views:
    """What one branch makes of views of one size.

    Attributes:
        cells: of all views.
        parts: cost by part.
        features: bytes of the features of all frames, fused, and with their context.
        fused_features: bytes of the fused ones by themselves.
        tokens: bytes that features take while they are made into sequences.
        pixels: bytes of what the views show, as it lies on the device.
    """

    cells: float
    parts: Mapping[str, Cost]
    features: float
    fused_features: float
    tokens: float
    pixels: float

    @classmethod
    def of(cls, setting: Setting, rows: float, side: int) -> _Views:
        """Of ``rows`` views of ``side`` cells."""
        model, how = setting.model, setting.how
        count = {key: rows * frames for key, frames in setting.frames.items()}
        width, cells, tokens = model.aligned_dim, rows * side**2, sum(setting.frames.values())
        parts = {
            "hr": costs.swin(count["hr"], side, model.hr, how),
            "s2": costs.vit(count["s2"], side, model.s2, how),
            "s1": costs.vit(count["s1"], side, model.s1, how),
            "align": costs.align(count["s2"], side, model.s2, width, how)
            + costs.align(count["s1"], side, model.s1, width, how),
            "fusion": costs.fusion(cells, tokens, model.fusion, how),
        }
        if setting.geo:
            parts["geo"] = costs.geo_context(cells, model.geo_context, model.fusion.dim)
        fused = cells * model.fusion.dim * FLOAT
        pixels = {
            key: count[key] * (side * (CELL_HR_PX if key == "hr" else 1)) ** 2 * (FLOAT * bands + 1)  # seen or not
            for key, bands in setting.bands.items()
        }
        frames = cells * tokens * width * FLOAT
        # with dates, side by side, and in the order of sequences, which products read as they are or as a copy
        in_sequence = (3 if how.mixed else 2) * frames
        features = frames + fused * (4 if setting.geo else 1)  # by itself, its context, both side by side
        return cls(cells, parts, features, fused, in_sequence, sum(pixels.values()))

    @property
    def encoders(self) -> Cost:
        """What makes features of frames."""
        return costs.together(cost for part, cost in self.parts.items() if part not in ("fusion", "geo"))

    @property
    def fused(self) -> Cost:
        """What fuses them."""
        return costs.together(cost for part, cost in self.parts.items() if part in ("fusion", "geo"))


def _sources(setting: Setting, batch: float) -> list[tuple[SourceRows, HeadSizes]]:
    """What is compared, with the head it goes through."""
    views, objective, places = setting.config.views, setting.config.objective, setting.places
    cells, found = views.global_cells**2, []
    masked = round(objective.masked_share * cells) * objective.masked_views if objective.masked else 0.0
    counts: dict[str, float] = {str(key): count for key, count in setting.frames.items()}
    for key, count in (counts | {FUSED: 1.0}).items():
        paired = 1.0 if key in (FUSED, "hr") else places.paired
        rows = SourceRows(
            frames=2 * batch * count,
            pairs=2 * batch * count * paired,
            local_frames=views.local_crops * batch * count,
            local_pairs=2 * views.local_crops * batch * count * paired,
            hidden=2 * batch * count * masked if key == "hr" else 0.0,
            cells=cells,
            local_cells=views.local_cells**2,
            common=common_cells(views, places),
        )
        if count:
            found.append((rows, setting.heads[key]))
    return found


def _terms(setting: Setting, batch: float, sources: Sequence[tuple[SourceRows, HeadSizes]]) -> Cost:
    """Heads and terms of all sources, and the alignment."""
    objective = setting.config.objective
    parts = [heads.source(*source, objective, setting.how) for source in sources]
    if objective.beta:
        there = sum(count > 0 for count in setting.frames.values())
        parts.append(heads.alignment(batch, there, setting.model.aligned_dim))
    return costs.together(parts)
