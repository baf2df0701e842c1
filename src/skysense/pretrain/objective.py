"""The whole objective of one step: L = alpha * L_MGCL + beta * L_align (specification section 4).

L_MGCL sums pixel, object and image terms over the sources: every modality's frames, and the fused feature. L_align sums
over pairs of modalities. Geo-context prototypes learn beside it, without gradient. An optional term of L_MGCL, off by
default, lets the student infer cells of the image that it does not see (specification Q14; iBOT, Zhou et al. 2022).

Letters: N frames, D features, P pairs, S cells, K prototypes, B places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import torch
from torch import Tensor, nn

from skysense.errors import ConfigError
from skysense.model.assembly import Features, SkySense
from skysense.model.linear import Linear
from skysense.model.swin import Hidden
from skysense.pretrain import terms
from skysense.pretrain.batch import ViewBatch
from skysense.pretrain.config import ObjectiveConfig
from skysense.pretrain.heads import DinoHead, TeacherMemory
from skysense.pretrain.prototypes import PrototypeUse, share_of_entropy
from skysense.sensors import MODALITIES, Modality
from skysense.train.ranks import ALONE, Ranks

FUSED = "fused"
GRANULARITIES = ("pixel", "object", "image")


class Branch(nn.Module):
    """What student and teacher both are: the model and one head per source, shared by the granularities."""

    def __init__(self, model: SkySense, config: ObjectiveConfig) -> None:
        super().__init__()
        self.model = model
        dims = {key: model.config.aligned_dim for key in model.config.modalities} | {FUSED: model.cells_dim}
        sizes = head_sizes(model.config.aligned_dim, config)
        self.heads = nn.ModuleDict({key: DinoHead(dim, *sizes) for key, dim in dims.items()})


def head_sizes(width: int, config: ObjectiveConfig) -> tuple[int, int, int]:
    """Hidden width, bottleneck and prototypes of the heads for aligned features of a width."""
    return (
        config.head_hidden or 2 * width,  # 5632 for the published width, DINO's 2048 scaled with the preset
        config.head_bottleneck or max(32, width // 4),
        config.head_prototypes or 4 * width,
    )


@dataclass
class Source:
    """Frames of one source (a modality or the fused feature) and who is compared with whom.

    ``pooled`` are the means of the student's frames.
    """

    student: Tensor
    teacher: Tensor
    student_valid: Tensor
    teacher_valid: Tensor
    pooled: Tensor
    student_rows: Tensor
    teacher_rows: Tensor
    places: Tensor
    local: Tensor | None = None
    local_valid: Tensor | None = None
    local_rows: Tensor | None = None
    local_teacher_rows: Tensor | None = None
    local_places: Tensor | None = None


@dataclass(frozen=True)
class Sides:
    """Who is compared in a step, at which temperature of the teacher.

    Attributes:
        goals: the teacher's vectors of each memory are put in here.
        looks: looks at collapse, if wanted, likewise.
    """

    student: Branch
    teacher: Branch
    temperature: float
    goals: dict[str, Tensor]
    looks: dict[str, float] | None


@dataclass
class StepTerms:
    """What a step yields.

    Attributes:
        loss: this rank's part; the sum over the ranks is the loss.
        terms: of all ranks together, not weighted, without gradient.
        fused_BDhw: the student's fused features of the global views, without gradient.
        occupied_Bhw: bool, cells that have one.
        goals: the teacher's vectors of this rank, for `Objective.remember`.
        watch: looks at collapse, of all ranks but for `collapse`, which knows this one's cells only.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    fused_BDhw: Tensor
    occupied_Bhw: Tensor
    goals: dict[str, Tensor]
    watch: dict[str, float] = field(default_factory=dict)


class Objective(nn.Module):
    """What a run keeps beside the two branches.

    Projections and temperature of the alignment, the teacher's memories, how much prototypes are used, the mask token.

    Args:
        branch: the student.
        config: of the terms.
        ranks: which have the places of a step among them.
        mixed: whether encoders, fusion and heads run in bfloat16; terms and Sinkhorn-Knopp never do.
    """

    def __init__(self, branch: Branch, config: ObjectiveConfig, ranks: Ranks = ALONE, *, mixed: bool = False) -> None:
        super().__init__()
        self.ranks, self.mixed = ranks, mixed
        self.config = config
        width = branch.model.config.aligned_dim
        modalities = branch.model.config.modalities
        self.projections = nn.ModuleDict(
            {key: nn.Sequential(nn.LayerNorm(width), Linear(width, width, bias=False)) for key in modalities}
        )
        self.memories = nn.ModuleDict(
            {
                f"{source}_{granularity}": TeacherMemory(config.memory_rows, _bottleneck(branch, source))
                for source in branch.heads
                for granularity in GRANULARITIES
            }
        )
        self.log_scale = nn.Parameter(-torch.log(torch.tensor([config.alignment_temperature])))
        geo = branch.model.geo
        self.prototype_use = None if geo is None else PrototypeUse(*geo.prototypes.shape[:2])
        self.mask_token: nn.Parameter | None = None
        if config.masked:
            # As large as the embedding of a patch, which ends with a norm: the keys of tokens of zeros have no
            # direction, and their gradient would have no bound.
            self.mask_token = nn.Parameter(torch.randn(branch.model.config.hr.embed_dim))
            self.memories["hr_masked"] = TeacherMemory(config.memory_rows, _bottleneck(branch, "hr"))

    def forward(
        self, views: ViewBatch, student: Branch, teacher: Branch, *, teacher_temperature: float, watch: bool = False
    ) -> StepTerms:
        """Loss of one step.

        Args:
            views: from `make_batch`, on the device; of several ranks all hold frames of the same modalities.
            student: learns.
            teacher: its moving average; runs without autograd.
            teacher_temperature: of this step.
            watch: also look at collapse.
        """
        hidden = None
        if self.mask_token is not None:
            if views.hidden is None:
                raise ConfigError("the views hide nothing; make them with the configuration of the objective")
            hidden = Hidden(views.hidden, self.mask_token)
        with self._precision():
            with torch.no_grad():
                target = teacher.model(views.globals)
            seen = student.model(views.globals, hidden=hidden)
            local = None if views.locals is None else student.model(views.locals)
        if self.mixed:
            target, seen, local = target.wide(), seen.wide(), None if local is None else local.wide()
        sides = Sides(student, teacher, teacher_temperature, {}, {} if watch else None)
        pooled = {key: terms.pool(frames.values_NDhw, frames.valid_Nhw) for key, frames in seen.frames.items()}
        parts: dict[str, Tensor] = {}
        compared = sources(views, seen, target, local, pooled)
        if not self.config.fused:
            del compared[FUSED]
        for name, source in compared.items():
            for granularity, value in self._source_terms(name, source, views, sides).items():
                parts[f"{granularity}/{name}"] = value
        if hidden is not None:
            parts["masked/hr"] = self._masked_term(hidden, seen, target, sides)
        parts |= self._alignment_terms(views, seen, pooled)
        values = torch.stack(list(parts.values()))
        loss = (values * values.new_tensor([self._weight(name) for name in parts])).sum()
        totals = self.ranks.total(values.detach())
        looks = sides.looks or {}
        if watch:
            looks |= collapse(target)
        return StepTerms(
            loss,
            dict(zip(parts, totals, strict=True)),
            seen.fused_BDhw.detach(),
            seen.occupied_Bhw,
            sides.goals,
            looks,
        )

    def remember(self, goals: Mapping[str, Tensor]) -> None:
        """Put the teacher's vectors of a step that counts into the memories."""
        counts = self.ranks.counts(*(len(vectors) for vectors in goals.values()))
        for index, (name, vectors) in enumerate(goals.items()):
            self._memory(name).add(vectors, self.ranks, [one[index] for one in counts])

    def loss_of(self, values: Mapping[str, Tensor]) -> Tensor:
        """The loss that terms make, weighted."""
        return torch.stack([value * self._weight(name) for name, value in values.items()]).sum()

    def _weight(self, name: str) -> float:
        config, (granularity, _, source) = self.config, name.partition("/")
        weights = {
            "align": config.beta,
            "pixel": config.alpha * config.pixel,
            "object": config.alpha * config.object,
            "image": config.alpha * config.image,
            "masked": config.alpha * config.masked,
        }
        return weights[granularity] * (config.fused if source == FUSED else 1.0)

    def _memory(self, name: str) -> TeacherMemory:
        memory = self.memories[name]
        assert isinstance(memory, TeacherMemory)
        return memory

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.mixed)

    def _source_terms(self, name: str, source: Source, views: ViewBatch, sides: Sides) -> dict[str, Tensor]:
        """Pixel, object and image terms of one source."""
        config = self.config
        students: dict[str, Tensor] = {}
        teachers: dict[str, Tensor] = {}
        if config.pixel or config.object:
            ours, theirs, mask = _common_features(source, views)
            if config.pixel:
                some = mask[:, : config.pixel_cells]
                students["pixel"] = ours[:, : config.pixel_cells][some]
                teachers["pixel"] = theirs[:, : config.pixel_cells][some]
            if config.object:
                assignment, exists = terms.object_assignment(
                    theirs, mask, config.object_clusters, eps=config.sinkhorn_eps, iterations=config.sinkhorn_iterations
                )
                students["object"] = terms.object_centres(ours, assignment)[exists]
                teachers["object"] = terms.object_centres(theirs, assignment)[exists]
                if sides.looks is not None:
                    hard = assignment.argmax(2)[mask].bincount(minlength=config.object_clusters)
                    sides.looks.update(self._use(f"cluster_entropy/{name}", hard))
        if config.image:
            students["image"], teachers["image"] = _image_features(source)
        return self._compared(name, students, teachers, sides) if students else {}

    def _masked_term(self, hidden: Hidden, seen: Features, target: Features, sides: Sides) -> Tensor:
        """The student's features of valid cells that it did not see against the teacher's of the same view.

        Both go through the head of the image's other terms (iBOT shares its head likewise). Zero without an image.
        """
        if "hr" not in seen.frames:
            return hidden.embedding_C.sum() * 0
        ours, theirs = seen.frames["hr"], target.frames["hr"]  # the same frames in the same order
        compared_Nhw = ours.valid_Nhw & hidden.tokens_Bhw[ours.sample_N]
        students, teachers = (
            {"masked": image.values_NDhw.permute(0, 2, 3, 1)[compared_Nhw]} for image in (ours, theirs)
        )
        return self._compared("hr", students, teachers, sides)["masked"]

    def _compared(
        self, name: str, students: dict[str, Tensor], teachers: dict[str, Tensor], sides: Sides
    ) -> dict[str, Tensor]:
        """L_CL of corresponding rows ``(R, D)`` of one source; one call of each head over the rows of all terms."""
        config = self.config
        sizes = [len(rows) for rows in students.values()]
        with self._precision():
            vectors_RE, weight = sides.student.heads[name](torch.cat(list(students.values())))
            with torch.no_grad():
                targets_RE, teacher_weight = sides.teacher.heads[name](torch.cat(list(teachers.values())))
        found = {}
        pairs = zip(students, vectors_RE.split(sizes), targets_RE.split(sizes), strict=True)
        for granularity, vectors, goals in pairs:
            memory = f"{name}_{granularity}"
            found[granularity] = terms.distillation(
                vectors,
                goals,
                weight,
                teacher_weight,
                student_temperature=config.student_temperature,
                teacher_temperature=sides.temperature,
                iterations=config.sinkhorn_iterations,
                rows=config.logit_rows,
                memory_ME=self._memory(memory).known(self.ranks),
                ranks=self.ranks,
            )
            sides.goals[memory] = goals
            if sides.looks is not None:
                nearest = (goals @ teacher_weight.T).argmax(-1).bincount(minlength=len(teacher_weight))
                sides.looks.update(self._use(f"prototype_entropy/{memory}", nearest))
        return found

    def _use(self, name: str, count_K: Tensor) -> dict[str, float]:
        """Entropy of how often each of some clusters is the nearest, over all ranks; nothing if there was none."""
        count_K = self.ranks.total(count_K).float()
        return {name: share_of_entropy(count_K)} if bool(count_K.any()) else {}

    def _alignment_terms(self, views: ViewBatch, seen: Features, pooled: dict[Modality, Tensor]) -> dict[str, Tensor]:
        """Symmetric InfoNCE between the image-level features of each pair of modalities, view by view."""
        if not self.config.beta:
            return {}
        scale = self.log_scale[0].clamp(max=4.6052).exp()  # ln 100, as in CLIP
        image, there = {}, {}
        for key, frames in seen.frames.items():
            weight = frames.valid_Nhw.flatten(1).any(1).to(frames.values_NDhw.dtype)
            total = weight.new_zeros(2 * views.places, pooled[key].shape[1])
            count = weight.new_zeros(2 * views.places)
            total = total.index_add(0, frames.sample_N, pooled[key] * weight[:, None])
            count = count.index_add(0, frames.sample_N, weight)
            with self._precision():
                projected = self.projections[key](total / count.clamp(min=1)[:, None])
            image[key], there[key] = projected.to(total.dtype), count > 0
        pairs = list(combinations([key for key in MODALITIES if key in image], 2))
        both = {pair: there[pair[0]] & there[pair[1]] for pair in pairs}
        present = [both[pair][view::2].sum() for pair in pairs for view in range(2)]
        counts = self.ranks.counts(*torch.stack(present).tolist()) if pairs else []
        found = {}
        for index, pair in enumerate(pairs):
            one, two = (image[key] for key in pair)
            values = [
                terms.alignment(
                    one[view::2],
                    two[view::2],
                    both[pair][view::2],
                    scale,
                    ranks=self.ranks,
                    counts=[of_rank[2 * index + view] for of_rank in counts],
                )
                for view in range(2)
            ]
            found[f"align/{pair[0]}-{pair[1]}"] = torch.stack(values).mean()
        return found


def _bottleneck(branch: Branch, source: str) -> int:
    head = branch.heads[source]
    assert isinstance(head, DinoHead)
    return head.last_layer.shape[1]


def sources(
    views: ViewBatch, seen: Features, target: Features, local: Features | None, pooled: dict[Modality, Tensor]
) -> dict[str, Source]:
    """Every source that both branches saw, with rows resolved to frames."""
    found: dict[str, Source] = {}
    for key, ours in seen.frames.items():  # the same on all ranks, with or without pairs
        theirs, pairs = target.frames[key], views.pairs_of(key)
        source = Source(
            student=ours.values_NDhw,
            teacher=theirs.values_NDhw,
            student_valid=ours.valid_Nhw,
            teacher_valid=theirs.valid_Nhw,
            pooled=pooled[key],
            student_rows=_rows(ours.sample_N, ours.time_N, pairs.student_row, pairs.student_time),
            teacher_rows=_rows(theirs.sample_N, theirs.time_N, pairs.teacher_row, pairs.teacher_time),
            places=pairs.student_row,
        )
        found[key] = source
        if local is not None and key in local.frames and key in views.local_pairs:
            crops, pairs = local.frames[key], views.local_pairs[key]
            source.local, source.local_valid = crops.values_NDhw, crops.valid_Nhw
            source.local_rows = _rows(crops.sample_N, crops.time_N, pairs.student_row, pairs.student_time)
            source.local_teacher_rows = _rows(theirs.sample_N, theirs.time_N, pairs.teacher_row, pairs.teacher_time)
            source.local_places = pairs.teacher_row // 2
    everyone = torch.arange(2 * views.places, device=views.common.device)
    cells = seen.cells_BDhw
    fused = Source(
        student=cells,
        teacher=target.cells_BDhw,
        student_valid=seen.occupied_Bhw,
        teacher_valid=target.occupied_Bhw,
        pooled=terms.pool(cells, seen.occupied_Bhw),
        student_rows=everyone,
        teacher_rows=views.other(),
        places=everyone,
    )
    if local is not None:
        rows = torch.arange(len(local.occupied_Bhw), device=everyone.device).repeat_interleave(2)
        fused.local, fused.local_valid, fused.local_rows = local.cells_BDhw, local.occupied_Bhw, rows
        per_place = len(local.occupied_Bhw) // views.places
        fused.local_places = rows // per_place
        fused.local_teacher_rows = fused.local_places * 2 + torch.arange(len(rows), device=rows.device) % 2
    return found | {FUSED: fused}


def _rows(sample_N: Tensor, time_N: Tensor, row_P: Tensor, time_P: Tensor) -> Tensor:
    """Index into the packed frames of (row, time) of the batch."""
    times = int(torch.maximum(time_N.max(), time_P.max() if len(time_P) else time_N.max())) + 1
    table = torch.full((int(sample_N.max()) + 1, times), -1, device=sample_N.device)
    table[sample_N, time_N] = torch.arange(len(sample_N), device=sample_N.device)
    return table[row_P, time_P]


def _common_features(source: Source, views: ViewBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Features ``(P, S, D)`` of the cells both views contain, of student and teacher, and which of them are valid."""
    ours_cells, theirs_cells = views.student_cells[source.places], views.teacher_cells[source.places]
    mask = views.common[source.places]
    mask = mask & source.student_valid.flatten(1)[source.student_rows].gather(1, ours_cells)
    mask = mask & source.teacher_valid.flatten(1)[source.teacher_rows].gather(1, theirs_cells)
    # valid cells first, in the same random order: the first columns are then a sample of what is there
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
    ours = terms.gather_cells(source.student, source.student_rows, ours_cells.gather(1, order))
    theirs = terms.gather_cells(source.teacher, source.teacher_rows, theirs_cells.gather(1, order))
    return ours, theirs, mask.gather(1, order)


def _image_features(source: Source) -> tuple[Tensor, Tensor]:
    """Pooled features ``(R, D)`` of corresponding frames: global and local ones against global ones, place by place."""
    teacher = terms.pool(source.teacher, source.teacher_valid)
    there = source.teacher_valid.flatten(1).any(1)
    keep = source.student_valid.flatten(1).any(1)[source.student_rows] & there[source.teacher_rows]
    ours, theirs = [source.pooled[source.student_rows[keep]]], [teacher[source.teacher_rows[keep]]]
    places = [source.places[keep] // 2]
    if source.local is not None:
        crops, valid, rows = source.local, source.local_valid, source.local_rows
        teacher_rows, local_places = source.local_teacher_rows, source.local_places
        assert valid is not None and rows is not None and teacher_rows is not None and local_places is not None
        keep = valid.flatten(1).any(1)[rows] & there[teacher_rows]
        ours.append(terms.pool(crops, valid)[rows[keep]])
        theirs.append(teacher[teacher_rows[keep]])
        places.append(local_places[keep])
    order = torch.cat(places).argsort(stable=True)  # rows of several ranks, one after the other, are those of one
    return torch.cat(ours)[order], torch.cat(theirs)[order]


@torch.no_grad()
def collapse(target: Features) -> dict[str, float]:
    """How far the teacher's fused cells are from collapse: effective rank and standard deviation per feature."""
    cells = target.fused_BDhw.permute(0, 2, 3, 1)[target.occupied_Bhw].float()
    return {"feature_rank": effective_rank(cells), "feature_std": float(cells.std(0).mean()) if len(cells) > 1 else 0.0}


def effective_rank(features_ND: Tensor) -> float:
    """Exp of the entropy of the normalised singular values of the centred features (Roy and Vetterli, 2007)."""
    if len(features_ND) < 2:
        return 0.0
    if not bool(features_ND.isfinite().all()):
        return float("nan")  # the step will be skipped
    values = torch.linalg.svdvals(features_ND - features_ND.mean(0))
    share = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-torch.xlogy(share, share).sum()))
