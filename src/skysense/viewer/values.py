"""What lies under the pointer: coordinates and the value of every layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from skysense.geo import Window
from skysense.maps.grid import Grid
from skysense.viewer.ground import DEGREES, on_grid, projected
from skysense.viewer.imagery import Imagery
from skysense.viewer.shown import Shown


def values_at(one: Shown, lon: float, lat: float, frame: int) -> dict[str, Any]:
    """Position in the CRS of a map or image, and the numbers of its layers there (not of its features: too many).

    Args:
        one: of the page.
        lon: degrees.
        lat: degrees.
        frame: of a series; the last one if it has fewer.

    Returns:
        Plain values: ``id``, ``x``, ``y`` (None where the projection has no such place), ``values`` by layer: a class
        index, a number, or a list of numbers; a layer without data there is missing.
    """
    x, y = projected(DEGREES, one.grid.crs, np.array([lon]), np.array([lat]))
    about: dict[str, Any] = {"id": one.number, "x": None, "y": None, "values": {}}
    if not np.isfinite([x[0], y[0]]).all():
        return about
    about |= {"x": float(x[0]), "y": float(y[0])}
    if isinstance(one.raster, Imagery):
        number = min(max(frame, 0), len(one.raster.frames) - 1)
        window = _pixel(one.raster.frames[number].grid, lon, lat)
        if window is not None:
            *numbers, seen = one.raster.read(str(number), window)[:, 0, 0].tolist()
            if seen:
                about["values"]["image"] = numbers
        return about
    for layer in one.raster.layers.values():
        window = _pixel(one.raster.pixels(layer.name), lon, lat)
        if layer.kind == "features" or window is None:
            continue
        numbers = layer.decode(one.raster.read(layer.name, window))[:, 0, 0]
        if np.isfinite(numbers).all():
            about["values"][layer.name] = int(numbers[0]) if layer.kind == "classes" else numbers.tolist()
    return about


def _pixel(grid: Grid, lon: float, lat: float) -> Window | None:
    row, col = on_grid(grid, lon, lat)
    return Window(int(row), int(col), 1, 1) if 0 <= row < grid.height and 0 <= col < grid.width else None
