"""One image of an archive: when, by what, and where its bands are. What a catalogue said, in our words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, get_args

from skysense.sensors import Modality

if TYPE_CHECKING:
    from affine import Affine

StoredUnit = Literal["dn", "power", "dB", "amplitude-dn", "uint8"]
"""What stored numbers mean.

``dn``: of Sentinel-2 reflectance x 10^4, plus the offset of its baseline unless that was subtracted; of an image for
the eye its 11 to 16 bits;
``power``: calibrated backscatter, linear; ``dB``: the same as decibel; ``amplitude-dn``: uncalibrated amplitude;
``uint8``: an image for the eye in 8 bits.
"""
STORED_UNITS: tuple[StoredUnit, ...] = get_args(StoredUnit)


@dataclass(frozen=True)
class Asset:
    """Where one band is.

    Attributes:
        href: address (``https://``, ``s3://``, ``gs://``) or local path.
        band: which band of the file, from 1.
        scale, offset: physical = stored x scale + offset, as the catalogue says; None where it says nothing.
        nodata: the value of pixels that were not observed, for files that do not say so themselves.
        crs: reference system of the file, as the catalogue says.
        transform: from columns and rows to coordinates, as the catalogue says.
        shape: height and width, as the catalogue says.
        imagery: all bands of the file that hold imagery, if there are others than this one.
    """

    href: str
    band: int = 1
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    crs: str | None = None
    transform: Affine | None = None
    shape: tuple[int, int] | None = None
    imagery: tuple[int, ...] = ()


@dataclass(frozen=True)
class Acquisition:
    """One image, as a catalogue describes it.

    Attributes:
        modality: which encoder it is for.
        item: its name, unique in the collection.
        collection: its collection, in the catalogue's words.
        catalogue: name of the catalogue.
        time: when it was taken, UTC.
        assets: where each band is, by our name of it (`skysense.sensors`), and ``"SCL"``, the scene classification of
            Sentinel-2, where there is one.
        unit: what the stored numbers mean.
        platform: satellite or aircraft, in small letters, e.g. ``"sentinel-2b"``.
        orbit_state: ``"ascending"`` or ``"descending"``.
        relative_orbit: number of the track.
        baseline: processing baseline of Sentinel-2, e.g. ``"05.09"``.
        offset_applied: whether the offset of the baseline was subtracted already; None where nobody knows.
        cloud_cover: percent of the whole image.
    """

    modality: Modality
    item: str
    collection: str
    catalogue: str
    time: datetime
    assets: Mapping[str, Asset]
    unit: StoredUnit
    platform: str | None = None
    orbit_state: str | None = None
    relative_orbit: int | None = None
    baseline: str | None = None
    offset_applied: bool | None = None
    cloud_cover: float | None = None
