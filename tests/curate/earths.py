"""Small Earths for tests: land where a test wants it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skysense.curate.land import Land

_COLUMNS = 43_200


def all_land() -> Land:
    return Land(np.array([0], np.int32))


def land_of_boxes(boxes: Sequence[tuple[float, float, float, float]]) -> Land:
    """Land in boxes of whole pixels (1/120 degree), west, south, east, north; boxes must not share a row of pixels."""
    edges: list[int] = []
    for west, south, east, north in sorted(boxes, key=lambda box: -box[3]):
        for row in range(round((90 - north) * 120), round((90 - south) * 120)):
            edges += [row * _COLUMNS + round((lon + 180) * 120) for lon in (west, east)]
    return Land(np.array(edges, np.int32))
