"""Does the fast way learn what the slow way learns? Loss curves of whole runs, against what another seed changes.

The same small run is made several times, on simulated places:

* plain, with several seeds: `_plain_step.py`. Per step, the range of their smoothed losses is the envelope: what the
  seed changes. The curve nearest to their median is the middle one.
* package, with the seed of the middle curve: `skysense.pretrain.run.Run`, alone and on two processes (DDP). A curve on
  the rim of the envelope could say nothing: any rounding would carry half of its steps out.

Each of the package's curves begins as the plain one of the same seed does, and leaves it as rounding grows. Printed are
the largest distance between the two, and the furthest that the curve ever is outside of the envelope; both smoothed, as
shares of the median height of the envelope. A picture of all curves is drawn.

Run: ``OMP_NUM_THREADS=1 python benchmarks/parity.py`` (``--help`` lists the sizes).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _plain_step import PlainRun
from _processes import together
from _runs import simulate, without_drop_path
from numpy.typing import NDArray

from skysense.data.loader import Stream
from skysense.demo import DEMO
from skysense.geo import RegionTable
from skysense.observation import Sample
from skysense.pretrain.agree import even_out
from skysense.pretrain.batch import Drawn, ViewBatch, assemble, draw
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.run import Run
from skysense.train.ranks import ALONE, Ranks, open_ranks
from skysense.train.together import Together

SEEDS = (0, 1, 2, 3, 4)
SMOOTHED = 25
"""Steps that are averaged over; a batch of a few places makes the loss jump."""

Curve = NDArray[np.float64]
CONFIG = replace(
    DEMO,
    batch_size=4,
    views=replace(DEMO.views, global_cells=4, local_cells=4, s2_frames=3, s1_frames=2),
    objective=replace(DEMO.objective, memory_rows=256),
)


def losses(
    kind: type[Run],
    config: PretrainConfig,
    samples: Sequence[Sample],
    regions: RegionTable,
    ranks: Ranks = ALONE,
) -> list[float]:
    """The loss of every step of a run."""
    run = kind(config, regions, Together(ranks))
    without_drop_path(run.learner)  # the sides would draw different numbers
    sensors = {key: run.student.model.sensor_of(key) for key in run.student.model.modalities}
    stream: Stream[Drawn, ViewBatch] = Stream(
        samples.__getitem__,
        len(samples),
        batch_size=config.batch_size,
        seed=config.seed,
        draw=partial(draw, config=config.views),
        assemble=partial(assemble, config=config.views, objective=config.objective),
        rank=ranks.rank,
        ranks=ranks.size,
    )
    found = []
    with closing(stream.run(0, config.steps)) as batches:
        for _, batch in batches:
            views = even_out(batch, config, sensors, ranks)
            assert views is not None  # simulated places can all be used
            found.append(run.advance(views)["loss"])
    return found


def rank_losses(config: PretrainConfig, places: int) -> list[float]:
    """`losses` of the package as one of some processes."""
    samples, regions = simulate(places, 2 * config.views.global_cells)
    with open_ranks("cpu") as ranks:
        return losses(Run, config, samples, regions, ranks)


def smooth(losses: Sequence[float]) -> Curve:
    """Means of neighbouring steps."""
    width = min(SMOOTHED, len(losses))
    return np.convolve(losses, np.full(width, 1 / width), mode="valid")


def middle_of(plain: Sequence[Sequence[float]]) -> int:
    """Which curve is nearest to the median of all."""
    curves = np.stack([smooth(one) for one in plain])
    return int(np.abs(curves - np.median(curves, axis=0)).mean(1).argmin())


def compare(plain: Sequence[Curve], middle: int, package: Curve) -> tuple[float, float, float]:
    """How far the package's curve is from the plain one of its seed and from the envelope, and how often outside.

    Returns:
        The largest distance from the plain curve, the largest from the envelope, both as shares of its median height;
        and the share of steps that are outside.
    """
    low, high = np.min(plain, 0), np.max(plain, 0)
    height = float(np.median(high - low))
    outside = np.maximum(np.maximum(low - package, package - high), 0)
    distance = float(np.abs(package - plain[middle]).max())
    return distance / height, float(outside.max()) / height, float((outside > 0).mean())


def picture(path: Path, plain: Sequence[Sequence[float]], middle: int, package: dict[str, Sequence[float]]) -> None:
    """The envelope and the curves in it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    curves = [smooth(one) for one in plain]
    steps = np.arange(len(curves[0])) + (len(plain[0]) - len(curves[0])) / 2
    axes.fill_between(steps, np.min(curves, 0), np.max(curves, 0), color="#dce6f2", label="plain, range of the seeds")
    axes.plot(steps, curves[middle], color="#1f4e8c", linewidth=2.4, label="plain, same seed")
    for (name, losses), colour in zip(package.items(), ("#e08214", "#1b7837"), strict=True):
        axes.plot(steps, smooth(losses), color=colour, linewidth=1.0, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel(f"loss, mean of {SMOOTHED} steps")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run, compare, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--places", type=int, default=32)
    parser.add_argument("--picture", type=Path, default=Path("runs/parity.png"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = replace(CONFIG, steps=args.steps)
    samples, regions = simulate(args.places, 2 * config.views.global_cells)
    began = time.perf_counter()

    def tell(name: str, found: Sequence[float]) -> None:
        first, last = (np.mean(part) for part in (found[:SMOOTHED], found[-SMOOTHED:]))
        print(f"{name}: loss {first:.2f} -> {last:.2f} ({time.perf_counter() - began:.0f} s)", flush=True)

    plain = []
    for seed in SEEDS:
        plain.append(losses(PlainRun, replace(config, seed=seed), samples, regions))
        tell(f"plain, seed {seed}", plain[-1])
    middle = middle_of(plain)
    config = replace(config, seed=SEEDS[middle])
    package: dict[str, Sequence[float]] = {"package": losses(Run, config, samples, regions)}
    tell(f"package, seed {config.seed}", package["package"])
    package["package, two processes"] = together(rank_losses, config, args.places)[0]
    tell(f"package, two processes, seed {config.seed}", package["package, two processes"])
    picture(args.picture, plain, middle, package)
    size = f"{config.batch_size} places, views of {config.views.global_cells} cells"
    print(f"{config.preset}, {args.steps} steps of {size}; picture: {args.picture}")
    for name, found in package.items():
        first = abs(found[0] - plain[middle][0]) / plain[middle][0]
        distance, outside, share = compare([smooth(one) for one in plain], middle, smooth(found))
        print(
            f"{name}: at most {distance:.1%} of the envelope's height from the plain curve of the same seed, at most "
            f"{outside:.1%} outside of the envelope ({share:.1%} of the steps); first loss {first:.0e} off"
        )


if __name__ == "__main__":
    main()
