"""How much of the bare model's speed is left once a map is read, blended, compressed and written: one ratio.

Both run on the same windows of the same scene, in turns; the median of the ratios of the turns is printed:

* bare: the model's forward on batches that lie ready on its device;
* end to end. With ``--what file``: `embed`, from opening the GeoTIFF to the finished map and its picture. With
  ``--what parts``: some parts of a scene of 8192 x 8192 px in ten bands of Sentinel-2, of which the whole would take
  an hour: windows are read, answered, blended, and the part is written with its overviews. What the engine computes
  twice on the seams of parts is in neither side and printed by itself.

On a machine that others use too, the clock is noisy; processor time is not, and counts what the threads beside the
model do as if they had stood in its way.

Run: ``python benchmarks/embed_throughput.py`` (``--help`` lists sizes, presets and devices).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from _ceiling import ceilings, operations, share
from _scenes import sentinel2_scene

from skysense.data.earth.writing import simulate_scene
from skysense.maps.blend import Layout
from skysense.maps.embed import embed
from skysense.maps.features import FeatureAnswerer
from skysense.maps.feed import prepare
from skysense.maps.job import Job, Settings, begin
from skysense.maps.parts import Part, Parting
from skysense.maps.run import compute
from skysense.maps.source import Source
from skysense.maps.sources.open import open_source
from skysense.model.assembly import SkySense
from skysense.model.config import PRESETS, preset
from skysense.observation import Batch, collate


def run_bare(model: SkySense, batches: list[Batch]) -> None:
    """The model alone."""
    with torch.inference_mode():
        for batch in batches:
            model(batch)
    if next(model.parameters()).is_cuda:
        torch.cuda.synchronize()


def batches_of(model: SkySense, source: Source, layout: Layout, parts: Sequence[Part], size: int) -> list[Batch]:
    """What the model is asked for parts, ready on its device."""
    todo = [(part, layout.touching(part.window)) for part in parts]
    prepared = prepare(source, todo, size, None, layout.size)
    device = next(model.parameters()).device
    return [collate(some.samples).to(device) for some in prepared if some.samples]


def cost(job: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and seconds of processor time of all threads."""
    clock, processor = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - clock, time.process_time() - processor


def seams(layout: Layout, parting: Parting) -> str:
    """What parts compute twice, in words."""
    computed = sum(len(layout.touching(part.window)) for part in parting.parts)
    return f"parts of {parting.part_height} x {parting.part_width} cells compute {computed / len(layout) - 1:.1%} twice"


def file_jobs(args: argparse.Namespace, model: SkySense, folder: Path) -> tuple[list[Callable[[], object]], int]:
    """Bare and end to end of a whole file."""
    path = simulate_scene(folder / "scene.tif", height=args.height, width=args.width)
    reads = {key: model.sensor_of(key) for key in model.modalities}
    source, settings = open_source(path, reads=reads), Settings(batch_size=args.batch_size)
    layout = settings.layout_of(source)
    whole = Parting(layout.height, layout.width, layout.height, layout.width)
    batches = batches_of(model, source, layout, whole.parts, args.batch_size)
    end_to_end = lambda: embed(model, path, folder / "out.tif", settings=settings, overwrite=True)  # noqa: E731
    return [lambda: run_bare(model, batches), end_to_end], len(layout)


def part_jobs(args: argparse.Namespace, model: SkySense, folder: Path) -> tuple[list[Callable[[], object]], int]:
    """Bare and end to end of some parts of a large scene."""
    path = sentinel2_scene(folder / "scene.tif", args.side)
    reads = {key: model.sensor_of(key) for key in model.modalities}
    source, settings = open_source(path, reads=reads), Settings(batch_size=args.batch_size)
    answerer = FeatureAnswerer(model, args.precision)
    out = folder / f"out.{args.format}"
    usual = begin(source, answerer, out, settings, {})
    print(seams(usual.layout, usual.parting))
    shutil.rmtree(usual.work.folder)
    parting = Parting(args.side, args.side, args.part_height, min(1024, args.side))
    parts = parting.parts[: args.parts]
    batches = batches_of(model, source, usual.layout, parts, args.batch_size)

    def end_to_end() -> None:
        work = type(usual.work).begin(out, source.grid, answerer.layers, parting, {}, overwrite=True)
        job = Job(source, usual.layout, parting, answerer.scores, work, args.batch_size)
        compute(job, answerer, parts)
        shutil.rmtree(work.folder)

    return [lambda: run_bare(model, batches), end_to_end], sum(batch.size for batch in batches)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--what", choices=("file", "parts"), default="file")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--height", type=int, default=2048, help="of the file: pixels, a multiple of 128")
    parser.add_argument("--width", type=int, default=3072, help="of the file: pixels, a multiple of 128")
    parser.add_argument("--side", type=int, default=8192, help="of the scene whose parts are made: pixels")
    parser.add_argument("--part-height", type=int, default=96, help="of the parts: cells, a multiple of 32")
    parser.add_argument("--parts", type=int, default=2, help="how many of them")
    parser.add_argument("--precision", choices=("float32", "float16"), default="float32")
    parser.add_argument("--format", choices=("tif", "zarr"), default="tif")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the model on a CPU")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = SkySense(preset(args.preset)).eval().to(args.device)
    with tempfile.TemporaryDirectory() as folder:
        jobs, windows = (file_jobs if args.what == "file" else part_jobs)(args, model, Path(folder))
        rounds = []
        for number in range(args.rounds + 1):  # the first one warms up; who begins alternates
            order = (0, 1) if number % 2 else (1, 0)
            measured = {at: cost(jobs[at]) for at in order}
            if number:
                rounds.append((measured[0], measured[1]))
                speeds = [windows / seconds for seconds, _ in rounds[-1]]
                print(f"round {number}: bare {speeds[0]:.2f} windows/s, end to end {speeds[1]:.2f} windows/s")
        print(
            f"{args.preset} on {args.device}, {args.threads} threads, {windows} windows, batches of {args.batch_size}"
        )
        seconds = statistics.median(bare[0] for bare, _ in rounds)
        print(f"bare: {share(operations(jobs[0]), seconds, ceilings(args.device))}")
        for at, name in enumerate(("clock", "processor time")):
            ratios = sorted(bare[at] / whole[at] for bare, whole in rounds)
            spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
            print(f"end to end / bare by {name}: {statistics.median(ratios):.3f} ({spread}, {len(rounds)} rounds)")


if __name__ == "__main__":
    main()
