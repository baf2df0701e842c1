"""What a place must fulfil beyond its file formats: masks and boxes by their legend, dates, 10 m cells."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.places_boxes import Boxes, clip
from skysense.data.places_layout import AFTER_FILE, Legend, grid_factor
from skysense.errors import InputError
from skysense.geo import CELL_HR_PX, CELL_METRES, Footprint, utm_crs

CELL_TOLERANCE = 0.1
"""How far the ground size of a cell may be from 10 m (relative): map projections stretch, wrong resolutions do more."""

POSITION_TOLERANCE_METRES = 1000.0
"""How far outside of its footprint a place's position may lie."""


def check_mask(
    mask: NDArray, label: str, legend: Legend, cells: tuple[int, int], *, file: str | Path, whole: bool = True
) -> None:
    """Refuse a mask that its legend or the grid of its place does not allow.

    Args:
        mask: ``(H, W)``.
        label: its name.
        legend: its classes.
        cells: height and width of the ground it covers, in cells.
        file: for the message.
        whole: whether ``mask`` covers the place (only then its shape says which grid it is on).

    Raises:
        InputError: not a mask legend, not uint8, on neither grid, or a value that is no class and not ignored.
    """
    if legend.kind != "mask":
        raise InputError(f"label {label!r} is a {legend.kind} label, not a mask", file=file)
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise InputError(f"mask {label!r} must be uint8 (H, W); got {mask.dtype} {mask.shape}", file=file)
    if whole and grid_factor(mask.shape, cells) is None:
        raise InputError(
            f"mask {label!r} is {mask.shape[0]} x {mask.shape[1]} px on a place of {cells[0]} x {cells[1]} cells; "
            "it must have 1 px (Sentinel grid) or 32 px (high-resolution grid) per cell",
            file=file,
        )
    known = len(legend.classes)
    present = [int(value) for value in np.flatnonzero(np.bincount(mask.ravel()))]
    foreign = [str(value) for value in present if value >= known and value != legend.ignore]
    if foreign:
        ignored = "" if legend.ignore is None else f" and ignores {legend.ignore}"
        raise InputError(
            f"mask {label!r} holds the values {', '.join(foreign)}; its legend ends at {known - 1}{ignored}", file=file
        )


def check_boxes(boxes: Boxes, label: str, legend: Legend, cells: tuple[int, int], *, file: str | Path) -> None:
    """Refuse boxes that their legend or the image of their place does not allow.

    Args:
        boxes: of one label.
        label: its name.
        legend: its classes.
        cells: height and width of the place in cells.
        file: for the message.

    Raises:
        InputError: not a boxes legend, a class beyond it, a visible share that is none, or corners that are not finite,
            do not go round a convex shape, or lie outside of the place.
    """
    if legend.kind != "boxes":
        raise InputError(f"label {label!r} is a {legend.kind} label, not boxes", file=file)
    height, width = cells[0] * CELL_HR_PX, cells[1] * CELL_HR_PX
    for at, (corners, kind, visible) in enumerate(zip(boxes.corners, boxes.classes, boxes.visible, strict=True)):
        which = f"box {at} of {label!r}"
        if not 0 <= kind < len(legend.classes):
            raise InputError(f"{which} is of class {kind}; its legend ends at {len(legend.classes) - 1}", file=file)
        if not 0 <= visible <= 1:
            raise InputError(f"{which} has a visible share of {visible:g}, not 0 .. 1", file=file)
        if not np.isfinite(corners).all():
            raise InputError(f"{which} has corners that are no numbers", file=file)
        _check_convex(corners, which, file)
        if not len(clip(corners, height, width)):
            raise InputError(
                f"{which} lies outside of the place of {height} x {width} px",
                file=file,
                fix="Corners are x and y in pixels of the high-resolution image, from its upper left corner",
            )


def _check_convex(corners: NDArray[np.float64], which: str, file: str | Path) -> None:
    sides = np.roll(corners, -1, axis=0) - corners
    following = np.roll(sides, -1, axis=0)
    turns = sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0]
    if not np.abs(turns).any():
        raise InputError(f"{which} has no area", file=file)
    if not ((turns > 0).all() or (turns < 0).all()):
        raise InputError(f"{which} is not convex: its corners must follow each other around it", file=file)


def check_later(before: NDArray[np.datetime64] | None, after: NDArray[np.datetime64], *, file: str | Path) -> None:
    """Refuse a second image without a first, or of an earlier day; dates are ``(1,)`` and may be NaT (not known).

    Raises:
        InputError: if so.
    """
    if before is None:
        raise InputError(f"{AFTER_FILE} needs the image of the first date beside it, hr.tif", file=file)
    if after[0] < before[0]:  # false if either is not known
        raise InputError(f"the later image is of {after[0]}, the first one of {before[0]}", file=file)


def check_footprint(
    footprint: Footprint, cells: tuple[int, int], lon: float | None, lat: float | None, *, file: str | Path
) -> None:
    """Refuse a footprint whose cells are not 10 m on the ground, or that lies elsewhere than the position.

    Raises:
        InputError: an unknown CRS, cells of another size, or a position more than 1 km outside.
    """
    import pyproj

    try:
        crs = pyproj.CRS.from_user_input(footprint.crs)
        transformer = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    except pyproj.exceptions.CRSError as error:
        raise InputError(f"coordinate reference system {footprint.crs[:60]!r} is not known", file=file) from error
    left, bottom, right, top = footprint.bounds
    x, y = (left + right) / 2, (bottom + top) / 2
    lons, lats = transformer.transform([left, right, x, x, x], [y, y, bottom, top, y])
    if not all(map(math.isfinite, (*lons, *lats))):
        raise InputError(f"bounds {footprint.bounds} lie outside of {crs.name}", file=file)
    ground = pyproj.Geod(ellps="WGS84")
    width, height = ground.line_length(lons[:2], lats[:2]), ground.line_length(lons[2:4], lats[2:4])
    sizes = height / cells[0], width / cells[1]
    if max(abs(size - CELL_METRES) for size in sizes) > CELL_TOLERANCE * CELL_METRES:
        raise InputError(
            f"one cell must be 10 m on the ground; by its bounds it is {sizes[0]:.3g} m high and {sizes[1]:.3g} m wide",
            file=file,
            fix="Resample the imagery to the lattice (high resolution: 0.3125 m, Sentinel: 10 m)",
        )
    if lon is not None and lat is not None:
        away = ground.line_length([lon, lons[4]], [lat, lats[4]]) - math.hypot(width, height) / 2
        if away > POSITION_TOLERANCE_METRES:
            raise InputError(
                f"position lon {lon:g}, lat {lat:g} lies {away / 1000:.0f} km outside of its bounds", file=file
            )


def utm_footprint(lon: float | None, lat: float | None, cells: tuple[int, int]) -> Footprint | None:
    """The ground of ``cells`` around a position in its UTM zone (or polar stereographic); None without position."""
    if lon is None or lat is None:
        return None
    import pyproj

    crs = utm_crs(lon, lat)
    x, y = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    half_height, half_width = cells[0] * CELL_METRES / 2, cells[1] * CELL_METRES / 2
    x, y = round(x, 3), round(y, 3)
    return Footprint((x - half_width, y - half_height, x + half_width, y + half_height), crs)
