"""A picture of a map of classes with its legend, or of objects drawn over their imagery.

Letters: H W pixels of a picture, N objects, K classes.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.draw import draw_boxes, palette, picture
from skysense.geo import WINDOW_CELLS, Window
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import open_product
from skysense.maps.quicklook import write_png
from skysense.maps.source import Source, UnreadableWindow

LONGEST_SIDE = 2048
"""Pictures of larger maps show one of their overviews."""
MOST_CELLS = 128 * 128
"""Objects of larger maps are not drawn: their imagery would have to be read once more."""
_ROW, _SWATCH, _MARGIN = 20, 14, 8  # pixels of the legend


def draw_classes(product: Path, path: Path) -> bool:
    """Draw the first layer of a map as a PNG in the colours of its classes; what nobody observed is transparent.

    Args:
        product: the map.
        path: the picture to write.

    Returns:
        Whether there was a layer of classes to draw.

    Raises:
        OutputError: the picture could not be written.
    """
    with open_product(product) as opened:
        layer = next(iter(opened.layers.values()))
        if layer.kind != "classes":
            return False
        level = 0
        while max(opened.pixels(layer.name, level).height, opened.pixels(layer.name, level).width) > LONGEST_SIDE:
            level += 1
        grid = opened.pixels(layer.name, level)
        (stored_HW,) = opened.read(layer.name, Window(0, 0, grid.height, grid.width), level)
    write_png(path, _with_legend(class_colours(stored_HW, layer), layer, classes_in(stored_HW, layer)))
    return True


def class_colours(stored_HW: NDArray[np.uint8], layer: Layer) -> NDArray[np.uint8]:
    """Class indices as the colours of a layer ``(H, W, 4)``; no-data is transparent."""
    colours = np.zeros((256, 4), np.uint8)
    colours[: len(layer.colours), :3] = [list(bytes.fromhex(colour[1:])) for colour in layer.colours]
    colours[: len(layer.colours), 3] = 255
    return colours[stored_HW]


def classes_in(stored_HW: NDArray[np.uint8], layer: Layer) -> list[int]:
    """Indices of the classes that occur."""
    return [index for index in np.unique(stored_HW).tolist() if index < len(layer.classes)]


def draw_objects(
    source: Source, corners_N42: NDArray[np.floating], label_N: NDArray[np.int64], per_cell: int, path: Path
) -> bool:
    """Draw objects over their imagery as a PNG, each class in the colour that `palette` has for it.

    Args:
        source: the imagery.
        corners_N42: x, y of four corners of each, in pixels of the map.
        label_N: class of each.
        per_cell: pixels of the map along a cell.
        path: the picture to write.

    Returns:
        Whether the map is small enough, and can be read.

    Raises:
        OutputError: the picture could not be written.
    """
    height, width = source.grid.height, source.grid.width
    if height * width > MOST_CELLS:
        return False
    sides = (-(-side // WINDOW_CELLS) * WINDOW_CELLS for side in (height, width))
    try:
        with source.open() as reader:
            sample = reader.read(Window(0, 0, *sides))
    except UnreadableWindow:
        return False
    image_HW3 = picture(sample)
    step = -(-max(image_HW3.shape) // LONGEST_SIDE)
    scale = len(image_HW3) / (sample.grid[0] * per_cell)
    rows, cols = (round(side * per_cell * scale) for side in (height, width))
    colours_K3 = palette(int(label_N.max(initial=0)) + 1)
    shown_HW3 = draw_boxes(image_HW3[:rows:step, :cols:step], corners_N42, label_N, colours_K3, scale=scale / step)
    write_png(path, np.dstack([shown_HW3, np.full(shown_HW3.shape[:2], 255, np.uint8)]))
    return True


def _with_legend(rgba_HW4: NDArray[np.uint8], layer: Layer, shown: Sequence[int]) -> NDArray[np.uint8]:
    """Names of the classes that occur below a picture; none without Pillow, which draws letters."""
    if importlib.util.find_spec("PIL") is None:
        return rgba_HW4
    from PIL import Image, ImageDraw, ImageFont

    names = [(layer.classes[index], layer.colours[index]) for index in shown]
    font = ImageFont.load_default(_SWATCH)
    width = max([rgba_HW4.shape[1], *(2 * _MARGIN + _ROW + math.ceil(font.getlength(name)) for name, _ in names)])
    drawn = Image.new("RGBA", (width, rgba_HW4.shape[0] + _ROW * len(names) + _MARGIN), (255, 255, 255, 0))
    drawn.paste("white", (0, rgba_HW4.shape[0], width, drawn.height))
    drawn.paste(Image.fromarray(rgba_HW4), (0, 0))
    pen = ImageDraw.Draw(drawn)
    for row, (name, colour) in enumerate(names):
        top = rgba_HW4.shape[0] + _MARGIN + row * _ROW
        pen.rectangle((_MARGIN, top, _MARGIN + _SWATCH, top + _SWATCH), fill=colour)
        pen.text((_MARGIN + _ROW, top - 1), name, fill="black", font=font)
    return np.asarray(drawn)
