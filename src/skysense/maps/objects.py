"""Objects of a whole map: detections of its windows, each object once.

Letters: N objects, P numbers of a box (4 or 5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from skysense.geo import Window
from skysense.maps.blend import Layout
from skysense.tasks.detection.boxes import Found
from skysense.tasks.detection.seams import View, of_image
from skysense.tasks.pieces import Piece, shared


def objects_of(found: Sequence[tuple[Window, Found]], layout: Layout, per_cell: int, oriented: bool) -> Found:
    """The objects of a map, as `Predictor` gives those of an image of the same windows; best first.

    Args:
        found: by window, in its pixels; windows without any object may be left out.
        layout: of the map.
        per_cell: pixels along a cell.
        oriented: whether boxes have an angle; needed where nothing was found.

    Returns:
        Boxes in pixels of the map in float64: in float32 a pixel has no fractions where maps are large.
    """
    views, by_window = _views(layout, per_cell), dict(found)
    nothing = Found(torch.empty(0, 5 if oriented else 4), torch.empty(0), torch.empty(0, dtype=torch.long))
    moved = [_moved(by_window.get(window, nothing), view) for window, view in views.items()]
    return of_image(moved, list(views.values()))


def _views(layout: Layout, per_cell: int) -> Mapping[Window, View]:
    """What each window sees, and which part of it is its own."""
    side = layout.size * per_cell
    grid = layout.height * per_cell, layout.width * per_cell
    down = shared([row * per_cell for row in layout.rows], side)
    right = shared([col * per_cell for col in layout.cols], side)
    views = {}
    for window in layout:
        fine = window.scaled(per_cell)
        (above, below), (left, right_of) = down[fine.row], right[fine.col]
        views[window] = Piece(0, fine, grid, (above, left), (below, right_of)).view
    return views


def _moved(found: Found, view: View) -> Found:
    """Detections of a window in pixels of the map."""
    boxes_NP, (col, row, _, _) = found.boxes_NP.double(), view.seen
    shift = (col, row, col, row) if boxes_NP.shape[1] == 4 else (col, row, 0, 0, 0)
    return Found(boxes_NP + boxes_NP.new_tensor(shift), found.scores_N.float(), found.label_N)
