"""The levels of a layer: full resolution and its overviews, each cut into tiles and into parts of many tiles.

As long as half the side of a part is a multiple of a tile, a part of an overview is the ground of one part of the map:
it can be made along with it. Coarser levels are made when all parts are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from skysense.geo import Window
from skysense.maps.parts import Part, Parting
from skysense.maps.product.layer import Layer

OVERVIEW_SIDE = 512
"""A level whose longer side is at most so many pixels has no overview."""
_FEATURE_TILE, _TILE = 32, 256


def tile_of(layer: Layer) -> int:
    """Side of a tile in pixels: features are read as vectors of few places, other layers as pictures."""
    return _FEATURE_TILE if layer.kind == "features" else _TILE


@dataclass(frozen=True)
class Level:
    """One resolution of a layer.

    Attributes:
        number: 0 is full resolution; every level has pixels twice as large as the one before.
        tile: side of a tile, pixels.
        parting: in pixels; sides of parts are multiples of a tile.
        within: its parts cover the ground of those of the map, one by one.
    """

    number: int
    tile: int
    parting: Parting
    within: bool

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.parting.height

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return self.parting.width

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles; those at the lower and right border may hang over."""
        return -(-self.height // self.tile), -(-self.width // self.tile)

    def tiles_of(self, part: Part) -> Window:
        """The tiles of a part, among all of the level."""
        row, col, height, width = part.window.row, part.window.col, part.window.height, part.window.width
        tile = self.tile
        return Window(row // tile, col // tile, -(-height // tile), -(-width // tile))

    def part(self, row: int, col: int) -> Part:
        """A part by its place among the parts."""
        down, across = self.parting.part_height, self.parting.part_width
        top, left = row * down, col * across
        return Part(row, col, Window(top, left, min(down, self.height - top), min(across, self.width - left)))

    def part_with(self, row: int, col: int) -> Part:
        """The part that a tile belongs to, by the place of the tile among all tiles."""
        return self.part(row * self.tile // self.parting.part_height, col * self.tile // self.parting.part_width)

    def blocks(self, part: Part) -> Iterator[tuple[int, int]]:
        """Rows of a part as they are written: first row within the part, and how many; whole tiles but for the last."""
        for row in range(0, part.window.height, self.tile):
            yield row, min(self.tile, part.window.height - row)


def levels_of(layer: Layer, parting: Parting) -> tuple[Level, ...]:
    """All levels of a layer, full resolution first.

    Args:
        layer: of the map.
        parting: of the map, in cells.
    """
    tile = tile_of(layer)
    height, width = parting.height * layer.per_cell, parting.width * layer.per_cell
    down, across = (-(-side * layer.per_cell // tile) * tile for side in (parting.part_height, parting.part_width))
    levels = [Level(0, tile, Parting(height, width, down, across), within=True)]
    while max(height, width) > OVERVIEW_SIDE:
        height, width = -(-height // 2), -(-width // 2)
        within = levels[-1].within and not (down % (2 * tile) or across % (2 * tile))
        if within:
            down, across = down // 2, across // 2
        levels.append(Level(len(levels), tile, Parting(height, width, down, across), within))
    return tuple(levels)
