"""How much faster one step of pre-training is than the form that is written first: one ratio, at equal weights.

Both sides make the same step of the same weights on the same views of the same simulated places:

* plain: `_plain_step.py`, every part by itself, padded and masked; its first lines say what makes it slow;
* package: `skysense.pretrain.run.Run.advance`.

Before anything is timed, loss, every term, gradients, and all weights after the step are compared in float64, from
views whose colours are changed; the loss of every timed step, colours and all, is compared again. Both sides are then
timed in float32, in turns, each turn from the same state; reading and cutting the views is left out of both. The median
of the ratios of the turns is printed.

In a pass of its own the package's step is then taken apart (`_parts.py`): what share of it is spent outside encoders,
fusion and heads, and on what.

On a machine that others use too, the clock is noisy; processor time is less so.

Run: ``python benchmarks/pretrain_step.py`` (``--help`` lists sizes, presets and devices).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from _ceiling import ceilings, operations, share
from _parts import MODEL, parts
from _plain_step import PlainRun
from _runs import go_to, prepared, simulate, state_of, without_drop_path
from torch import Tensor

from skysense.demo import DEMO
from skysense.geo import RegionTable
from skysense.model.config import PRESETS
from skysense.pretrain.batch import ViewBatch
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.run import Run
from skysense.pretrain.views import Look
from skysense.train.ranks import Ranks
from skysense.train.together import Together

EXACT, CLOSE = 1e-9, 1e-4
"""Largest relative differences: of everything in float64, and of the loss in float32."""


def begin(
    config: PretrainConfig, regions: RegionTable, first: ViewBatch, device: str, dtype: torch.dtype
) -> tuple[PlainRun, Run]:
    """Two runs at the same state: one step was made, so that prototypes are learned and moments filled."""
    plain, package = (kind(config, regions, Together(Ranks(device=torch.device(device)))) for kind in (PlainRun, Run))
    for run in (plain, package):
        without_drop_path(run.learner.to(dtype))  # the two sides would draw different numbers
    package.advance(first)
    package.step = config.steps // 2  # the last layers of the heads are free, and the learning rate is not small
    go_to(plain, state_of(package))
    return plain, package


def coloured(views: ViewBatch) -> ViewBatch:
    """Views whose colours are changed already, in float32: rounding there depends on how many images run at once."""
    same = Look(brightness=1, contrast=1, saturation=1, blur=0, solarise_from=None)
    return replace(views.to(views.common.device), looks=[[same] * len(looks) for looks in views.looks])


def difference(one: Tensor, two: Tensor, floor: float = 0.0) -> float:
    """Largest difference as a share of the largest number, or of ``floor`` if that is more."""
    if not one.numel():
        return 0.0
    scale = max(float(one.abs().max()), floor, torch.finfo(torch.float32).tiny)
    return float((one - two).abs().max()) / scale


def check(plain: PlainRun, run: Run, views: ViewBatch) -> dict[str, float]:
    """Make one step of both and compare; returns the largest relative difference of values, gradients and weights.

    Raises:
        SystemExit: one is more than `EXACT`, or one side has a term or a gradient that the other has not.
    """
    theirs, ours = plain.advance(views), run.advance(views)
    if unknown := (theirs.keys() ^ ours.keys()) - {"learning_rate", "geo_entropy", "geo_revived", "skipped"}:
        raise SystemExit(f"only one side has {', '.join(sorted(unknown))}")
    found = {"loss and terms": max(abs(theirs[key] - ours[key]) / max(abs(ours[key]), 1e-6) for key in theirs)}
    gradients, weights = [0.0], [0.0]
    for name in ("student", "objective", "teacher"):
        mine, other = getattr(run, name), getattr(plain, name)
        for (key, one), two in zip(mine.named_parameters(), other.parameters(), strict=True):
            if (one.grad is None) != (two.grad is None):
                raise SystemExit(f"only one side has a gradient of {name}.{key}")
            if one.grad is not None and two.grad is not None:
                # some are zero but for rounding; all together are clipped to a norm of a few units
                gradients.append(difference(one.grad, two.grad, floor=1e-6))
        for one, two in zip(mine.state_dict().values(), other.state_dict().values(), strict=True):
            weights.append(difference(one.double(), two.double(), floor=1e-6))
    found |= {"gradients": max(gradients), "weights after the step": max(weights)}
    if wrong := [f"{what} differ by {share:.1e}" for what, share in found.items() if not share <= EXACT]:
        raise SystemExit(f"the two sides do not make the same step: {', '.join(wrong)} (allowed: {EXACT:.0e})")
    return found


def cost(job: Callable[[], dict[str, float]], cuda: bool) -> tuple[float, float, float]:
    """Seconds on the clock, seconds of processor time of all threads, and the loss of the step."""
    clock, processor = time.perf_counter(), time.process_time()
    loss = job()["loss"]
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - clock, time.process_time() - processor, loss


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preset", choices=sorted(PRESETS), default=DEMO.preset)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=DEMO.batch_size, help="places")
    parser.add_argument("--view-cells", type=int, default=DEMO.views.global_cells, help="a multiple of 4")
    parser.add_argument(
        "--frames", type=int, nargs=2, default=(DEMO.views.s2_frames, DEMO.views.s1_frames), metavar=("S2", "S1")
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="on a CPU")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = replace(
        DEMO,
        preset=args.preset,
        batch_size=args.batch_size,
        views=replace(DEMO.views, global_cells=args.view_cells, s2_frames=args.frames[0], s1_frames=args.frames[1]),
        watch_every=DEMO.steps,  # looks at collapse are no part of the step
    )
    samples, regions = simulate(args.batch_size, 2 * args.view_cells)
    first, views = (prepared(samples, config, epoch, args.device) for epoch in range(2))
    differences = check(*begin(config, regions, first, args.device, torch.float64), coloured(views))
    print("float64, largest relative difference: " + ", ".join(f"{key} {it:.1e}" for key, it in differences.items()))
    sides = begin(config, regions, first, args.device, torch.float32)
    state = state_of(sides[1])
    rounds = []
    for number in range(args.rounds + 1):  # the first one warms up; who begins alternates
        measured = {}
        for at in (0, 1) if number % 2 else (1, 0):
            go_to(sides[at], state)
            measured[at] = cost(partial(sides[at].advance, views), torch.device(args.device).type == "cuda")
        losses = [measured[at][2] for at in range(2)]
        if abs(losses[0] - losses[1]) > CLOSE * abs(losses[1]):
            raise SystemExit(f"the losses differ in float32: plain {losses[0]}, package {losses[1]}")
        if number:
            rounds.append((measured[0], measured[1]))
            plain, package = (f"{clock:.3f} s ({processor:.3f})" for clock, processor, _ in rounds[-1])
            print(f"round {number}: plain {plain}, package {package} a step (processor time)")
    size = f"{args.batch_size} places, views of {args.view_cells} cells, {args.frames[0]} + {args.frames[1]} frames"
    print(f"{args.preset} on {args.device}, {args.threads} threads, {size}, float32")
    middle = statistics.median(fast[0] for _, fast in rounds)
    work = operations(partial(sides[1].advance, views))
    print(f"package: {share(work, middle, ceilings(args.device))}")
    for at, name in enumerate(("clock", "processor time")):
        ratios = [slow[at] / fast[at] for slow, fast in rounds]
        median, spread = statistics.median(ratios), f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"plain / package, median of {len(rounds)} paired rounds by {name}: {median:.2f} ({spread})")
    if args.device == "cpu":
        tell_parts([parts(sides[1], partial(sides[1].advance, views)) for _ in range(3)])


def tell_parts(passes: Sequence[Mapping[str, float]]) -> None:
    """Print which share of a step each part takes, the median of some passes."""
    shares = [{part: seconds / sum(found.values()) for part, seconds in found.items()} for found in passes]
    middle = {part: statistics.median(found.get(part, 0.0) for found in shares) for part in shares[0]}
    outside = [1 - sum(found[part] for part in MODEL) for found in shares]
    low, high = min(outside), max(outside)
    print(f"outside {', '.join(MODEL)}: {statistics.median(outside):.1%} of the step ({low:.1%} to {high:.1%})")
    for part, its in sorted(middle.items(), key=lambda item: -item[1]):
        print(f"  {its:6.1%} {part}")


if __name__ == "__main__":
    main()
