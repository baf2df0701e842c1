"""How much of the bare model's speed is left once a scene is read, blended and written: windows per second, one ratio.

Both run on the same windows of the same simulated scene, in turns; the median of the ratios of the turns is printed:

* bare: the model's forward on batches that lie ready on its device;
* end to end: `embed`, from opening the GeoTIFF to the finished GeoTIFF and its picture.

On a machine that others use too, the clock is noisy; processor time is not, and counts what the threads beside the
model do as if they had stood in its way.

Run: ``python benchmarks/embed_throughput.py`` (``--help`` lists sizes, presets and devices).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _ceiling import ceilings, operations, share

from skysense.data.earth.writing import simulate_scene
from skysense.maps.blend import Layout
from skysense.maps.embed import WINDOW_CELLS, embed
from skysense.maps.feed import prepare
from skysense.maps.scene import open_scene
from skysense.model.assembly import SkySense
from skysense.model.config import PRESETS, preset
from skysense.observation import Batch


def run_bare(model: SkySense, batches: list[Batch]) -> None:
    """The model alone."""
    with torch.inference_mode():
        for batch in batches:
            model(batch)
    if next(model.parameters()).is_cuda:
        torch.cuda.synchronize()


def cost(job: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and seconds of processor time of all threads."""
    clock, processor = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--height", type=int, default=2048, help="pixels, a multiple of 128")
    parser.add_argument("--width", type=int, default=3072, help="pixels, a multiple of 128")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the model on a CPU")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    torch.manual_seed(0)
    model = SkySense(preset(args.preset)).eval().to(device)
    with tempfile.TemporaryDirectory() as folder:
        path = simulate_scene(Path(folder) / "scene.tif", height=args.height, width=args.width)
        scene = open_scene(path)
        windows = Layout(*scene.cells, WINDOW_CELLS, WINDOW_CELLS // 8)
        prepared = prepare(scene, windows, args.batch_size, model.region_table)
        batches = [some.batch.to(device) for some in prepared if some.batch is not None]
        jobs: list[Callable[[], object]] = [
            lambda: run_bare(model, batches),
            lambda: embed(model, path, Path(folder) / "out.tif", batch_size=args.batch_size, overwrite=True),
        ]
        rounds = []
        for number in range(args.rounds + 1):  # the first one warms up; who begins alternates
            order = (0, 1) if number % 2 else (1, 0)
            measured = {at: cost(jobs[at]) for at in order}
            if number:
                rounds.append((measured[0], measured[1]))
                speeds = [len(windows) / seconds for seconds, _ in rounds[-1]]
                print(f"round {number}: bare {speeds[0]:.2f} windows/s, end to end {speeds[1]:.2f} windows/s")
    size = f"{args.height} x {args.width} px, {len(windows)} windows of {WINDOW_CELLS} cells"
    print(f"{args.preset} on {args.device}, {args.threads} threads, {size}, batches of {args.batch_size}")
    seconds = statistics.median(bare[0] for bare, _ in rounds)
    print(f"bare: {share(operations(jobs[0]), seconds, ceilings(args.device))}")
    for at, name in enumerate(("clock", "processor time")):
        ratio = statistics.median(bare[at] / whole[at] for bare, whole in rounds)
        print(f"end to end / bare, median of {len(rounds)} paired rounds by {name}: {ratio:.3f}")


if __name__ == "__main__":
    main()
