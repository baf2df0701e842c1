"""What a modality is: bands in order, unit, ground sampling distance, statistics, plausible range.

A sensor is a frozen value. Bands are chosen by name and never by position; a unit is declared and never guessed;
numbers that the unit cannot hold are refused, never rescaled in silence.

Statistics are those of the published family of models (specification 3.1): ImageNet for the high-resolution image,
reflectance x 10^4 for Sentinel-2 L2A, decibel for Sentinel-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.geo import CELL_HR_PX

Modality = Literal["hr", "s2", "s1"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)


class Unit(StrEnum):
    """The physical unit of stored pixel values."""

    REFLECTANCE_1E4 = "reflectance*1e4"
    DECIBEL = "dB"
    UINT8 = "uint8"


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """One kind of imagery.

    Attributes:
        name: what files call it.
        modality: which encoder reads it.
        bands: band names in the order the encoder expects.
        unit: unit of the stored values.
        gsd: ground sampling distance on the lattice, metres.
        mean: per band, in ``unit``; what the model subtracts.
        std: per band, in ``unit``; what the model divides by.
        plausible: lowest and highest value the unit can hold for this sensor.
    """

    name: str
    modality: Modality
    bands: tuple[str, ...]
    unit: Unit
    gsd: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    plausible: tuple[float, float]

    def __post_init__(self) -> None:
        if not len(self.bands) == len(self.mean) == len(self.std) or len(set(self.bands)) != len(self.bands):
            raise InputError(f"sensor {self.name!r} needs one mean and one std per band, and distinct band names")

    @property
    def cell_px(self) -> int:
        """Pixels along the side of a 10 m cell of the lattice: 32 of the high-resolution image, 1 of Sentinel."""
        return CELL_HR_PX if self.modality == "hr" else 1

    def select(self, values: NDArray, names: Sequence[str], *, axis: int, file: str | Path | None = None) -> NDArray:
        """Pick this sensor's bands, in its order, out of a stack whose bands are called ``names``.

        Args:
            values: any array with ``len(names)`` entries along ``axis``.
            names: band names of ``values``; leading zeros do not matter (``B02`` is ``B2``).
            axis: the band axis.
            file: where the stack comes from, for the message.

        Raises:
            InputError: if a band is missing, doubled, or the axis has another length.
        """
        if values.shape[axis] != len(names):
            raise InputError(f"{values.shape[axis]} bands but {len(names)} band names ({', '.join(names)})", file=file)
        plain = self.plain_names(names)
        missing = [band for band in self.bands if plain.count(band) != 1]
        if missing:
            raise InputError(
                f"{self.name} needs the bands {', '.join(self.bands)}, once each; "
                f"missing or doubled: {', '.join(missing)}; found: {', '.join(names)}",
                file=file,
                fix="Describe the bands by name",
            )
        return np.take(values, [plain.index(band) for band in self.bands], axis=axis)

    def plain_names(self, names: Sequence[str]) -> list[str]:
        """Names as this sensor writes them: ``B02`` is ``B2``; those that it does not have are in capital letters."""
        own = {_plain(band): band for band in self.bands}
        return [own.get(plain, plain) for plain in map(_plain, names)]

    def check(self, values: NDArray, valid: NDArray | None = None, *, file: str | Path | None = None) -> None:
        """Refuse values that this sensor's unit cannot hold.

        Args:
            values: ``(T, C, H, W)`` in ``unit``.
            valid: ``(T, H, W)`` bool, pixels that were observed; all of them if None.
            file: where the values come from, for the message.

        Raises:
            InputError: another number of bands, nothing observed, non-finite values among the observed, values
                outside the plausible range, or values that look like another unit (linear power given as dB,
                reflectance between 0 and 1 given as reflectance x 10^4).
        """
        if values.ndim != 4 or values.shape[1] != len(self.bands):
            raise InputError(
                f"{self.name} is (T, {len(self.bands)}, H, W) with bands {', '.join(self.bands)}; got {values.shape}",
                file=file,
            )
        if valid is None or valid.all():  # the common case costs no copy
            low, high = float(values.min()), float(values.max())
            middle = float(np.median(values[:, :, ::4, ::4])) if values.dtype != np.uint8 else 0.0
        else:
            if not valid.any():
                raise InputError(f"{self.name} holds no observed pixel (all no-data)", file=file)
            seen = np.moveaxis(values, 1, -1)[valid]
            low, high, middle = float(seen.min()), float(seen.max()), float(np.median(seen))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(
                f"{self.name} holds NaN or infinite values among its observed pixels",
                file=file,
                fix="Mark them as not valid",
            )
        if low < self.plausible[0] or high > self.plausible[1]:
            raise InputError(
                f"{self.name} in {self.unit} lies within {self.plausible[0]:g} .. {self.plausible[1]:g}; "
                f"found {low:g} .. {high:g}",
                file=file,
                fix="Check unit, scale and no-data",
            )
        if self.unit is Unit.REFLECTANCE_1E4 and 0 < high <= 2:
            raise InputError("looks like reflectance between 0 and 1", file=file, fix="Multiply by 10000")
        if self.unit is Unit.DECIBEL and low >= 0 and middle < 2:
            raise InputError(
                "looks like linear power, not decibel", file=file, fix="Convert with 10 * log10(power) first"
            )
        if self.unit is Unit.UINT8 and values.dtype != np.uint8:
            raise InputError(f"{self.name} is 8-bit; got {values.dtype}", file=file, fix="Store it as uint8")


def _plain(band: str) -> str:
    """``B02``, ``b2`` and ``B2`` are one band; ``B8A`` is another."""
    band = band.strip().upper()
    return f"{band[0]}{band[1:].lstrip('0')}" if len(band) > 1 and band[1:2] == "0" else band


OPTICAL_HR = Sensor(
    name="optical-hr",
    modality="hr",
    bands=("R", "G", "B"),
    unit=Unit.UINT8,
    gsd=0.3125,
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    plausible=(0, 255),
)

SENTINEL2_L2A = Sensor(
    name="sentinel-2-l2a",
    modality="s2",
    bands=("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12"),
    unit=Unit.REFLECTANCE_1E4,
    gsd=10.0,
    mean=(
        884.29673756,
        1144.16202635,
        1297.47289228,
        1624.90992062,
        2194.6423161,
        2422.21248945,
        2517.76053101,
        2581.64687018,
        2368.51236873,
        1805.06846033,
    ),
    std=(
        1155.15170768,
        1183.6292542,
        1368.11351514,
        1370.265037,
        1355.55390699,
        1416.51487101,
        1474.78900051,
        1439.3086061,
        1455.52084939,
        1343.48379601,
    ),
    plausible=(-1000, 65534),  # harmonised products may dip below zero; 65535 is a no-data value
)

SENTINEL1 = Sensor(
    name="sentinel-1-grd",
    modality="s1",
    bands=("VV", "VH"),
    unit=Unit.DECIBEL,
    gsd=10.0,
    mean=(-12.54847273, -20.19237134),
    std=(5.25697717, 5.91150917),
    plausible=(-100, 60),  # point targets reach tens of dB; thermal noise stays above -60
)

OPTICAL_HR_NIR = Sensor(
    name="optical-hr-nir",
    modality="hr",
    bands=("R", "G", "B", "NIR"),
    unit=Unit.UINT8,
    gsd=0.3125,
    mean=(*OPTICAL_HR.mean, OPTICAL_HR.mean[0]),  # as the weights of this band begin: as those of red
    std=(*OPTICAL_HR.std, OPTICAL_HR.std[0]),
    plausible=(0, 255),
)

_TEN_METRES = tuple(SENTINEL2_L2A.bands.index(band) for band in ("B2", "B3", "B4", "B8"))

SENTINEL2_10M = Sensor(
    name="sentinel-2-l2a-10m",
    modality="s2",
    bands=tuple(SENTINEL2_L2A.bands[index] for index in _TEN_METRES),
    unit=Unit.REFLECTANCE_1E4,
    gsd=10.0,
    mean=tuple(SENTINEL2_L2A.mean[index] for index in _TEN_METRES),
    std=tuple(SENTINEL2_L2A.std[index] for index in _TEN_METRES),
    plausible=SENTINEL2_L2A.plausible,
)

PUBLISHED = (OPTICAL_HR, SENTINEL2_L2A, SENTINEL1)
"""What the published encoders read."""

SENSORS: dict[str, Sensor] = {sensor.name: sensor for sensor in (*PUBLISHED, OPTICAL_HR_NIR, SENTINEL2_10M)}
"""Every sensor that files may name."""

_READ_BY = {
    ("hr", 3): OPTICAL_HR,
    ("hr", 4): OPTICAL_HR_NIR,
    ("s2", 10): SENTINEL2_L2A,
    ("s2", 4): SENTINEL2_10M,
    ("s1", 2): SENTINEL1,
}


def sensor_of(modality: Modality, bands: int) -> Sensor:
    """The sensor that an encoder with so many input bands reads.

    Raises:
        InputError: there is none.
    """
    if (modality, bands) not in _READ_BY:
        known = ", ".join(str(count) for key, count in _READ_BY if key == modality)
        raise InputError(f"no sensor has {bands} bands for {modality}; known are {known}")
    return _READ_BY[modality, bands]


BASELINE_OFFSET = 1000
"""Added to Sentinel-2 L2A digital numbers since processing baseline 04.00; must be subtracted before use."""


def looks_offset(values: NDArray, valid: NDArray) -> bool:
    """Whether Sentinel-2 values seem to carry the +1000 offset: every band's minimum lies above 900.

    Args:
        values: ``(T, C, H, W)`` reflectance x 10^4.
        valid: ``(T, H, W)`` bool.
    """
    seen = np.moveaxis(values, 1, -1)[valid]
    return len(seen) > 0 and bool((seen.min(axis=0) > 0.9 * BASELINE_OFFSET).all())
