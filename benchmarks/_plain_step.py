"""One pre-training step in the form that is written first: view by view, pair by pair, term by term.

It has the weights of `skysense.pretrain.run.Run` and makes the same step of them. What makes it slow, and what the
package does instead:

* The model is padded and masked: see `_plain_model.py`, which says what that costs.
* It sees one view after the other: two global views, then each local crop. The package packs the frames of all global
  views into one batch.
* Cells in common are gathered, the valid ones picked, objects found (Sinkhorn-Knopp) and frames pooled in a loop over
  pairs of frames. The package does so for all pairs of a source at once.
* Each term calls its head by itself, and normalises the prototypes for it again. The package calls once per source.
* Colours are changed image by image; gradients are clipped, AdamW steps and the teacher follows parameter by parameter.

No part is slower than it has to be in this form: only the student has autograd, no feature is computed twice, and the
Sentinel encoders, MLPs, heads, Sinkhorn-Knopp, cross entropy and prototypes are those of the package.

Letters: B places, T padded time, D width of a feature, h w cells, N cells that two frames have in common, K clusters,
R rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from _plain_model import Seen, see
from torch import Tensor, nn
from torch.nn import functional as F

from skysense.geo import RegionTable
from skysense.observation import Batch, Frames
from skysense.pretrain import terms
from skysense.pretrain.augment import augment
from skysense.pretrain.batch import FramePairs, ViewBatch
from skysense.pretrain.config import ObjectiveConfig, PretrainConfig
from skysense.pretrain.objective import FUSED, Branch, Objective
from skysense.pretrain.prototypes import update_prototypes
from skysense.pretrain.run import Run
from skysense.pretrain.sinkhorn import sinkhorn
from skysense.pretrain.views import Look
from skysense.sensors import MODALITIES
from skysense.train.schedules import cosine, linear_then_flat, warmup_cosine
from skysense.train.together import Together

Pair = tuple[int, int, int, int]
"""Row and time of a student's frame, row and time of the teacher's."""


def view_of(batch: Batch, looks: Sequence[Look], view: int, views: int) -> Batch:
    """One of the views of every place, with its colours changed image by image."""
    rows = slice(view, None, views)
    frames = {key: Frames(*(tensor[rows] for tensor in vars(one).values())) for key, one in batch.frames.items()}
    if "hr" in frames:
        images = zip(frames["hr"].values_BTCHW, looks[rows], strict=True)
        frames["hr"].values_BTCHW = torch.stack([augment(image, [look]) for image, look in images])
    return Batch(frames, batch.region_B[rows], batch.names[rows])


def source_terms(
    name: str,
    views: ViewBatch,
    seen: Sequence[Seen],
    target: Sequence[Seen],
    crops: Sequence[Seen],
    student: Branch,
    teacher: Branch,
    objective: Objective,
    temperature: float,
) -> dict[str, Tensor]:
    """Pixel, object and image terms of one source, gathered pair by pair."""
    config = objective.config
    students: dict[str, list[Tensor]] = {"pixel": [], "object": [], "image": []}
    teachers: dict[str, list[Tensor]] = {"pixel": [], "object": [], "image": []}

    def frame(views_seen: Sequence[Seen], row: int, time: int) -> tuple[Tensor, Tensor]:
        place, view = divmod(row, len(views_seen))
        one = views_seen[view]
        return one.maps[name][place, time].flatten(1).T, one.valid[name][place, time].flatten()

    def keep(granularity: str, ours_RD: Tensor, theirs_RD: Tensor) -> None:
        students[granularity].append(ours_RD)
        teachers[granularity].append(theirs_RD)

    images: list[tuple[int, Tensor, Tensor]] = []

    def keep_image(place: int, ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> None:
        if ours[1].any() and theirs[1].any():
            images.append((place, *(cells[valid].mean(0, keepdim=True) for cells, valid in (ours, theirs))))

    for row, time, other_row, other_time in global_pairs(name, views):
        ours, ours_valid = frame(seen, row, time)
        theirs, theirs_valid = frame(target, other_row, other_time)
        there = views.common[row]
        ours_cells, theirs_cells = views.student_cells[row][there], views.teacher_cells[row][there]
        both = ours_valid[ours_cells] & theirs_valid[theirs_cells]
        ours_ND, theirs_ND = ours[ours_cells[both]], theirs[theirs_cells[both]]
        if len(ours_ND):
            keep("pixel", ours_ND[: config.pixel_cells], theirs_ND[: config.pixel_cells])
            keep("object", *object_centres(ours_ND, theirs_ND, config))
        keep_image(row // 2, (ours, ours_valid), (theirs, theirs_valid))
    for row, time, other_row, other_time in local_pairs(name, views):
        keep_image(other_row // 2, frame(crops, row, time), frame(target, other_row, other_time))
    for _, ours, theirs in sorted(images, key=lambda image: image[0]):  # place by place, as memories take them
        keep("image", ours, theirs)
    found = {}
    for granularity in students:
        if not students[granularity]:
            found[f"{granularity}/{name}"] = views.common.new_zeros((), dtype=torch.float32)
            continue
        vectors, weight = student.heads[name](torch.cat(students[granularity]))
        with torch.no_grad():
            goals, teacher_weight = teacher.heads[name](torch.cat(teachers[granularity]))
        memory = objective.memories[f"{name}_{granularity}"]
        found[f"{granularity}/{name}"] = terms.distillation(
            vectors,
            goals,
            weight,
            teacher_weight,
            student_temperature=config.student_temperature,
            teacher_temperature=temperature,
            iterations=config.sinkhorn_iterations,
            rows=config.logit_rows,
            memory_ME=memory.known(),
        )
        memory.add(goals)
    return found


def global_pairs(name: str, views: ViewBatch) -> list[Pair]:
    """Frames of global views to be compared; the fused feature is compared with that of the other view."""
    if name != FUSED:
        return listed(views.global_pairs.get(name))
    return [(row, 0, row ^ 1, 0) for row in range(2 * views.places)]


def local_pairs(name: str, views: ViewBatch) -> list[Pair]:
    """Frames of local crops to be compared with frames of both global views."""
    if name != FUSED:
        return listed(views.local_pairs.get(name))
    rows = range(0 if views.locals is None else views.locals.size)
    crops = len(rows) // views.places
    return [(row, 0, row // crops * 2 + view, 0) for row in rows for view in range(2)]


def listed(pairs: FramePairs | None) -> list[Pair]:
    """Pairs as tuples of numbers."""
    return [] if pairs is None else list(zip(*(index.tolist() for index in vars(pairs).values()), strict=True))


def object_centres(ours_ND: Tensor, theirs_ND: Tensor, config: ObjectiveConfig) -> tuple[Tensor, Tensor]:
    """Cluster the teacher's cells of one image; means of either side's cells in each cluster, ``(K, D)``."""
    unit = F.normalize(theirs_ND, dim=-1)
    scores = unit @ unit[: config.object_clusters].T
    assignment_NK = sinkhorn(scores[None], eps=config.sinkhorn_eps, iterations=config.sinkhorn_iterations)[0]
    weight_K1 = assignment_NK.sum(0)[:, None].clamp(min=torch.finfo(assignment_NK.dtype).tiny)
    return assignment_NK.T @ ours_ND / weight_K1, assignment_NK.T @ theirs_ND / weight_K1


def alignment_terms(seen: Sequence[Seen], objective: Objective) -> dict[str, Tensor]:
    """Symmetric InfoNCE between each pair of modalities, view by view, pooled place by place."""
    scale = objective.log_scale.clamp(max=4.6052).exp()
    found: dict[str, list[Tensor]] = {}
    for view in seen:
        for one, two in combinations([key for key in MODALITIES if key in view.maps], 2):
            features: dict[str, list[Tensor]] = {one: [], two: []}
            for place in range(len(view.maps[one])):
                if view.valid[one][place].any() and view.valid[two][place].any():
                    for key in (one, two):
                        features[key].append(pooled(view.maps[key][place], view.valid[key][place]))
            both = torch.ones(len(features[one]), dtype=torch.bool, device=scale.device)
            value = scale.new_zeros(())
            if len(both) > 1:
                first, second = (objective.projections[key](torch.stack(features[key])) for key in (one, two))
                value = terms.alignment(first, second, both, scale)
            found.setdefault(f"align/{one}-{two}", []).append(value)
    return {key: torch.stack(values).mean() for key, values in found.items()}


def pooled(maps_TDhw: Tensor, valid_Thw: Tensor) -> Tensor:
    """Mean over the frames of the mean over their cells, ``(D,)``."""
    frames = zip(maps_TDhw, valid_Thw, strict=True)
    return torch.stack([frame[:, valid].mean(1) for frame, valid in frames if valid.any()]).mean(0)


class PlainRun(Run):
    """A `Run` with the plain step."""

    def __init__(self, config: PretrainConfig, regions: RegionTable, together: Together | None = None) -> None:
        super().__init__(config, regions, together)
        for group in self.optimiser.param_groups:
            group.update(fused=False, foreach=False)

    def advance(self, views: ViewBatch) -> dict[str, float]:
        """One step; returns the loss, its terms and the norm of the gradient, as `Run.advance` does."""
        config, progress = self.config, self.step / self.config.steps
        settings, numbers = config.optimiser, config.objective
        for group in self.optimiser.param_groups:
            group["lr"] = warmup_cosine(
                settings.learning_rate, settings.final_learning_rate, (self.step + 1) / config.steps, settings.warmup
            )
        halves = [view_of(views.globals, views.looks[0], view, 2) for view in range(2)]
        with torch.no_grad():
            target = [see(self.teacher.model, half) for half in halves]
        seen = [see(self.student.model, half) for half in halves]
        parts = self._terms(views, seen, target, self._crops(views), progress)
        weights = {"pixel": numbers.pixel, "object": numbers.object, "image": numbers.image}
        loss = torch.zeros((), device=views.common.device)
        for name, value in parts.items():
            granularity = name.split("/")[0]
            loss = loss + value * (numbers.beta if granularity == "align" else numbers.alpha * weights[granularity])
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if progress < settings.freeze_last_layer:
            for head in self.student.heads.values():
                head.last_layer.grad = None
        learned = [*self.student.parameters(), *self.objective.parameters()]
        norm = nn.utils.clip_grad_norm_(learned, settings.clip, foreach=False)
        self.optimiser.step()
        if self.student.model.geo is not None and self.objective.prototype_use is not None:
            update_prototypes(
                self.student.model.geo,
                self.objective.prototype_use,
                torch.stack([view.fused_BDhw for view in seen], 1).flatten(0, 1).detach(),
                torch.stack([view.valid[FUSED][:, 0] for view in seen], 1).flatten(0, 1),
                views.globals.region_B,
                momentum=numbers.geo_momentum,
                eps=numbers.sinkhorn_eps,
                iterations=numbers.sinkhorn_iterations,
                dead=numbers.geo_dead,
            )
        self._follow(cosine(settings.teacher_momentum, 1.0, progress))
        self.step += 1
        values = {name: float(value.detach()) for name, value in parts.items()}
        return {"loss": float(loss.detach())} | values | {"gradient_norm": float(norm)}

    def _crops(self, views: ViewBatch) -> list[Seen]:
        """The student's look at each local crop."""
        if views.locals is None:
            return []
        crops = views.locals.size // views.places
        return [see(self.student.model, view_of(views.locals, views.looks[1], crop, crops)) for crop in range(crops)]

    def _terms(
        self, views: ViewBatch, seen: list[Seen], target: list[Seen], crops: list[Seen], progress: float
    ) -> dict[str, Tensor]:
        """All terms of the objective by name."""
        numbers = self.config.objective
        temperature = linear_then_flat(
            numbers.teacher_temperature_start, numbers.teacher_temperature, progress, numbers.teacher_warmup
        )
        parts: dict[str, Tensor] = {}
        for name in (*views.global_pairs, FUSED):
            parts |= source_terms(
                name, views, seen, target, crops, self.student, self.teacher, self.objective, temperature
            )
        return parts | (alignment_terms(seen, self.objective) if numbers.beta else {})

    @torch.no_grad()
    def _follow(self, momentum: float) -> None:
        """The teacher's moving average, parameter by parameter."""
        for theirs, ours in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            theirs.mul_(momentum).add_(ours, alpha=1 - momentum)
        for theirs, ours in zip(self.teacher.buffers(), self.student.buffers(), strict=True):
            if theirs is not ours:
                theirs.copy_(ours)
