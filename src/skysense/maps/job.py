"""A map to be made: what is read, where its windows and parts lie, what is written; all that a process must be told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from skysense.errors import ConfigError
from skysense.maps.account import Account
from skysense.maps.answer import Answerer, Scores
from skysense.maps.blend import Layout, memory_of
from skysense.maps.parts import Part, Parting
from skysense.maps.product.layer import Layer
from skysense.maps.product.levels import tile_of
from skysense.maps.product.work import Work
from skysense.maps.source import Source

WINDOW_CELLS = 16
"""Side of a window: that of a pre-training view (512 px of high-resolution imagery, 16 px of Sentinel)."""
OPEN_ROWS_BYTES = 256 << 20
"""What the open rows of a part may take, unless the narrowest part already takes more."""
_WIDEST, _WIDE, _NARROWEST = 1024, 256, 128  # cells
_PARTS = 8  # wanted of a map, so that several processes have something to do and a run that is cut off loses little


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How windows are laid out and computed.

    Attributes:
        window_cells: side of a window, a multiple of 4 cells.
        overlap_cells: shared by neighbouring windows; an eighth of a window if None.
        batch_size: windows per forward.
        workers: processes that share the work, each with its share of the threads of this one.
        engine: ``local`` processes, or those of ``ray``, on one or many machines.
        cluster: address of a Ray cluster that is there; None starts one on this machine for the time being.

    Raises:
        ConfigError: numbers that are none.
    """

    window_cells: int = WINDOW_CELLS
    overlap_cells: int | None = None
    batch_size: int = 8
    workers: int = 1
    engine: Literal["local", "ray"] = "local"
    cluster: str | None = None

    def __post_init__(self) -> None:
        for name, number in (("batch size", self.batch_size), ("workers", self.workers)):
            if number < 1:
                raise ConfigError(f"{name} {number}: it must be at least 1")
        self.layout(self.window_cells, self.window_cells)  # says whether sides are windows, before there is a map
        if self.cluster is not None and self.engine != "ray":
            raise ConfigError(f"a cluster, {self.cluster}, is for the engine ray")

    def layout(self, height: int, width: int) -> Layout:
        """The windows of a map of so many cells.

        Raises:
            ConfigError: a size or an overlap that is none.
        """
        overlap = self.window_cells // 8 if self.overlap_cells is None else self.overlap_cells
        return Layout(height, width, self.window_cells, overlap)

    def layout_of(self, source: Source) -> Layout:
        """The windows of a map of all of a source."""
        return self.layout(source.grid.height, source.grid.width)


@dataclass(frozen=True)
class Job:
    """A map to be made; can be pickled.

    Attributes:
        source: what is read.
        layout: windows.
        parting: parts.
        scores: what is blended.
        work: what is finished, and where the rest goes.
        batch_size: windows per forward.
    """

    source: Source
    layout: Layout
    parting: Parting
    scores: Scores
    work: Work
    batch_size: int

    @property
    def block(self) -> int:
        """Rows of cells that are handed on together: whole rows of tiles of every layer."""
        return block_of(self.work.layers)

    def todo(self) -> list[Part]:
        """The parts that are not finished."""
        return [part for part in self.parting.parts if self.work.account(part) is None]

    def windows(self, parts: Sequence[Part]) -> int:
        """Windows to be computed for parts; those on the seams of parts count for each of them."""
        return sum(len(self.layout.touching(part.window)) for part in parts)

    def account(self) -> Account:
        """What became of the windows of all parts that are finished."""
        total = Account()
        for part in self.parting.parts:
            if (values := self.work.account(part)) is not None:
                total.add(Account.from_json(values))
        return total

    def with_layers(self, layers: Sequence[Layer]) -> Job:
        """The same with layers whose scales and offsets are known by now."""
        return replace(self, work=replace(self.work, layers=tuple(layers)))


def begin(
    source: Source,
    answerer: Answerer,
    out: Path,
    settings: Settings,
    identity: dict[str, Any],
    *,
    picture: Path | None = None,
    overwrite: bool = False,
    source_files: Sequence[Path] = (),
) -> Job:
    """Start a map, or go on with one of the same identity whose run ended early.

    Args:
        source: what is read.
        answerer: of its windows; of ``int8`` layers scales and offsets may not be known yet.
        out: ``.tif`` or ``.zarr``.
        settings: windows and batches.
        identity: what decides the pixels, see `Work.begin`.
        picture: a PNG that is going to be drawn beside the output.
        overwrite: replace existing outputs, and begin anew where another run left its work.
        source_files: none of them may be the output.

    Raises:
        OutputError: the output exists or is an input, or another run left its work.
        ConfigError: a window or an overlap that is none.
    """
    layout = settings.layout_of(source)
    parting = parting_of(layout, answerer)
    options: dict[str, Any] = {"picture": picture, "overwrite": overwrite, "source_files": source_files}
    work = Work.begin(out, source.grid, answerer.layers, parting, identity, **options)
    return Job(source, layout, parting, answerer.scores, work, settings.batch_size)


def block_of(layers: Sequence[Layer]) -> int:
    """Cells that are a whole number of tiles of every layer."""
    return math.lcm(*(tile_of(layer) // math.gcd(tile_of(layer), layer.per_cell) for layer in layers)) if layers else 32


def parting_of(layout: Layout, answerer: Answerer) -> Parting:
    """Parts of a map: the same for every machine, whoever computes them.

    They are twice as high as wide, 1024 cells wide at most. Parts become narrower where their open rows would take more
    than `OPEN_ROWS_BYTES`, down to 128 cells, and where a map would have fewer than 8 parts, down to 256.
    """
    block = block_of(answerer.layers)
    width = max(_WIDEST, block)

    def parts(width: int) -> int:
        return math.ceil(layout.width / width) * math.ceil(layout.height / (2 * width))

    while width % (2 * block) == 0 and (
        (width > _NARROWEST and memory_of(answerer.scores, block, layout.size, width) > OPEN_ROWS_BYTES)
        or (width > _WIDE and parts(width) < _PARTS)
    ):
        width //= 2
    return Parting(layout.height, layout.width, 2 * width, width)
