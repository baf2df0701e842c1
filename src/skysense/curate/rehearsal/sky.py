"""What Sentinel-2 and Sentinel-1 make of the land: air, clouds and their shadows, scene classification, speckle.

Letters: C bands, H W cells of 10 m.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skysense.curate.rehearsal.land import Cube
from skysense.data.earth.noise import smooth_noise
from skysense.data.earth.sentinel import CLOUD, HAZE, LOOKS

BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
NODATA, SHADOW, VEGETATION, BARE, WATER, CLOUD_MEDIUM, CLOUD_HIGH = 0, 3, 4, 5, 6, 8, 9
CLASSES = {
    SHADOW: "cloud_shadow", VEGETATION: "vegetation", BARE: "not_vegetated", WATER: "water",
    CLOUD_MEDIUM: "medium_proba_clouds", CLOUD_HIGH: "high_proba_clouds",
}  # fmt: skip
"""Classes of the scene classification that occur, as the properties ``s2:*_percentage`` name them."""


@dataclass(frozen=True)
class View:
    """One pass of Sentinel-2 over the land.

    Attributes:
        values: reflectance x 10^4 ``(10, H, W)``, uint16, 1 .. 16000.
        classes: scene classification ``(H / 2, W / 2)``, uint8.
    """

    values: NDArray[np.uint16]
    classes: NDArray[np.uint8]


def look_down(rng: Generator, ground_CHW: Cube, cover: float) -> View:
    """See the ground through the air.

    Args:
        rng: random numbers.
        ground_CHW: reflectance ``(10, H, W)``.
        cover: share of the sky that clouds take, 0 .. 1.
    """
    haze = float(rng.gamma(1.3, 0.009))
    values = ground_CHW * np.float32((1 - 0.6 * haze) * rng.normal(1, 0.03)) + np.float32(haze) * _spread(HAZE)
    thick = _clouds(rng, values.shape[1:], cover)
    shade = np.roll(thick, (7, -4), (0, 1))
    values *= 1 - np.float32(0.62) * shade * (1 - thick)
    values += thick * (np.float32(rng.uniform(0.5, 0.9)) * _spread(CLOUD) - values)
    values *= 1 + np.float32(0.012) * rng.standard_normal(values.shape, np.float32)
    digital = np.clip(np.rint(values * 1e4), 1, 16000).astype(np.uint16)
    return View(digital, _classify(digital, thick, shade))


def _spread(spectrum: NDArray[np.float64]) -> NDArray[np.float32]:
    return spectrum.astype(np.float32)[:, None, None]


def _clouds(rng: Generator, shape: tuple[int, ...], cover: float) -> NDArray[np.float32]:
    """How thick the clouds are ``(H, W)``, 0 .. 1, on about ``cover`` of the ground."""
    height, width = shape
    if cover <= 0:
        return np.zeros((height, width), np.float32)
    field = smooth_noise(rng, (height, width), 45.0, octaves=4)
    return np.clip((field - np.float32(np.quantile(field, 1 - cover))) * np.float32(1.6), 0, 1)


def _classify(values: NDArray[np.uint16], thick: NDArray[np.float32], shade: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A scene classification at 20 m, from what is known of the clouds and from the colours."""
    coarse = halve(values[[2, 6]].astype(np.float32))
    red, infrared = coarse
    greenness = (infrared - red) / np.maximum(infrared + red, 1)
    classes = np.where(greenness > 0.35, VEGETATION, np.where(infrared < 900, WATER, BARE)).astype(np.uint8)
    classes[halve(shade[None])[0] > 0.25] = SHADOW
    thick = halve(thick[None])[0]
    classes[thick > 0.05] = CLOUD_MEDIUM
    classes[thick > 0.4] = CLOUD_HIGH
    return classes


def halve(values_CHW: NDArray) -> NDArray:
    """Mean of two by two cells ``(C, H / 2, W / 2)``."""
    count, height, width = values_CHW.shape
    return values_CHW.reshape(count, height // 2, 2, width // 2, 2).mean((2, 4))


def shares_of(classes: NDArray[np.uint8]) -> dict[str, float]:
    """Percentages as catalogues tell them: of the observed pixels, but no-data of all; "cloud_cover" is their sum."""
    seen = classes[classes != NODATA]
    shares = {name: 100 * float((seen == code).mean()) if seen.size else 0.0 for code, name in CLASSES.items()}
    shares["nodata_pixel"] = 100 * float((classes == NODATA).mean())
    shares["cloud_cover"] = shares["medium_proba_clouds"] + shares["high_proba_clouds"]
    return {name: round(share, 6) for name, share in shares.items()}


def echo(rng: Generator, power_CHW: Cube) -> Cube:
    """Terrain-corrected power of one pass of Sentinel-1 ``(2, H, W)`` from the mean power of the ground."""
    level = np.float32(10 ** (rng.normal(0, 0.4) / 10))
    thermal = np.float32(10 ** (rng.uniform(-27, -25) / 10))
    speckle = rng.standard_gamma(LOOKS, power_CHW.shape, np.float32) / np.float32(LOOKS)
    return (power_CHW * level + thermal) * speckle
