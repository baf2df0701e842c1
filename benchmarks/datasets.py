"""Reading published data sets: samples a second beside TorchGeo, from the same files on one core.

A fake of every data set is written into a temporary folder in its published layout, with images of the true size. Both
sides then read every sample of it in turn, image and labels, and must have found the same. What each does beyond that
stays in its time: here images are padded to whole windows, and their sensor, unit and no-data are checked.

Run from the root of the repository: ``python -m benchmarks.datasets [NAME ...]``. TorchGeo is no dependency: without it
only this package is timed. To have it aside, ``pip install --target FOLDER torchgeo`` and put the folder on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from rasterio.errors import NotGeoreferencedWarning

from skysense.datasets.catalogue import open_dataset

CLOSE = 1.0
"""Largest mean difference of pixels, of 255: libraries decode JPEG a little differently."""


@dataclass(frozen=True)
class Pair:
    """Two readers of the same samples.

    Attributes:
        count: of samples.
        ours: reads one by its number.
        theirs: the same of TorchGeo; None without it.
        same: refuses two samples that are not the same.
    """

    count: int
    ours: Callable[[int], Any]
    theirs: Callable[[int], Any] | None
    same: Callable[[Any, Any], None]


def dior(root: Path, peer: ModuleType | None) -> Pair:
    """800 x 800 px, JPEG, eight horizontal boxes in an XML file."""
    from tests.datasets.fakes import dior as fake

    count = 24
    fake.write(root, train=count, val=1, test=1, size=800, objects=8)
    stems = [f"{number:05d}" for number in range(1, count + 1)]
    rows = [f"JPEGImages-trainval/{stem}.jpg,{fake.HORIZONTAL}/{stem}.xml,train" for stem in stems]
    (root / "sample_df.csv").write_text("\n".join(["image_path,label_path,split", *rows]) + "\n")
    for file in (root / fake.HORIZONTAL).iterdir():  # TorchGeo 0.8.1 knows two classes by another spelling only
        text = file.read_text()
        for name in ("Expressway-Service-area", "Expressway-toll-station"):
            text = text.replace(name, name.replace("-", "").lower())
        file.write_text(text)
    data = open_dataset("dior", root).select("train")
    theirs = None if peer is None else peer.DIOR(str(root), split="train").__getitem__

    def same(our: Any, their: Any) -> None:
        pixels(our, their["image"])
        np.testing.assert_array_equal(our.target.corners_N4, their["bbox_xyxy"])
        np.testing.assert_array_equal(our.target.label_N, their["label"])

    return Pair(count, data.read, theirs, same)


ROWS: Mapping[str, Callable[[Path, ModuleType | None], Pair]] = {"DIOR": dior}


def pixels(our: Any, their_CHW: Any) -> None:
    """Refuse high-resolution images that differ by more than what decoders do."""
    height, width = our.size
    ours_CHW = our.sample.series["hr"].values[0][:, :height, :width]
    difference = np.abs(ours_CHW.astype(np.float32) - np.asarray(their_CHW, np.float32)).mean()
    if not difference <= CLOSE:
        raise SystemExit(f"{our.name}: pixels differ by {difference:.2f} on average")


def measure(name: str, pair: Pair, rounds: int) -> None:
    """Check, read everything several times, the first of both sides alternating, and print a row."""
    readers = [pair.ours] if pair.theirs is None else [pair.ours, pair.theirs]
    if pair.theirs is not None:
        for number in range(pair.count):
            pair.same(pair.ours(number), pair.theirs(number))
    rates: list[list[float]] = []
    for turn in range(rounds + 1):
        rate = [0.0] * len(readers)
        for at in range(len(readers))[:: 1 if turn % 2 else -1]:
            began = time.perf_counter()
            for number in range(pair.count):
                readers[at](number)
            rate[at] = pair.count / (time.perf_counter() - began)
        rates.append(rate)
    rates = rates[1:]  # the first round warms up
    cells = [f"{statistics.median(side):>10.1f}" for side in zip(*rates, strict=True)]
    if pair.theirs is not None:
        ratios = sorted(ours / theirs for ours, theirs in rates)
        cells.append(f"{statistics.median(ratios):>8.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(f"{name:<14}{''.join(cells)}", flush=True)


def main() -> None:
    """Write, check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", default=list(ROWS), help=f"of {', '.join(ROWS)}; all by default")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what others warn about while they are imported
        try:
            peer = importlib.import_module("torchgeo.datasets")
        except ModuleNotFoundError as error:
            print(f"TorchGeo is not compared: {error}")
            peer = None
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    print(f"{'samples a second':<14}{'ours':>8}{'TorchGeo':>10}{'ratio':>8} (of {args.rounds} rounds)")
    for name in args.names:
        with tempfile.TemporaryDirectory() as folder:
            measure(name, ROWS[name](Path(folder), peer), args.rounds)


if __name__ == "__main__":
    main()
