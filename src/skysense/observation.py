"""What flows through everything: a `Series` of one sensor, a `Sample` of one place, a `Batch` of samples.

Letters: B batch, T time, C bands, H W pixels of one sensor, h w cells of the lattice (10 m).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.errors import InputError
from skysense.geo import CELL_HR_PX, Footprint, Window, check_position
from skysense.sensors import MODALITIES, Modality, Sensor

DAYS = 365
"""Entries of the date table; 31 December of a leap year shares the last one (specification 1.4)."""


@dataclass(frozen=True)
class Series:
    """Frames of one sensor over one piece of ground.

    Attributes:
        sensor: bands, unit and statistics.
        values: ``(T, C, H, W)`` in the sensor's unit and its stored dtype.
        dates: ``(T,)`` ``datetime64[D]``, ascending; NaT (no date embedding) only in a series of one frame.
        valid: ``(T, H, W)`` bool, observed.
        clear: ``(T, H, W)`` bool, cloud-free, where known. Used only when asked: the published model sees clouds.

    Raises:
        InputError: shapes that disagree, no frame, unsorted or missing dates.
    """

    sensor: Sensor
    values: NDArray
    dates: NDArray[np.datetime64]
    valid: NDArray[np.bool_]
    clear: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        name, shape = self.sensor.name, self.values.shape
        if self.values.ndim != 4 or shape[1] != len(self.sensor.bands) or 0 in shape:
            bands = ", ".join(self.sensor.bands)
            raise InputError(
                f"{name} values must be (T, {len(self.sensor.bands)}, H, W) with bands {bands}; got {shape}"
            )
        grid = (shape[0], *shape[2:])
        for what, mask in (("valid", self.valid), ("clear", self.clear)):
            if mask is not None and (mask.shape != grid or mask.dtype != np.bool_):
                raise InputError(f"{name} {what} must be bool {grid}; got {mask.dtype} {mask.shape}")
        if self.dates.shape != shape[:1] or self.dates.dtype != np.dtype("datetime64[D]"):
            raise InputError(
                f"{name} dates must be datetime64[D] ({shape[0]},); got {self.dates.dtype} {self.dates.shape}"
            )
        if len(self.dates) > 1:
            if np.isnat(self.dates).any():
                raise InputError(f"{name} has frames without a date in a series of {len(self.dates)}")
            if (np.diff(self.dates) < np.timedelta64(0, "D")).any():
                raise InputError(f"{name} dates are not in ascending order", fix="Sort the frames by date")

    def check(self, file: str | None = None) -> None:
        """Refuse values that the sensor's unit cannot hold; see `Sensor.check`."""
        self.sensor.check(self.values, self.valid, file=file)

    def take(self, frames: Sequence[int] | NDArray[np.integer]) -> Series:
        """Some of the frames, in the order given."""
        index = np.asarray(frames)
        return replace(
            self,
            values=self.values[index],
            dates=self.dates[index],
            valid=self.valid[index],
            clear=None if self.clear is None else self.clear[index],
        )

    def read_as(self, sensor: Sensor) -> Series:
        """The bands that another sensor of the same modality has, chosen by name.

        Raises:
            InputError: a band is not there, or the sensors measure different things.
        """
        if sensor == self.sensor:
            return self
        if (sensor.modality, sensor.unit) != (self.sensor.modality, self.sensor.unit):
            raise InputError(f"{self.sensor.name} cannot be read as {sensor.name}")
        return replace(self, sensor=sensor, values=sensor.select(self.values, self.sensor.bands, axis=1))

    def crop(self, window: Window) -> Series:
        """A window given in cells of the lattice."""
        rows, cols = window.scaled(CELL_HR_PX if self.sensor.modality == "hr" else 1).slices()
        return replace(
            self,
            values=self.values[..., rows, cols],
            valid=self.valid[..., rows, cols],
            clear=None if self.clear is None else self.clear[..., rows, cols],
        )

    @property
    def days(self) -> NDArray[np.int64]:
        """Day of the year from 0 to 364 per frame, -1 without a date."""
        return day_of_year(self.dates)


def day_of_year(dates: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Day of the year - 1 in 0 .. 364 (specification 1.4), -1 for NaT."""
    days = (dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)
    return np.where(np.isnat(dates), -1, np.minimum(days, DAYS - 1))


@dataclass(frozen=True)
class Sample:
    """A place seen by any subset of sensors.

    Attributes:
        name: what messages call it.
        series: one `Series` per modality that is there.
        lon, lat: WGS 84 degrees of the centre, or None: without a position there is no geo-context.
        footprint: bounds and CRS; needed where a map is made, not to learn.
        region: slot of the place's region in the model's table, or None.

    Raises:
        InputError: no series at all, a sensor under another modality's key, grids that do not share the lattice, or a
            position off the Earth.
    """

    name: str
    series: Mapping[Modality, Series]
    lon: float | None = None
    lat: float | None = None
    footprint: Footprint | None = None
    region: int | None = None

    def __post_init__(self) -> None:
        if not self.series:
            raise InputError(f"place {self.name!r} holds no imagery")
        for key, series in self.series.items():
            if series.sensor.modality != key:
                raise InputError(f"place {self.name!r} holds {series.sensor.name} under {key!r}")
        if "hr" in self.series and len(self.series["hr"].dates) != 1:
            raise InputError(f"place {self.name!r}: the high-resolution image is one frame, not a series")
        check_position(self.lon, self.lat, file=self.name)
        _ = self.grid

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width in cells of the lattice, common to all sensors."""
        grids = set()
        for key, series in self.series.items():
            height, width = series.values.shape[-2:]
            if key == "hr":
                if height % CELL_HR_PX or width % CELL_HR_PX:
                    raise InputError(
                        f"place {self.name!r}: the high-resolution image is {height} x {width} px, "
                        f"not a multiple of {CELL_HR_PX} px (one 10 m cell)",
                        fix="Resample it to 0.3125 m and crop it to whole cells",
                    )
                height, width = height // CELL_HR_PX, width // CELL_HR_PX
            grids.add((height, width))
        if len(grids) > 1:
            found = ", ".join(f"{key} {series.values.shape[-2:]}" for key, series in self.series.items())
            raise InputError(
                f"place {self.name!r}: sensors do not share the lattice ({found}); "
                f"one Sentinel pixel is {CELL_HR_PX} x {CELL_HR_PX} px of the high-resolution image"
            )
        return grids.pop()

    def crop(self, window: Window) -> Sample:
        """A window given in cells of the lattice (position kept, footprint cut accordingly)."""
        return replace(
            self,
            series={key: series.crop(window) for key, series in self.series.items()},
            footprint=None if self.footprint is None else _cut(self.footprint, self.grid, window),
        )

    def read_as(self, sensors: Mapping[Modality, Sensor]) -> Sample:
        """The same place with the bands that other sensors of the same modalities have, chosen by name.

        Raises:
            InputError: a band is not there.
        """
        series = {key: one.read_as(sensors[key]) if key in sensors else one for key, one in self.series.items()}
        return replace(self, series=series)

    def only(self, modalities: Sequence[Modality]) -> Sample:
        """The same place with fewer sensors."""
        return replace(
            self, series={key: self.series[key] for key in MODALITIES if key in modalities and key in self.series}
        )


def _cut(footprint: Footprint, grid: tuple[int, int], window: Window) -> Footprint:
    left, bottom, right, top = footprint.bounds
    dx, dy = (right - left) / grid[1], (top - bottom) / grid[0]
    west, north = left + window.col * dx, top - window.row * dy
    return replace(footprint, bounds=(west, north - window.height * dy, west + window.width * dx, north))


@dataclass
class Frames:
    """One modality of a batch. Only time is padded; padding is marked by ``present``.

    Attributes:
        values_BTCHW: physical units in the stored dtype (uint16 becomes int32: torch computes little in uint16).
        day_BT: day of the year - 1 in 0 .. 364, or -1 for no date.
        present_BT: bool, a real frame.
        valid_BTHW: bool, observed pixels.
    """

    values_BTCHW: Tensor
    day_BT: Tensor
    present_BT: Tensor
    valid_BTHW: Tensor

    def to(self, device: torch.device | str) -> Frames:
        """The same on another device."""
        return Frames(*(tensor.to(device, non_blocking=True) for tensor in vars(self).values()))


@dataclass
class Batch:
    """Samples side by side, all of the same size in cells.

    Attributes:
        frames: one `Frames` per modality that any sample has.
        region_B: slot of each sample's region, -1 for none.
        names: of the samples.
        words_B: int64 within 0 .. 2^32 - 1, a random word per sample for what a model draws while it learns; torch's
            generator draws if None.
    """

    frames: dict[Modality, Frames]
    region_B: Tensor
    names: list[str]
    words_B: Tensor | None = None

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.names)

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        moved = {key: frames.to(device) for key, frames in self.frames.items()}
        words = None if self.words_B is None else self.words_B.to(device)
        return Batch(moved, self.region_B.to(device), self.names, words)


def collate(samples: Sequence[Sample]) -> Batch:
    """Put samples side by side, padding time only; a sample without a modality has no present frame of it.

    Raises:
        InputError: no sample, or samples of different size in cells.
    """
    if not samples:
        raise InputError("a batch needs at least one sample")
    grids = {sample.grid for sample in samples}
    if len(grids) > 1:
        raise InputError(f"samples of one batch must have one size in cells; got {sorted(grids)}")
    frames: dict[Modality, Frames] = {}
    for key in MODALITIES:
        if any(key in sample.series for sample in samples):
            frames[key] = _pad([sample.series.get(key) for sample in samples])
    region = torch.tensor([-1 if sample.region is None else sample.region for sample in samples])
    return Batch(frames, region, [sample.name for sample in samples])


def _pad(series: Sequence[Series | None]) -> Frames:
    first = next(one for one in series if one is not None)
    length = max(len(one.dates) for one in series if one is not None)
    _, *shape = first.values.shape
    values = np.zeros((len(series), length, *shape), _torch_dtype(first.values.dtype))
    day = np.full((len(series), length), -1, np.int64)
    present = np.zeros((len(series), length), bool)
    valid = np.zeros((len(series), length, *shape[1:]), bool)
    for row, one in enumerate(series):
        if one is not None:
            t = len(one.dates)
            values[row, :t], day[row, :t], present[row, :t], valid[row, :t] = one.values, one.days, True, one.valid
    return Frames(*(torch.from_numpy(array) for array in (values, day, present, valid)))


def _torch_dtype(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.int32) if dtype == np.uint16 else dtype
