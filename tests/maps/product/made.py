"""Small maps for tests: layers, numbers, and a run that writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from affine import Affine

from skysense.maps.grid import Grid
from skysense.maps.parts import Part, Parting
from skysense.maps.product.layer import Layer
from skysense.maps.product.levels import tile_of
from skysense.maps.product.work import Work

ROTATED = Affine(9.4, 3.4, 500_000, 3.4, -9.4, 5_000_000)
NORTH_UP = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def features(stored: str = "float32", bands: int = 3) -> Layer:
    """Of int8 with an offset per band, of uint8 without."""
    scale = None if stored.startswith("float") else tuple(0.25 + at / 8 for at in range(bands))
    offset = tuple(3.5 - at / 4 for at in range(bands)) if stored == "int8" else None
    names = tuple(f"fused {at}" for at in range(bands))
    return Layer("features", "features", names, stored, scale=scale, offset=offset)  # type: ignore[arg-type]


def classes(per_cell: int = 1) -> Layer:
    names, colours = ("field", "water body", "town"), ("#a0c020", "#1040ff", "#c00000")
    return Layer("classes", "classes", ("class",), "uint8", per_cell, classes=names, colours=colours)


def numbers(layer: Layer, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Stored numbers of a map of so many cells, with a hole and single missing pixels."""
    rng = np.random.default_rng(seed)
    shape = (len(layer.bands), height * layer.per_cell, width * layer.per_cell)
    values = rng.normal(size=shape) * 9 if layer.kind != "classes" else rng.integers(0, len(layer.classes), shape)
    values = values.astype(np.float32)
    values[:, rng.random(shape[1:]) < 0.1] = np.nan
    values[:, : shape[1] // 3, shape[2] // 2 :] = np.nan
    return layer.encode(values)


def begin(
    out: Path, layers: Sequence[Layer], size: tuple[int, int], part: tuple[int, int], transform: Affine = NORTH_UP, **kw
) -> Work:
    grid = Grid("EPSG:32632", transform, *size)
    return Work.begin(out, grid, layers, Parting(*size, *part), kw.pop("identity", {"model": "m"}), **kw)


def fill(work: Work, stored: dict[str, np.ndarray], parts: Iterable[Part] | None = None) -> None:
    """Write parts as the engine does: rows of tiles, layer by layer."""
    for part in work.parting.parts if parts is None else parts:
        with work.open(part) as writer:
            for layer in work.layers:
                window = part.window.scaled(layer.per_cell)
                values = stored[layer.name][:, *window.slices()]
                for row in range(0, window.height, tile_of(layer)):
                    writer.put(layer.name, row, values[:, row : row + tile_of(layer)])
            writer.say({"part": part.name})


def write(
    out: Path, layers: Sequence[Layer], size: tuple[int, int], part: tuple[int, int], transform: Affine = NORTH_UP
) -> dict[str, np.ndarray]:
    """A whole map; returns what it holds."""
    stored = {layer.name: numbers(layer, *size) for layer in layers}
    work = begin(out, layers, size, part, transform)
    fill(work, stored)
    work.finish({"software": "skysense test"})
    return stored


def contents(*paths: Path) -> dict[str, str]:
    """Hashes of files, of a folder those of all in it."""
    found = {}
    for path in paths:
        for file in [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file()):
            found[str(file.relative_to(path.parent))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found
