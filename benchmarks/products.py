"""The two float32 products of a CPU on the linear layers of the published model: input, gradient of the input, weights.

Run: ``OMP_NUM_THREADS=1 python benchmarks/products.py``. One row per layer, GFLOP/s of the BLAS and of oneDNN.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from skysense.model.linear import has_onednn, onednn

ROWS = ((4096, 352), (1024, 704), (256, 1408), (64, 2816), (2056, 1024), (1024, 128), (4096, 16))
"""Tokens and widths: the stages of the Swin at 256 px, the Sentinel encoders, two stages of ``tiny``."""
TRIES = 9


def rate(job: Callable[[], object], work: int) -> float:
    """GFLOP/s, median of several."""
    seconds = []
    for number in range(TRIES + 2):
        began = time.perf_counter()
        job()
        if number > 1:
            seconds.append(time.perf_counter() - began)
    return work / statistics.median(seconds) / 1e9


def main() -> None:
    """Measure and print."""
    if not has_onednn():
        raise SystemExit("this build of torch has no oneDNN")
    print(f"{'tokens':>6} {'in':>6} {'out':>6}   {'forward':>11}   {'d input':>11}   {'d weight':>11}   (BLAS oneDNN)")
    for tokens, width in ROWS:
        for into, out in ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)):
            x, weight, bias, grad = (torch.randn(*s) for s in ((tokens, into), (out, into), (out,), (tokens, out)))
            work = 2 * tokens * into * out
            jobs: list[Callable[[], object]] = [
                lambda x=x, weight=weight, bias=bias: F.linear(x, weight, bias),
                lambda x=x, weight=weight, bias=bias: onednn(x, weight, bias),
                lambda grad=grad, weight=weight: grad @ weight,
                lambda grad=grad, weight=weight: onednn(grad, weight.t()),
                lambda grad=grad, x=x: grad.t() @ x,
                lambda grad=grad, x=x: onednn(grad.t(), x.t()),
            ]
            with torch.inference_mode():
                rates = [rate(job, work) for job in jobs]
            cells = "   ".join(f"{blas:5.0f} {other:5.0f}" for blas, other in zip(rates[::2], rates[1::2], strict=True))
            print(f"{tokens:6} {into:6} {out:6}   {cells}")


if __name__ == "__main__":
    main()
