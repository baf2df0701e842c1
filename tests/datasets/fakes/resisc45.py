"""A small NWPU-RESISC45: ``NWPU-RESISC45/<class>/<class>_<nnn>.jpg``, three digits, no lists in the archive."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.datasets.fakes.smooth import smooth, write_jpeg, write_lines
from tests.datasets.truth import Truth

CLASSES = (
    "airplane", "airport", "baseball_diamond", "basketball_court", "beach", "bridge", "chaparral", "church",
    "circular_farmland", "cloud", "commercial_area", "dense_residential", "desert", "forest", "freeway", "golf_course",
    "ground_track_field", "harbor", "industrial_area", "intersection", "island", "lake", "meadow",
    "medium_residential", "mobile_home_park", "mountain", "overpass", "palace", "parking_lot", "railway",
    "railway_station", "rectangular_farmland", "river", "roundabout", "runway", "sea_ice", "ship", "snowberg",
    "sparse_residential", "stadium", "storage_tank", "tennis_court", "terrace", "thermal_power_station", "wetland",
)  # fmt: skip


def write(root: Path, *, seed: int = 0, per_class: int = 10, size: int = 32, lists: bool = False) -> Truth:
    """The true names of the first images of every class.

    Args:
        root: folder to write into.
        seed: of the content.
        per_class: images of each class.
        size: pixels on the side, 256 in truth.
        lists: resisc45-train.txt, resisc45-val.txt and resisc45-test.txt lie beside the folder: names without folder
            in random order, 60/20/20 of all and not of each class.

    Returns:
        Pixels before the compression, which keeps them to a few grey levels.
    """
    rng = np.random.default_rng(seed)
    truth = Truth(classes=CLASSES)
    for name in CLASSES:
        for number in range(1, per_class + 1):
            path = f"NWPU-RESISC45/{name}/{name}_{number:03d}.jpg"
            truth.pixels[path] = smooth(rng, (3, size, size), 0, 255, np.uint8)
            truth.labels[path] = name
            write_jpeg(root / path, truth.pixels[path])
    if lists:
        _write_lists(root, truth, rng)
    return truth


def _write_lists(root: Path, truth: Truth, rng: np.random.Generator) -> None:
    paths = [str(path) for path in rng.permutation(list(truth.labels))]
    train, val = len(paths) * 3 // 5, len(paths) // 5
    parts = {"train": paths[:train], "val": paths[train : train + val], "test": paths[train + val :]}
    for split, chosen in parts.items():
        truth.splits |= dict.fromkeys(chosen, split)
        write_lines(root / f"resisc45-{split}.txt", [path.rsplit("/", 1)[1] for path in chosen], last="")
