"""Layers as pictures: tiles of PNG, colours and legends.

Letters: K bands stored, C colours, H W pixels of the screen, N sampled cells, D features.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rio_tiler.colormap import cmap
from rio_tiler.utils import render

from skysense.errors import InputError
from skysense.maps.fit import principal_axes
from skysense.maps.product.layer import Layer
from skysense.maps.similarity import unseen
from skysense.viewer.blocks import Blocks
from skysense.viewer.ground import View
from skysense.viewer.imagery import Imagery
from skysense.viewer.raster import Raster

RAMPS = {"probability": "viridis", "uncertainty": "magma", "image": "gray"}
"""Colour maps of layers of numbers, by kind."""
_STRETCH = (2.0, 98.0)  # percentiles that become black and full colour
_SPARE = "#888888"  # of a class without a colour


class Painter:
    """Draws tiles; what it fits (colours of features, ranges of numbers) is fitted once per layer and kept.

    Args:
        blocks: where numbers come from.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._fitted: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def image(self, imagery: Imagery, frame: int, view: View) -> NDArray[np.uint8]:
        """A frame ``(4, H, W)`` as red, green, blue and opacity."""
        with self._lock:  # measured once, though the first screen asks for twenty tiles at a time
            low, high = imagery.stretch
        layer, bands = str(frame), len(imagery.frames[frame].indexes)

        def colours(stored_KHW: NDArray) -> NDArray[np.float32]:
            rgb_KHW = ((stored_KHW[:-1] - low) * (255 / (high - low))).clip(0, 255)
            rgb_KHW[:, stored_KHW[-1] == 0] = np.nan
            return rgb_KHW

        rgb_KHW = self._blocks.compute(imagery, layer, view, colours, bands)
        return _with_opacity(rgb_KHW if bands == 3 else np.repeat(rgb_KHW[:1], 3, axis=0))

    def features(self, raster: Raster, layer: Layer, view: View) -> NDArray[np.uint8]:
        """The three principal components of features as red, green and blue."""
        weights_D3, offset_3 = self._once(raster, layer, self._fit_components)
        rows_3D = np.ascontiguousarray(weights_D3.T)

        def colours(stored_DHW: NDArray) -> NDArray[np.float32]:
            values_DHW = layer.decode(stored_DHW)
            rgb_3N = rows_3D @ values_DHW.reshape(len(values_DHW), -1) - offset_3[:, None]
            return rgb_3N.reshape(3, *stored_DHW.shape[1:]).clip(0, 255)

        return _with_opacity(self._blocks.compute(raster, layer.name, view, colours, 3))

    def classes(self, raster: Raster, layer: Layer, view: View) -> NDArray[np.uint8]:
        """Classes in their own colours."""
        palette_N3 = np.array([rgb(colour) for colour in palette(layer)], np.float32)

        def colours(stored_1HW: NDArray) -> NDArray[np.float32]:
            index_HW = stored_1HW[0].astype(int)
            rgb_3HW = np.moveaxis(palette_N3[index_HW.clip(0, len(palette_N3) - 1)], -1, 0).copy()
            rgb_3HW[:, unseen(stored_1HW)] = np.nan
            return rgb_3HW

        return _with_opacity(self._blocks.compute(raster, layer.name, view, colours, 3))

    def numbers(self, raster: Raster, layer: Layer, band: int, view: View) -> NDArray[np.uint8]:
        """One band of probabilities, uncertainties or other numbers on a colour ramp."""
        low, high = self.limits(raster, layer)
        ramp_N3 = ramp(RAMPS.get(layer.kind, "gray"))

        def colours(stored_KHW: NDArray) -> NDArray[np.float32]:
            value_HW = layer.decode(stored_KHW)[band]
            place_HW = (np.nan_to_num(value_HW) - low) * (255 / (high - low))
            rgb_3HW = np.moveaxis(ramp_N3[place_HW.clip(0, 255).astype(int)], -1, 0).astype(np.float32)
            rgb_3HW[:, np.isnan(value_HW)] = np.nan
            return rgb_3HW

        return _with_opacity(self._blocks.compute(raster, layer.name, view, colours, 3))

    def limits(self, raster: Raster, layer: Layer) -> tuple[float, float]:
        """The numbers at both ends of a colour ramp: 0 and 1 of probabilities, else what most numbers lie between."""
        if layer.kind == "probability":
            return 0.0, 1.0
        return self._once(raster, layer, self._fit_limits)

    def _once(self, raster: Raster, layer: Layer, fit: Callable[[Raster, Layer], Any]) -> Any:
        key = (str(raster.path), layer.name)
        with self._lock:  # also while it is fitted: the first screen asks for twenty tiles at a time
            if key not in self._fitted:
                self._fitted[key] = fit(raster, layer)
            return self._fitted[key]

    def _values(self, raster: Raster, layer: Layer) -> NDArray[np.float32]:
        return layer.decode(self._blocks.sample(raster, layer.name)[:, :, None])[..., 0]

    def _fit_components(self, raster: Raster, layer: Layer) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights ``(D, 3)`` and offsets ``(3,)`` such that most cells become colours between 0 and 255."""
        values_ND = self._values(raster, layer).T
        mean_D, axes_Dk, _ = principal_axes(values_ND, min(3, values_ND.shape[1]))
        axes_D3 = np.pad(axes_Dk, ((0, 0), (0, 3 - axes_Dk.shape[1])))
        low_3, high_3 = np.percentile((values_ND - mean_D) @ axes_D3, _STRETCH, axis=0)
        weights_D3 = axes_D3 * (255 / np.maximum(high_3 - low_3, 1e-12))
        offset_3 = mean_D @ weights_D3 + low_3 * (255 / np.maximum(high_3 - low_3, 1e-12))
        return weights_D3.astype(np.float32), offset_3.astype(np.float32)

    def _fit_limits(self, raster: Raster, layer: Layer) -> tuple[float, float]:
        try:
            low, high = np.percentile(self._values(raster, layer), _STRETCH)
        except InputError:  # a layer without data is no reason to show no other
            return 0.0, 1.0
        return float(low), float(max(high, low + 1e-6))


def png(rgba_4HW: NDArray[np.uint8]) -> bytes:
    """A PNG, compressed quickly rather than well: it goes no further than to the browser."""
    return render(rgba_4HW, img_format="PNG", ZLEVEL=1)


def ramp(name: str) -> NDArray[np.uint8]:
    """A colour map ``(256, 3)`` by name."""
    table = cmap.get(name)
    return np.array([table[index][:3] for index in range(256)], np.uint8)


def palette(layer: Layer) -> tuple[str, ...]:
    """A colour per class; grey for one without."""
    spare = (_SPARE,) * (len(layer.classes) - len(layer.colours))
    return (layer.colours + spare) or (_SPARE,)


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of ``#rrggbb``."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _with_opacity(rgb_3HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    seen_HW = ~np.isnan(rgb_3HW[0])
    rgba_4HW = np.zeros((4, *seen_HW.shape), np.uint8)
    rgba_4HW[:3] = np.where(seen_HW, np.rint(rgb_3HW), 0)
    rgba_4HW[3] = np.where(seen_HW, 255, 0)
    return rgba_4HW
