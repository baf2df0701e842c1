"""The whole objective, plumbing included, against plain loops over places, frames and cells in float64."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from skysense.data.earth import simulate_place
from skysense.model.assembly import Features, SkySense
from skysense.model.config import preset
from skysense.pretrain.batch import FramePairs, ViewBatch, make_batch
from skysense.pretrain.config import ObjectiveConfig, ViewConfig
from skysense.pretrain.objective import Branch, Objective, effective_rank
from tests.pretrain.test_terms import slow_sinkhorn

VIEWS = ViewConfig(global_cells=4, local_crops=1, s2_frames=3, s1_frames=2)
CONFIG = ObjectiveConfig(
    pixel_cells=5, object_clusters=3, head_hidden=16, head_bottleneck=8, head_prototypes=12, logit_rows=20
)
TEMPERATURE = 0.05


@pytest.fixture(scope="module")
def step() -> tuple[ViewBatch, Branch, Branch, Objective]:
    torch.manual_seed(0)
    samples = [simulate_place(0, index, footprint_cells=8).sample for index in range(3)]
    samples[1] = samples[1].only(["hr", "s2"])  # one place without Sentinel-1
    views = make_batch(samples, [np.random.default_rng(n) for n in range(3)], VIEWS).to("cpu")
    student = Branch(SkySense(preset("tiny")), CONFIG).double()
    teacher = copy.deepcopy(student)
    for parameter in teacher.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    return views, student, teacher, Objective(student, CONFIG).double()


def cross_entropy(student: Branch, teacher: Branch, name: str, ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Mean over rows; the teacher assigns all together, though ``logit_rows`` of them are held at once."""
    head, goal = student.heads[name], teacher.heads[name]
    scores = torch.stack([t @ w.T for t, w in ((goal(t[None])[0][0], goal(t[None])[1]) for t in theirs)])
    targets = torch.tensor(slow_sinkhorn(scores, TEMPERATURE, CONFIG.sinkhorn_iterations), dtype=scores.dtype)
    total = 0.0
    for s, target in zip(ours, targets, strict=True):
        vectors, weight = head(s[None])
        seen = torch.log_softmax(vectors[0] @ weight.T / CONFIG.student_temperature, -1)
        total -= float((target * seen).sum())
    return total / len(ours)


def frame(features: Features, name: str, row: int, time: int) -> tuple[Tensor, Tensor]:
    if name == "fused":
        return features.cells_BDhw[row], features.occupied_Bhw[row]
    one = features.frames[name]
    index = next(n for n in range(len(one.sample_N)) if int(one.sample_N[n]) == row and int(one.time_N[n]) == time)
    return one.values_NDhw[index], one.valid_Nhw[index]


def mean_cell(maps: Tensor, valid: Tensor) -> Tensor:
    return torch.stack([maps[:, r, c] for r in range(maps.shape[1]) for c in range(maps.shape[2]) if valid[r, c]]).mean(
        0
    )


def pairs_of(views: ViewBatch, name: str, local: bool) -> list[tuple[int, int, int, int]]:
    places = views.places
    if name == "fused":
        if local:  # one crop per place
            return [(place, 0, 2 * place + view, 0) for place in range(places) for view in (0, 1)]
        return [(2 * place + view, 0, 2 * place + 1 - view, 0) for place in range(places) for view in (0, 1)]
    pairs: FramePairs = (views.local_pairs if local else views.global_pairs)[name]
    columns = (pairs.student_row, pairs.student_time, pairs.teacher_row, pairs.teacher_time)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def slow_terms(views: ViewBatch, student: Branch, teacher: Branch, name: str) -> dict[str, float]:
    seen, target, local = student.model(views.globals), teacher.model(views.globals), student.model(views.locals)
    rows: dict[str, tuple[list[Tensor], list[Tensor]]] = {key: ([], []) for key in ("pixel", "object", "image")}
    for s_row, s_time, t_row, t_time in pairs_of(views, name, local=False):
        (ours, ours_valid), (theirs, theirs_valid) = (
            frame(seen, name, s_row, s_time),
            frame(target, name, t_row, t_time),
        )
        cells = []
        for position in range(views.common.shape[1]):
            if views.common[s_row, position]:
                a, b = int(views.student_cells[s_row, position]), int(views.teacher_cells[s_row, position])
                if ours_valid.flatten()[a] and theirs_valid.flatten()[b]:
                    cells.append((ours.flatten(1)[:, a], theirs.flatten(1)[:, b]))
        for s, t in cells[: CONFIG.pixel_cells]:
            rows["pixel"][0].append(s)
            rows["pixel"][1].append(t)
        if cells:
            s_cells, t_cells = (torch.stack(part) for part in zip(*cells, strict=True))
            cosine = torch.tensor(
                [
                    [float(cell @ seed / (cell.norm() * seed.norm())) for seed in t_cells[: CONFIG.object_clusters]]
                    for cell in t_cells
                ],
                dtype=torch.float64,
            )
            share = slow_sinkhorn(cosine, CONFIG.sinkhorn_eps, CONFIG.sinkhorn_iterations)
            for k in range(cosine.shape[1]):
                weight = sum(row[k] for row in share)
                rows["object"][0].append(sum(row[k] * cell for row, cell in zip(share, s_cells, strict=True)) / weight)
                rows["object"][1].append(sum(row[k] * cell for row, cell in zip(share, t_cells, strict=True)) / weight)
        if ours_valid.any() and theirs_valid.any():
            rows["image"][0].append(mean_cell(ours, ours_valid))
            rows["image"][1].append(mean_cell(theirs, theirs_valid))
    for s_row, s_time, t_row, t_time in pairs_of(views, name, local=True):
        (ours, ours_valid), (theirs, theirs_valid) = (
            frame(local, name, s_row, s_time),
            frame(target, name, t_row, t_time),
        )
        if ours_valid.any() and theirs_valid.any():
            rows["image"][0].append(mean_cell(ours, ours_valid))
            rows["image"][1].append(mean_cell(theirs, theirs_valid))
    return {key: cross_entropy(student, teacher, name, *pair) for key, pair in rows.items()}


@pytest.mark.parametrize("name", ["hr", "s2", "s1", "fused"])
def test_terms_of_a_source(step: tuple[ViewBatch, Branch, Branch, Objective], name: str) -> None:
    views, student, teacher, objective = step
    with torch.no_grad():
        result = objective(views, student, teacher, teacher_temperature=TEMPERATURE)
        expected = slow_terms(views, student, teacher, name)
    for key, value in expected.items():
        assert float(result.terms[f"{key}/{name}"]) == pytest.approx(value, abs=1e-9), key


def test_the_loss_is_the_sum_of_the_terms(step: tuple[ViewBatch, Branch, Branch, Objective]) -> None:
    views, student, teacher, objective = step
    with torch.no_grad():
        result = objective(views, student, teacher, teacher_temperature=TEMPERATURE)
    assert float(result.loss) == pytest.approx(sum(float(value) for value in result.terms.values()), abs=1e-9)


@pytest.mark.parametrize(("one", "two"), [("hr", "s2"), ("hr", "s1"), ("s2", "s1")])
def test_alignment_terms(step: tuple[ViewBatch, Branch, Branch, Objective], one: str, two: str) -> None:
    views, student, teacher, objective = step
    with torch.no_grad():
        result = objective(views, student, teacher, teacher_temperature=TEMPERATURE)
        seen = student.model(views.globals)
    halves = []
    for view in (0, 1):
        vectors: dict[str, list[Tensor]] = {one: [], two: []}
        for row in (view, 2 + view, 4 + view):
            if two == "s1" and row == 2 + view:  # this place has no Sentinel-1
                continue
            for key in (one, two):
                frames = seen.frames[key]
                pooled = [
                    mean_cell(frames.values_NDhw[n], frames.valid_Nhw[n])
                    for n in range(len(frames.sample_N))
                    if int(frames.sample_N[n]) == row
                ]
                projected = objective.projections[key](torch.stack(pooled).mean(0))
                vectors[key].append(projected / projected.norm())
        logits = (torch.stack(vectors[one]) @ torch.stack(vectors[two]).T * objective.log_scale.exp()).detach()
        count = len(logits)
        loss = [-float(grid.log_softmax(1)[i, i]) for grid in (logits, logits.T) for i in range(count)]
        halves.append(sum(loss) / (2 * count))
    assert float(result.terms[f"align/{one}-{two}"]) == pytest.approx(sum(halves) / 2, abs=1e-9)


def test_every_term_in_single_precision(step: tuple[ViewBatch, Branch, Branch, Objective]) -> None:
    """Plain loops hold the terms in double precision; these hold them in the one that runs use."""
    views, student, teacher, objective = step
    singles = [copy.deepcopy(module).float() for module in (student, teacher, objective)]
    with torch.no_grad():
        exact = objective(views, student, teacher, teacher_temperature=TEMPERATURE)
        single = singles[2](views, singles[0], singles[1], teacher_temperature=TEMPERATURE)
    assert len(exact.terms) == 15
    for name, value in exact.terms.items():
        assert single.terms[name].dtype == torch.float32
        assert float(single.terms[name]) == pytest.approx(float(value), rel=1e-5), name


def test_without_contrastive_terms_alignment_is_left(step: tuple[ViewBatch, Branch, Branch, Objective]) -> None:
    views, student, teacher, _ = step
    alone = Objective(student, dataclasses.replace(CONFIG, pixel=0, object=0, image=0)).double()
    with torch.no_grad():
        result = alone(views, student, teacher, teacher_temperature=TEMPERATURE)
    assert sorted(result.terms) == ["align/hr-s1", "align/hr-s2", "align/s2-s1"]


def test_the_fused_feature_counts_by_its_weight_and_is_left_out_without(
    step: tuple[ViewBatch, Branch, Branch, Objective],
) -> None:
    views, student, teacher, objective = step
    with torch.no_grad():
        whole = objective(views, student, teacher, teacher_temperature=TEMPERATURE)
        half = Objective(student, dataclasses.replace(CONFIG, fused=0.5, alpha=2.0)).double()
        half.load_state_dict(objective.state_dict())
        found = half(views, student, teacher, teacher_temperature=TEMPERATURE)
    weight = {name: 1.0 if "align" in name or "fused" in name else 2.0 for name in whole.terms}
    assert found.terms == whole.terms
    assert float(found.loss) == pytest.approx(sum(weight[key] * float(value) for key, value in whole.terms.items()))
    alone = Objective(student, dataclasses.replace(CONFIG, fused=0.0, beta=0.0)).double()
    alone.load_state_dict(objective.state_dict())
    student.zero_grad()
    found = alone(views, student, teacher, teacher_temperature=TEMPERATURE)
    kept = {name: value for name, value in whole.terms.items() if "align" not in name and "fused" not in name}
    assert len(kept) == 9
    assert found.terms == kept
    assert not any("fused" in name for name in found.goals)
    found.loss.backward()
    moved = {name.split(".")[1] for name, one in student.named_parameters() if one.grad is not None}
    assert moved == {"hr", "s2", "s1", "align_s2", "align_s1"}, "the fusion learns from nothing"
    student.zero_grad()


def test_gradient_reaches_the_student_and_not_the_teacher(step: tuple[ViewBatch, Branch, Branch, Objective]) -> None:
    views, student, teacher, objective = step
    teacher = copy.deepcopy(teacher).requires_grad_(False)
    objective = copy.deepcopy(objective)
    result = objective(views, student, teacher, teacher_temperature=TEMPERATURE)
    result.loss.backward()
    without = [name for name, p in student.named_parameters() if p.grad is None]
    assert not without
    assert float(student.model.dates.table.grad.abs().sum()) > 0
    assert all(p.grad is None for p in teacher.parameters())
    student.zero_grad()


def test_effective_rank_counts_directions() -> None:
    flat = torch.randn(200, 1) @ torch.randn(1, 10)
    assert effective_rank(flat) == pytest.approx(1.0, abs=1e-3)
    axes = torch.cat([torch.eye(4), -torch.eye(4)])
    assert effective_rank(torch.nn.functional.pad(axes, (0, 6))) == pytest.approx(4.0, abs=1e-3)
    assert math.isclose(effective_rank(torch.zeros(5, 3)), 1.0) or effective_rank(torch.zeros(5, 3)) < 1.1


def test_a_step_assigns_along_with_what_the_last_left(
    step: tuple[ViewBatch, Branch, Branch, Objective],
) -> None:
    views, student, teacher, _ = step
    plain = Objective(student, CONFIG).double()
    remembering = Objective(student, dataclasses.replace(CONFIG, memory_rows=20)).double()
    with torch.no_grad():
        expected = plain(views, student, teacher, teacher_temperature=TEMPERATURE)
        found = []
        for _ in range(2):
            found.append(remembering(views, student, teacher, teacher_temperature=TEMPERATURE))
            if len(found) == 1:
                assert not len(remembering.memories["fused_pixel"].known())  # a step that is skipped leaves nothing
            remembering.remember(found[-1].goals)
        first, second = (one.terms["pixel/fused"] for one in found)
    assert torch.equal(first, expected.terms["pixel/fused"])
    assert abs(float(second) - float(first)) > 1e-6
    kept = remembering.memories["fused_pixel"].known()
    assert kept.shape == (20, 8)
    torch.testing.assert_close(kept.norm(dim=1), torch.ones(20, dtype=torch.float64))
