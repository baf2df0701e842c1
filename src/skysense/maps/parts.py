"""A map in parts that are computed independently: the same parts, windows and batches whoever computes them."""

from __future__ import annotations

from dataclasses import dataclass

from skysense.geo import Window


@dataclass(frozen=True)
class Part:
    """A rectangle of a map.

    Attributes:
        row, col: its place among the parts.
        window: its cells; only the last of a row or column may be smaller than the others.
    """

    row: int
    col: int
    window: Window

    @property
    def name(self) -> str:
        """What files of it are called."""
        return f"{self.row}-{self.col}"


@dataclass(frozen=True)
class Parting:
    """How a map is cut into parts.

    Attributes:
        height, width: of the map, cells.
        part_height, part_width: of a part, cells; multiples of a tile.
    """

    height: int
    width: int
    part_height: int
    part_width: int

    @property
    def parts(self) -> list[Part]:
        """All parts, row by row."""
        made = []
        for row, top in enumerate(range(0, self.height, self.part_height)):
            for col, left in enumerate(range(0, self.width, self.part_width)):
                height = min(self.part_height, self.height - top)
                width = min(self.part_width, self.width - left)
                made.append(Part(row, col, Window(top, left, height, width)))
        return made
