"""Polygons in pixels: repaired, cut, turned into rectangles or masks.

Coordinates are those of an image: x to the right, y down, pixel (0, 0) covers 0 .. 1. Letters: N polygons, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError, need
from skysense.geo import Window

_AREAS = ("Polygon", "MultiPolygon")
_NOTHING = 0.01  # square pixels that come from rounding


def shapely() -> Any:
    """The geometry library.

    Raises:
        MissingExtra: it is not installed.
    """
    return need("shapely", "detect")


def repaired(geometry: Any) -> tuple[Any | None, bool]:
    """A polygon without self-crossings.

    A crossing outline is cut into polygons that together cover what it encloses; lines and points that this leaves over
    are dropped.

    Returns:
        The area (None if there is none), and whether anything had to be repaired.
    """
    geo = shapely()
    if geometry.is_valid:
        return (geometry if geometry.area > 0 else None), False
    parts = [part for part in geo.get_parts(geo.make_valid(geometry)) if part.geom_type in _AREAS and part.area > 0]
    return (geo.union_all(parts) if parts else None), True


def is_area(geometry: Any) -> bool:
    """Whether a geometry is a polygon or several."""
    return geometry.geom_type in _AREAS


def least_rectangles(geometries: Sequence[Any] | NDArray, *, file: Any) -> NDArray[np.float32]:
    """The rectangle of least area around each geometry (polygons or points).

    Args:
        geometries: N of them.
        file: for the message.

    Returns:
        ``(N, 4, 2)`` corners x, y in order round the rectangle.

    Raises:
        InputError: a geometry without area.
    """
    geo = shapely()
    around = np.atleast_1d(geo.minimum_rotated_rectangle(np.asarray(geometries, object)))
    flat = [index for index, one in enumerate(around) if one.geom_type != "Polygon" or one.area <= 0]
    if flat:
        raise InputError(f"object {flat[0] + 1} has no area", file=file, fix="Remove it or correct its corners")
    corners = [np.asarray(one.exterior.coords)[:4] for one in around]
    return np.asarray(corners, np.float32).reshape(-1, 4, 2)


def flat(quads_N42: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which sets of four corners enclose nothing, being one point or on one line: ``(N,)``."""
    geo = shapely()
    return geo.area(geo.convex_hull(geo.multipoints(quads_N42))) <= _NOTHING


def burn(geometries: Sequence[Any] | NDArray, values: Sequence[int], area: Window, around: int) -> NDArray[np.uint8]:
    """A mask of polygons; where they overlap the later one counts.

    Args:
        geometries: N, in pixels of the image.
        values: N values to write; pixels whose middle lies inside get them.
        area: the part of the image to make a mask of.
        around: value of all other pixels.

    Returns:
        ``(H, W)`` of the area.
    """
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    if not len(geometries):
        return np.full((area.height, area.width), around, np.uint8)
    return rasterize(
        zip(geometries, values, strict=True),
        out_shape=(area.height, area.width),
        fill=around,
        transform=Affine.translation(area.col, area.row),
        dtype=np.uint8,
    )


def clipped(geometry: Any, area: Window) -> Any:
    """The part of a geometry that lies on a part of an image; it may be empty."""
    return shapely().clip_by_rect(geometry, area.col, area.row, area.col + area.width, area.row + area.height)
