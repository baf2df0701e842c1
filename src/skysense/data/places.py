"""Co-located places on disk: an index that is cheap, reads of any window and frames; the layout is docs/places.md.

    places = Places("my_places")
    sample = places.read_sample(places[0], window=Window(0, 0, 16, 16))

A `Places` holds no open file: it may be copied into other processes, and several threads may read (series one after the
other, since the NetCDF library allows no more).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.places_boxes import Boxes, read_boxes_file
from skysense.data.places_check import Problem, Report, check
from skysense.data.places_layout import Dataset, Legend, Place, Split, place_folders, read_dataset, read_place
from skysense.data.places_read import ChooseFrames, read_cube, read_cube_dates, read_hr, read_hr_date, read_mask_pixels
from skysense.data.places_rules import check_boxes, check_mask
from skysense.data.places_write import write_dataset, write_place
from skysense.errors import InputError
from skysense.geo import RegionTable, Window
from skysense.observation import Sample, Series
from skysense.sensors import MODALITIES, Modality

__all__ = [
    "Boxes",
    "Dataset",
    "Failure",
    "FrameChoice",
    "Legend",
    "Place",
    "Places",
    "Problem",
    "Report",
    "check",
    "write_dataset",
    "write_place",
]

FrameChoice = (
    Mapping[Modality, Sequence[int]] | Callable[[Modality, NDArray[np.datetime64]], Sequence[int] | NDArray[np.integer]]
)
"""Which frames to read: indices per sensor (all of a sensor that is not named), or a choice made from the dates."""


@dataclass(frozen=True)
class Failure:
    """A place that could not be read, and why."""

    place: str
    message: str


class Places:
    """A folder of places, sorted by name.

    A place whose ``place.json`` cannot be read is left out, listed in `failures` and warned about once.

    Args:
        root: the folder.
        regions: table that gives samples their region slot; by default that of all places in the folder.

    Raises:
        InputError: if the folder or its ``dataset.json`` cannot be read.
    """

    def __init__(self, root: str | Path, *, regions: RegionTable | None = None) -> None:
        self.root = Path(root)
        self.dataset: Dataset = read_dataset(self.root)
        self.failures: list[Failure] = []
        self._places: list[Place] = []
        self._given_regions = regions
        for folder in place_folders(self.root):
            try:
                self._places.append(read_place(folder, self.dataset.legends))
            except InputError as error:
                self.failures.append(Failure(folder.name, str(error)))
        if self.failures:
            first = self.failures[0].message
            warnings.warn(f"{self.root}: left out {len(self.failures)} places, first {first}", stacklevel=2)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Place:
        return self._places[index]

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places)

    @property
    def title(self) -> str:
        """Name of the data set."""
        return self.dataset.title

    @property
    def names(self) -> Iterator[str]:
        """Of all places, in order."""
        return (place.name for place in self._places)

    @property
    def simulated(self) -> bool:
        """Whether the pixels are made up."""
        return self.dataset.simulated

    @property
    def legends(self) -> Mapping[str, Legend]:
        """Classes of every label."""
        return self.dataset.legends

    @cached_property
    def regions(self) -> RegionTable:
        """The table that region slots refer to: the one given, or the regions of all places that have a position."""
        if self._given_regions is not None:
            return self._given_regions
        return RegionTable.of((place.lon, place.lat) for place in self._places)

    def select(self, *, split: Split | None = None, where: Callable[[Place], bool] | None = None) -> Places:
        """A view on some of the places; it keeps the region table of all of them.

        Args:
            split: only this split.
            where: only places this is true of.
        """
        view = copy.copy(self)
        view._given_regions = self.regions
        wanted = [place for place in self._places if split is None or place.split == split]
        view._places = wanted if where is None else [place for place in wanted if where(place)]
        return view

    def for_training(self) -> Places:
        """A view on the places that are not held out: those marked for training and those not marked at all."""
        return self.select(where=lambda place: place.split in ("train", None))

    def readable(self, progress: Callable[[int, int], None] | None = None) -> Places:
        """A view on the places whose imagery and label files can all be read; its `failures` list the others.

        Args:
            progress: called with the number of places read and of all, since every file is read once.

        Raises:
            InputError: there is none.
        """
        view = copy.copy(self)
        view._given_regions, view._places, view.failures = self.regions, [], list(self.failures)
        for number, place in enumerate(self._places, 1):
            try:
                self.read_sample(place)
                if place.after:
                    self.read_after(place)
                for label in place.masks:
                    self.read_mask(place, label)
                for label in place.boxes:
                    self.read_boxes(place, label)
            except InputError as error:
                view.failures.append(Failure(place.name, str(error)))
            else:
                view._places.append(place)
            if progress is not None:
                progress(number, len(self._places))
        if not view._places:
            first = f"; the first: {view.failures[0].message}" if view.failures else ""
            raise InputError(f"holds no place that can be read{first}", file=self.root)
        return view

    def read_sample(
        self,
        place: Place,
        modalities: Sequence[Modality] | None = None,
        window: Window | None = None,
        frames: FrameChoice | None = None,
    ) -> Sample:
        """Read a place: all of it, or some sensors, a window, some frames; nothing else is read from disk.

        Args:
            place: of this folder.
            modalities: which sensors; those the place does not have are left out.
            window: in cells.
            frames: which frames of the Sentinel series.

        Raises:
            InputError: a file that is missing, truncated, foreign or undeclared, values its unit cannot hold, a window
                off the place, or none of the sensors asked for. No observed pixel is an error only for a whole place.
        """
        if window is not None:
            place.check_window(window)
        series: dict[Modality, Series] = {}
        for modality in place.modalities:
            if modalities is None or modality in modalities:
                series[modality] = _read_series(place, modality, window, frames)
        if not series:
            wanted = ", ".join(modalities or MODALITIES)
            raise InputError(f"holds none of {wanted}, only {', '.join(place.modalities)}", file=place.folder)
        region = self.regions.slot(place.lon, place.lat)
        return Sample(place.name, series, lon=place.lon, lat=place.lat, footprint=place.ground(window), region=region)

    def read_after(self, place: Place, window: Window | None = None) -> Sample:
        """Read the second high-resolution image of a place, of a later date: a sample of this one frame.

        With ``read_sample(place, ["hr"])`` it makes a pair of one ground.

        Args:
            place: of this folder; `Place.after` says whether it has one.
            window: in cells.

        Raises:
            InputError: there is none, or it cannot be read, as `read_sample`.
        """
        if not place.after:
            raise InputError("holds no image of a later date", file=place.folder)
        if window is not None:
            place.check_window(window)
        series = _read_image(place.after_file, place, window)
        region = self.regions.slot(place.lon, place.lat)
        ground = place.ground(window)
        return Sample(place.name, {"hr": series}, lon=place.lon, lat=place.lat, footprint=ground, region=region)

    def read_dates(self, place: Place, modality: Modality) -> NDArray[np.datetime64]:
        """Dates ``(T,)`` of a sensor of a place, without its pixels.

        Raises:
            InputError: the place does not have the sensor, or its file cannot be read.
        """
        return read_hr_date(place.file(modality)) if modality == "hr" else read_cube_dates(place.file(modality))

    def read_mask(self, place: Place, label: str, window: Window | None = None) -> NDArray[np.uint8]:
        """Read a mask, ``(H, W)``, on the grid it was stored on: 32 px or 1 px per cell.

        Args:
            place: of this folder.
            label: a mask legend of this folder.
            window: in cells.

        Raises:
            InputError: no such label or file, a truncated or foreign file, a value that is no class of the legend.
        """
        legend = self._legend(label)
        if window is not None:
            place.check_window(window)
        file = place.mask_file(label)
        mask = read_mask_pixels(file, place.cells, window)
        check_mask(mask, label, legend, place.cells, file=file, whole=window is None)
        return mask

    def read_boxes(self, place: Place, label: str, window: Window | None = None) -> Boxes:
        """Read oriented boxes, in pixels of the high-resolution image of the place, or of a window of it.

        Args:
            place: of this folder.
            label: a boxes legend of this folder.
            window: in cells; boxes that do not reach into it are left out.

        Raises:
            InputError: no such label or file, a truncated or foreign file, a class that the legend does not know, or a
                box without area or outside of the place.
        """
        legend = self._legend(label)
        if window is not None:
            place.check_window(window)
        file = place.boxes_file(label)
        boxes = read_boxes_file(file, label, legend)
        check_boxes(boxes, label, legend, place.cells, file=file)
        return boxes if window is None else boxes.crop(window)

    def _legend(self, label: str) -> Legend:
        if label not in self.legends:
            raise InputError(f"label {label!r} is none of {', '.join(self.legends)}", file=self.root)
        return self.legends[label]

    def samples(
        self,
        modalities: Sequence[Modality] | None = None,
        *,
        window: Window | None = None,
        frames: FrameChoice | None = None,
        failures: list[Failure] | None = None,
    ) -> Iterator[tuple[Place, Sample]]:
        """Read every place in turn.

        Args:
            modalities: which sensors.
            window: in cells, of every place.
            frames: which frames of the Sentinel series.
            failures: a list that collects places that cannot be read, which are then skipped (also those that the index
                left out); without it the first of them is an error.

        Raises:
            InputError: as `read_sample`, if ``failures`` is None.
        """
        if failures is not None:
            failures.extend(self.failures)
        for place in self._places:
            try:
                sample = self.read_sample(place, modalities, window, frames)
            except InputError as error:
                if failures is None:
                    raise
                failures.append(Failure(place.name, str(error)))
                continue
            yield place, sample


def _read_series(place: Place, modality: Modality, window: Window | None, frames: FrameChoice | None) -> Series:
    file = place.file(modality)
    if modality == "hr":
        return _read_image(file, place, window)
    choose: ChooseFrames | None = None
    if callable(frames):
        choose = partial(frames, modality)
    elif frames is not None and modality in frames:
        chosen = frames[modality]
        choose = lambda _: chosen  # noqa: E731
    series = read_cube(file, modality, place.cells, window, choose)
    if (window is None and choose is None) or series.valid.any():  # a part may well lie in a gap
        series.check(str(file))
    return series


def _read_image(file: Path, place: Place, window: Window | None) -> Series:
    series = read_hr(file, place.cells, window)
    if window is None or series.valid.any():  # a part may well lie in a gap
        series.check(str(file))
    return series
