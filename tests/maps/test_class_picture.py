"""Pictures beside maps of answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio

from skysense.maps.class_picture import draw_objects
from tests.maps.fakes import ArraySource

VALUES = np.full((2, 7, 10), -12.0, np.float32)


def test_objects_are_drawn_over_the_imagery(tmp_path: Path) -> None:
    corners = np.array([[[1.0, 1], [5, 1], [5, 4], [1, 4]]])
    assert draw_objects(ArraySource(VALUES), corners, np.array([1]), 1, tmp_path / "found.png")
    with rasterio.open(tmp_path / "found.png") as file:
        drawn = file.read()
    assert drawn.shape == (4, 7, 10) and (drawn[3] == 255).all()
    coloured = (drawn[:3] == np.array([86, 180, 233])[:, None, None]).all(axis=0)
    assert coloured[1, 1:5].all() and coloured[1:4, 1].all() and not coloured[5:].any() and not coloured[:, 7:].any()


def test_large_maps_are_not_read_once_more(tmp_path: Path) -> None:
    large = ArraySource(np.broadcast_to(VALUES[:, :1, :1], (2, 4096, 4096)))
    assert not draw_objects(large, np.zeros((0, 4, 2)), np.zeros(0, np.int64), 1, tmp_path / "found.png")
    assert not list(tmp_path.iterdir())
