"""Folders of places with a label: all their sensors and dates, so that a task may use any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import UNLABELLED, Example, Target, Task
from skysense.data.labelled.padding import pad_mask, pad_sample
from skysense.data.places import Legend, Place, Places
from skysense.data.places_layout import Kind
from skysense.errors import InputError
from skysense.observation import Sample
from skysense.sensors import SENSORS, Modality, Sensor


@dataclass(frozen=True)
class PlaceReader:
    """Reads one example of a folder of places.

    Attributes:
        places: the folder.
        by_name: its places.
        label: name of the label.
        classes: that the task knows; a mask legend's ignored class is none of them.
        modalities: which sensors; all that a place has if None.
        sensor: whose bands to read, None for those of the files.
    """

    places: Places
    by_name: Mapping[str, Place]
    label: str
    classes: tuple[str, ...]
    modalities: Sequence[Modality] | None = None
    sensor: Sensor | None = None

    def __call__(self, item: Item) -> Example:
        """Read an example; see `LabelledData.read`."""
        place = self.by_name[item.name]
        sample = self.places.read_sample(place, self.modalities)
        if self.sensor is not None:
            sample = sample.read_as({self.sensor.modality: self.sensor})
        return _EXAMPLES[self.places.legends[self.label].kind](self, place, sample)

    def scene(self, place: Place, sample: Sample) -> Example:
        """One class per place."""
        return self._example(place, sample, self.classes.index(place.labels[self.label]))

    def multilabel(self, place: Place, sample: Sample) -> Example:
        """Any number of classes per place."""
        return self._example(place, sample, np.isin(self.classes, list(place.labels[self.label])))

    def mask(self, place: Place, sample: Sample) -> Example:
        """One class per pixel, on the grid that the mask is stored on."""
        legend = self.places.legends[self.label]
        stored_HW = self.places.read_mask(place, self.label)
        table = np.full(256, UNLABELLED, np.uint8)
        for index, name in enumerate(self.classes):
            table[legend.classes.index(name)] = index
        per_cell = stored_HW.shape[0] // place.cells[0]
        rows, cols = pad_sample(sample).grid
        mask_HW = pad_mask(table[stored_HW], (rows * per_cell, cols * per_cell))
        return self._example(place, sample, mask_HW, per_cell)

    def _example(self, place: Place, sample: Sample, target: Target, per_cell: int | None = None) -> Example:
        if per_cell is None:
            per_cell = max(series.sensor.cell_px for series in sample.series.values())
        size = (place.cells[0] * per_cell, place.cells[1] * per_cell)
        return Example(place.name, pad_sample(sample), target, 32 if per_cell == 32 else 1, size)


_EXAMPLES: Mapping[Kind, Callable[[PlaceReader, Place, Sample], Example]] = {
    "scene": PlaceReader.scene,
    "multilabel": PlaceReader.multilabel,
    "mask": PlaceReader.mask,
}
TASK_OF: Mapping[Kind, Task] = {"scene": "classification", "multilabel": "multilabel", "mask": "segmentation"}
"""What a label of each kind is learned as."""


def read_places(
    root: Path, *, task: Task | None = None, label: str | None = None, sensor: Sensor | str | None = None
) -> LabelledData:
    """A folder of places; options as `skysense.data.labelled.open.open_labelled`.

    Raises:
        InputError: a folder that is none, no or several labels that suit, or no place with the label and the sensor.
    """
    places = Places(root)
    name, legend = _legend(places, task, label)
    wanted = None if sensor is None else _sensor(sensor)
    modality = None if wanted is None else wanted.modality
    kept = [place for place in places if _has(place, name, legend) and modality in (None, *place.modalities)]
    if not kept:
        where = "" if wanted is None else f" and imagery of {wanted.name}"
        raise InputError(f"has no place with the label {name!r}{where}", file=root)
    notes = [f"left out {one.place}: {one.message}" for one in places.failures]
    if len(kept) < len(places):
        notes.append(f"{len(places) - len(kept)} places without {name!r} or the sensor are left out")
    classes = tuple(one for index, one in enumerate(legend.classes) if index != legend.ignore)
    items = tuple(Item(place.name, place.name, place.split, place.lon, place.lat) for place in kept)
    by_name = {place.name: place for place in kept}
    reader = PlaceReader(places, by_name, name, classes, None if modality is None else (modality,), wanted)
    title = places.title or root.name
    return LabelledData(title, TASK_OF[legend.kind], classes, items, reader, places.simulated, tuple(notes))


def _legend(places: Places, task: Task | None, label: str | None) -> tuple[str, Legend]:
    """The label to learn and its legend."""
    suited = {
        name: legend
        for name, legend in places.legends.items()
        if legend.kind in TASK_OF and (task is None or TASK_OF[legend.kind] == task)
    }
    if label is None and len(suited) == 1:
        return next(iter(suited.items()))
    if label not in suited:
        known = ", ".join(f"{name} ({legend.kind})" for name, legend in places.legends.items()) or "none"
        found = "has several labels" if label is None else f"has no label {label!r}"
        raise InputError(
            f"{found}{'' if task is None else f' for {task}'}; its labels are {known}",
            file=places.root,
            fix="Name one: label=...",
        )
    return label, suited[label]


def _has(place: Place, label: str, legend: Legend) -> bool:
    return label in (place.masks if legend.kind == "mask" else place.labels)


def _sensor(sensor: Sensor | str) -> Sensor:
    if isinstance(sensor, Sensor):
        return sensor
    if sensor not in SENSORS:
        raise InputError(f"sensor {sensor!r} is unknown; known are {', '.join(SENSORS)}")
    return SENSORS[sensor]
