"""Which ground a map covers, and on which lattice: that of one of the sensors, cut to what is there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from skysense.errors import ConfigError, InputError
from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.maps.sources.align import outline_on, same_lattice
from skysense.maps.sources.area import Area
from skysense.maps.sources.position import DEGREES, between
from skysense.maps.sources.stack import Stack
from skysense.sensors import Modality

_NEXT: tuple[Modality, ...] = ("s2", "s1", "hr")
_SLACK = 1e-3  # cells by which a border may miss that of a cell and still lie on it


class Edges(NamedTuple):
    """A rectangle in rows and columns of a grid, not rounded."""

    top: float
    left: float
    bottom: float
    right: float

    def common(self, other: Edges) -> Edges | None:
        """What both cover."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Edges(top, left, bottom, right) if bottom - top > _SLACK and right - left > _SLACK else None

    def both(self, other: Edges) -> Edges:
        """The rectangle around both."""
        top, left = min(self.top, other.top), min(self.left, other.left)
        return Edges(top, left, max(self.bottom, other.bottom), max(self.right, other.right))

    def cells(self) -> Window:
        """Whole cells around it."""
        top, left = math.floor(self.top + _SLACK), math.floor(self.left + _SLACK)
        bottom, right = math.ceil(self.bottom - _SLACK), math.ceil(self.right - _SLACK)
        return Window(top, left, bottom - top, right - left)


def choose_grid(stacks: Sequence[Mapping[Modality, Stack]], *, area: Area | None, grid: Modality | None) -> Grid:
    """The cells of a map.

    Args:
        stacks: what there is, by sensor; of two dates of change, two.
        area: what part of the ground is wanted; what every sensor covers if None.
        grid: whose lattice to take; if None that of Sentinel-2, else of Sentinel-1, else of the image.

    Raises:
        ConfigError: a grid of a sensor that is not there.
        InputError: the sensors have no ground in common, or none within the area.
    """
    there = [key for key in _NEXT if any(key in one for one in stacks)]
    if grid is not None and grid not in there:
        raise ConfigError(f"the grid is to be that of {grid}, which is not there; there are {', '.join(there)}")
    key = grid or there[0]
    reference = next(one[key] for one in stacks if key in one)
    base = _lattice(reference.lattices).coarser(reference.sensor.cell_px)
    every = [stack for one in stacks for stack in one.values()]
    covers = {id(stack): _cover(base, stack) for stack in every}
    if area is not None:
        wanted = area.edges(base)
        whole = covers[id(every[0])]
        for stack in every[1:]:
            whole = whole.both(covers[id(stack)])
        cut = wanted.common(whole)
        if cut is None:
            raise InputError(
                f"lies outside the area: it covers {_degrees(base, whole)}, the area is {area.name}",
                file=reference.name,
                fix="Areas are west, south, east, north in degrees (WGS 84)",
            )
        return base.part(cut.cells())
    common = covers[id(every[0])]
    for stack in every[1:]:
        shared = common.common(covers[id(stack)])
        if shared is None:
            raise InputError(
                f"covers {_degrees(base, covers[id(stack)])} and has no ground in common with {every[0].name}, "
                f"{_degrees(base, common)} (west, south, east, north)",
                file=stack.name,
                fix="Give imagery of one place",
            )
        common = shared
    return base.part(common.cells())


def _lattice(lattices: Sequence[Grid]) -> Grid:
    """The lattice that most rasters of the finest pixels lie on, and among equals the first."""
    finest = min(abs(grid.transform.determinant) for grid in lattices)
    families: list[tuple[Grid, int]] = []
    for grid in lattices:
        if abs(grid.transform.determinant) > 1.5 * finest:
            continue
        for at, (first, count) in enumerate(families):
            if same_lattice(first, grid):
                families[at] = first, count + 1
                break
        else:
            families.append((grid, 1))
    return max(families, key=lambda family: family[1])[0]


def _cover(base: Grid, stack: Stack) -> Edges:
    """The rectangle around all frames of a stack."""
    found: Edges | None = None
    for grid in dict.fromkeys(stack.lattices):
        outline = outline_on(base, grid)
        if outline is not None:
            edges = Edges(*outline)
            found = edges if found is None else found.both(edges)
    if found is None:
        raise InputError("lies where the CRS of the map does not reach", file=stack.name)
    return found


def _degrees(base: Grid, edges: Edges) -> str:
    """An extent for people."""
    bounds = base.part(edges.cells()).bounds
    west, south, east, north = between(base.crs, DEGREES).transform_bounds(*bounds)
    return f"{west:.4f}, {south:.4f}, {east:.4f}, {north:.4f} degrees"
