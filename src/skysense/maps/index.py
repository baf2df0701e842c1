"""An index of all cells of a map, for answers that do not look at every cell.

faiss (Douze et al. 2024) groups the cells round centres (IVF) and looks at the groups nearest to the query only;
vectors have length one and are kept as float16. The measurement it was chosen by is in docs/search.md. The index lies
beside the map (``name.tif.index``) and says which map it is of: one of another map is made anew.

Letters: N cells, K bands, L groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError, need
from skysense.files import atomic_path, read_json, write_json
from skysense.maps.blocks import blocks, features_of, windows_of
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import Product
from skysense.maps.search import Candidates, Hit, Picker, Progress, Query, cell_positions, nearest_cells
from skysense.maps.similarity import runs, unit, unseen

VERSION = 1
_PER_GROUP = 1000  # cells of a group, about
_MOST_GROUPS = 4096
_LEARNED = 50  # cells per group that the centres are learned from
_LOOKED_AT = 16  # groups
_FIRST = 64  # candidates asked for, per place wanted
_MOST = 1 << 17  # candidates


@dataclass(frozen=True)
class CellIndex:
    """An index that is open.

    Attributes:
        path: its file.
        cells: how many it holds.
    """

    path: Path
    cells: int
    _faiss: Any

    def nearest(self, query: Query, product: Product, count: int, apart: float) -> list[Hit]:
        """Places that are most like a query, about; see `skysense.maps.search.nearest_cells`."""
        asked, looked_at = count * _FIRST, min(_LOOKED_AT, self._faiss.nlist)
        while True:
            self._faiss.nprobe = looked_at
            similarity_1M, number_1M = self._faiss.search(query.vector_K[None], min(asked, self.cells))
            there_M = number_1M[0] >= 0
            picker = Picker(query, cell_positions(product), apart)
            some = picker.allowed(Candidates(similarity_1M[0][there_M], number_1M[0][there_M]))
            picker.pick(some.best(len(some.number_M)), count)
            if len(picker.hits) == count or (asked >= self.cells and looked_at == self._faiss.nlist):
                return picker.hits
            if asked > _MOST:  # nearly all that is alike lies in few places: looking at every cell is quicker now
                return nearest_cells(product, query, count, apart)
            asked, looked_at = asked * 8, min(looked_at * 4, self._faiss.nlist)


def index_path(product: Product) -> Path:
    """Where the index of a map lies."""
    return product.path.with_name(f"{product.path.name}.index")


def open_index(product: Product) -> CellIndex | None:
    """The index of a map; None if there is none, or only one of another map or release.

    Raises:
        InputError: it is damaged.
        MissingExtra: faiss is not installed.
    """
    path = index_path(product)
    about = path.with_name(path.name + ".json")
    if not (path.exists() and about.exists()):
        return None
    said = read_json(about)
    if said != _about(product) | {"cells": said.get("cells"), "bytes": path.stat().st_size}:
        return None
    faiss = need("faiss", "search")
    try:
        return CellIndex(path, said["cells"], faiss.read_index(str(path)))
    except RuntimeError as error:
        raise InputError("is damaged", file=path, fix="Remove it; it is made anew") from error


def make_index(product: Product, progress: Progress | None = None) -> CellIndex:
    """Make the index of a map; the map is read twice.

    Raises:
        InputError: no map of features, or one without data.
        OutputError: no space.
        MissingExtra: faiss is not installed.
    """
    faiss = need("faiss", "search")
    layer, path = features_of(product), index_path(product)
    windows = windows_of(product.grid, layer)
    width = len(layer.bands)
    area = product.grid.height * product.grid.width
    groups = max(1, min(_MOST_GROUPS, area // _PER_GROUP))
    every = max(1, area // (groups * _LEARNED))

    def vectors(step: int, first: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        for done, (window, block_Khw) in enumerate(blocks(product, layer, windows), first + 1):
            yield from _cells(block_Khw, layer, window.row, window.col, product.grid.width, step)
            if progress is not None:
                progress(done, 2 * len(windows))

    learned = [vectors_NK for vectors_NK, _ in vectors(every, 0)]
    sample_NK = np.concatenate([np.empty((0, width), np.float32), *learned])
    if not len(sample_NK):
        raise InputError("holds no cell with data", file=product.path)
    groups = max(1, min(groups, len(sample_NK) // 40))  # fewer per group would be too few to learn a centre from
    index = faiss.index_factory(width, f"IVF{groups},SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.train(sample_NK)
    for vectors_NK, number_N in vectors(1, len(windows)):
        index.add_with_ids(vectors_NK, number_N)
    about = path.with_name(path.name + ".json")
    about.unlink(missing_ok=True)  # first: an index without its account is none
    with atomic_path(path) as temporary:
        faiss.write_index(index, str(temporary))
    write_json(about, _about(product) | {"cells": index.ntotal, "bytes": path.stat().st_size})
    return CellIndex(path, index.ntotal, index)


def _about(product: Product) -> dict[str, Any]:
    return {"format": "skysense index", "version": VERSION, "map": product.metadata["run"]}


def _cells(
    block_Khw: NDArray, layer: Layer, row: int, col: int, across: int, step: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Directions and numbers of the cells of a block that have data, every so many of them."""
    _, height, width = block_Khw.shape
    seen_N = ~unseen(block_Khw).reshape(-1)
    number_N = ((np.arange(height)[:, None] + row) * across + np.arange(width) + col).reshape(-1)
    for some, values_Kn in runs(block_Khw):
        chosen_n = np.flatnonzero(seen_N[some])[::step]
        values_nK = values_Kn[:, chosen_n].T
        if layer.scale is not None:
            values_nK = values_nK * np.asarray(layer.scale, np.float32)
        if layer.offset is not None:
            values_nK = values_nK + np.asarray(layer.offset, np.float32)
        yield unit(values_nK), number_N[some][chosen_n]
