"""What it costs to learn together: two processes as one run, against two runs that know nothing of each other.

Weak scaling: two ranks (gloo, one CPU thread each) share every step, with so many places each, by DDP or FSDP2. Beside
it the same two processes make steps of runs of their own, at the same time, with as many places each: so both share
the memory of the machine alike, and what is left is what the ranks tell each other and wait for each other. Rounds of
both are made in turns. Printed are the ratios of the throughput by the clock, and of the processor time that they take,
which leaves out waiting: it is what remains to be said where other programs run, since whatever delays one of the ranks
delays both.

Checkpoint stall: how long `skysense.train.checkpoints.Checkpoints.save` holds the loop, and how much slower steps are
while it writes, as shares of the time between two checkpoints at the default of `checkpoint_every`.

Run: ``python benchmarks/ranks.py``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from _processes import SIZE, together
from _runs import prepared, simulate, told, without_drop_path

from skysense.demo import DEMO
from skysense.model.config import PRESETS
from skysense.pretrain.batch import ViewBatch
from skysense.pretrain.config import ParallelConfig, PretrainConfig
from skysense.pretrain.run import Run
from skysense.train.checkpoints import Checkpoints
from skysense.train.ranks import open_ranks
from skysense.train.together import Together

CHECKPOINT_EVERY = PretrainConfig().checkpoint_every
SAVES = 5


Seconds = tuple[float, float]
"""Of the clock, and of the processor for all threads of a process."""


def cost(run: Run, views: ViewBatch, steps: int) -> Seconds:
    """Of some steps; both processes begin together."""
    dist.barrier()
    clock, processor = time.perf_counter(), time.process_time()
    for _ in range(steps):
        run.advance(views)
    return time.perf_counter() - clock, time.process_time() - processor


def scaling(config: PretrainConfig, rounds: int, steps: int) -> list[tuple[Seconds, Seconds]]:
    """In every rank: per round the cost of the common run, and of the own one."""
    with open_ranks("cpu") as ranks:
        samples, regions = simulate(config.batch_size, 2 * config.views.global_cells)
        own = samples[ranks.rank :: ranks.size]
        views = prepared(own, config, 0)
        common = Run(config, regions, Together(ranks))
        apart = Run(replace(config, batch_size=len(own)), regions)
        found = []
        for number in range(rounds + 1):  # the first one warms up; who begins alternates
            at = {run: cost(run, views, steps) for run in ((common, apart) if number % 2 else (apart, common))}
            if number:
                found.append((at[common], at[apart]))
        return found


def stall(config: PretrainConfig, folder: Path) -> tuple[list[float], list[float], list[float]]:
    """Seconds that saves hold the loop, of steps while a checkpoint is written, and of the others."""
    samples, regions = simulate(config.batch_size, 2 * config.views.global_cells)
    views = prepared(samples, config, 0)
    run = Run(config, regions)
    without_drop_path(run.learner)
    run.advance(views)
    held, during, between = [], [], []

    def step() -> float:
        began = time.perf_counter()
        run.advance(views)
        return time.perf_counter() - began

    with Checkpoints(folder, config.keep) as checkpoints:
        for _ in range(SAVES):
            began = time.perf_counter()
            checkpoints.save(run.step, run.tensors(), {"numbers": run.numbers()})
            held.append(time.perf_counter() - began)
            during.append(step())
            checkpoints.wait()
            between.append(step())
    return held, during, between


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preset", choices=sorted(PRESETS), default=DEMO.preset)
    parser.add_argument("--batch-size", type=int, default=DEMO.batch_size, help="places of a rank")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="of a round")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = replace(DEMO, preset=args.preset, watch_every=DEMO.steps)
    print(f"{args.preset}, {SIZE} processes of 1 thread, {args.batch_size} places each, float32")
    for strategy in ("ddp", "fsdp"):
        many = replace(config, batch_size=SIZE * args.batch_size, parallel=ParallelConfig(strategy=strategy))
        by_rank = together(scaling, many, args.rounds, args.steps)
        clock, processor = [], []
        for of_round in zip(*by_rank, strict=True):
            throughput = SIZE / max(common[0] for common, _ in of_round)
            clock.append(throughput / sum(1 / apart[0] for _, apart in of_round))
            processor.append(sum(apart[1] for _, apart in of_round) / sum(common[1] for common, _ in of_round))
        middle = statistics.median(common[0] / args.steps for rank in by_rank for common, _ in rank)
        print(
            f"{strategy} / runs apart: throughput by the clock {told(clock)}, {middle:.2f} s a step; by processor time "
            f"{told(processor)}",
            flush=True,
        )
    with tempfile.TemporaryDirectory() as folder:
        held, during, between = stall(replace(config, batch_size=args.batch_size), Path(folder))
    interval = CHECKPOINT_EVERY * statistics.median(between)
    first, *later = held
    slower = statistics.median(during) - statistics.median(between)
    print(
        f"a save holds the loop for {statistics.median(later) * 1e3:.1f} ms (the first, which takes its memory, "
        f"{first * 1e3:.1f} ms): {statistics.median(later) / interval:.4%} of {CHECKPOINT_EVERY} steps; the step while "
        f"it writes takes {slower:+.3f} s, {slower / interval:+.2%}"
    )


if __name__ == "__main__":
    main()
