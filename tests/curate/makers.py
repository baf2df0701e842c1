"""Small acquisitions, readings and frames."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.curate.acquisition import Acquisition, Asset
from skysense.curate.frame import Frame, Reading
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A

BANDS = {"hr": OPTICAL_HR.bands, "s2": (*SENTINEL2_L2A.bands, "SCL"), "s1": SENTINEL1.bands}
NOON = datetime(2022, 6, 1, 12, tzinfo=UTC)


def acquire(item: str = "one", modality: str = "s2", **changes: Any) -> Acquisition:
    """An acquisition of Sentinel-2 (baseline 05.09 with its offset), Sentinel-1 (power) or an aeroplane."""
    crs, scale, offset = (changes.pop(key, None) for key in ("crs", "scale", "offset"))
    assets = {band: Asset(f"{item}/{band}.tif", scale=scale, offset=offset, crs=crs) for band in BANDS[modality]}
    stated = {
        "modality": modality,
        "item": item,
        "collection": f"{modality}-archive",
        "time": NOON,
        "assets": assets,
        "platform": {"s2": "sentinel-2a", "s1": "sentinel-1a"}.get(modality),
        "orbit_state": "ascending" if modality == "s1" else None,
        "relative_orbit": None if modality == "hr" else 22,
        "baseline": "05.09" if modality == "s2" else None,
        "cloud_cover": 3.5 if modality == "s2" else None,
        "offset_applied": False if modality == "s2" else None,
        "unit": {"s2": "dn", "s1": "power", "hr": "uint8"}[modality],
        "catalogue": "test",
    }
    return Acquisition(**{**stated, **changes})


def read(acquisition: Acquisition, pixels: Mapping[str, NDArray], hidden: NDArray[np.bool_] | None = None) -> Reading:
    """A reading whose pixels are all observed but the hidden ones."""
    shape = next(iter(pixels.values())).shape
    seen = np.ones(shape, bool) if hidden is None else ~hidden
    return Reading(acquisition, pixels, {band: seen.copy() for band in pixels})


def flat(acquisition: Acquisition, value: float, shape: tuple[int, int] = (4, 4)) -> dict[str, NDArray]:
    """One number everywhere; vegetation where the scene is classified."""
    dtype = {"s2": np.uint16, "s1": np.float32, "hr": np.uint8}[acquisition.modality]
    pixels = {band: np.full(shape, value, dtype) for band in acquisition.assets}
    if "SCL" in pixels:
        pixels["SCL"] = np.full(shape, 4, np.uint8)
    return pixels


def frame(item: str, value: float, valid: NDArray[np.bool_], **changes: Any) -> Frame:
    """A frame of one band."""
    stated = {"time": NOON, "sources": ({"item": item},), "values": np.where(valid, value, 0)[None], "valid": valid}
    return Frame(**{**stated, **changes})
