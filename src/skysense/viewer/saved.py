"""A page in one file: pictures of all layers, and features coarse enough to search in the browser, without a server.

Letters: D features, H W pixels of the pictures, h w cells of the coarse features, N cells with data.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rio_tiler.utils import render

from skysense.files import write_text
from skysense.maps.product.layer import Layer
from skysense.maps.product.read import Product
from skysense.viewer.blocks import Blocks
from skysense.viewer.ground import LIMIT, View
from skysense.viewer.imagery import Imagery
from skysense.viewer.pictures import RAMPS, Painter, ramp
from skysense.viewer.shown import Shown, describe

SIDE = 1200
"""Longest side of the pictures, pixels."""
FEATURES = 3 << 20
"""Bytes of coarse features of a map."""
DIMENSIONS = 64
"""Most numbers per cell of them."""
FRAMES = 24
"""Most dates of a series, spread evenly."""

Progress = Callable[[int, int], None]


def save_html(shown: Sequence[Shown], out: Path, *, progress: Progress | None = None) -> None:
    """Write the page.

    Args:
        shown: what is on it.
        out: the HTML file.
        progress: called with layers done and layers in all.

    Raises:
        InputError: a map or image cannot be read.
        OutputError: the file cannot be written.
    """
    blocks = Blocks()
    painter = Painter(blocks)
    about = describe(shown, painter)
    view = _view(about["bounds"], SIDE)
    layers: list[dict[str, Any]] = []
    total = sum(len(item["layers"]) for item in about["items"])
    for one, item in zip(shown, about["items"], strict=True):
        for layer in item["layers"]:
            drawn = {"item": item["name"], "crs": item["crs"], **layer}
            if isinstance(one.raster, Imagery):
                drawn |= _frames(painter, one.raster, view)
            else:
                drawn |= _layer(painter, blocks, one.raster, one.raster.layers[layer["id"]], about["bounds"], view)
            layers.append(drawn)
            if progress is not None:
                progress(len(layers), total)
    place = {"left": view.left, "right": view.right, "top": view.top, "bottom": view.bottom}
    title = ", ".join(one.name for one in shown)
    write_text(out, _page(title, {"view": {**place, "width": view.width, "height": view.height}, "layers": layers}))


def _view(bounds: Sequence[float], longest: int) -> View:
    """Everything in as few pixels as fit."""
    west, south, east, north = bounds
    left, right = (lon / 180 * LIMIT for lon in (west, east))
    bottom, top = (
        math.asinh(math.tan(math.radians(max(-85.0, min(85.0, lat))))) / math.pi * LIMIT for lat in (south, north)
    )
    scale = longest / max(right - left, top - bottom)
    size = (max(1, round((top - bottom) * scale)), max(1, round((right - left) * scale)))
    return View(left, bottom, right, top, *size)


def _frames(painter: Painter, series: Imagery, view: View) -> dict[str, Any]:
    picked = np.unique(np.linspace(0, len(series.frames) - 1, FRAMES).round().astype(int)).tolist()
    pictures = [_address(painter.image(series, at, view), photograph=True) for at in picked]
    return {"frames": [series.frames[at].title for at in picked], "pictures": pictures}


def _layer(
    painter: Painter, blocks: Blocks, product: Product, layer: Layer, bounds: Sequence[float], view: View
) -> dict[str, Any]:
    if layer.kind == "features":
        return {
            "pictures": [_address(painter.features(product, layer, view), photograph=True)],
            "features": _coarse(blocks, product, layer, bounds),
        }
    if layer.kind == "classes":
        return {"pictures": [_address(painter.classes(product, layer, view))]}
    pictures = [_address(painter.numbers(product, layer, band, view)) for band in range(len(layer.bands))]
    return {"pictures": pictures, "ramp": ramp(RAMPS.get(layer.kind, "gray")).tolist()}


def _coarse(blocks: Blocks, product: Product, layer: Layer, bounds: Sequence[float]) -> dict[str, Any]:
    """Directions of features as bytes, cell by cell: 127 times a vector of length one, zeros where there is no data.

    Of more than `DIMENSIONS` features the directions in which they are longest are kept (singular vectors, not centred:
    cosines are what matters).
    """
    count = min(len(layer.bands), DIMENSIONS)
    view = _view(bounds, max(1, math.isqrt(FEATURES // count)))
    values_Dhw = blocks.compute(product, layer.name, view, layer.decode, len(layer.bands))
    flat_ND = values_Dhw.reshape(len(values_Dhw), -1).T
    seen_N = np.isfinite(flat_ND).all(axis=1)
    directions_ND = _unit(flat_ND[seen_N])
    if len(layer.bands) > DIMENSIONS:
        _, axes_DD = np.linalg.eigh(directions_ND.T.astype(np.float64) @ directions_ND)
        directions_ND = _unit(directions_ND @ axes_DD[:, -DIMENSIONS:].astype(np.float32))
    stored_ND = np.zeros((len(flat_ND), count), np.int8)
    stored_ND[seen_N] = np.rint(directions_ND * 127)
    return {
        "width": view.width,
        "height": view.height,
        "numbers": count,
        "bytes": base64.b64encode(stored_ND.tobytes()).decode(),
    }


def _unit(vectors_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), np.float32(1e-12))


def _address(rgba_4HW: NDArray[np.uint8], *, photograph: bool = False) -> str:
    """A picture within its own address; photographs lose a little."""
    if photograph:
        return _data("image/webp", render(rgba_4HW, img_format="WEBP", QUALITY=86))
    return _data("image/png", render(rgba_4HW, img_format="PNG", ZLEVEL=6))


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _page(title: str, content: dict[str, Any]) -> str:
    """The file. Its one script is named by its hash, so that a browser runs no other."""
    parts = {name: files("skysense.viewer").joinpath("saved_page", name).read_text("utf-8") for name in
             ("saved.html", "saved.css", "saved.js")}  # fmt: skip
    digest = base64.b64encode(hashlib.sha256(parts["saved.js"].encode()).digest()).decode()
    data = json.dumps(content, ensure_ascii=True).replace("<", "\\u003c")
    filled = {
        "TITLE": html.escape(title),
        "DIGEST": digest,
        "STYLE": parts["saved.css"],
        "DATA": data,
        "SCRIPT": parts["saved.js"],
    }
    # all at once: a name of a file or class may itself look like a mark
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda mark: filled[mark[1]], parts["saved.html"])
