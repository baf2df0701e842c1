"""What each switch for speed gains by itself: the package's step with one thing at a time in its slow form.

The slow forms are written here and put in the place of the package's:

* AdamW as a loop over the parameters, instead of the fused one;
* the teacher's moving average parameter by parameter, instead of one call for all;
* one forward pass for each view and each local crop, instead of one for all global views and one for all crops;
* a teacher that keeps what a backward pass would need, instead of running without autograd;
* relative-position bias and mask of every window written out for all samples and heads, instead of added as they are;
* fusion and encoders run a batch as a whole, instead of in pieces that stay in the cache of a CPU.

Steps of either form are timed in turns, each from the same state, and must have the same loss. Printed are medians of
the ratios of processor time. AdamW and the moving average are also timed alone: they take less than a hundredth of a
step, so that nothing of them is seen in the ratio of whole steps.

Run: ``OMP_NUM_THREADS=1 python benchmarks/switches.py``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from unittest import mock

import torch
from _runs import State, go_to, prepared, simulate, state_of, told, without_drop_path
from torch import Tensor, nn

from skysense.demo import DEMO
from skysense.model import blocks, swin
from skysense.model.assembly import Features, FrameFeatures, SkySense
from skysense.model.config import PRESETS
from skysense.observation import Batch, Frames
from skysense.pretrain import run as run_module
from skysense.pretrain.batch import ViewBatch
from skysense.pretrain.run import Run
from skysense.sensors import Modality

CLOSE = 1e-4
Slow = Callable[[Run], AbstractContextManager[object]]
Measured = tuple[float, float]
Turns = list[tuple[Measured, Measured]]


@contextmanager
def looped_adamw(run: Run) -> Iterator[None]:
    """One parameter after the other."""
    groups = run.optimiser.param_groups
    before = [(group["fused"], group["foreach"]) for group in groups]
    for group in groups:
        group.update(fused=False, foreach=False)
    yield
    for group, (fused, foreach) in zip(groups, before, strict=True):
        group.update(fused=fused, foreach=foreach)


@torch.no_grad()
def _follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    for theirs, ours in zip(teacher.parameters(), student.parameters(), strict=True):
        theirs.mul_(momentum).add_(ours, alpha=1 - momentum)


def looped_average(run: Run) -> AbstractContextManager[object]:
    """One parameter after the other."""
    return mock.patch.object(run_module, "follow", _follow)


@contextmanager
def view_by_view(run: Run) -> Iterator[None]:
    """One forward pass per view or crop of every place; what was seen is put together again."""
    with ExitStack() as stack:
        for branch in (run.student, run.teacher):
            stack.enter_context(mock.patch.object(branch.model, "forward", _in_views(branch.model)))
        yield


def _in_views(model: SkySense) -> Callable[..., Features]:
    forward = model.forward

    def see(batch: Batch, hidden: None = None) -> Features:
        names = list(batch.names)
        views = batch.size // len(dict.fromkeys(names))
        return _together([forward(_rows(batch, slice(view, None, views))) for view in range(views)])

    return see


def _rows(batch: Batch, rows: slice) -> Batch:
    frames = {key: Frames(*(tensor[rows] for tensor in vars(one).values())) for key, one in batch.frames.items()}
    return Batch(frames, batch.region_B[rows], batch.names[rows])


def _together(seen: list[Features]) -> Features:
    """Features of views as those of a batch that has the views of a place side by side."""
    views = len(seen)

    def side_by_side(tensors: list[Tensor]) -> Tensor:
        return torch.stack(tensors, dim=1).flatten(0, 1)

    frames: dict[Modality, FrameFeatures] = {}
    for key in seen[0].frames:
        parts = [one.frames[key] for one in seen]
        frames[key] = FrameFeatures(
            torch.cat([part.values_NDhw for part in parts]),
            torch.cat([part.sample_N * views + view for view, part in enumerate(parts)]),
            torch.cat([part.time_N for part in parts]),
            torch.cat([part.day_N for part in parts]),
            torch.cat([part.valid_Nhw for part in parts]),
        )
    contexts = [one.context_BDhw for one in seen if one.context_BDhw is not None]
    return Features(
        frames,
        side_by_side([one.fused_BDhw for one in seen]),
        side_by_side([one.occupied_Bhw for one in seen]),
        side_by_side(contexts) if contexts else None,
    )


@contextmanager
def teacher_with_autograd(run: Run) -> Iterator[None]:
    """Its features are detached only when they are there."""
    model = run.teacher.model
    forward = model.forward

    def see(batch: Batch) -> Features:
        with torch.enable_grad():
            found = forward(batch)
        frames = {key: replace(one, values_NDhw=one.values_NDhw.detach()) for key, one in found.frames.items()}
        context = None if found.context_BDhw is None else found.context_BDhw.detach()
        return Features(frames, found.fused_BDhw.detach(), found.occupied_Bhw, context)

    model.requires_grad_(True)
    with mock.patch.object(model, "forward", see):
        yield
    model.requires_grad_(False)


def _written_out(q: Tensor, k: Tensor, v: Tensor, bias_hLL: Tensor, mask_WLL: Tensor | None) -> Tensor:
    logits = q @ k.transpose(-2, -1)
    logits = logits + bias_hLL.expand_as(logits).contiguous()
    if mask_WLL is not None:
        logits = logits + mask_WLL[:, None].expand_as(logits).contiguous()
    return logits.softmax(dim=-1) @ v


def expanded_masks(run: Run) -> AbstractContextManager[object]:
    """As large as the logits."""
    return mock.patch.object(swin, "window_attention", _written_out)


def whole_batches(run: Run) -> AbstractContextManager[object]:
    """No piece is small enough to be split off."""
    return mock.patch.object(blocks, "_CPU_NUMBERS", sys.maxsize)


SLOW: dict[str, tuple[str, Slow]] = {
    "adamw": ("fused AdamW", looped_adamw),
    "average": ("moving average in one call", looped_average),
    "packed": ("one forward for all views, one for all crops", view_by_view),
    "teacher": ("teacher without autograd", teacher_with_autograd),
    "masks": ("bias and mask broadcast", expanded_masks),
    "pieces": ("pieces that stay in the cache", whole_batches),
}


ALONE: list[Slow] = [looped_adamw, looped_average]


def step(run: Run, state: State, views: ViewBatch, slow: AbstractContextManager[object]) -> tuple[float, float]:
    """Seconds of the processor and loss of a step from a state."""
    go_to(run, state)
    with slow:
        began = time.process_time()
        loss = run.advance(views)["loss"]
        return time.process_time() - began, loss


def alone(run: Run, slow: AbstractContextManager[object]) -> tuple[float, float]:
    """Seconds of the processor for the optimiser and of the teacher's average, with the gradients that are there."""
    with slow:
        times = [time.process_time()]
        run.optimiser.step()
        times.append(time.process_time())
        run_module.follow(run.teacher, run.student, 0.99)
        times.append(time.process_time())
    return times[1] - times[0], times[2] - times[1]


def turns(measure: Callable[[AbstractContextManager[object]], Measured], run: Run, slow: Slow, rounds: int) -> Turns:
    """What was measured in the slow form and in the package's, in turns; the first one warms up."""
    found = []
    for number in range(rounds + 1):
        at = {form: measure(slow(run) if form else nullcontext()) for form in ((0, 1) if number % 2 else (1, 0))}
        found.append((at[1], at[0]))
    return found[1:]


def main() -> None:
    """Measure every switch and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preset", choices=sorted(PRESETS), default=DEMO.preset)
    parser.add_argument("--batch-size", type=int, default=DEMO.batch_size, help="places")
    parser.add_argument("--crops", type=int, default=4, help="local crops of a place")
    parser.add_argument("--what", nargs="+", default=list(SLOW), choices=list(SLOW))
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    views = replace(DEMO.views, local_crops=args.crops)
    config = replace(DEMO, preset=args.preset, batch_size=args.batch_size, views=views, watch_every=DEMO.steps)
    samples, regions = simulate(args.batch_size, 2 * config.views.global_cells)
    first, batch = (prepared(samples, config, epoch) for epoch in range(2))
    run = Run(config, regions)
    without_drop_path(run.learner)
    run.advance(first)
    run.step = config.steps // 2
    state = state_of(run)
    print(f"{args.preset}, 1 thread, {args.batch_size} places, {args.crops} local crops, float32; slow / package")
    for name, slow in (SLOW[key] for key in args.what):
        found = turns(partial(step, run, state, batch), run, slow, args.rounds)
        for (_, one), (_, two) in found:
            if not abs(one - two) <= CLOSE * abs(two):
                raise SystemExit(f"{name}: the losses differ: {one} and {two}")
        print(f"{name}: {told([one[0] / two[0] for one, two in found])}", flush=True)
        if slow in ALONE:
            at = ALONE.index(slow)
            small = turns(partial(alone, run), run, slow, 10 * args.rounds)
            print(f"  alone: {told([one[at] / two[at] for one, two in small])}")


if __name__ == "__main__":
    main()
