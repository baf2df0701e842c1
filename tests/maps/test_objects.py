"""Objects of a map are those that `Predictor` finds in an image of the same windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from skysense.geo import Window
from skysense.maps.blend import Layout
from skysense.maps.objects import objects_of
from skysense.tasks.detection.boxes import Found
from skysense.tasks.pieces import Canvas, pieces_of
from skysense.tasks.predictions import Detections
from skysense.tasks.rotated import pairs
from skysense.tasks.rotated.boxes import canonical
from tests.tasks.test_pieces import blank

pytest.importorskip("torchvision")
SIDE = 256  # pixels of a window of 8 cells


def said(window: Window, oriented: bool, count: int = 12) -> Found:
    """Something to every window: boxes of any place and score, some of which end at its rim."""
    random = torch.Generator().manual_seed(window.row * 1000 + window.col)
    low = torch.rand(count, 2, generator=random) * (SIDE - 20)
    high = (low + 8 + torch.rand(count, 2, generator=random) * 90).clamp(max=SIDE)
    boxes = torch.cat([low, high], dim=1)
    if oriented:
        angle = torch.rand(count, 1, generator=random) * 6
        boxes = canonical(torch.cat([(low + high) / 2, high - low, angle], dim=1))
    scores = torch.rand(count, generator=random).sort(descending=True).values
    return Found(boxes, scores, torch.randint(2, (count,), generator=random))


@pytest.mark.parametrize("oriented", [False, True])
def test_a_map_has_the_objects_of_an_image(oriented: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 x 28 cells in windows of 8 that share 2, the last of a row more; boxes in many bands."""
    task = "oriented-detection" if oriented else "detection"
    layout, whole = Layout(20, 28, 8, 2), replace(blank(20, 28), per_cell=32, size=(640, 896))
    canvas, found = Canvas(whole.grid, task), []
    for window, piece in zip(layout, pieces_of(0, whole, task, 8), strict=True):
        assert window.scaled(32) == piece.window
        found.append((window, said(window, oriented)))
        canvas.put(piece, found[-1][1])
    wanted = canvas.prediction()
    assert isinstance(wanted, Detections)
    monkeypatch.setattr(pairs, "_BAND", 8)
    made = objects_of(found, layout, 32, oriented)
    assert made.boxes_NP.dtype == torch.float64 and 20 < len(made.scores_N) < 12 * len(found)
    np.testing.assert_allclose(made.boxes_NP, wanted.boxes_N, atol=1e-3)
    np.testing.assert_array_equal(made.scores_N, wanted.scores_N)
    np.testing.assert_array_equal(made.label_N, wanted.label_N)


def test_windows_without_objects_need_not_be_named() -> None:
    layout = Layout(8, 14, 8, 2)
    nothing = objects_of([], layout, 32, True)
    assert nothing.boxes_NP.shape == (0, 5) and nothing.label_N.dtype == torch.int64
    boxes = torch.tensor([[10.0, 20, 60, 70], [230, 20, 250, 40]])  # the middle of the second is the other window's
    one = Found(boxes, torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.long))
    assert objects_of([(Window(0, 0, 8, 8), one)], layout, 32, False).boxes_NP.tolist() == [[10, 20, 60, 70]]
    other = Found(boxes[1:], one.scores_N[1:], one.label_N[1:])
    (moved,) = objects_of([(Window(0, 6, 8, 8), other)], layout, 32, False).boxes_NP
    assert moved.tolist() == [422, 20, 442, 40]
