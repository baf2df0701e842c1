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


def resisc45(root: Path, peer: ModuleType | None) -> Pair:
    """256 x 256 px, JPEG, one class."""
    from tests.datasets.fakes import resisc45 as fake

    fake.write(root, per_class=5, size=256, lists=True)
    data = open_dataset("resisc45", root)
    by_name = {item.name.rsplit("/", 1)[1]: index for index, item in enumerate(data.items)}
    names = sorted((root / "resisc45-train.txt").read_text().split())
    ours = [by_name[name] for name in names]
    theirs = None
    if peer is not None:
        dataset = peer.RESISC45(str(root), split="train")
        at = {Path(file).name: index for index, (file, _) in enumerate(dataset.imgs)}
        numbers = [at[name] for name in names]
        theirs = lambda number: dataset[numbers[number]]  # noqa: E731

    def same(our: Any, their: Any) -> None:
        pixels(our, their["image"])
        assert our.target == int(their["label"])

    return Pair(len(names), lambda number: data.read(ours[number]), theirs, same)


def levir(root: Path, peer: ModuleType | None) -> Pair:
    """Pairs of 1024 x 1024 px, PNG, with a mask."""
    from tests.datasets.fakes import levir_cd as fake

    fake.write(root, train=6, val=1, test=1, size=1024, flat=True)
    data = open_dataset("levir-cd", root).select("train")
    theirs = None if peer is None else peer.LEVIRCD(str(root), split="train").__getitem__

    def same(our: Any, their: Any) -> None:
        pixels(our, their["image"][0])
        np.testing.assert_array_equal(our.target.changed_HW, their["mask"].squeeze())

    return Pair(len(data), data.read, theirs, same)


def oscd(root: Path, peer: ModuleType | None) -> Pair:
    """Pairs of cities of about 600 x 600 px, thirteen TIFFs each, of which ten are read here."""
    from tests.datasets.fakes import oscd as fake

    fake.write(root, train=5, test=1, scale=1.0)
    data = open_dataset("oscd", root).select("train")
    theirs = None
    if peer is not None:
        dataset = peer.OSCD(str(root), split="train")
        at = {one["region"]: index for index, one in enumerate(dataset.files)}
        theirs = lambda number: dataset[at[data.items[number].name]]  # noqa: E731

    def same(our: Any, their: Any) -> None:
        height, width = our.size
        red = our.sample.series["s2"].values[0, 2, :height, :width]
        np.testing.assert_array_equal(red, np.asarray(their["image"][0, 3]))
        np.testing.assert_array_equal(our.target.changed_HW[:height, :width], their["mask"].squeeze())

    return Pair(len(data), data.read, theirs, same)


def bigearthnet(root: Path, peer: ModuleType | None) -> Pair:
    """Patches of 120 x 120 px of Sentinel-2, version 1: twelve TIFFs, of which ten are read here."""
    from tests.datasets.fakes import bigearthnet as fake

    fake.write_v1(root, patches=40, lists="torchgeo")
    data = open_dataset("bigearthnet-s2", root).select("train")
    theirs = None
    if peer is not None:
        dataset = peer.BigEarthNet(str(root), split="train", bands="s2", num_classes=19)
        at = {Path(one["s2"]).name: index for index, one in enumerate(dataset.folders)}
        theirs = lambda number: dataset[at[data.items[number].name]]  # noqa: E731

    def same(our: Any, their: Any) -> None:
        red = our.sample.series["s2"].values[0, 2]
        np.testing.assert_array_equal(red, np.asarray(their["image"][3]))
        assert int(our.target.sum()) == int(their["label"].sum())

    return Pair(len(data), data.read, theirs, same)


def fair1m(root: Path, peer: ModuleType | None) -> Pair:
    """About 1024 px, TIFF, ten oriented boxes in an XML file."""
    from tests.datasets.fakes import fair1m as fake

    fake.write(root, part1=8, part2=4, validation=1, test=1, size=1024)
    data = open_dataset("fair1m", root).select("train")
    theirs = None
    if peer is not None:
        dataset = peer.FAIR1M(str(root), split="train")
        at = {Path(file).name: index for index, file in enumerate(dataset.files)}
        theirs = lambda number: dataset[at[Path(data.items[number].name).name]]  # noqa: E731

    def same(our: Any, their: Any) -> None:
        pixels(our, their["image"])
        np.testing.assert_array_equal(np.sort(our.target.label_N), np.sort(their["label"]))

    return Pair(len(data), data.read, theirs, same)


ROWS: Mapping[str, Callable[[Path, ModuleType | None], Pair]] = {
    "RESISC45": resisc45,
    "BigEarthNet": bigearthnet,
    "DIOR": dior,
    "FAIR1M": fair1m,
    "LEVIR-CD": levir,
    "OSCD": oscd,
}


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
