"""Every term against a slow version in plain loops, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from skysense.pretrain import terms
from skysense.pretrain.sinkhorn import sinkhorn

EXACT = 1e-9


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unit(*shape: int, seed: int = 0) -> Tensor:
    return torch.nn.functional.normalize(rand(*shape, seed=seed), dim=-1)


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def dot(a: Tensor, b: Tensor) -> float:
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def slow_sinkhorn(scores: Tensor, eps: float, iterations: int) -> list[list[float]]:
    """On one problem, multiplicatively: columns to n / k, rows to 1."""
    n, k = scores.shape
    q = [[math.exp(float(scores[i, j]) / eps) for j in range(k)] for i in range(n)]
    for _ in range(iterations):
        for j in range(k):
            total = sum(q[i][j] for i in range(n))
            for i in range(n):
                q[i][j] *= n / k / total
        for i in range(n):
            total = sum(q[i])
            q[i] = [value / total for value in q[i]]
    return q


def slow_distillation(student: Tensor, teacher: Tensor, ws: Tensor, wt: Tensor, ts: float, tt: float) -> float:
    """The teacher's balanced assignment, the student's softmax, cross entropy; sums over rows."""
    goals = slow_sinkhorn(torch.tensor([[dot(t, w) for w in wt] for t in teacher], dtype=torch.float64), tt, 3)
    total = 0.0
    for s, goal in zip(student, goals, strict=True):
        seen = softmax([dot(s, w) / ts for w in ws])
        total -= sum(g * math.log(p) for g, p in zip(goal, seen, strict=True))
    return total


TEMPERATURES = {"student_temperature": 0.1, "teacher_temperature": 0.05, "iterations": 3}


@pytest.mark.parametrize("rows", [100, 4])  # in one go, and in pieces with recomputation: the same
def test_distillation(rows: int) -> None:
    student, teacher = unit(7, 5, seed=1).requires_grad_(), unit(7, 5, seed=2)
    ws, wt = unit(11, 5, seed=3), unit(11, 5, seed=4)
    value = terms.distillation(student, teacher, ws, wt, rows=rows, **TEMPERATURES)
    expected = slow_distillation(student.detach(), teacher, ws, wt, 0.1, 0.05) / 7
    assert float(value.detach()) == pytest.approx(expected, abs=EXACT)
    torch.autograd.gradcheck(lambda s: terms.distillation(s, teacher, ws, wt, rows=rows, **TEMPERATURES), student)


def test_earlier_vectors_share_in_the_assignment_and_are_not_compared() -> None:
    student, teacher, memory = unit(7, 5, seed=1), unit(7, 5, seed=2), unit(6, 5, seed=21)
    ws, wt = unit(3, 5, seed=3), unit(3, 5, seed=4)
    value = terms.distillation(student, teacher, ws, wt, rows=100, memory_ME=memory, **TEMPERATURES)
    goals = slow_sinkhorn(torch.cat([teacher, memory]) @ wt.T, 0.05, 3)[:7]
    seen = [softmax([dot(s, w) / 0.1 for w in ws]) for s in student]
    expected = -sum(
        q * math.log(p) for goal, row in zip(goals, seen, strict=True) for q, p in zip(goal, row, strict=True)
    )
    assert float(value) == pytest.approx(expected / 7, abs=EXACT)
    alone = terms.distillation(student, teacher, ws, wt, rows=100, **TEMPERATURES)
    assert abs(float(value) - float(alone)) > 1e-3


def test_distillation_of_nothing_is_zero() -> None:
    none, prototypes = torch.zeros(0, 5), unit(3, 5).float()
    assert float(terms.distillation(none, none, prototypes, prototypes, rows=4, **TEMPERATURES)) == 0.0


@pytest.mark.parametrize("eps", [0.05, 1.0])
def test_sinkhorn_equals_plain_loops(eps: float) -> None:
    scores = unit(9, 4, seed=6) @ unit(3, 4, seed=7).T
    fast = sinkhorn(scores[None], eps=eps, iterations=4)[0]
    assert torch.allclose(fast, torch.tensor(slow_sinkhorn(scores, eps, 4), dtype=torch.float64), atol=EXACT, rtol=0)


def test_sinkhorn_is_balanced_and_leaves_out_what_is_not_there() -> None:
    scores = rand(2, 12, 4, seed=8)
    points = torch.ones(2, 12, dtype=torch.bool)
    points[1, 8:] = False
    clusters = torch.ones(2, 4, dtype=torch.bool)
    clusters[1, 3] = False
    result = sinkhorn(scores, eps=0.5, iterations=200, points_GN=points, clusters_GK=clusters)
    assert torch.allclose(result.sum(2), points.double(), atol=1e-9)
    assert torch.allclose(result[0].sum(0), torch.full((4,), 3.0, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(result[1].sum(0)[:3], torch.full((3,), 8 / 3, dtype=torch.float64), atol=1e-6)
    assert (result[1, 8:] == 0).all()
    assert (result[1, :, 3] == 0).all()
    alone = sinkhorn(scores[1:, :8, :3], eps=0.5, iterations=200)
    assert torch.allclose(result[1, :8, :3], alone[0], atol=EXACT)


def test_sinkhorn_neither_under_nor_overflows() -> None:
    """A cluster far from every point and a point far from every cluster, beyond what float32 can hold."""
    scores = rand(1, 40, 5, seed=3).float()
    scores[0, :, 4] -= 10
    scores[0, 7] -= 10
    result = sinkhorn(scores, eps=0.02, iterations=3)
    slow = torch.tensor(slow_sinkhorn(scores[0].double(), 0.02, 3))
    assert torch.allclose(result[0], slow.float(), atol=1e-4)
    assert result[0, :, 4].sum() > 0.2


def test_sinkhorn_with_no_point_is_zero_not_nan() -> None:
    result = sinkhorn(rand(1, 3, 2), eps=0.05, iterations=3, points_GN=torch.zeros(1, 3, dtype=torch.bool))
    assert (result == 0).all()


def test_gather_cells_takes_the_cells_named() -> None:
    maps = rand(3, 2, 4, 5, seed=9)
    rows, cells = torch.tensor([2, 0]), torch.tensor([[0, 7, 19], [5, 5, 1]])
    found = terms.gather_cells(maps, rows, cells)
    for p in range(2):
        for s in range(3):
            row, col = divmod(int(cells[p, s]), 5)
            assert torch.equal(found[p, s], maps[rows[p], :, row, col])


def test_pool_is_the_mean_over_valid_cells() -> None:
    maps, valid = rand(2, 3, 2, 2, seed=10), torch.tensor([[[True, False], [True, True]], [[False, False]] * 2])
    pooled = terms.pool(maps, valid)
    assert torch.allclose(pooled[0], (maps[0, :, 0, 0] + maps[0, :, 1, 0] + maps[0, :, 1, 1]) / 3, atol=EXACT)
    assert (pooled[1] == 0).all()


def slow_objects(teacher: Tensor, student: Tensor, mask: Tensor, clusters: int) -> tuple[list[Tensor], list[Tensor]]:
    """Centres of one image: seeds are the first valid cells, cosine similarity, Sinkhorn, weighted means."""
    there = [s for s in range(len(mask)) if mask[s]]
    seeds = there[:clusters]
    scores = torch.tensor(
        [[dot(teacher[s], teacher[c]) / float(teacher[s].norm() * teacher[c].norm()) for c in seeds] for s in there],
        dtype=torch.float64,
    )
    share = slow_sinkhorn(scores, 0.05, 3)
    centres: tuple[list[Tensor], list[Tensor]] = ([], [])
    for k in range(len(seeds)):
        total = sum(share[i][k] for i in range(len(there)))
        for features, found in ((teacher, centres[0]), (student, centres[1])):
            found.append(sum(share[i][k] * features[s] for i, s in enumerate(there)) / total)  # type: ignore[arg-type]
    return centres


def test_object_term_equals_plain_loops() -> None:
    teacher, student = rand(2, 10, 6, seed=11), rand(2, 10, 6, seed=12)
    mask = torch.ones(2, 10, dtype=torch.bool)
    mask[0, [1, 4]] = False
    mask[1, 2:] = False  # two cells for three clusters
    assignment, exists = terms.object_assignment(teacher, mask, 3, eps=0.05, iterations=3)
    assert exists.tolist() == [[True] * 3, [True, True, False]]
    ours, theirs = terms.object_centres(student, assignment), terms.object_centres(teacher, assignment)
    for p in range(2):
        slow_theirs, slow_ours = slow_objects(teacher[p], student[p], mask[p], 3)
        for k in range(len(slow_ours)):
            assert torch.allclose(ours[p, k], slow_ours[k], atol=EXACT)
            assert torch.allclose(theirs[p, k], slow_theirs[k], atol=EXACT)


def test_object_centres_correspond_whatever_the_order_of_clusters() -> None:
    """Permuting the clusters of the assignment permutes both centres alike: centre k is the same ground in both."""
    teacher, student = rand(1, 9, 4, seed=13), rand(1, 9, 4, seed=14)
    assignment, _ = terms.object_assignment(teacher, torch.ones(1, 9, dtype=torch.bool), 4, eps=0.05, iterations=3)
    order = torch.tensor([2, 0, 3, 1])
    for features in (teacher, student):
        plain = terms.object_centres(features, assignment)
        assert torch.allclose(terms.object_centres(features, assignment[..., order]), plain[:, order], atol=EXACT)
    head = unit(7, 4, seed=15)

    def value(ours: Tensor, theirs: Tensor) -> float:
        return float(terms.distillation(ours, theirs, head, head, rows=99, **TEMPERATURES))

    plain, permuted = (
        [torch.nn.functional.normalize(terms.object_centres(x, one)[0], dim=-1) for x in (student, teacher)]
        for one in (assignment, assignment[..., order])
    )
    assert value(*plain) == pytest.approx(value(*permuted), abs=EXACT)
    # and if only the student's centres were permuted the term would change: correspondence matters
    assert abs(value(permuted[0], plain[1]) - value(*plain)) > 1e-3


def test_alignment_equals_plain_loops() -> None:
    first, second = rand(5, 4, seed=17), rand(5, 4, seed=18)
    both = torch.tensor([True, True, False, True, True])
    value = terms.alignment(first, second, both, torch.tensor(9.0, dtype=torch.float64))
    there = [i for i in range(5) if both[i]]
    total = 0.0
    for a, b in ((first, second), (second, first)):
        for i in there:
            row = softmax([9.0 * dot(a[i], b[j]) / float(a[i].norm() * b[j].norm()) for j in there])
            total -= math.log(row[there.index(i)]) / len(there) / 2
    assert float(value) == pytest.approx(total, abs=EXACT)


@pytest.mark.parametrize("both", [[False, False], [True, False]])
def test_alignment_without_a_pair_is_zero_with_gradient(both: list[bool]) -> None:
    first = rand(2, 3).requires_grad_()
    value = terms.alignment(first, rand(2, 3), torch.tensor(both), torch.tensor(1.0, dtype=torch.float64))
    assert float(value.detach()) == 0.0
    value.backward()
    assert first.grad is not None
    assert (first.grad == 0).all()
