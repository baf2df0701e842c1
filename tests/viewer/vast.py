"""A map of 10,000 x 10,000 cells and forty days of images of it, made in seconds.

Its fields repeat, and so do its tiles: every file holds each different tile once, and its directories name it as often
as it occurs. Readers see whole files; only the bytes are few.

Letters: K bands, S side of a tile.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from skysense.maps.grid import Grid
from skysense.maps.product.codec import encode_tile
from skysense.maps.product.layer import Layer
from skysense.maps.product.levels import OVERVIEW_SIDE, tile_of
from skysense.maps.product.metadata import FORMAT, VERSION, grid_to_json
from skysense.maps.product.tiff import HEADER_BYTES, Directory, Tags, file_header, framed, layer_tags
from tests.viewer.farm import COLOURS, UNIT

SIDE, FIELD, KINDS, DIMENSIONS = 10_000, 512, 4, 8
GRID = Grid(rasterio.CRS.from_epsg(32632), Affine(10, 0, 520_000, 0, -10, 6_030_000), SIDE, SIDE)
NAMES = ("water", "wheat", "meadow", "wood", *(f"spare {at}" for at in range(10)))  # more than a legend shows at once
DAYS = tuple((datetime.date(2024, 1, 5) + datetime.timedelta(9 * at)).isoformat() for at in range(40))
_PERIOD = KINDS * FIELD  # cells after which the fields repeat in both directions
_METADATA = 42112


def centre(row: int, col: int) -> tuple[int, int]:
    """Row and column of the cell in the middle of a field, by its place among the fields."""
    return row * FIELD + FIELD // 2, col * FIELD + FIELD // 2


def kinds_at(row: NDArray, col: NDArray) -> NDArray[np.int64]:
    """Which kind of field a cell lies in, from its row and column."""
    return (row // FIELD + 2 * (col // FIELD)) % KINDS


def directions() -> NDArray[np.int8]:
    """Stored features ``(K, KINDS)``: at right angles, one per kind."""
    return np.rint(np.linalg.qr(np.random.default_rng(3).normal(size=(DIMENSIONS, KINDS)))[0] * 127).astype(np.int8)


def write_vast(out: Path) -> Path:
    """The map: features, classes, probability, uncertainty."""
    share_KK = np.rint((0.1 + 0.6 * np.eye(KINDS)) / UNIT).astype(np.uint8)
    units = (UNIT,) * KINDS
    layers: list[tuple[Layer, NDArray]] = [
        (Layer("features", "features", tuple(f"fused {at}" for at in range(DIMENSIONS)), "int8", 1,
               (1 / 127,) * DIMENSIONS), directions()),
        (Layer("classes", "classes", ("class",), "uint8", classes=NAMES, colours=_colours()),
         np.arange(KINDS, dtype=np.uint8)[None]),
        (Layer("probability", "probability", NAMES[:KINDS], "uint8", scale=units), share_KK),
        (Layer("uncertainty", "uncertainty", ("doubt",), "uint8", scale=units[:1]),
         np.linspace(20, 200, KINDS).astype(np.uint8)[None]),
    ]  # fmt: skip
    about = {"format": FORMAT, "version": VERSION, "run": "vast", "grid": grid_to_json(GRID),
             "layers": [layer.name for layer, _ in layers]}  # fmt: skip
    for at, (layer, values_Kn) in enumerate(layers):
        path = out if at == 0 else out.with_name(f"{out.stem}_{layer.name}.tif")
        tags = layer_tags(layer, GRID, {**about, "layer": layer.to_json()})
        path.write_bytes(_file(tags, tile_of(layer), lambda kinds_SS, values_Kn=values_Kn: values_Kn[:, kinds_SS]))
    return out


def _colours() -> tuple[str, ...]:
    return (*COLOURS, *(f"#{40 + 20 * at:02x}40{240 - 20 * at:02x}" for at in range(len(NAMES) - len(COLOURS))))


def grey(day: int, kind: int) -> int:
    """What the image of a day shows of a kind."""
    return 10 + 5 * day + 12 * kind


def write_days(folder: Path) -> Path:
    """An image per day, brighter from day to day."""
    folder.mkdir(parents=True)
    for at, day in enumerate(DAYS):
        write_image(folder / f"vast_{day.replace('-', '')}.tif", tuple(grey(at, kind) for kind in range(KINDS)))
    return folder


def write_image(path: Path, greys: tuple[int, ...]) -> Path:
    """A plain GeoTIFF of three bands: a grey per kind."""
    plain = Layer("image", "image", ("R", "G", "B"), "uint8")
    tags = {number: tag for number, tag in layer_tags(plain, GRID, {}).items() if number != _METADATA}
    greys_n = np.array(greys, np.uint8)
    path.write_bytes(_file(tags, 256, lambda kinds_SS: greys_n[kinds_SS][None].repeat(3, axis=0)))
    return path


def _file(tags: Tags, tile: int, picture: Callable[[NDArray], NDArray]) -> bytes:
    """A whole file with overviews.

    Args:
        tags: what the file says of itself.
        tile: its side.
        picture: from kinds ``(S, S)`` to stored numbers ``(K, S, S)``.
    """
    sides = [SIDE]
    while sides[-1] > OVERVIEW_SIDE:
        sides.append(-(-sides[-1] // 2))
    counts = [math.ceil(side / tile) for side in sides]
    directories = [
        Directory(tags, level > 0, side, side, tile, count**2)
        for level, (side, count) in enumerate(zip(sides, counts, strict=True))
    ]
    starts = np.cumsum([HEADER_BYTES, *(one.size for one in directories)])
    pool, places = bytearray(), dict[bytes, tuple[int, int]]()

    def place(level: int, row: int, col: int) -> tuple[int, int]:
        """Where the tile that looks like this one lies, and how long it is."""
        rows, cols = (np.minimum((at + np.arange(tile)) * 2**level, _PERIOD * SIDE) for at in (row, col))
        kinds_SS = kinds_at(rows[:, None], cols[None])
        key = kinds_SS.tobytes()
        if key not in places:
            content = encode_tile(picture(kinds_SS))
            places[key] = (int(starts[-1]) + len(pool) + 4, len(content))
            pool.extend(framed(content))
        return places[key]

    written = file_header()
    for level, (directory, count) in enumerate(zip(directories, counts, strict=True)):
        period = max(1, _PERIOD // 2**level // tile)  # tiles
        few = np.array([[place(level, row * tile, col * tile) for col in range(period)] for row in range(period)])
        at = np.arange(count) % period
        every = few[at[:, None], at[None]].reshape(-1, 2)
        written += directory.written(int(starts[level]), *every.T, last=level == len(directories) - 1)
    return bytes(written) + bytes(pool)
