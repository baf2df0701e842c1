"""All frames of a place become one `Sample` and what is to be remembered about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.curate.frame import Frame
from skysense.curate.grid import PlaceGrid
from skysense.curate.optical import choose_image, colours
from skysense.curate.refusal import Reason, Refused
from skysense.errors import ConfigError, InputError
from skysense.geo import WINDOW_CELLS
from skysense.observation import Sample, Series
from skysense.sensors import MODALITIES, OPTICAL_HR, SENTINEL1, SENTINEL2_L2A, Modality, Sensor

_TOO_FEW: dict[Modality, Reason] = {"hr": Reason.NO_IMAGE, "s2": Reason.TOO_FEW_S2, "s1": Reason.TOO_FEW_S1}
_SERIES: dict[Modality, Sensor] = {"s2": SENTINEL2_L2A, "s1": SENTINEL1}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a place must have.

    Attributes:
        cells: of one side of a place.
        required: modalities without which a place is refused.
        fewest_s2, fewest_s1: frames of a series. A shorter one is left out, or refused if it is required. By default
            half of what a published view draws (20 and 10).
        most_s2, most_s1: passes that are read of a series, evenly thinned; None for all.

    Raises:
        ConfigError: cells that encoders cannot read, an unknown modality, fewer than one frame, or fewer at most than
            at least.
    """

    cells: int = 64
    required: tuple[Modality, ...] = ("s2", "s1")
    fewest_s2: int = 10
    fewest_s1: int = 5
    most_s2: int | None = None
    most_s1: int | None = None

    def __post_init__(self) -> None:
        if self.cells < 1 or self.cells % WINDOW_CELLS:
            raise ConfigError(f"cells {self.cells} must be a multiple of {WINDOW_CELLS}, the sides that encoders read")
        unknown = [key for key in self.required if key not in MODALITIES]
        if unknown:
            raise ConfigError(f"required modality {unknown[0]!r} is unknown; known: {', '.join(MODALITIES)}")
        for key in _SERIES:
            fewest, most = self.fewest(key), self.most(key)
            if fewest < 1 or (most is not None and most < fewest):
                raise ConfigError(f"fewest_{key} {fewest} must be at least 1 and at most most_{key} ({most})")

    def fewest(self, modality: Modality) -> int:
        """Frames that a modality must have."""
        return {"hr": 1, "s2": self.fewest_s2, "s1": self.fewest_s1}[modality]

    def most(self, modality: Modality) -> int | None:
        """Passes that are read of it; images are read until one is whole."""
        return {"hr": None, "s2": self.most_s2, "s1": self.most_s1}[modality]


@dataclass(frozen=True)
class Made:
    """A place that can be stored.

    Attributes:
        sample: without a region slot, which is a matter of the model.
        attributes: ready for JSON: the products behind every frame, the stretch of the image, the licences.
    """

    sample: Sample
    attributes: dict[str, Any]


def check_enough(counts: Mapping[Modality, int], settings: Settings) -> None:
    """Refuse a place that cannot have what it must have, before anything is read.

    Args:
        counts: passes per modality.
        settings: what it must have.

    Raises:
        Refused: no imagery at all, or too few passes of a required modality.
    """
    if not any(counts.values()):
        raise Refused(Reason.NO_IMAGERY)
    for key in MODALITIES:
        fewest = settings.fewest(key)
        if key in settings.required and counts.get(key, 0) < fewest:
            raise Refused(_TOO_FEW[key], f"{counts.get(key, 0)} of at least {fewest}")


def make_sample(
    name: str,
    grid: PlaceGrid,
    frames: Mapping[Modality, Sequence[Frame]],
    settings: Settings,
    *,
    licences: Mapping[Modality, str],
) -> Made:
    """One place from its frames.

    Series are in order of time. Of the images, the one is taken that `choose_image` finds next to the middle of the
    Sentinel-2 series, or of the Sentinel-1 series where there is no other.

    Args:
        name: of the place.
        grid: of the place.
        frames: one per pass, of any modality, in any order.
        settings: what it must have.
        licences: licence and attribution per modality that has frames.

    Raises:
        Refused: a required modality is missing or too short, none is left, or numbers that their unit cannot hold.
    """
    check_enough({key: len(found) for key, found in frames.items()}, settings)
    series: dict[Modality, Series] = {}
    attributes: dict[str, Any] = {"products": {}, "licences": {}}
    for key, sensor in _SERIES.items():
        found = sorted(frames.get(key, ()), key=lambda frame: (frame.time, frame.name))
        if len(found) >= settings.fewest(key):
            series[key] = _series(sensor, found)
            attributes["products"][key] = [list(frame.sources) for frame in found]
    image = choose_image(frames.get("hr", ()), middle_of(frames.get("s2", ()) or frames.get("s1", ())))
    if image is not None:
        values, stretch = colours(image)
        series["hr"] = Series(OPTICAL_HR, values[None], _dates([image]), image.valid[None])
        attributes["products"]["hr"] = [list(image.sources)]
        attributes["stretch"] = "none" if stretch is None else {"low": stretch.low, "high": stretch.high}
    if not series:
        raise Refused(Reason.NO_IMAGERY, "every series is too short")
    attributes["licences"] = {key: licences[key] for key in MODALITIES if key in series}
    lon, lat = grid.centre
    ordered = {key: series[key] for key in MODALITIES if key in series}
    try:
        for one in ordered.values():
            one.check(name)
    except InputError as error:
        raise Refused(Reason.WRONG_UNIT, str(error)) from error
    return Made(Sample(name, ordered, lon, lat, grid.footprint), attributes)


def middle_of(frames: Sequence[Frame]) -> datetime | None:
    """The time between the first and the last frame; None without frames."""
    if not frames:
        return None
    times = [frame.time for frame in frames]
    return min(times) + (max(times) - min(times)) / 2


def _series(sensor: Sensor, frames: Sequence[Frame]) -> Series:
    """Frames in order of time as a series; cloud is known only if it is for every frame."""
    clears = [frame.clear for frame in frames if frame.clear is not None]
    return Series(
        sensor,
        np.stack([frame.values for frame in frames]),
        _dates(frames),
        np.stack([frame.valid for frame in frames]),
        np.stack(clears) if len(clears) == len(frames) else None,
    )


def _dates(frames: Sequence[Frame]) -> NDArray[np.datetime64]:
    """Days by universal time."""
    return np.array([frame.time.astimezone(UTC).replace(tzinfo=None) for frame in frames], "datetime64[D]")
