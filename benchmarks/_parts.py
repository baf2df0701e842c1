"""Where the time of a pre-training step goes: every moment belongs to one named part, forward and backward.

Modules and functions are watched while they run; the innermost one that is open owns the moment. The backward pass runs
operator by operator, and each belongs to the part whose forward pass made it (torch.profiler tells which). The
profiler itself takes time with every operator, so that parts of many small ones look a little larger than they are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from torch import nn
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from skysense.model.geocontext import GeoContext
from skysense.pretrain import objective, run, terms
from skysense.pretrain.batch import ViewBatch
from skysense.pretrain.heads import TeacherMemory
from skysense.pretrain.run import Run

MODEL = ("encoders", "fusion", "heads")
"""The parts that the rest is measured against."""
REST = "the step between them"
_MARK, _BACKWARD = "part: ", "autograd::engine::evaluate_function: "


def _modules(learner: Run) -> Iterator[tuple[nn.Module, str]]:
    for branch in (learner.student, learner.teacher):
        model = branch.model
        for encoder in (model.hr, model.s2, model.s1, model.align_s2, model.align_s1):
            yield encoder, "encoders"
        yield from ((entry, "normalising pixels") for entry in (model.entry_hr, model.entry_s2, model.entry_s1))
        yield from ((head, "heads") for head in branch.heads.values())
    yield from ((projection, "alignment") for projection in learner.objective.projections.values())


def _functions(learner: Run) -> Iterator[tuple[object, str, str]]:
    for branch in (learner.student, learner.teacher):
        fusion = branch.model.fusion
        yield from ((fusion, "_fused", "fusion"), (branch.model, "fuse", "sequences for fusion"))
    yield GeoContext, "forward", "geo-context"
    yield ViewBatch, "to", "colours"
    yield objective, "_common_features", "cells in common"
    yield objective, "_image_features", "pooling"
    yield terms, "pool", "pooling"
    yield terms, "object_assignment", "objects"
    yield terms, "object_centres", "objects"
    yield terms, "distillation", "assignment and cross entropy"
    yield terms, "alignment", "alignment"
    yield TeacherMemory, "add", "memories"
    yield Run, "_clip", "clipping"
    yield learner.optimiser, "step", "optimiser"
    yield run, "update_prototypes", "geo-context prototypes"
    yield run, "follow", "teacher's average"


def _marked(function: Callable[..., Any], part: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with record_function(_MARK + part):
            return function(*args, **kwargs)

    return call


@contextmanager
def _watched(learner: Run) -> Iterator[None]:
    """Let every part of a run say when it begins and ends."""
    with ExitStack() as stack:
        for module, part in _modules(learner):
            stack.enter_context(mock.patch.object(module, "forward", _marked(module.forward, part)))
        for owner, name, part in _functions(learner):
            stack.enter_context(mock.patch.object(owner, name, _marked(getattr(owner, name), part)))
        yield


def parts(learner: Run, step: Callable[[], object]) -> dict[str, float]:
    """Seconds of each part of a step, largest first; they sum to the seconds of the step.

    Args:
        learner: whose parts are watched.
        step: makes one step of it, on a CPU.
    """
    with _watched(learner), profile(activities=[ProfilerActivity.CPU]) as profiler, record_function(_MARK + REST):
        step()
    events = sorted(profiler.events() or [], key=lambda event: (event.time_range.start, -event.time_range.end))
    marks = [event for event in events if event.name.startswith(_MARK)]
    backward = _outermost([event for event in events if event.name.startswith(_BACKWARD)])
    makers = _makers(events, backward)
    intervals = [(mark.time_range.start, mark.time_range.end, mark.name.removeprefix(_MARK)) for mark in marks]
    owner_at = _owners(intervals)
    for event in backward:  # what has no number adds up the gradients of a weight
        part = owner_at(makers(event.sequence_nr)) if event.sequence_nr >= 0 else REST
        intervals.append((event.time_range.start, event.time_range.end, part))
    found: dict[str, float] = defaultdict(float)
    for begin, end, part in _moments(intervals):
        found[part] += (end - begin) / 1e6
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _outermost(events: list[FunctionEvent]) -> list[FunctionEvent]:
    """Without those that run inside of another, as those of a backward pass within a backward pass do."""
    found: list[FunctionEvent] = []
    for event in events:
        if not found or event.time_range.start >= found[-1].time_range.end:
            found.append(event)
    return found


def _makers(events: list[FunctionEvent], backward: list[FunctionEvent]) -> Callable[[int], float]:
    """When the operator began that a node of the backward pass belongs to, by the number that both bear.

    The number is that of the next node to be made: several operators bear it, and the last of them makes the node.
    """
    begin = backward[0].time_range.start
    made = {
        event.sequence_nr: event.time_range.start
        for event in events
        if event.sequence_nr >= 0 and event.time_range.start < begin
    }
    numbers = sorted(made)

    def when(number: int) -> float:
        at = bisect_right(numbers, number) - 1
        return made[numbers[max(at, 0)]]

    return when


Interval = tuple[float, float, str]


def _moments(intervals: list[Interval]) -> list[Interval]:
    """Nested intervals as consecutive ones, each with the innermost name."""
    found: list[Interval] = []
    open_: list[Interval] = []
    at = 0.0

    def until(time: float) -> None:
        nonlocal at
        if open_ and time > at:
            found.append((at, time, open_[-1][2]))
        at = max(at, time)

    for interval in sorted(intervals, key=lambda one: (one[0], -one[1])):
        while open_ and open_[-1][1] <= interval[0]:
            until(open_[-1][1])
            open_.pop()
        until(interval[0])
        open_.append(interval)
    while open_:
        until(open_[-1][1])
        open_.pop()
    return found


def _owners(intervals: list[Interval]) -> Callable[[float], str]:
    """Whose a time is."""
    moments = _moments(intervals)
    begins = [begin for begin, _, _ in moments]
    return lambda time: moments[max(bisect_right(begins, time) - 1, 0)][2]
