"""The optional masked-token term: off it changes nothing, on it equals plain loops over views, cells and prototypes."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from skysense.data.earth import simulate, simulate_place
from skysense.data.places import Places
from skysense.errors import ConfigError
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.observation import Sample
from skysense.pretrain.batch import ViewBatch, make_batch
from skysense.pretrain.config import ObjectiveConfig, PretrainConfig, ViewConfig
from skysense.pretrain.journal import read
from skysense.pretrain.loop import pretrain
from skysense.pretrain.objective import Branch, Objective
from tests.pretrain.test_loop import Stop, saved, stop_after
from tests.pretrain.test_terms import dot, slow_sinkhorn, softmax

SIDE = 4
VIEWS = ViewConfig(global_cells=SIDE, local_crops=1, s2_frames=2, s1_frames=1)
OFF = ObjectiveConfig(pixel_cells=5, object_clusters=3, head_hidden=16, head_bottleneck=8, head_prototypes=12)
ON = replace(OFF, masked=0.5, masked_views=1.0, alpha=0.8)
TEMPERATURE = 0.05

Step = tuple[ViewBatch, Branch, Branch, Objective]


def places() -> list[Sample]:
    """Three: one has a hole in its image, one has no image."""
    samples = [simulate_place(0, index, footprint_cells=8).sample for index in range(3)]
    samples[0].series["hr"].valid[:, :, 128:] = False
    samples[1] = samples[1].only(["s2", "s1"])
    return samples


def views_of(samples: list[Sample], objective: ObjectiveConfig | None, first: int = 0) -> ViewBatch:
    rngs = [np.random.default_rng(first + n) for n in range(len(samples))]
    return make_batch(samples, rngs, VIEWS, objective).to("cpu")


@pytest.fixture(scope="module")
def step() -> Step:
    torch.manual_seed(0)
    student = Branch(SkySense(preset("tiny")), ON).double()
    teacher = copy.deepcopy(student).requires_grad_(False)
    for parameter in teacher.parameters():
        parameter.add_(0.01 * torch.randn_like(parameter))
    return views_of(places(), ON), student, teacher, Objective(student, ON).double()


def terms_of(step: Step) -> dict[str, Tensor]:
    views, student, teacher, objective = step
    with torch.no_grad():
        return objective(views, student, teacher, teacher_temperature=TEMPERATURE).terms


def slow_masked(step: Step) -> tuple[float, int]:
    """The term and the number of cells in it; the student's embeddings are replaced by hand, patch by patch."""
    views, student, teacher, objective = step
    hidden, frames = views.hidden, views.globals.frames["hr"]
    token = objective.mask_token
    assert hidden is not None and token is not None
    with_image = [row for row in range(len(hidden)) if frames.present_BT[row, 0]]

    def cover(_module: object, _args: object, patches: Tensor) -> Tensor:
        assert len(patches) == len(with_image)
        patches = patches.clone()
        for n, row in enumerate(with_image):
            for r in range(8 * SIDE):
                for c in range(8 * SIDE):
                    if hidden[row, r // 8, c // 8]:
                        patches[n, r, c] = token
        return patches

    handle = student.model.hr.patch_embed.register_forward_hook(cover)
    ours = student.model(views.globals).frames["hr"].values_NDhw
    handle.remove()
    theirs = teacher.model(views.globals).frames["hr"].values_NDhw
    rows: list[tuple[Tensor, Tensor]] = []
    for n, row in enumerate(with_image):
        for r in range(SIDE):
            for c in range(SIDE):
                pixels = frames.valid_BTHW[row, 0, 32 * r : 32 * r + 32, 32 * c : 32 * c + 32]
                if hidden[row, r, c] and int(pixels.sum()) >= 32 * 32 / 2:
                    rows.append((ours[n, :, r, c], theirs[n, :, r, c]))
    head, goal = student.heads["hr"], teacher.heads["hr"]
    goals = [goal(t[None]) for _, t in rows]
    scores = torch.tensor([[dot(vectors[0], w) for w in weight] for vectors, weight in goals], dtype=torch.float64)
    total = 0.0
    for (s, _), target in zip(rows, slow_sinkhorn(scores, TEMPERATURE, ON.sinkhorn_iterations), strict=True):
        vectors, weight = head(s[None])
        seen = softmax([dot(vectors[0], w) / ON.student_temperature for w in weight])
        total -= sum(q * math.log(p) for q, p in zip(target, seen, strict=True))
    return total / len(rows), len(rows)


def test_the_term_equals_plain_loops(step: Step) -> None:
    with torch.no_grad():
        expected, count = slow_masked(step)
    hidden = step[0].hidden
    assert hidden is not None
    assert 0 < count < int(hidden.sum())  # some hidden cells have no pixel, and do not count
    assert float(terms_of(step)["masked/hr"]) == pytest.approx(expected, abs=1e-9)
    single = (step[0], *(copy.deepcopy(module).float() for module in step[1:]))
    assert float(terms_of(single)["masked/hr"]) == pytest.approx(expected, rel=1e-5)


def test_it_joins_the_loss_with_its_weight(step: Step) -> None:
    views, student, teacher, objective = step
    with torch.no_grad():
        result = objective(views, student, teacher, teacher_temperature=TEMPERATURE)
    weights = {"masked": 0.8 * 0.5, "align": 1.0}
    expected = sum(weights.get(key.split("/")[0], 0.8) * float(value) for key, value in result.terms.items())
    assert float(result.loss) == pytest.approx(expected, abs=1e-9)


def test_the_student_alone_is_masked(step: Step) -> None:
    _, student, teacher, _ = step
    changed: dict[str, Tensor] = {}
    handles = []
    for name, branch in (("student", student), ("teacher", teacher)):
        patches: list[Tensor] = []
        stages = branch.model.hr.stages

        def keep(_m: object, _a: object, out: Tensor, patches: list[Tensor] = patches) -> None:
            patches.append(out)

        def compare(_m: object, args: tuple[Tensor], patches: list[Tensor] = patches, name: str = name) -> None:
            changed.setdefault(name, (args[0][0] != patches[-1]).any(-1))  # the first call is that of the global views

        handles += [
            branch.model.hr.patch_embed.register_forward_hook(keep),
            stages[0].register_forward_pre_hook(compare),
        ]
    terms_of(step)
    for handle in handles:
        handle.remove()
    assert changed["student"].any()
    assert not changed["teacher"].any()


def test_off_nothing_is_drawn_and_nothing_is_kept() -> None:
    states = []
    for objective in (None, OFF, ON):
        rng = np.random.default_rng(3)
        views = make_batch([places()[2]], [rng], VIEWS, objective)
        assert (views.hidden is None) == (objective is not ON)
        states.append((rng.bit_generator.state, views))
    (none, plain), (off, without), (on, masked) = states
    assert none == off
    assert off != on
    for one in (without, masked):  # what is hidden is drawn last
        assert torch.equal(one.student_cells, plain.student_cells)
        assert torch.equal(one.globals.frames["hr"].values_BTCHW, plain.globals.frames["hr"].values_BTCHW)
        assert one.looks == plain.looks
    branch = Branch(SkySense(preset("tiny")), OFF)
    keys = [set(Objective(branch, config).state_dict()) for config in (OFF, ON)]
    assert keys[1] - keys[0] == {"mask_token", "memories.hr_masked.vectors_ME", "memories.hr_masked.seen"}
    assert not any("mask" in key for key in keys[0] | set(branch.state_dict()))


def test_with_nothing_hidden_the_other_terms_are_the_same_bits(step: Step) -> None:
    views, student, teacher, objective = step
    assert views.hidden is not None
    plain = Objective(student, OFF).double()
    plain.load_state_dict(objective.state_dict(), strict=False)
    expected = terms_of((replace(views, hidden=None), student, teacher, plain))
    found = terms_of((replace(views, hidden=torch.zeros_like(views.hidden)), student, teacher, objective))
    assert float(found.pop("masked/hr")) == 0
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)


def test_the_token_learns(step: Step) -> None:
    views, student, teacher, objective = (copy.deepcopy(part) for part in step)
    objective.config = replace(ON, pixel=0, object=0, image=0, beta=0)
    objective(views, student, teacher, teacher_temperature=TEMPERATURE).loss.backward()
    assert objective.mask_token is not None and objective.mask_token.grad is not None
    assert 0 < float(objective.mask_token.grad.norm()) < 10
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_invalid_cells_do_not_count(step: Step) -> None:
    views = copy.deepcopy(step[0])
    assert views.hidden is not None
    pixels = views.hidden.repeat_interleave(32, 1).repeat_interleave(32, 2)
    views.globals.frames["hr"].valid_BTHW &= ~pixels[:, None]
    assert float(terms_of((views, *step[1:]))["masked/hr"]) == 0


def test_a_batch_without_an_image_gives_zero(step: Step) -> None:
    views = views_of([sample.only(["s2", "s1"]) for sample in places()], ON)
    _, student, teacher, objective = (copy.deepcopy(part) for part in step)
    result = objective(views, student, teacher, teacher_temperature=TEMPERATURE)
    assert float(result.terms["masked/hr"]) == 0
    result.loss.backward()
    assert objective.mask_token is not None and objective.mask_token.grad is not None
    assert not objective.mask_token.grad.any()


def test_what_is_hidden_does_not_depend_on_the_neighbours() -> None:
    sample = places()[2]
    half = replace(ON, masked_views=0.5)
    together = views_of([sample] * 12, half).hidden
    assert together is not None
    for n in range(12):
        alone = views_of([sample], half, first=n).hidden
        assert alone is not None
        assert torch.equal(alone, together[[2 * n, 2 * n + 1]])
    counts = together.sum((1, 2)).tolist()
    assert set(counts) == {0, round(0.3 * SIDE**2)}
    assert 4 < counts.count(0) < 20
    shown = together[together.any(2).any(1)]
    assert len(shown.unique(dim=0)) > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"masked": -1}, "negative"),
        ({"masked_share": 0}, "masked_share"),
        ({"masked_share": 1}, "masked_share"),
        ({"masked_views": 0}, "masked_views"),
        ({"masked_views": 1.5}, "masked_views"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ObjectiveConfig(**settings)  # type: ignore[arg-type]


def test_a_run_with_it_learns_the_token_resumes_and_saves_a_plain_model(tmp_path: Path) -> None:
    simulate(tmp_path / "earth", regions=2, places_per_region=2, footprint_cells=8, split={"train": 1.0})
    objective = replace(ON, memory_rows=20)
    config = PretrainConfig(steps=4, batch_size=2, views=VIEWS, objective=objective, checkpoint_every=2, watch_every=2)
    whole = pretrain(config, Places(tmp_path / "earth"), tmp_path / "whole", device="cpu")
    with pytest.raises(Stop):
        pretrain(config, Places(tmp_path / "earth"), tmp_path / "parts", device="cpu", on_step=stop_after(2))
    rest = pretrain(config, Places(tmp_path / "earth"), tmp_path / "parts", device="cpu")
    assert rest.resumed_from == 2
    before, after, again = (
        saved(tmp_path / run, step)["tensors"] for run, step in (("whole", 2), ("whole", 4), ("parts", 4))
    )
    token = "learner.objective.mask_token"
    assert not torch.equal(before[token], after[token])
    assert all(torch.equal(after[key], again[key]) for key in after)
    rows = read(tmp_path / "whole" / "log.jsonl")
    assert all(row["masked/hr"] > 0 for row in rows)
    assert "prototype_entropy/hr_masked" in rows[0]
    with safe_open(whole.model, "pt") as one, safe_open(rest.model, "pt") as two:
        assert set(one.keys()) >= set(SkySense(preset("tiny")).state_dict())
        assert not any("mask" in key for key in one.keys())  # noqa: SIM118
        assert all(torch.equal(one.get_tensor(key), two.get_tensor(key)) for key in one.keys())  # noqa: SIM118
