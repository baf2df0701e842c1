"""What a map consists of: layers of pixels, each with its bands, number type and meaning.

Letters: K bands, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Stored = Literal["float32", "float16", "int8", "uint8"]
Kind = Literal["features", "classes", "probability", "uncertainty", "image"]

NODATA: dict[Stored, float] = {"float32": float("nan"), "float16": float("nan"), "int8": -128, "uint8": 255}


@dataclass(frozen=True)
class Layer:
    """One raster of a map.

    Attributes:
        name: ``features``, ``classes``, ``probability``, ``uncertainty``, ...; a word of lower-case letters and ``_``.
        kind: what its numbers are; classes are never averaged.
        bands: a name per band.
        stored: number type on disk; no-data is `NODATA` of it.
        per_cell: pixels along the side of a cell: 1, or up to 32 for maps as fine as the image.
        scale: per band, value = stored number x scale + offset, for ``int8`` and ``uint8`` layers of numbers; None for
            classes and floats.
        offset: see scale; None for zeros.
        classes: names by class index, of ``classes``.
        colours: ``#rrggbb`` by class index, of ``classes``.
    """

    name: str
    kind: Kind
    bands: tuple[str, ...]
    stored: Stored
    per_cell: int = 1
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    classes: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()

    @property
    def nodata(self) -> float:
        """The stored number that means no data."""
        return NODATA[self.stored]

    @property
    def dtype(self) -> np.dtype:
        """Of the stored numbers."""
        return np.dtype(self.stored)

    def encode(self, values_KHW: NDArray[np.floating]) -> NDArray:
        """Numbers as they are stored; NaN becomes no-data, what the type cannot hold is clipped.

        Args:
            values_KHW: numbers in their own unit, or class indices (as floats, NaN for no-data).
        """
        if self.stored in ("float32", "float16"):
            if self.stored == "float16":
                values_KHW = np.clip(values_KHW, -65504, 65504)
            return values_KHW.astype(self.dtype, copy=False)
        info = np.iinfo(self.dtype)
        low, high = (-127, 127) if self.stored == "int8" else (info.min, 254)
        numbers = values_KHW if self.offset is None else values_KHW - _per_band(self.offset)
        numbers = numbers if self.scale is None else numbers / _per_band(self.scale)
        unseen = np.isnan(numbers)
        stored = np.rint(np.where(unseen, 0, numbers)).clip(low, high).astype(self.dtype)
        stored[unseen] = int(self.nodata)
        return stored

    def decode(self, stored_KHW: NDArray) -> NDArray[np.float32]:
        """The way back: float32 in their own unit, NaN for no-data."""
        values = stored_KHW.astype(np.float32)
        if self.stored in ("int8", "uint8"):
            values[stored_KHW == self.nodata] = np.nan
            if self.scale is not None:
                values *= _per_band(self.scale)
            if self.offset is not None:
                values += _per_band(self.offset)
        return values

    def of_bands(self, bands: Sequence[int]) -> Layer:
        """The layer of some of the bands, by their numbers from 0."""
        scale = None if self.scale is None else tuple(self.scale[band] for band in bands)
        offset = None if self.offset is None else tuple(self.offset[band] for band in bands)
        return replace(self, bands=tuple(self.bands[band] for band in bands), scale=scale, offset=offset)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "kind": self.kind,
            "bands": list(self.bands),
            "stored": self.stored,
            "per_cell": self.per_cell,
            "scale": None if self.scale is None else list(self.scale),
            "offset": None if self.offset is None else list(self.offset),
            "classes": list(self.classes),
            "colours": list(self.colours),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Layer:
        """The way back of `to_json`.

        Raises:
            KeyError: a value is missing.
        """
        return cls(
            name=values["name"],
            kind=values["kind"],
            bands=tuple(values["bands"]),
            stored=values["stored"],
            per_cell=int(values["per_cell"]),
            scale=_floats(values["scale"]),
            offset=_floats(values.get("offset")),  # version 1 knew none
            classes=tuple(values["classes"]),
            colours=tuple(values["colours"]),
        )


def _per_band(numbers: Sequence[float]) -> NDArray[np.float32]:
    return np.array(numbers, np.float32)[:, None, None]


def _floats(values: Sequence[Any] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(one) for one in values)
