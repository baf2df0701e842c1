"""A tiny LEVIR-CD: whole pairs by split, or crops in one folder with lists."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tests.data.labelled.files import write as save
from tests.datasets.fakes import drawing
from tests.datasets.truth import Truth

CLASSES = ("no-change", "change")
CROPS = 4  # along a side of a whole image
_STORED = np.array([0, 255], np.uint8)


def write(
    root: Path, *, seed: int = 0, train: int = 3, val: int = 2, test: int = 2, size: int = 64, flat: bool = False
) -> Truth:
    """Write whole pairs, ``size`` x ``size`` (1024 in the original).

    Truth: keys are paths of the earlier images (in ``A``); pixels are (2, 3, H, W), earlier and later; labels are
    masks.

    Args:
        root: folder that then holds ``train``, ``val`` and ``test``.
        seed: of everything random.
        train: pairs.
        val: pairs.
        test: pairs.
        size: side in pixels.
        flat: all three archives unpacked into one place: ``root/A``, ``root/B``, ``root/label``.
    """
    truth = Truth(CLASSES)
    for split, name, pair, mask in _pairs(seed, {"train": train, "val": val, "test": test}, size):
        _write(truth, root, "" if flat else f"{split}/", f"{name}.png", split, pair, mask)
    return truth


def write_crops(
    root: Path, *, seed: int = 0, train: int = 2, val: int = 1, test: int = 1, size: int = 64,
    naming: Literal["number", "offsets"] = "number",
) -> Truth:  # fmt: skip
    """Write crops, sixteen for each pair of `write` with the same seed, ``size / 4`` a side (256 in the original).

    Truth: as of `write`.

    Args:
        root: folder that then holds ``A``, ``B``, ``label`` and ``list``.
        seed: of everything random.
        train: pairs that are cut.
        val: pairs that are cut.
        test: pairs that are cut.
        size: side of the uncut images in pixels.
        naming: ``train_1_16.png``, row after row from the top left, or ``train_1_0048_0048.png``. Which of the two
            offsets is the row is not verified; most likely the first.
    """
    truth = Truth(CLASSES)
    side = size // CROPS
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for split, name, pair, mask in _pairs(seed, {"train": train, "val": val, "test": test}, size):
        for number in range(CROPS**2):
            y, x = number // CROPS * side, number % CROPS * side
            end = f"{number + 1}" if naming == "number" else f"{y:04d}_{x:04d}"
            file = f"{name}_{end}.png"
            cut = (..., slice(y, y + side), slice(x, x + side))
            _write(truth, root, "", file, split, pair[cut], mask[cut])
            lists[split].append(file)
    (root / "list").mkdir()
    for split, files in lists.items():
        (root / f"list/{split}.txt").write_text("".join(f"{file}\n" for file in files), "utf-8")
    return truth


def _pairs(seed: int, counts: dict[str, int], size: int):
    """Yield split, name, pixels (2, 3, H, W) and mask (H, W) of every pair; numbers begin at 1 and are not padded."""
    for place, (split, count) in enumerate(counts.items()):
        for number in range(1, count + 1):
            rng = np.random.default_rng([seed, place, number])  # a pair is the same whatever else there is
            before = drawing.smooth(rng, 3, size, size)
            after = np.clip(before + rng.integers(-12, 13, (3, 1, 1)), 0, 255).astype(np.uint8)  # other light
            mask = np.zeros((size, size), np.uint8)
            for index, corners in enumerate(drawing.scattered(rng, 6, size, size, turned=True)):
                roof = rng.integers(30, 225, 3)
                drawing.paint(after, corners, roof)
                if index % 2:
                    drawing.paint(before, corners, roof)  # stood there before
                else:
                    drawing.paint(mask, corners, 1)
            yield split, f"{split}_{number}", np.stack([before, after]), mask


def _write(truth: Truth, root: Path, folder: str, file: str, split: str, pair: NDArray, mask: NDArray) -> None:
    for place, values in (("A", pair[0]), ("B", pair[1]), ("label", _STORED[mask])):
        save(root / f"{folder}{place}/{file}", values)
    key = f"{folder}A/{file}"
    truth.pixels[key], truth.labels[key], truth.splits[key] = pair, mask, split
