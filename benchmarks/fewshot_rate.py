"""How fast a query and a few-shot map are, on features as a map holds them: (1) similarity, (2) classes.

1. A view of 1024 x 1024 cells of 64 features: `cosine` with lengths that are known, beside the plain product of the
   same shape (a vector with a matrix of float32, in numpy and in torch), which memory bounds. The least of several
   rounds.
2. Ten million cells of 64 features and 100 labels: fit and probability of every class, beside scikit-learn's
   `LogisticRegression` (``fit`` and ``predict_proba``) on the same array, in turns; the median of the ratios. Both use
   the threads that OMP_NUM_THREADS names. What the novelty costs, and what the product
   with the weights alone does, is printed beside it.

Processor time is counted, of all threads: on a machine that others use too, the clock measures them. Of (2) the clock
is printed too, which is what somebody waits for.

Run: ``OMP_NUM_THREADS=1 python benchmarks/fewshot_rate.py`` (``--cells`` for fewer; ten million take 3 GB).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from skysense.maps.fewshot import FewShot, Method
from skysense.maps.fit import steps
from skysense.maps.product.layer import Layer
from skysense.maps.similarity import cosine, norms, product, runs

BANDS, SIDE, CLASSES, LABELS = 64, 1024, 5, 100


def seconds(job: Callable[[], object]) -> tuple[float, float]:
    """Of processor time, and on the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    job()
    return time.process_time() - processor, time.perf_counter() - clock


def cells(count: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors ``(N, 64)`` round five centres, and which centre."""
    rng = np.random.default_rng(seed)
    centres_CK = np.random.default_rng(7).normal(size=(CLASSES, BANDS)).astype(np.float32)
    label_N = rng.integers(0, CLASSES, count)
    values_NK = rng.standard_normal((count, BANDS), np.float32)
    values_NK *= 1.5
    for start in range(0, count, 1 << 20):
        values_NK[start : start + (1 << 20)] += centres_CK[label_N[start : start + (1 << 20)]]
    return values_NK, label_N


def similarity(rounds: int) -> None:
    """Print what a query costs for each type of numbers."""
    values_NK, _ = cells(SIDE * SIDE)
    values_KHW = np.ascontiguousarray(values_NK.T).reshape(BANDS, SIDE, SIDE)
    query_K = values_NK[0].copy()
    flat_KN, flat, asked = values_KHW.reshape(BANDS, -1), torch.from_numpy(values_KHW).view(BANDS, -1), query_K
    plain = {
        "numpy": lambda: asked @ flat_KN,
        "torch": lambda: torch.from_numpy(asked) @ flat,
    }
    jobs: dict[str, Callable[[], object]] = {f"plain product, {name}": job for name, job in plain.items()}
    scale, offset = (tuple(each.tolist()) for each in steps(values_NK))
    for stored in ("float32", "float16", "int8"):
        unit = {"scale": scale, "offset": offset} if stored == "int8" else {}
        block = Layer("features", "features", ("f",) * BANDS, stored, **unit).encode(values_KHW)
        known = norms(block, **unit)
        jobs[f"cosine, {stored}"] = lambda b=block, u=unit, n=known: cosine(query_K, b, **u, norms_HW=n)
        jobs[f"lengths, {stored}"] = lambda b=block, u=unit: norms(b, **u)
    least = dict.fromkeys(jobs, float("inf"))
    for _ in range(rounds + 1):
        for name, job in jobs.items():
            least[name] = min(least[name], seconds(job)[0])
    best = min(least[f"plain product, {name}"] for name in plain)
    work = 2 * BANDS * SIDE * SIDE
    print(f"{SIDE} x {SIDE} cells of {BANDS} features, least of {rounds + 1} rounds:")
    for name, took in least.items():
        print(
            f"  {name:22} {1000 * took:7.1f} ms {work / took / 1e9:6.1f} GFLOP/s   {best / took:5.2f} of the plain one"
        )


def classes(count: int, rounds: int) -> None:
    """Print what a map of classes costs beside scikit-learn's."""
    values_NK, truth_N = cells(count)
    labelled_NK, label_N = cells(LABELS, seed=1)
    block_KHW = values_NK.reshape(1, count, BANDS).transpose(2, 0, 1)  # as tiles of a map hold them

    def ours(method: Method) -> NDArray[np.float32]:
        return FewShot.fit(labelled_NK, label_N, method=method).probability(block_KHW)

    weight_RK = FewShot.fit(labelled_NK, label_N).weight_CK[1:]  # classes but one: differences decide

    def theirs() -> NDArray[np.float32]:
        return LogisticRegression(max_iter=1000).fit(labelled_NK, label_N).predict_proba(values_NK)

    def products() -> None:
        for _, values_Kn in runs(block_KHW):
            product(weight_RK, values_Kn)

    jobs: dict[str, Callable[[], object]] = {
        "scikit-learn": theirs,
        "ridge": lambda: ours("ridge"),
        "logistic": lambda: ours("logistic"),
        "ridge and novelty": lambda: FewShot.fit(labelled_NK, label_N).answer(block_KHW),
        "product alone": products,
    }
    for name, right_N in (
        ("scikit-learn", theirs().argmax(axis=1)),
        ("ridge", ours("ridge").argmax(axis=0)[0]),
        ("logistic", ours("logistic").argmax(axis=0)[0]),
    ):
        print(f"  {name}: {100 * (right_N == truth_N).mean():.2f} % right")
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for number in range(rounds):
        for name in list(jobs)[:: 1 if number % 2 else -1]:
            took[name].append(seconds(jobs[name]))
    print(
        f"{count:,} cells of {BANDS} features, {CLASSES} classes, {LABELS} labels, {rounds} rounds in turns; "
        "how many times as long scikit-learn takes:"
    )
    for name, each in took.items():
        words = []
        for at, kind in enumerate(("processor", "clock")):
            ratios = [theirs[at] / own[at] for theirs, own in zip(took["scikit-learn"], each, strict=True)]
            words.append(
                f"{statistics.median(own[at] for own in each):6.2f} s {kind}, {statistics.median(ratios):5.2f}"
            )
        print(f"  {name:18} {';'.join(words)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cells", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    similarity(args.rounds)
    classes(args.cells, args.rounds)


if __name__ == "__main__":
    main()
