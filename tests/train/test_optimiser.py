"""Which parameters decay, and what the teacher becomes."""

from __future__ import annotations

import torch
from torch import nn

from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.train.optimiser import adamw, follow


def test_matrices_decay_and_nothing_else() -> None:
    model = SkySense(preset("tiny"))
    decayed, free = adamw([model], weight_decay=0.05, betas=(0.9, 0.95)).param_groups
    assert decayed["weight_decay"] == 0.05
    assert free["weight_decay"] == 0.0
    assert decayed["betas"] == free["betas"] == (0.9, 0.95)
    ids = {id(parameter) for parameter in decayed["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in ids}
    assert names == {name for name, p in model.named_parameters() if p.ndim >= 2 and name.endswith(".weight")}
    for name in ("dates.table", "s2.position", "fusion.cls_token"):
        assert name in dict(model.named_parameters())
        assert name not in names
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


def test_the_teacher_follows_parameters_and_copies_buffers() -> None:
    student, teacher = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    with torch.no_grad():
        student.weight.fill_(3.0)
        student.running_mean.fill_(7.0)
    follow(teacher, student, 0.9)
    assert torch.allclose(teacher.weight, torch.full((3,), 0.9 * 1.0 + 0.1 * 3.0))
    assert torch.equal(teacher.running_mean, student.running_mean)
    assert torch.equal(student.weight, torch.full((3,), 3.0))
