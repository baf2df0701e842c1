"""What the tests of sources share: the sensors a model reads, whole reads, files on a lattice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from skysense.geo import Window
from skysense.maps.sources.open import open_source
from skysense.observation import Sample
from skysense.sensors import OPTICAL_HR, SENTINEL1, SENTINEL2_L2A
from tests.maps.scenes import write_scene

READS = {"hr": OPTICAL_HR, "s2": SENTINEL2_L2A, "s1": SENTINEL1}


def whole(source) -> Sample:
    """All of a source in one window, which must not hang over."""
    with source.open() as reader:
        return reader.read(Window(0, 0, source.grid.height, source.grid.width))


def read(what, **how) -> Sample:
    """All of what was named."""
    return whole(open_source(what, reads=READS, **how))


def s2_file(path: Path, values: NDArray, *, west=600_000, north=5_400_000, px=10, bands=None, date=None, **options):
    """Bands of Sentinel-2 that declare their unit."""
    tags = {"SKYSENSE_UNIT": "reflectance*1e4"} | ({"SKYSENSE_DATE": date} if date else {})
    transform = Affine(px, 0, west, 0, -px, north)
    names = SENTINEL2_L2A.bands if bands is None else bands
    return write_scene(path, values, names=names, transform=transform, tags=tags, **options)


def s2_like(height: int, width: int, seed: int = 0) -> NDArray[np.uint16]:
    """Ten bands of reflectance x 10^4, none of them 0."""
    return np.random.default_rng(seed).integers(200, 4000, (10, height, width)).astype(np.uint16)


def s1_file(path: Path, values: NDArray, *, west=600_000, north=5_400_000, px=10, **options):
    """Both polarisations in dB."""
    transform = Affine(px, 0, west, 0, -px, north)
    return write_scene(path, values, names=("VV", "VH"), transform=transform, tags={"SKYSENSE_UNIT": "dB"}, **options)


def hr_file(path: Path, values: NDArray, *, west=600_000, north=5_400_000, px=0.3125, **options):
    """An image of red, green and blue."""
    return write_scene(path, values, names="RGB", transform=Affine(px, 0, west, 0, -px, north), **options)
