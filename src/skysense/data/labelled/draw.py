"""Pictures of imagery with labels or answers drawn on them; arrays only, no plotting library.

Letters: H W pixels, N boxes, K classes.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.example import UNLABELLED
from skysense.errors import InputError
from skysense.observation import Sample, Series
from skysense.sensors import MODALITIES, Modality

Colour = tuple[int, int, int]
_FIRST: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
    (153, 79, 0), (170, 170, 170), (146, 0, 255), (117, 255, 200), (255, 182, 219),
)  # fmt: skip
"""Seven that people with colour-blindness tell apart (Okabe and Ito 2002), then some between them."""
_GOLDEN = 0.6180339887  # hues a golden section apart never come close to each other
CHANGE = np.array([[40, 40, 40], [230, 60, 20]], np.uint8)
"""Colours of unchanged and changed."""
UNSEEN: Colour = (96, 96, 96)
"""Pixels that nobody observed."""
DARKEST = 600
"""Reflectance (x 10^4) that is shown as white at least: a forest is dark, but noise is not to be made an image of."""
_DASH = 6  # pixels


def palette(classes: int) -> NDArray[np.uint8]:
    """Colours of classes: those of the first ones do not depend on how many follow.

    Args:
        classes: K.

    Returns:
        ``(K, 3)``.
    """
    colours = list(_FIRST[:classes])
    for index in range(len(colours), classes):
        red, green, blue = colorsys.hsv_to_rgb(
            index * _GOLDEN % 1, (0.9, 0.5, 0.7)[index % 3], (0.95, 0.8, 0.6)[index % 3]
        )
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return np.array(colours, np.uint8).reshape(-1, 3)


def picture(sample: Sample) -> NDArray[np.uint8]:
    """What a person would see of a place, in the pixels of its finest sensor.

    The high-resolution image as it is; without one Sentinel-2 in true colours, stretched; or Sentinel-1 in false
    colours: VV red, VH green, their difference blue. Of a series the frame that shows most.

    Returns:
        ``(H, W, 3)``; grey where nothing was observed.
    """
    modality = next(key for key in MODALITIES if key in sample.series)
    series = sample.series[modality]
    seen_T = series.valid.mean(axis=(1, 2)) if series.clear is None else (series.valid & series.clear).mean(axis=(1, 2))
    frame = int(seen_T.argmax())
    drawn_HW3 = _DRAWN[modality](series, frame)
    drawn_HW3[~series.valid[frame]] = UNSEEN
    return drawn_HW3


def _as_it_is(series: Series, frame: int) -> NDArray[np.uint8]:
    bands = [series.sensor.bands.index(band) for band in ("R", "G", "B")]
    return np.ascontiguousarray(np.moveaxis(series.values[frame, bands], 0, -1)).astype(np.uint8)


def _true_colour(series: Series, frame: int) -> NDArray[np.uint8]:
    bands = [series.sensor.bands.index(band) for band in ("B4", "B3", "B2")]
    values = series.values[frame, bands].astype(np.float32)
    seen = values[:, series.valid[frame]]
    white = max(float(np.percentile(seen, 98)) if seen.size else 0.0, DARKEST)
    return stretch_colours(values, 0, white)


def false_colour(vv_HW: NDArray[np.floating], vh_HW: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Radar: VV red, VH green, their difference blue; in decibel, 9 dB to either side of what land has most."""
    return stretch_colours(np.stack([vv_HW + 12, vh_HW + 18, vv_HW - vh_HW - 6]), -9, 9)


def _radar(series: Series, frame: int) -> NDArray[np.uint8]:
    vv, vh = (series.values[frame, series.sensor.bands.index(band)] for band in ("VV", "VH"))
    return false_colour(vv, vh)


_DRAWN: Mapping[Modality, Callable[[Series, int], NDArray[np.uint8]]] = {
    "hr": _as_it_is,
    "s2": _true_colour,
    "s1": _radar,
}


def stretch_colours(values_3HW: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    """Three bands as ``(H, W, 3)``, low becoming 0 and high 255."""
    scaled = (np.nan_to_num(values_3HW) - low) / (high - low)
    return np.ascontiguousarray((scaled.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))


def enlarge(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Every pixel ``factor`` times as high and wide."""
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def overlay_mask(
    picture_HW3: NDArray[np.uint8], mask_HW: NDArray[np.uint8], colours_K3: NDArray[np.uint8], *, opacity: float = 0.35
) -> NDArray[np.uint8]:
    """Classes as translucent colours, with an outline where they meet; pixels without label stay as they are.

    Args:
        picture_HW3: of any size.
        mask_HW: class indices, 255 for none; a whole number of times finer or coarser than the picture.
        colours_K3: by class.
        opacity: of the areas, 0 .. 1.

    Returns:
        A picture of the finer of the two grids.

    Raises:
        InputError: grids that do not fit.
    """
    picture_HW3, mask_HW = _on_one_grid(picture_HW3, mask_HW)
    labelled_HW = mask_HW != UNLABELLED
    colours_HW3 = colours_K3[np.where(labelled_HW, mask_HW, 0)].astype(np.float32)
    edge_HW = np.zeros(mask_HW.shape, bool)
    edge_HW[:, 1:] |= mask_HW[:, 1:] != mask_HW[:, :-1]
    edge_HW[1:] |= mask_HW[1:] != mask_HW[:-1]
    weight_HW = np.where(edge_HW, 1.0, opacity) * labelled_HW
    mixed = picture_HW3 * (1 - weight_HW[..., None]) + colours_HW3 * weight_HW[..., None]
    return np.rint(mixed).astype(np.uint8)


def _on_one_grid(
    picture_HW3: NDArray[np.uint8], mask_HW: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    high, low = max(len(picture_HW3), len(mask_HW)), min(len(picture_HW3), len(mask_HW))
    picture_HW3, mask_HW = enlarge(picture_HW3, high // len(picture_HW3)), enlarge(mask_HW, high // len(mask_HW))
    if high % low or picture_HW3.shape[:2] != mask_HW.shape:
        raise InputError(f"a mask of {mask_HW.shape} px does not lie on a picture of {picture_HW3.shape[:2]} px")
    return picture_HW3, mask_HW


def draw_boxes(
    picture_HW3: NDArray[np.uint8],
    corners_N: NDArray[np.floating],
    label_N: NDArray[np.integer],
    colours_K3: NDArray[np.uint8],
    *,
    dashed_N: NDArray[np.bool_] | None = None,
    scale: float = 1.0,
    width: int = 2,
) -> NDArray[np.uint8]:
    """Boxes as lines in the colour of their class.

    Args:
        picture_HW3: left as it is.
        corners_N: ``(N, 4)`` x1, y1, x2, y2, or ``(N, 4, 2)`` corners x, y in order round the box.
        label_N: class of each.
        colours_K3: by class.
        dashed_N: boxes to draw dashed, those to be ignored for instance.
        scale: pixels of the picture for a pixel of the boxes.
        width: of the lines, in pixels of the picture.

    Returns:
        A new picture.
    """
    drawn_HW3 = picture_HW3.copy()
    for index, corners in enumerate(np.asarray(corners_N, np.float64) * scale):
        x1, y1, x2, y2 = corners if corners.ndim == 1 else (0, 0, 0, 0)
        quad = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]) if corners.ndim == 1 else corners
        dashed = dashed_N is not None and bool(dashed_N[index])
        for start, end in zip(quad, np.roll(quad, -1, axis=0), strict=True):
            _line(drawn_HW3, start, end, colours_K3[label_N[index]], width, dashed)
    return drawn_HW3


def _line(
    drawn_HW3: NDArray[np.uint8], start: NDArray, end: NDArray, colour: NDArray[np.uint8], width: int, dashed: bool
) -> None:
    """A straight line by points half a pixel apart, each a square of ``width`` pixels; outside the picture nothing."""
    length = float(np.hypot(*(end - start)))
    along = np.linspace(0, 1, int(2 * length) + 2)
    if dashed:
        along = along[(along * length / _DASH).astype(int) % 2 == 0]
    points_N2 = start + along[:, None] * (end - start) - width / 2
    shifts = np.stack(np.meshgrid(np.arange(width), np.arange(width)), axis=-1).reshape(-1, 2)
    x, y = (np.rint(points_N2)[:, None] + shifts).reshape(-1, 2).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < drawn_HW3.shape[1]) & (y < drawn_HW3.shape[0])
    drawn_HW3[y[inside], x[inside]] = colour
