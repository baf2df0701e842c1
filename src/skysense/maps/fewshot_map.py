"""From a map of features and a handful of labels to a map of classes.

Letters: N labelled cells, K bands of the features, C classes, h w cells of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense import __version__
from skysense.data.labelled.draw import palette
from skysense.errors import InputError
from skysense.geo import Window
from skysense.maps.blocks import features_of, vectors_at
from skysense.maps.feed import read_ahead
from skysense.maps.fewshot import Answers, FewShot, Method, right_when_left_out
from skysense.maps.ground import Ground
from skysense.maps.labels import LabelledCells, Labels, cells_of, counts_of, read_labels
from skysense.maps.parts import Part, Parting
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import Product, open_product
from skysense.maps.product.work import Work

_ROWS = 256  # of a part at once: whole tiles of every layer


@dataclass(frozen=True, kw_only=True)
class FewShotResult:
    """What came out.

    Attributes:
        path: the map of classes.
        fewshot: the classifier.
        classes: names by index.
        labelled: cells that were learned from, by class.
        right: share of them that the others classify rightly, each class of several labels counting the same
            (leave-one-out); None if there is none.
        resumed: parts that an earlier run had finished.
        notes: labels that do not count, classes that nothing can be said about.
    """

    path: Path
    fewshot: FewShot
    classes: tuple[str, ...]
    labelled: str
    right: float | None
    resumed: int
    notes: tuple[str, ...]

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from skysense.maps.draw import file_html

        return file_html(self.path, {"notes": "; ".join(self.notes)})


def fewshot_map(
    product: Path,
    labels: Path,
    out: Path,
    *,
    column: str | None = None,
    method: Method = "ridge",
    probabilities: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FewShotResult:
    """Write a map of classes on the grid of a map of features; the same call goes on after a cut.

    Layers: ``classes``; ``uncertainty`` with the bands ``uncertainty`` (one minus the probability of the class) and
    ``novelty`` (how little the labels say about a cell, see `skysense.maps.fewshot`); ``probability`` on request.

    Args:
        product: a map of features.
        labels: points and polygons, see `read_labels`.
        out: ``.tif`` or ``.zarr``.
        column: of the labels.
        method: how it is learned.
        probabilities: also write the probability of every class.
        overwrite: replace existing outputs, and begin anew where another run left its work.
        progress: called with parts done and parts in all.

    Raises:
        InputError: no map of features, labels that cannot be used, or cells of one class only with data.
        OutputError: the output exists or cannot be written; what was finished stays for the next call.
    """
    said = read_labels(labels, column)
    with open_product(product) as features:
        layer = features_of(features)
        cells, vectors_NK = _with_data(cells_of(said, Ground(features.grid)), features, layer, said)
        learned = FewShot.fit(vectors_NK, cells.label_N, method=method)
        layers = _layers(said.classes, probabilities)
        learning = {
            "labels": {"file": labels.name, "sha256": said.sha256, "cells": counts_of(said, cells.label_N)},
            "features": {"file": product.name, "run": features.metadata["run"]},
            "model": features.metadata.get("model"),
            "method": method,
            "column": column,
        }
        about = {"software": f"skysense {__version__}", "fewshot": learning}
        grid = features.grid
        width = 1024 if len(layer.bands) <= 128 else 256  # rows of a part are held in memory
        parting = Parting(grid.height, grid.width, 1024, width)
        work = Work.begin(out, grid, layers, parting, about, overwrite=overwrite, source_files=[product, labels])
        todo = [part for part in parting.parts if work.account(part) is None]
        resumed = len(parting.parts) - len(todo)
        for done, part in enumerate(todo, resumed + 1):
            _write(work, part, features, layer, learned.stored_with(layer.scale, layer.offset))
            if progress is not None:
                progress(done, len(parting.parts))
        right, notes = right_when_left_out(learned.left_out_NC, cells.label_N), (*cells.notes, *_alone(said, cells))
        made = {"strength": learned.strength, "temperature": learned.temperature, "leave_one_out": right}
        work.finish({**about, "fewshot": learning | made, "notes": list(notes)})
    return FewShotResult(
        path=out,
        fewshot=learned,
        classes=said.classes,
        labelled=counts_of(said, cells.label_N),
        right=right,
        resumed=resumed,
        notes=notes,
    )


def _alone(said: Labels, cells: LabelledCells) -> Iterator[str]:
    """What is to be said of classes with a single label."""
    counts_C = np.bincount(cells.label_N, minlength=len(said.classes))
    alone = [name for name, count in zip(said.classes, counts_C, strict=True) if count == 1]
    if alone:
        yield f"{' and '.join(alone)}: of a single label nobody can tell how often it is right; a second one would"


def _with_data(
    cells: LabelledCells, features: Product, layer: Layer, said: Labels
) -> tuple[LabelledCells, NDArray[np.float32]]:
    """Labelled cells that have features, and these ``(N, K)``."""
    vectors_NK = vectors_at(features, layer, cells.row_N, cells.col_N)
    seen_N = ~np.isnan(vectors_NK[:, 0])
    gone = [name for at, name in enumerate(said.classes) if not (cells.label_N[seen_N] == at).any()]
    if gone:
        raise InputError(
            f"{' and '.join(gone)}: no labelled cell has data on the map",
            file=said.path,
            fix="Label places where the map has data, or take the class out",
        )
    notes = cells.notes
    if not seen_N.all():
        notes += (f"{int((~seen_N).sum())} of {len(seen_N)} labelled cells have no data and do not count",)
    kept = replace(
        cells, row_N=cells.row_N[seen_N], col_N=cells.col_N[seen_N], label_N=cells.label_N[seen_N], notes=notes
    )
    return kept, vectors_NK[seen_N]


def _layers(classes: tuple[str, ...], probabilities: bool) -> list[Layer]:
    colours = tuple(f"#{colour.tobytes().hex()}" for colour in palette(len(classes)))
    layers = [
        Layer("classes", "classes", ("class",), "uint8", classes=classes, colours=colours),
        Layer("uncertainty", "uncertainty", ("uncertainty", "novelty"), "uint8", scale=(1 / 254, 1 / 254)),
    ]
    if probabilities:
        layers.append(Layer("probability", "probability", classes, "uint8", scale=(1 / 254,) * len(classes)))
    return layers


def _write(work: Work, part: Part, features: Product, layer: Layer, learned: FewShot) -> None:
    """Classify a part, some rows at a time, the next ones being read meanwhile."""
    inside = part.window

    def read() -> Iterator[tuple[int, NDArray]]:
        for row in range(0, inside.height, _ROWS):
            rows = min(_ROWS, inside.height - row)
            yield row, features.read(layer.name, Window(inside.row + row, inside.col, rows, inside.width))

    observed = 0
    with work.open(part) as writer:
        for row, stored_Khw in read_ahead(read, depth=1):
            values = _values(learned.answer(stored_Khw))
            observed += int((~np.isnan(values["classes"])).sum())
            for written in work.layers:
                writer.put(written.name, row, written.encode(values[written.name]))
        writer.say({"observed": observed})


def _values(answers: Answers) -> dict[str, NDArray[np.float32]]:
    """Values of every layer there may be."""
    return {
        "classes": answers.classes_HW[None],
        "uncertainty": np.stack([answers.uncertainty_HW, answers.novelty_HW]),
        "probability": answers.probability_CHW,
    }
