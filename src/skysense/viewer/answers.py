"""What a click asks for: similarity to a place, and maps of classes learnt from a few labelled points.

The page says everything that an answer depends on in the request; the server keeps no state but the last few
classifiers, whose points the page sends again if they are gone.

Letters: K bands of features, C classes, N points, H W pixels of the screen.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.maps.fewshot import FewShot, right_when_left_out
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import Product
from skysense.maps.similarity import cosine, unseen
from skysense.viewer.blocks import Blocks
from skysense.viewer.ground import View, on_grid

FITS = 64
"""Classifiers that are kept."""


def _vector(blocks: Blocks, product: Product, layer: Layer, row: int, col: int) -> NDArray[np.float32] | None:
    """Features ``(K,)`` of a cell; None off the map and where it has no data."""
    grid = product.pixels(layer.name)
    if not (0 <= row < grid.height and 0 <= col < grid.width):
        return None
    stored_K11 = blocks.at(product, layer.name, row, col)[:, None, None]
    return None if unseen(stored_K11)[0, 0] else layer.decode(stored_K11)[:, 0, 0]


@dataclass(frozen=True)
class Similarity:
    """Cosine of every cell with one.

    Attributes:
        layer: the features.
        query_K: of the cell that was clicked.
    """

    layer: Layer
    query_K: NDArray[np.float32]

    def __call__(self, stored_KHW: NDArray) -> NDArray[np.float32]:
        """Cosines ``(1, H, W)``, NaN where there is no data."""
        return cosine(self.query_K, stored_KHW, scale=self.layer.scale, offset=self.layer.offset)[None]


def similarity_at(blocks: Blocks, product: Product, layer: Layer, lon: float, lat: float) -> Similarity:
    """Similarity to the cell at a position.

    Raises:
        InputError: there is no data.
    """
    row, col = on_grid(product.pixels(layer.name), lon, lat)
    query_K = _vector(blocks, product, layer, math.floor(row), math.floor(col))
    if query_K is None:
        raise InputError("there is no data at this place")
    if not np.linalg.norm(query_K) > 0:
        raise InputError("the features of this place are all zero, so nothing can be compared with them")
    return Similarity(layer, query_K)


def similarity_picture(blocks: Blocks, product: Product, asked: Similarity, view: View) -> bytes:
    """A view as 16-bit numbers, lowest byte first, row by row: 0 is no data, 1 .. 65535 are cosines -1 .. 1."""
    cosine_HW = blocks.compute(product, asked.layer.name, view, asked, 1)[0]
    numbers_HW = np.rint((cosine_HW.clip(-1, 1) + 1) * (65534 / 2)) + 1
    return np.nan_to_num(numbers_HW).astype("<u2").tobytes()


@dataclass(frozen=True)
class Point:
    """A labelled place.

    Attributes:
        lon, lat: degrees.
        label: index of its class, from 0 without gaps.
    """

    lon: float
    lat: float
    label: int


@dataclass(frozen=True)
class Taught:
    """A classifier learnt from labelled points of one map.

    Attributes:
        item: number of the map on the page.
        layer: the features.
        fewshot: the classifier, on stored numbers.
        label_C: index on the page of each of its classes; one without points on data is missing.
        kept_N: which points were learnt from: those on data, where no other class has a point in the same cell.
        right: share of the points that the classifier gets right when it has not seen them, see
            `skysense.maps.fewshot.right_when_left_out`.
    """

    item: int
    layer: Layer
    fewshot: FewShot
    label_C: NDArray[np.int64]
    kept_N: tuple[bool, ...]
    right: float | None

    def __call__(self, stored_KHW: NDArray) -> NDArray[np.float32]:
        """Index of the class, its probability and the novelty of the cell ``(3, H, W)``, NaN where there is no data."""
        answers = self.fewshot.answer(stored_KHW)
        class_HW = self.label_C[answers.probability_CHW.argmax(axis=0)].astype(np.float32)
        class_HW[np.isnan(answers.novelty_HW)] = np.nan
        return np.stack([class_HW, 1 - answers.uncertainty_HW, answers.novelty_HW])


def teach(blocks: Blocks, product: Product, layer: Layer, item: int, points: Sequence[Point]) -> Taught:
    """Learn from labelled points, as `skysense.maps.fewshot_map.fewshot_map` does from a file of them.

    A cell counts once, however many points of its class it has; cells with points of several classes do not count.

    Raises:
        InputError: fewer than two classes on data, or features that cannot tell anything apart.
    """
    grid = product.pixels(layer.name)
    cells = [tuple(math.floor(one) for one in on_grid(grid, point.lon, point.lat)) for point in points]
    labels: dict[tuple[int, ...], set[int]] = {}
    for cell, point in zip(cells, points, strict=True):
        labels.setdefault(cell, set()).add(point.label)
    found: dict[tuple[int, ...], NDArray[np.float32]] = {}
    for cell, classes in labels.items():
        vector_K = _vector(blocks, product, layer, *cell) if len(classes) == 1 else None
        if vector_K is not None:
            found[cell] = vector_K
    label_N = np.array([next(iter(labels[cell])) for cell in found], np.int64)
    if len(set(label_N.tolist())) < 2:
        raise InputError("points of at least two classes must lie on data", fix="Label one more class")
    label_C, dense_N = np.unique(label_N, return_inverse=True)
    fewshot = FewShot.fit(np.stack(list(found.values())), dense_N)
    right = right_when_left_out(fewshot.left_out_NC, dense_N)
    kept_N = tuple(cell in found for cell in cells)
    return Taught(item, layer, fewshot.stored_with(layer.scale, layer.offset), label_C, kept_N, right)


def taught_picture(blocks: Blocks, product: Product, taught: Taught, view: View) -> bytes:
    """A view as three planes of bytes, row by row.

    Class (0 is no data, 1 is the first one), its probability and the novelty of the cell (0 .. 255 are 0 .. 1).
    """
    class_HW, sure_HW, novel_HW = blocks.compute(product, taught.layer.name, view, taught, 3)
    planes = [class_HW + 1, np.rint(sure_HW * 255), np.rint(novel_HW * 255)]
    return np.nan_to_num(np.stack(planes)).astype(np.uint8).tobytes()


class Fits:
    """The classifiers that were asked for last, by what they were learnt from.

    Args:
        limit: how many are kept.
    """

    def __init__(self, limit: int = FITS) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, Taught] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def name(item: int, points: Sequence[Point]) -> str:
        """The same for the same points in the same order on the same map."""
        content: Any = [item, [[point.lon, point.lat, point.label] for point in points]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]

    def keep(self, name: str, taught: Taught) -> None:
        """Keep one, and let go of the one that was not asked for the longest."""
        with self._lock:
            self._kept[name] = taught
            self._kept.move_to_end(name)
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)

    def find(self, name: str) -> Taught | None:
        """One that is kept."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)
