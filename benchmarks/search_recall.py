"""What a search finds of what it should: (1) int8 instead of float32, (2) other encodings, (3) an index.

1. A simulated scene is embedded; the map is kept as float32, float16 and int8. Of the ten cells most like each of many
   query cells, how many are the same (recall@10)? Of the ten places that a search gives, 160 m from one another, how
   many have one of the others' within 80 m?
2. The same recall of 2000 cells, of the int8 map and of other ways to store its features in as many bytes: one scale
   per band round zero; the range of a band cut where the sum of the squared errors is least; features turned by a
   random rotation first, so that all bands vary alike. The error is the root of the mean square over cells and bands.
3. A million vectors of 64 numbers round 200 centres of 16 dimensions, as ground repeats itself: how an index is built,
   asked and how large it is, by faiss (as `skysense.maps.index` makes it) and by usearch (graph, float16), beside one
   product with all vectors. Queries are other vectors of the same kind. ``--peer false`` leaves out usearch, which
   takes minutes to build.

Run: ``OMP_NUM_THREADS=1 python benchmarks/search_recall.py`` (``--model`` for one that was trained; a tiny one with
random weights by default).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from skysense.data.earth.writing import simulate_scene
from skysense.geo import Window
from skysense.maps.embed import embed
from skysense.maps.fit import steps
from skysense.maps.ground import metres_between
from skysense.maps.product.read import Product, open_product
from skysense.maps.search import Query, nearest_cells
from skysense.maps.similarity import cosine, unit
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.model.loading import load

NEIGHBOURS, QUERIES, MANY = 10, 200, 2000
APART = 160.0  # metres


def recall(found_Q: NDArray, truth_Q: NDArray) -> float:
    """Share of the true neighbours that were found."""
    return float(
        np.mean([len(set(one) & set(other)) / NEIGHBOURS for one, other in zip(found_Q, truth_Q, strict=True)])
    )


def nearest(product: Product, queries_QK: NDArray) -> NDArray[np.int64]:
    """The most similar cells of a small map ``(Q, 10)``."""
    layer = product.layers["features"]
    block = product.read("features", Window(0, 0, product.grid.height, product.grid.width))
    similarity_QN = cosine(queries_QK, block, scale=layer.scale, offset=layer.offset).reshape(len(queries_QK), -1)
    return np.argsort(-np.nan_to_num(similarity_QN, nan=-2), axis=1)[:, :NEIGHBOURS]


def places(product: Product, queries_QK: NDArray) -> list[NDArray[np.float64]]:
    """Longitudes and latitudes ``(10, 2)`` of what a search gives to each query."""
    answers = [nearest_cells(product, Query(one, ""), NEIGHBOURS, APART) for one in queries_QK]
    return [np.array([(hit.lon, hit.lat) for hit in hits]) for hits in answers]


def same(found: list[NDArray[np.float64]], truth: list[NDArray[np.float64]]) -> float:
    """Share of the places that have one of the others' near by."""
    near = [
        metres_between(others_N2, place_2).min() <= APART / 2
        for others_N2, wanted_N2 in zip(found, truth, strict=True)
        for place_2 in wanted_N2
    ]
    return float(np.mean(near))


def rounding(model: SkySense, height: int, width: int) -> None:
    """Print what fewer bits lose, and what other encodings would."""
    with tempfile.TemporaryDirectory() as folder:
        scene = simulate_scene(Path(folder) / "scene.tif", height=height, width=width)
        for dims in (None, 64, 32):
            cells, spots, queries_QK = {}, {}, np.empty((0, 0))
            for precision in ("float32", "float16", "int8"):
                out = Path(folder) / f"{precision}.tif"
                embed(model, scene, out, dims=dims, precision=precision, quicklook=False, overwrite=True)
                with open_product(out) as product:
                    if precision == "float32":
                        queries_QK, values_NK = cells_of(product), all_of(product)
                    written_NK = all_of(product)  # at last the int8 ones
                    cells[precision] = nearest(product, queries_QK)
                    spots[precision] = places(product, queries_QK[:50])
            for precision in ("float16", "int8"):
                bands = "all features" if dims is None else f"{dims} components"
                print(
                    f"{height // 32 * (width // 32)} cells, {bands}, {precision}: recall@{NEIGHBOURS} of cells "
                    f"{recall(cells[precision], cells['float32']):.4f}, the same places "
                    f"{same(spots[precision], spots['float32']):.4f}"
                )
            encodings(values_NK, written_NK)


def all_of(product: Product) -> NDArray[np.float32]:
    """Vectors of all cells of a small map."""
    whole = Window(0, 0, product.grid.height, product.grid.width)
    return product.read_values("features", whole).reshape(len(product.layers["features"].bands), -1).T


def cells_of(product: Product) -> NDArray[np.float32]:
    """Vectors of some cells, to be looked for."""
    values_NK = all_of(product)
    return values_NK[np.random.default_rng(0).choice(len(values_NK), QUERIES, replace=False)]


def encodings(values_NK: NDArray[np.float32], written_NK: NDArray[np.float32]) -> None:
    """Print what is lost by ways to store vectors in as many bytes as they have numbers."""
    chosen_Q = np.random.default_rng(1).choice(len(values_NK), min(MANY, len(values_NK)), replace=False)
    asked_QK = unit(values_NK[chosen_Q])

    def best(some_NK: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.argsort(-(asked_QK @ unit(some_NK).T), axis=1)[:, :NEIGHBOURS]

    def rounded(scale_K: NDArray[np.float32], offset_K: NDArray[np.float32], some_NK: NDArray) -> NDArray[np.float32]:
        return np.rint((some_NK - offset_K) / scale_K).clip(-127, 127) * scale_K + offset_K

    def cut(share: float) -> NDArray[np.float32]:
        scale_K, offset_K = steps(values_NK)
        return rounded(scale_K * np.float32(share), offset_K, values_NK)

    scale_K, offset_K = steps(values_NK)
    round_zero_K = np.maximum(np.abs(values_NK).max(axis=0) * np.float32(1.1 / 127), np.float32(1e-12))
    tried_SNK = np.stack([cut(share) for share in np.linspace(0.5, 1, 11)])
    least_K = np.square(tried_SNK - values_NK).mean(axis=1).argmin(axis=0)
    turn_KK = np.linalg.qr(np.random.default_rng(0).normal(size=(values_NK.shape[1],) * 2))[0].astype(np.float32)
    turned_NK = values_NK @ turn_KK
    truth_Q = best(values_NK)
    for name, stored_NK in (
        ("as written", written_NK),
        ("one scale per band round zero", rounded(round_zero_K, np.zeros_like(offset_K), values_NK)),
        ("scale and offset", rounded(scale_K, offset_K, values_NK)),
        ("scale and offset, least error", np.take_along_axis(tried_SNK, least_K[None, None], 0)[0]),
        ("rotation, then scale and offset", rounded(*steps(turned_NK), turned_NK) @ turn_KK.T),
    ):
        error = float(np.sqrt(np.square(stored_NK - values_NK).mean()))
        kept = recall(best(stored_NK), truth_Q)
        print(f"    {name}: recall@{NEIGHBOURS} of {len(asked_QK)} cells {kept:.4f}, error {error:.5f}")


def ground(count: int, seed: int) -> NDArray[np.float32]:
    """Vectors ``(N, 64)`` of length one round centres."""
    rng, centres = np.random.default_rng(seed), np.random.default_rng(7)
    axes, middle = centres.normal(size=(16, 64)).astype(np.float32), 1.5 * centres.normal(size=(200, 16))
    inner = middle[rng.integers(0, 200, count)] + 0.5 * rng.normal(size=(count, 16))
    return unit(inner.astype(np.float32) @ axes + 0.7 * rng.standard_normal((count, 64), np.float32))


def timed(job: Callable[[], object]) -> tuple[float, object]:
    """Seconds of processor time, and what came out."""
    began = time.process_time()
    made = job()
    return time.process_time() - began, made


def indexes(count: int, *, peer: bool) -> None:
    """Print what an index costs and finds."""
    vectors_NK, queries_QK = ground(count, 0), ground(QUERIES, 1)
    took, similarity_QN = timed(lambda: queries_QK[:20] @ vectors_NK.T)
    print(f"{count:,} vectors of 64; one product with all of them: {1000 * took / 20:.2f} ms a query (20 at once)")
    del similarity_QN
    truth_Q = np.concatenate([np.argsort(-(one[None] @ vectors_NK.T), axis=1)[:, :NEIGHBOURS] for one in queries_QK])
    groups = max(1, min(4096, count // 1000))
    sample_NK = vectors_NK[:: max(1, count // (50 * groups))]

    def build() -> object:
        index = faiss.index_factory(64, f"IVF{groups},SQfp16", faiss.METRIC_INNER_PRODUCT)
        index.train(sample_NK)
        index.add(vectors_NK)
        return index

    with tempfile.TemporaryDirectory() as folder:
        built, index = timed(build)
        faiss.write_index(index, f"{folder}/faiss")
        size = Path(folder, "faiss").stat().st_size
        for looked_at in (4, 16, 64):
            index.nprobe = looked_at
            took, answer = timed(lambda: index.search(queries_QK, NEIGHBOURS)[1])
            print(
                f"faiss IVF{groups},SQfp16, {looked_at} groups: built in {built:.0f} s, {size / 1e6:.0f} MB, "
                f"{1000 * took / QUERIES:.3f} ms a query, recall@{NEIGHBOURS} {recall(answer, truth_Q):.3f}"
            )
        if not peer:
            return
        from usearch.index import Index

        graph = Index(ndim=64, metric="cos", dtype="f16", connectivity=16)
        built, _ = timed(lambda: graph.add(np.arange(count), vectors_NK, threads=1))
        graph.save(f"{folder}/usearch")
        size = Path(folder, "usearch").stat().st_size
        for looked_at in (64, 256):
            graph.expansion_search = looked_at
            took, answer = timed(lambda: graph.search(queries_QK, NEIGHBOURS, threads=1).keys)
            print(
                f"usearch f16, connectivity 16, expansion {looked_at}: built in {built:.0f} s, {size / 1e6:.0f} MB, "
                f"{1000 * took / QUERIES:.3f} ms a query, recall@{NEIGHBOURS} {recall(answer, truth_Q):.3f}"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--height", type=int, default=2048, help="pixels of the scene")
    parser.add_argument("--width", type=int, default=4096, help="pixels of the scene")
    parser.add_argument("--cells", type=int, default=1_000_000, help="vectors of the index")
    parser.add_argument("--peer", choices=["true", "false"], default="true", help="whether usearch is measured too")
    args = parser.parse_args()
    torch.manual_seed(0)
    faiss.omp_set_num_threads(torch.get_num_threads())
    rounding(SkySense(preset("tiny")).eval() if args.model is None else load(args.model), args.height, args.width)
    indexes(args.cells, peer=args.peer == "true")


if __name__ == "__main__":
    main()
