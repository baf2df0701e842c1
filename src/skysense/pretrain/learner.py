"""What learns, as one module: student, teacher and objective; and how it is spread over ranks."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator

import torch
from torch import nn

from skysense.geo import RegionTable
from skysense.model.align import UpSamplingHead
from skysense.model.assembly import SkySense
from skysense.model.blocks import Block
from skysense.model.config import preset
from skysense.model.drop_path import DropPath
from skysense.model.recompute import set_checkpointing
from skysense.model.swin import SwinBlock
from skysense.pretrain.batch import ViewBatch
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.objective import Branch, Objective, StepTerms
from skysense.train.parallel import compile_blocks, copied, fill, shard
from skysense.train.ranks import Ranks


class Learner(nn.Module):
    """Student, teacher and objective.

    The geo-context prototypes of student and teacher are the same tensors: they learn without gradient, and a teacher
    that follows in them has nothing to say.

    Args:
        student: at its beginning, where the teacher begins too.
        config: of the run.
        ranks: which have the places of a step among them.
    """

    def __init__(self, student: Branch, config: PretrainConfig, ranks: Ranks) -> None:
        super().__init__()
        self.student = student
        geo = student.model.geo
        self.teacher = copy.deepcopy(student, {} if geo is None else {id(geo): geo}).requires_grad_(False)
        for module in self.teacher.modules():
            if isinstance(module, DropPath):
                module.rate = 0  # the teacher is whole
        self.objective = _objective(student, config, ranks)

    def forward(self, views: ViewBatch, teacher_temperature: float, watch: bool) -> StepTerms:
        """One comparison; see `Objective`. The loss is multiplied by the number of ranks, which average gradients."""
        found = self.objective(views, self.student, self.teacher, teacher_temperature=teacher_temperature, watch=watch)
        return dataclasses.replace(found, loss=found.loss * self.objective.ranks.size)

    def blocks(self) -> Iterator[nn.Module]:
        """Where nearly all the weights are: what is gathered while it runs, where they are sharded."""
        for branch in (self.student, self.teacher):
            for module in branch.model.modules():
                if isinstance(module, Block | SwinBlock):
                    yield module
                elif isinstance(module, UpSamplingHead):
                    yield module.projection

    def heads(self) -> Iterator[nn.Module]:
        """DINO heads of both branches."""
        for branch in (self.student, self.teacher):
            yield from branch.heads.values()


def build(config: PretrainConfig, regions: RegionTable, ranks: Ranks) -> tuple[Learner, nn.Module]:
    """A learner at the beginning of a run, on its device and spread over the ranks.

    What is sharded never is whole on a device: it begins on the meta device, and gets its weights tensor by tensor from
    the first rank, which has those of the student in host memory. The numbers do not depend on the ranks.

    Returns:
        The learner, and what to call: itself, or DDP around it.
    """
    torch.manual_seed(config.seed)
    if ranks.size == 1 or config.parallel.strategy == "ddp":
        learner = Learner(_student(config, regions), config, ranks).to(ranks.device)
        _prepare(learner, config)
        return learner, copied(learner, ranks)
    student = _student(config, regions) if ranks.first else None
    objective = None if student is None else _objective(student, config, ranks)
    with torch.device("meta"):
        learner = Learner(_student(config, regions), config, ranks)
    _prepare(learner, config)
    shard(learner, learner.blocks(), learner.heads(), ranks, mixed=config.precision == "bfloat16")
    learner.to_empty(device=ranks.device)
    fill(learner.student, student, ranks)
    fill(learner.objective, objective, ranks)
    with torch.no_grad():
        for theirs, ours in zip(learner.teacher.parameters(), learner.student.parameters(), strict=True):
            theirs.copy_(ours)
    return learner, learner


def _student(config: PretrainConfig, regions: RegionTable) -> Branch:
    dimensions = preset(config.preset)
    geo = dataclasses.replace(dimensions.geo_context, region_rule=config.objective.region_rule)
    model = SkySense(dataclasses.replace(dimensions, geo_context=geo), regions=regions.cells)
    return Branch(model, config.objective)


def _objective(student: Branch, config: PretrainConfig, ranks: Ranks) -> Objective:
    return Objective(student, config.objective, ranks, mixed=config.precision == "bfloat16")


def _prepare(learner: Learner, config: PretrainConfig) -> None:
    set_checkpointing(learner.student, config.parallel.checkpointing)
    if config.parallel.compile:
        compile_blocks(learner)
