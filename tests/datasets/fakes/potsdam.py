"""A tiny ISPRS Potsdam: orthophotos in three sets of bands, two kinds of labels by colour, world files; or patches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.data.labelled.files import write as save
from tests.datasets.fakes import drawing
from tests.datasets.truth import Truth

COLOURS = {
    "Impervious surfaces": (255, 255, 255), "Building": (0, 0, 255), "Low vegetation": (0, 255, 255),
    "Tree": (0, 255, 0), "Car": (255, 255, 0), "Clutter/background": (255, 0, 0),
}  # fmt: skip
CLASSES = tuple(COLOURS)
_PALETTE = np.zeros((256, 3), np.uint8)  # 255, no label: black
_PALETTE[: len(COLOURS)] = list(COLOURS.values())
TRAIN = (
    "2_10", "2_11", "2_12", "3_10", "3_11", "3_12", "4_10", "4_11", "4_12", "5_10", "5_11", "5_12", "6_7", "6_8", "6_9",
    "6_10", "6_11", "6_12", "7_7", "7_8", "7_9", "7_10", "7_11", "7_12",
)  # fmt: skip
TEST = (
    "2_13", "2_14", "3_13", "3_14", "4_13", "4_14", "4_15", "5_13", "5_14", "5_15", "6_13", "6_14", "6_15", "7_13"
)  # fmt: skip
# Where the bands of each kind of orthophoto lie in R, G, B, IR.
ORTHOS = {"2_Ortho_RGB": [0, 1, 2], "3_Ortho_IRRG": [3, 0, 1], "4_Ortho_RGBIR": [0, 1, 2, 3]}
EXAMPLE = ("2_10", "4_12", "6_7", "2_13")
PIXEL = 0.05  # metres
_BLOCK = 608  # of the tiled copy that was looked at
_RADIUS = 3  # of the disc that takes the boundaries away, pixels


@dataclass
class _Tile:
    name: str
    pixels: NDArray  # R, G, B, IR
    classes: NDArray
    eroded: NDArray  # the same, 255 at the boundaries
    stored: tuple[NDArray, NDArray]  # both as colours (3, H, W)


def write(
    root: Path, *, seed: int = 0, tiles: tuple[str, ...] = EXAMPLE, size: int = 96, nested: bool = True
) -> Truth:  # fmt: skip
    """Write tiles as the archives unpack.

    Two labels are as odd as in the original: all colours of 4_12 are a little wrong, and so are most cars of 6_7.

    Truth: keys are paths of orthophotos, three for each tile; labels of each are indexes into the classes; under the
    path of a file of labels lies what that file says, 255 at the boundaries that are left out.

    Args:
        root: folder that then holds ``2_Ortho_RGB`` and the rest.
        seed: of everything random.
        tiles: which of the 38 of `TRAIN` and `TEST`.
        size: side in pixels; 6000 in the original.
        nested: every archive in a folder of its name; else all in one place, where labels lie in ``root`` itself.
    """
    truth = Truth(CLASSES)

    def folder(name: str, *, flat: bool = False) -> str:
        """Where the archive of a name puts its files; a flat one has no folder inside."""
        outer = f"{name}/" if nested else ""
        return outer if flat else f"{outer}{name}/"

    for tile in _tiles(seed, tiles, size):
        split = "train" if tile.name in TRAIN else "test"
        for kind, bands in ORTHOS.items():
            key = f"{folder(kind)}top_potsdam_{tile.name}_{kind.rsplit('_', 1)[1]}.tif"
            pixels = tile.pixels[bands] if bands != [0, 1, 2, 3] else tile.pixels
            # What the fourth band is called in the TIFF is not described: here it is no alpha.
            _write(root / key, pixels, tile.name, **({"alpha": "unspecified"} if len(bands) == 4 else {}))
            truth.pixels[key], truth.labels[key], truth.splits[key] = pixels, tile.classes, split
        places = [folder("5_Labels_all", flat=True), folder("5_Labels_all_noBoundary", flat=True)]
        names = [f"top_potsdam_{tile.name}_label.tif", f"top_potsdam_{tile.name}_label_noBoundary.tif"]
        both = [*zip(places, names, (tile.classes, tile.eroded), tile.stored, strict=True)]
        if split == "train":
            archives = ("5_Labels_for_participants", "5_Labels_for_participants_no_Boundary")
            both += [(folder(archive), *rest) for archive, (_, *rest) in zip(archives, both, strict=True)]
        for place, name, classes, stored in both:
            world = tile.name if name.endswith("label.tif") else None  # the others are listed without a world file
            _write(root / f"{place}{name}", stored, world)
            truth.labels[f"{place}{name}"] = classes
        row, col = (int(n) for n in tile.name.split("_"))
        side = size - 1 if tile.name == "3_13" else size  # its size is another one in the original, too
        heights = drawing.smooth(np.random.default_rng([seed, row, col, 1]), 1, side, side, low=30, high=60, dtype="f4")
        _write(root / f"{folder('1_DSM')}dsm_potsdam_{row:02d}_{col:02d}.tif", heights, tile.name)
    return truth


def write_patches(
    root: Path, *, seed: int = 0, tiles: tuple[str, ...] = EXAMPLE, size: int = 96, patch: int = 40
) -> Truth:  # fmt: skip
    """Write the patches that are cut from `write`'s ``2_Ortho_RGB`` and ``5_Labels_all_noBoundary`` with the same seed.

    Windows lie side by side, the last ones slide back to the border. Colours were compared exactly when these were cut:
    all of 4_12 and most cars of 6_7 have no label.

    Truth: keys are paths of patches; labels are indexes into the classes, 255 where there is none (files have 0 there,
    and 1 for the first class).

    Args:
        root: folder that then holds ``img_dir`` and ``ann_dir``.
        seed: of everything random.
        tiles: which of the 38; those of test become ``val``.
        size: side of the tiles in pixels.
        patch: side of the patches in pixels; 512 in the original.
    """
    truth = Truth(CLASSES)
    starts = sorted({min(start, size - patch) for start in range(0, size, patch)})
    for tile in _tiles(seed, tiles, size):
        split = "train" if tile.name in TRAIN else "val"
        classes = np.full((size, size), 255, np.uint8)
        for index, colour in enumerate(COLOURS.values()):
            classes[(tile.stored[1] == np.array(colour)[:, None, None]).all(axis=0)] = index
        for y in starts:
            for x in starts:
                cut = (..., slice(y, y + patch), slice(x, x + patch))
                name = f"{split}/{tile.name}_{x}_{y}_{x + patch}_{y + patch}.png"
                key = f"img_dir/{name}"
                truth.pixels[key], truth.labels[key], truth.splits[key] = tile.pixels[:3][cut], classes[cut], split
                save(root / key, tile.pixels[:3][cut])
                save(root / f"ann_dir/{name}", classes[cut] + np.uint8(1))  # 255 goes round to 0
    return truth


def _tiles(seed: int, names: tuple[str, ...], size: int) -> Iterator[_Tile]:
    for name in names:
        rng = np.random.default_rng([seed, *(int(n) for n in name.split("_"))])
        pixels = drawing.smooth(rng, 4, size, size)
        classes = np.zeros((size, size), np.uint8)
        for index, corners in enumerate(drawing.scattered(rng, 9, size, size, turned=True)):
            kind = 1 + index % (len(CLASSES) - 1)
            drawing.paint(classes, corners, kind)
            drawing.paint(pixels, corners, rng.integers(30, 225, 4))
        eroded = np.where(_at_boundary(classes), np.uint8(255), classes)
        stored = [np.moveaxis(_PALETTE[labels], -1, 0) for labels in (classes, eroded)]
        for labels in stored:
            if name == "4_12":  # was stored with losses; no value comes near the middle of the range
                labels[:] = np.where(
                    labels > 127, labels - rng.integers(1, 60, labels.shape), rng.integers(1, 60, labels.shape)
                )
            elif name == "6_7":
                cars = (labels == np.array(COLOURS["Car"])[:, None, None]).all(axis=0)
                labels[0][cars & (rng.random(cars.shape) < 0.97)] = 252
        yield _Tile(name, pixels, classes, eroded, (stored[0], stored[1]))


def _at_boundary(classes: NDArray) -> NDArray[np.bool_]:
    """Whether another class lies within the disc around a pixel."""
    height, width = classes.shape
    padded = np.pad(classes, _RADIUS, mode="edge")
    found = np.zeros(classes.shape, bool)
    for dy in range(-_RADIUS, _RADIUS + 1):
        for dx in range(-_RADIUS, _RADIUS + 1):
            if dy**2 + dx**2 <= _RADIUS**2:
                y, x = _RADIUS + dy, _RADIUS + dx
                found |= padded[y : y + height, x : x + width] != classes
    return found


def _write(path: Path, values: NDArray, world: str | None, **profile: object) -> None:
    """A TIFF without compression and without tags of its place; the world file beside it is all that says it."""
    if values.shape[-1] >= _BLOCK:
        profile |= {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK}
    if len(values) > 1:
        profile["photometric"] = "RGB"
    save(path, values, **profile)
    if world is not None:
        row, col = (int(n) for n in world.split("_"))
        # That of 2_10 is known; that its neighbours lie 300 m from it follows from their size.
        x, y = 366976.525 + 300 * (col - 10), 5809761.0 - 300 * (row - 2)
        lines = [f"{PIXEL:.10f}", f"{0:.10f}", f"{0:.10f}", f"{-PIXEL:.10f}", f"{x:.3f}", f"{y:.3f}"]
        path.with_suffix(".tfw").write_text("".join(f"{line}\n" for line in lines), "utf-8")
