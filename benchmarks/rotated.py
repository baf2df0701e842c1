"""Rotated boxes against the tools people use on a CPU: ratios of times on one thread, equal output.

* dense: `rotated_iou` of all pairs of two sets, half of which overlap, against `shapely.intersection` broadcast over
  the same pairs;
* sparse: the same of two sets of which few pairs overlap, against `shapely.STRtree`, which finds the pairs whose
  enclosing horizontal boxes meet, and `shapely.intersection` of those;
* suppression: `rotated_nms` of clustered boxes, against `cv2.dnn.NMSBoxesRotated`; here the output is nearly equal.

Both sides start from the five numbers of each box; making polygons of them is part of the work of shapely.

Run: ``python benchmarks/rotated.py`` (``--help`` lists sizes). OpenCV is no dependency: without it suppression is
skipped. To have it aside, ``pip install --target FOLDER opencv-python-headless`` and put the folder on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import importlib
import math
import statistics
import time
from collections.abc import Callable
from types import ModuleType

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.tasks.rotated.boxes import corners
from skysense.tasks.rotated.iou import rotated_iou
from skysense.tasks.rotated.nms import rotated_nms

CLOSE = 1e-5
"""Largest difference of overlaps."""
THRESHOLD = 0.3


def boxes(count: int, extent: float, least: float, greatest: float) -> Tensor:
    """Random boxes in a square, sides between two lengths."""
    draw = torch.rand(count, 5, dtype=torch.float64)
    sides = least + (greatest - least) * draw[:, 2:4]
    return torch.cat([draw[:, :2] * extent, sides, (draw[:, 4:] - 0.5) * math.pi], dim=1)


def detections(count: int, objects: int) -> tuple[Tensor, Tensor]:
    """What a detector gives before suppression: several boxes about every object, and scores."""
    targets = boxes(objects, 1024, 10, 80)[torch.randint(objects, (count,))]
    return targets + torch.randn(count, 5) * torch.tensor([3, 3, 3, 3, 0.1]), torch.rand(count)


def polygons(boxes_N5: Tensor) -> NDArray[np.object_]:
    """The boxes as shapely has them."""
    return shapely.polygons(corners(boxes_N5).numpy())


def broadcast(a_N5: Tensor, b_M5: Tensor) -> NDArray[np.float64]:
    """Intersection over union of all pairs by shapely."""
    a, b = polygons(a_N5)[:, None], polygons(b_M5)[None]
    shared = shapely.area(shapely.intersection(a, b))
    return shared / (shapely.area(a) + shapely.area(b) - shared)


def by_tree(a_N5: Tensor, b_M5: Tensor) -> NDArray[np.float64]:
    """The same with a search tree."""
    a, b = polygons(a_N5), polygons(b_M5)
    i, j = shapely.STRtree(b).query(a)
    shared = shapely.area(shapely.intersection(a[i], b[j]))
    out = np.zeros((len(a), len(b)))
    out[i, j] = shared / (shapely.area(a)[i] + shapely.area(b)[j] - shared)
    return out


def suppressed(cv2: ModuleType, boxes_N5: Tensor, scores_N: Tensor) -> list[int]:
    """The places OpenCV keeps; it has degrees."""
    rectangles = [((x, y), (w, h), math.degrees(angle)) for x, y, w, h, angle in boxes_N5.tolist()]
    return list(cv2.dnn.NMSBoxesRotated(rectangles, scores_N.tolist(), 0.0, THRESHOLD))


def compare(what: str, peer: Callable[[], object], ours: Callable[[], object], rounds: int) -> None:
    """Time both in turn, the first of them alternating, and print the ratio."""
    jobs = (peer, ours)
    costs = []
    for number in range(rounds + 1):
        cost = [0.0, 0.0]
        for at in (0, 1) if number % 2 else (1, 0):
            began = time.perf_counter()
            jobs[at]()
            cost[at] = time.perf_counter() - began
        costs.append(cost)
    ratios = sorted(slow / fast for slow, fast in costs[1:])  # the first round warms up
    peer_ms, ours_ms = (1e3 * statistics.median(cost[at] for cost in costs[1:]) for at in (0, 1))
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    print(f"{what}: peer {peer_ms:.1f} ms, package {ours_ms:.1f} ms")
    print(f"  peer / package, median of {rounds} paired rounds: {statistics.median(ratios):.2f} ({spread})")


def check(ours: Tensor, theirs: NDArray[np.float64]) -> float:
    """The share of pairs that overlap, if both found the same."""
    difference = float(np.abs(ours.numpy() - theirs).max())
    if not difference <= CLOSE:
        raise SystemExit(f"the overlaps differ by {difference:.1e}")
    return float((ours > 0).double().mean())


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dense", type=int, default=500, help="boxes in each dense set")
    parser.add_argument("--sparse", type=int, default=2000, help="boxes in each sparse set")
    parser.add_argument("--detections", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    a, b = (boxes(args.dense, 160, 20, 120) for _ in range(2))
    share = check(rotated_iou(a, b), broadcast(a, b))
    name = f"dense, {args.dense} x {args.dense} boxes, {share:.0%} of the pairs overlap"
    compare(name, lambda: broadcast(a, b), lambda: rotated_iou(a, b), args.rounds)

    c, d = (boxes(args.sparse, 10_000, 10, 80) for _ in range(2))
    share = check(rotated_iou(c, d), by_tree(c, d))
    name = f"sparse, {args.sparse} x {args.sparse} boxes, {share:.3%} of the pairs overlap"
    compare(name, lambda: by_tree(c, d), lambda: rotated_iou(c, d), 3 * args.rounds)

    try:
        cv2 = importlib.import_module("cv2")
    except ModuleNotFoundError:
        print("suppression: skipped, OpenCV is not installed")
        return
    cv2.setNumThreads(1)
    found, scores = detections(args.detections, args.detections // 10)
    theirs, ours = set(suppressed(cv2, found, scores)), set(rotated_nms(found, scores, THRESHOLD).tolist())
    # OpenCV counts a box inside another as the same box, whatever their sizes, and drops a few more
    if len(theirs ^ ours) > 0.05 * len(ours):
        raise SystemExit(f"of {len(ours)} boxes that stay {len(theirs ^ ours)} are others")
    name = f"suppression, {args.detections} boxes, {len(ours)} stay"
    compare(name, lambda: suppressed(cv2, found, scores), lambda: rotated_nms(found, scores, THRESHOLD), args.rounds)


if __name__ == "__main__":
    main()
