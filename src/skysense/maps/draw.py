"""Maps that draw themselves: as HTML in a notebook, without further packages, or with matplotlib.

Letters: K bands, H W pixels of a picture.
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError, need
from skysense.geo import Window
from skysense.maps.class_picture import class_colours, classes_in
from skysense.maps.grid import Grid
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import Product, open_product
from skysense.maps.quicklook import feature_colours, level_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN, _PLOTTED = 512, 1024  # pixels on the longer side, in HTML and by matplotlib
_WIDE = 360  # CSS pixels of a picture in HTML
_MOST_CLASSES = 24  # in the legend
_RAMP = np.array([(28, 16, 68), (49, 84, 140), (31, 150, 139), (139, 204, 80), (250, 231, 80)], float)
"""Colours of numbers in HTML, from low to high: ever lighter, so that they can be told apart without hue too."""


def product_html(product: Product, facts: Mapping[str, Any] | None = None) -> str:
    """A map for a notebook: a picture of its first layer, what it is, and the legend of its classes.

    Args:
        product: a map.
        facts: more rows of the table.
    """
    name = next(iter(product.layers))
    layer = product.layers[name]
    level = level_of(product, name, _SHOWN)
    stored_KHW, rgba_HW4 = _pictured(product, layer, level, 0)
    table = html_table(_facts(product) | dict(facts or {}))
    shown = classes_in(stored_KHW[0], layer) if layer.kind == "classes" else []
    picture = f'<img src="{data_uri(rgba_HW4)}" style="{_size(rgba_HW4)}" alt="{escape(name)}">'
    return side_by_side(picture, table + _legend(layer, shown))


def file_html(path: Path, facts: Mapping[str, Any] | None = None) -> str:
    """The same of a map on disk."""
    with open_product(path) as product:
        return product_html(product, facts)


def plot(product: Product, layer: str | None = None, *, band: str | int = 0, ax: Axes | None = None) -> Axes:
    """Draw a layer of a map where it lies.

    Features are drawn as the colours of their three principal components, classes with a legend of those that occur,
    numbers with a colour bar. Large maps are drawn from their overviews.

    Args:
        product: a map.
        layer: its name; the first if None.
        band: name or position, from 0, where one band of several is drawn.
        ax: axes to draw on; a new figure if None.

    Returns:
        The axes, in map units.

    Raises:
        InputError: no such layer or band.
        MissingExtra: matplotlib is not installed.
    """
    pyplot = need("matplotlib.pyplot", "train")
    patches, transforms = need("matplotlib.patches", "train"), need("matplotlib.transforms", "train")
    name = next(iter(product.layers)) if layer is None else layer
    level = level_of(product, name, _PLOTTED)
    what, grid = product.layers[name], product.pixels(name, level)
    at = _position(product, what, band)
    stored_KHW, rgba_HW4 = _pictured(product, what, level, at)
    ax = pyplot.subplots(layout="constrained")[1] if ax is None else ax
    a, b, c, d, e, f = grid.transform[:6]
    lies = transforms.Affine2D(np.array([[a, b, c], [d, e, f], [0, 0, 1]])) + ax.transData
    extent = (0, grid.width, grid.height, 0)
    if what.kind in ("features", "classes"):
        ax.imshow(rgba_HW4, extent=extent, transform=lies, interpolation="nearest")
    else:
        (values_HW,) = product.read_values(name, _whole(grid), level, bands=[at])
        low, high = (0.0, 1.0) if what.kind in ("probability", "uncertainty") else (None, None)
        image = ax.imshow(values_HW, extent=extent, transform=lies, interpolation="nearest", vmin=low, vmax=high)
        ax.figure.colorbar(image, ax=ax, label=what.bands[at])
    if what.kind == "classes":
        found = classes_in(stored_KHW[0], what)
        handles = [patches.Patch(color=what.colours[index], label=what.classes[index]) for index in found]
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1))
    left, bottom, right, top = grid.bounds
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", title=name)
    x, y = ("longitude", "latitude") if _geographic(grid) else ("easting", "northing")
    ax.set(xlabel=x, ylabel=y)
    ax.ticklabel_format(useOffset=False, style="plain")
    return ax


def png(rgba_HW4: NDArray[np.uint8]) -> bytes:
    """A picture as PNG."""
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    height, width, _ = rgba_HW4.shape
    with MemoryFile() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture has no place on Earth
        with memory.open(driver="PNG", dtype="uint8", count=4, height=height, width=width) as picture:
            picture.write(np.moveaxis(rgba_HW4, -1, 0))
        return bytes(memory.read())


def data_uri(rgba_HW4: NDArray[np.uint8]) -> str:
    """A picture as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png(rgba_HW4)).decode()


def html_table(rows: Mapping[str, Any]) -> str:
    """A table of facts; what they say is escaped."""
    cells = "".join(
        f'<tr><td style="text-align:left;opacity:.7">{escape(str(name))}</td>'
        f'<td style="text-align:left">{escape(str(value))}</td></tr>'
        for name, value in rows.items()
        if value not in (None, "")
    )
    return f"<table>{cells}</table>"


def side_by_side(*pieces: str) -> str:
    """Pieces of HTML in a row."""
    inner = "".join(f"<div>{piece}</div>" for piece in pieces)
    return f'<div style="display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start">{inner}</div>'


def marked_html(product: Product, spots: Sequence[tuple[float, float]]) -> str:
    """A picture of the first layer of a map with numbered places, as HTML.

    Args:
        product: a map.
        spots: column and row of each in cells, in the order of their numbers from 1.
    """
    name = next(iter(product.layers))
    level = level_of(product, name, _SHOWN)
    _, rgba_HW4 = _pictured(product, product.layers[name], level, 0)
    width, height = product.grid.width, product.grid.height
    unit = max(width, height) / 40
    marks = "".join(
        f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{unit:.2f}" fill="white" stroke="black" stroke-width="{unit / 5:.2f}"/>'
        f'<text x="{x:.2f}" y="{y + 0.4 * unit:.2f}" font-size="{1.2 * unit:.2f}" text-anchor="middle">{number}</text>'
        for number, (x, y) in enumerate(spots, 1)
    )
    image = f'<image href="{data_uri(rgba_HW4)}" width="{width}" height="{height}" preserveAspectRatio="none"/>'
    return f'<svg viewBox="0 0 {width} {height}" style="{_size(rgba_HW4)}">{image}{marks}</svg>'


def _pictured(product: Product, layer: Layer, level: int, band: int) -> tuple[NDArray, NDArray[np.uint8]]:
    """Stored numbers ``(K, H, W)`` of what is drawn (none of features, which are read in pieces), and the picture."""
    if layer.kind == "features":
        return np.empty((0, 0, 0), layer.dtype), feature_colours(product, layer.name, level)
    stored_KHW = product.read(layer.name, _whole(product.pixels(layer.name, level)), level)
    if layer.kind == "classes":
        return stored_KHW, class_colours(stored_KHW[0], layer)
    return stored_KHW, _number_colours(layer.decode(stored_KHW)[band])


def _number_colours(values_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Numbers on the ramp from their least to their largest; NaN is transparent."""
    seen_HW = np.isfinite(values_HW)
    rgba_HW4 = np.zeros((*values_HW.shape, 4), np.uint8)
    if seen_HW.any():
        low, high = values_HW[seen_HW].min(), values_HW[seen_HW].max()
        at_N = (values_HW[seen_HW] - low) / max(float(high - low), 1e-12) * (len(_RAMP) - 1)
        channels = [np.interp(at_N, np.arange(len(_RAMP)), _RAMP[:, channel]) for channel in range(3)]
        rgba_HW4[seen_HW, :3] = np.rint(np.stack(channels, axis=1))
        rgba_HW4[seen_HW, 3] = 255
    return rgba_HW4


def _facts(product: Product) -> dict[str, Any]:
    grid, said = product.grid, product.metadata
    model, source = said.get("model") or {}, said.get("source") or {}
    side = abs(grid.transform.determinant) ** 0.5
    learned = said.get("fewshot") or {}
    right = learned.get("leave_one_out")
    return {
        "map": product.path.name,
        "size": f"{grid.height:,} × {grid.width:,} cells of {side:g}{'°' if _geographic(grid) else ' m'}",
        "CRS": _crs_words(grid),
        "layers": "; ".join(_layer_words(layer) for layer in product.layers.values()),
        "imagery": source.get("name"),
        "model": str(model.get("sha256", ""))[:12],
        "labels": (learned.get("labels") or {}).get("cells"),
        "leave-one-out": None if right is None else f"{100 * right:.0f} % right",
        "software": said.get("software"),
    }


def _layer_words(layer: Layer) -> str:
    bands = f"{len(layer.bands)} bands, " if len(layer.bands) > 1 else ""
    fine = f", {layer.per_cell} × {layer.per_cell} pixels in a cell" if layer.per_cell > 1 else ""
    return f"{layer.name} ({bands}{layer.stored}{fine})"


def _legend(layer: Layer, shown: Sequence[int]) -> str:
    swatch = '<span style="display:inline-block;width:1em;height:1em;background:{}"></span> {}'
    lines = [swatch.format(escape(layer.colours[at]), escape(layer.classes[at])) for at in shown[:_MOST_CLASSES]]
    if len(shown) > _MOST_CLASSES:
        lines.append(f"and {len(shown) - _MOST_CLASSES} more")
    return "<br>".join(lines)


def _position(product: Product, layer: Layer, band: str | int) -> int:
    if isinstance(band, str) and band in layer.bands:
        return layer.bands.index(band)
    if isinstance(band, int) and 0 <= band < len(layer.bands):
        return band
    names = ", ".join(layer.bands[:20])
    raise InputError(f"layer {layer.name} has no band {band!r}; it has {names}", file=product.path)


def _whole(grid: Grid) -> Window:
    return Window(0, 0, grid.height, grid.width)


def _size(rgba_HW4: NDArray[np.uint8]) -> str:
    height, width, _ = rgba_HW4.shape
    scale = _WIDE / max(height, width)
    return f"width:{scale * width:.0f}px;height:{scale * height:.0f}px;image-rendering:pixelated"


def _geographic(grid: Grid) -> bool:
    return bool(getattr(grid.crs, "is_geographic", False))


def _crs_words(grid: Grid) -> str:
    words = grid.crs.to_string() if hasattr(grid.crs, "to_string") else str(grid.crs)
    return words if len(words) <= 40 else f"{words[:39]}…"
