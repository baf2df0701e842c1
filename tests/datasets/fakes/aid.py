"""A small AID: ``AID/<Class>/<class>_<n>.jpg``, no zeros before the number, no lists in the archive."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np

from tests.datasets.fakes.smooth import smooth, write_jpeg, write_lines
from tests.datasets.truth import Truth

CLASSES = (
    "Airport", "BareLand", "BaseballField", "Beach", "Bridge", "Center", "Church", "Commercial", "DenseResidential",
    "Desert", "Farmland", "Forest", "Industrial", "Meadow", "MediumResidential", "Mountain", "Park", "Parking",
    "Playground", "Pond", "Port", "RailwayStation", "Resort", "River", "School", "SparseResidential", "Square",
    "Stadium", "StorageTanks", "Viaduct",
)  # fmt: skip


def write(root: Path, *, seed: int = 0, per_class: int = 10, size: int = 32, lists: bool = False) -> Truth:
    """The true names of the first images of every class.

    Args:
        root: folder to write into.
        seed: of the content.
        per_class: images of each class; with ten or more, numbers are not in the order of names.
        size: pixels on the side, 600 in truth.
        lists: aid-train.txt, aid-val.txt and aid-test.txt (60/20/20 of each class, names without folder) lie beside the
            images, as in the copy on Hugging Face.

    Returns:
        Pixels before the compression, which keeps them to a few grey levels.
    """
    rng = np.random.default_rng(seed)
    truth = Truth(classes=CLASSES)
    for name in CLASSES:
        for number in range(1, per_class + 1):
            path = f"AID/{name}/{name.lower()}_{number}.jpg"
            truth.pixels[path] = smooth(rng, (3, size, size), 0, 255, np.uint8)
            truth.labels[path] = name
            write_jpeg(root / path, truth.pixels[path])
    if lists:
        _write_lists(root, truth)
    return truth


def _write_lists(root: Path, truth: Truth) -> None:
    for name in CLASSES:
        paths = sorted(path for path, label in truth.labels.items() if label == name)
        Random(0).shuffle(paths)
        train, val = round(0.6 * len(paths)), round(0.2 * len(paths))
        for at, path in enumerate(paths):
            truth.splits[path] = "train" if at < train else "val" if at < train + val else "test"
    for split in ("train", "val", "test"):
        names = [path.rsplit("/", 1)[1] for path, of in truth.splits.items() if of == split]
        write_lines(root / f"aid-{split}.txt", names)
