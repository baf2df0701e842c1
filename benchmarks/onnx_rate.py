"""How fast ONNX Runtime runs what `skysense export` writes, beside PyTorch with the same weights and inputs, in turns.

Three graphs of a model: the encoder of the high-resolution image (4 images of 256 px), that of Sentinel-2 (32 frames of
16 px), and all sensors fused (an image of 512 px, 10 frames of Sentinel-2 and 4 of Sentinel-1 over 16 x 16 cells). ONNX
Runtime in float32, with weights in 8 bits as it does by itself, and with these turned into float32 when it loads them;
PyTorch as the package runs, which packs what was observed. Each round runs all in turns; what is printed is the median
of the ratios PyTorch / ONNX Runtime of a round, with the least and the greatest. More than one is in favour of ONNX
Runtime.

Processor time is counted, of all threads: on a machine that others use too, the clock measures them.

Run: ``OMP_NUM_THREADS=1 python benchmarks/onnx_rate.py --rounds 9`` (``--preset tiny`` to try it; writing the files of
``small`` takes minutes, ``--keep FOLDER`` keeps them for the next time).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skysense.export.front import graphs_of, to_onnx
from skysense.export.graphs import Graph
from skysense.export.program import made_up
from skysense.model.assembly import SkySense
from skysense.model.config import preset

SIZES: dict[str, dict[str, Any]] = {
    "hr": {"batch": 4, "cells": (8, 8), "frames": 1},
    "s2": {"batch": 32, "cells": (16, 16), "frames": 1},
    "fused": {"batch": 1, "cells": (16, 16), "frames": 10},
}


def seconds(job: Callable[[], object]) -> float:
    """Of processor time."""
    began = time.process_time()
    job()
    return time.process_time() - began


def session(path: Path, *, unpack: bool = False) -> Any:
    """ONNX Runtime with as many threads as PyTorch; weights in 8 bits are turned into float32 on loading if told."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    if unpack:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def complete(graph: Graph, model: SkySense) -> tuple[Tensor, ...]:
    """Imagery without gaps: what both sides are at their best with."""
    inputs = made_up(graph, model, seed=0, **SIZES[graph.title])
    means = {"hr": 110.0, "s2": 2000.0, "s1": -15.0}
    return tuple(
        one.nan_to_num(means[port.modality]) if port.kind == "imagery" and port.modality else one.clamp(min=0)
        for port, one in zip(graph.ports, inputs, strict=True)
    )


def jobs_of(graph: Graph, model: SkySense, folder: Path) -> dict[str, Callable[[], object]]:
    """What runs in turns."""
    inputs = complete(graph, model)
    named = {port.name: one.numpy() for port, one in zip(graph.ports, inputs, strict=True)}

    def package() -> object:
        with torch.inference_mode():
            return graph.expected(*inputs)

    whole, small = folder / f"{graph.title}.onnx", folder / f"{graph.title}.int8.onnx"
    sessions = {
        "float32": session(whole),
        "8 bits": session(small),
        "8 bits, unpacked on loading": session(small, unpack=True),
    }
    made: dict[str, Callable[[], object]] = {"PyTorch": package}
    return made | {name: lambda s=one: s.run(None, named) for name, one in sessions.items()}


def measure(graph: Graph, model: SkySense, folder: Path, rounds: int) -> None:
    """Print the ratios of one graph."""
    jobs = jobs_of(graph, model, folder)
    for job in jobs.values():
        job()  # the first run takes memory, and caches what stays
    took: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(rounds):
        for name in list(jobs)[:: 1 if number % 2 else -1]:
            took[name].append(seconds(jobs[name]))
    print(f"{graph.title}: PyTorch {statistics.median(took['PyTorch']):.3f} s, {SIZES[graph.title]}")
    for name in list(jobs)[1:]:
        ratios = sorted(theirs / own for theirs, own in zip(took["PyTorch"], took[name], strict=True))
        print(f"  {name:28} {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def main() -> None:
    """Write the files, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--keep", type=Path, default=None, help="folder of the files, read if it is there")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    torch.manual_seed(0)
    model = SkySense(preset(args.preset)).eval()
    place = tempfile.TemporaryDirectory() if args.keep is None else nullcontext(str(args.keep))
    with place as held:
        folder = Path(held) / args.preset
        if not folder.exists():
            for one in to_onnx(model, folder, int8=True):
                loss = "" if one.loss is None else f"; in 8 bits {one.loss.words()}"
                print(f"{one.path.name}: {one.size / 1e6:.1f} MB, differs by {one.difference:.1e}{loss}", flush=True)
        for graph in graphs_of(model, None):
            if graph.title in SIZES:
                measure(graph, model, folder, args.rounds)


if __name__ == "__main__":
    main()
