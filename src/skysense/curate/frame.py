"""What is read of one acquisition, and the frame of a series it becomes.

Letters: C bands, H W pixels of a place on the grid of one sensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.curate.acquisition import Acquisition
from skysense.errors import InputError

WHOLE = 0.99
"""A place of which this share was observed counts as whole: the rest is not worth another product, or another year."""


@dataclass(frozen=True)
class Reading:
    """The pixels of one acquisition over one place, as the archive stores them.

    Attributes:
        acquisition: where they come from.
        pixels: ``(H, W)`` per asset, all on one grid of the place.
        observed: ``(H, W)`` bool per asset: inside of the product and not marked as no-data by its file.

    Raises:
        InputError: assets without a mask, or on different grids.
    """

    acquisition: Acquisition
    pixels: Mapping[str, NDArray]
    observed: Mapping[str, NDArray[np.bool_]]

    def __post_init__(self) -> None:
        layers = [*self.pixels.values(), *self.observed.values()]
        if self.pixels.keys() != self.observed.keys() or len({layer.shape for layer in layers}) != 1:
            found = ", ".join(f"{name} {layer.shape}" for name, layer in self.pixels.items())
            raise InputError(f"{self.acquisition.item} must be read with masks and onto one grid; got {found}")

    def stack(self, bands: Sequence[str]) -> tuple[NDArray, NDArray[np.bool_]]:
        """Bands by name as ``(C, H, W)``, and ``(H, W)`` bool: observed in all of them.

        Raises:
            InputError: one of them was not read.
        """
        missing = [band for band in bands if band not in self.pixels]
        if missing:
            raise InputError(f"{self.acquisition.item} was read without {', '.join(missing)}")
        values = np.stack([self.pixels[band] for band in bands])
        return values, np.logical_and.reduce([self.observed[band] for band in bands])


@dataclass(frozen=True)
class Frame:
    """One frame of a series, of one acquisition or of several that saw the place in the same pass.

    Attributes:
        time: UTC, of the first acquisition.
        sources: what is kept about each acquisition whose pixels are in it, ready for JSON; "item" is its name.
        values: ``(C, H, W)`` in the unit of the sensor; an image is still in the numbers of its archive.
        valid: ``(H, W)`` bool, observed in all bands.
        clear: ``(H, W)`` bool, seen without cloud or its shadow; None where the archive does not say.
    """

    time: datetime
    sources: tuple[Mapping[str, Any], ...]
    values: NDArray
    valid: NDArray[np.bool_]
    clear: NDArray[np.bool_] | None = None

    @property
    def name(self) -> str:
        """The items it is made of."""
        return " + ".join(str(source["item"]) for source in self.sources)

    @property
    def share(self) -> float:
        """Share of its pixels that were observed, 0 .. 1."""
        return float(self.valid.mean())


def describe(acquisition: Acquisition, **found: Any) -> dict[str, Any]:
    """What is kept about an acquisition beside its pixels; properties the archive does not state are left out.

    Args:
        acquisition: which one.
        **found: what reading it added.
    """
    stated = {
        "item": acquisition.item,
        "collection": acquisition.collection,
        "catalogue": acquisition.catalogue,
        "time": acquisition.time.isoformat().replace("+00:00", "Z"),
        "platform": acquisition.platform,
        "orbit_state": acquisition.orbit_state,
        "relative_orbit": acquisition.relative_orbit,
        "baseline": acquisition.baseline,
        "cloud_cover": acquisition.cloud_cover,
        **found,
    }
    return {key: value for key, value in stated.items() if value is not None}
