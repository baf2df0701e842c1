"""Sources in memory and answerers whose answers can be worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from skysense.geo import Window
from skysense.maps.answer import Regions, Rows, WindowAnswer
from skysense.maps.blend import Layout
from skysense.maps.grid import Grid
from skysense.maps.product.layer import Layer
from skysense.maps.source import UnreadableWindow
from skysense.observation import Sample, Series
from skysense.sensors import SENTINEL1, Modality, Sensor
from tests.maps.scenes import S2_GRID


@dataclass(frozen=True)
class ArraySource:
    """Backscatter in memory; NaN is no-data.

    Attributes:
        values_2hw: in dB.
        broken: windows that begin here cannot be read.
        torn: windows that begin here lose a frame.
    """

    values_2hw: NDArray[np.float32] = field(repr=False)
    broken: tuple[tuple[int, int], ...] = ()
    torn: tuple[tuple[int, int], ...] = ()
    crs: str = "EPSG:32632"
    transform: Affine = S2_GRID
    name: str = "array"
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> Grid:
        from rasterio.crs import CRS

        return Grid(CRS.from_user_input(self.crs), self.transform, *self.values_2hw.shape[1:])

    @property
    def sensors(self) -> dict[Modality, Sensor]:
        return {"s1": SENTINEL1}

    def about(self) -> dict[str, Any]:
        return {"s1": {"files": ["array"], "sum": float(np.nansum(self.values_2hw))}}

    def decoded_bytes(self, cells: int) -> int:
        return 0

    @contextmanager
    def open(self) -> Iterator[_Reader]:
        yield _Reader(self)


@dataclass
class _Reader:
    source: ArraySource
    pixels_not_finite: int = 0
    lost: list[str] = field(default_factory=list)

    def read(self, window: Window) -> Sample:
        at = (window.row, window.col)
        if at in self.source.broken:
            raise UnreadableWindow("cannot be read", file=self.source.name)
        if at in self.source.torn:
            self.lost.append("array of 2024-07-14")
        read = self.source.values_2hw[:, *window.slices()]
        values = np.full((1, 2, window.height, window.width), np.nan, np.float32)
        values[0, :, : read.shape[1], : read.shape[2]] = read
        valid = ~np.isnan(values[:, 0])
        dates = np.array(["2024-07-14"], "datetime64[D]")
        return Sample(str(at), {"s1": Series(SENTINEL1, np.where(valid[:, None], values, 0), dates, valid)})


@dataclass(frozen=True)
class Mean3:
    """Means of 3 x 3 cells, where all of them are observed: a window says nothing of the cells along its own rim.

    Attributes:
        fine: pixels per cell of a second score that repeats the first one, plus the number of the pixel.
        regions: as of a model with prototypes.
    """

    fine: int | None = None
    regions: Regions | None = None

    device: str = "cpu"

    def build(self) -> Mean3:
        return self

    @property
    def scores(self) -> Mapping[str, tuple[int, int]]:
        return {"mean": (2, 1)} | ({} if self.fine is None else {"fine": (1, self.fine)})

    @property
    def layers(self) -> tuple[Layer, ...]:
        mean = Layer("mean", "features", ("VV", "VH"), "float32")
        fine = () if self.fine is None else (Layer("fine", "image", ("VV",), "float32", self.fine),)
        return (mean, *fine)

    def __call__(self, samples: Sequence[Sample]) -> list[WindowAnswer]:
        return [self._answer(sample.series["s1"]) for sample in samples]

    def _answer(self, series: Series) -> WindowAnswer:
        mean, seen = mean3(series.values[0], series.valid[0])
        maps = {"mean": (mean, seen)}
        if self.fine is not None:
            maps["fine"] = finer(mean[:1], seen, self.fine)
        return WindowAnswer(maps)

    def encode(self, blended: Rows) -> dict[str, NDArray]:
        return dict(blended)


def mean3(values_Khw: NDArray, valid_hw: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Means of 3 x 3 cells, and where there are nine."""
    mean, seen = np.zeros(values_Khw.shape, np.float32), np.zeros(valid_hw.shape, bool)
    height, width = valid_hw.shape
    inner = np.ones((height - 2, width - 2), bool)
    total = np.zeros((len(values_Khw), height - 2, width - 2), np.float64)
    for row in range(3):
        for col in range(3):
            part = (slice(row, row + height - 2), slice(col, col + width - 2))
            inner &= valid_hw[part]
            total += values_Khw[:, *part]
    mean[:, 1:-1, 1:-1], seen[1:-1, 1:-1] = total / 9, inner
    return mean, seen


def finer(values_Khw: NDArray, seen_hw: NDArray, factor: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Every cell in so many pixels along a side, each with a number of its own added."""
    pixels = np.arange(factor * factor, dtype=np.float32).reshape(factor, factor)
    grown = np.kron(values_Khw, np.ones((factor, factor), np.float32))
    return grown + np.tile(pixels, seen_hw.shape), np.kron(seen_hw, np.ones((factor, factor), bool))


def plain_blend(
    layout: Layout, answers: Mapping[Window, tuple[NDArray, NDArray]], channels: int, per_cell: int = 1
) -> NDArray[np.float64]:
    """The documented formula, place by place."""

    def side(start: int, length: int) -> list[float]:
        weights = []
        size, overlap = layout.size * per_cell, layout.overlap * per_cell
        for at in range(size):
            weight = 1.0
            if at < overlap and start > 0:
                weight *= 0.5 - 0.5 * np.cos(np.pi * (at + 0.5) / overlap)
            if at >= size - overlap and start + layout.size < length:
                weight *= 0.5 - 0.5 * np.cos(np.pi * (size - at - 0.5) / overlap)
            weights.append(weight)
        return weights

    shape = (layout.height * per_cell, layout.width * per_cell)
    total, weight = np.zeros((channels, *shape)), np.zeros(shape)
    for window, (values, observed) in answers.items():
        down, across = side(window.row, layout.height), side(window.col, layout.width)
        top, left = window.row * per_cell, window.col * per_cell
        for r in range(min(len(down), shape[0] - top)):
            for c in range(min(len(across), shape[1] - left)):
                if observed[r, c]:
                    total[:, top + r, left + c] += down[r] * across[c] * values[:, r, c]
                    weight[top + r, left + c] += down[r] * across[c]
    with np.errstate(invalid="ignore"):
        return total / weight
