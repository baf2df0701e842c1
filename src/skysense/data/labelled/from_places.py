"""Folders of places with a label: all their sensors and dates, so that a task may use any of them.

Letters: N boxes, H W pixels of the label grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.data.labelled.classes import Classes
from skysense.data.labelled.dataset import Item, LabelledData
from skysense.data.labelled.example import UNLABELLED, Boxes, Change, Example, OrientedBoxes, Target, Task
from skysense.data.labelled.padding import pad_mask, pad_sample
from skysense.data.labelled.pairs import CHANGE_CLASSES, differs
from skysense.data.labelled.place_labels import Learnable, choose
from skysense.data.places import Place, Places
from skysense.errors import InputError
from skysense.geo import CELL_HR_PX, Window
from skysense.observation import Sample
from skysense.sensors import SENSORS, Modality, Sensor

SHOWN_SHARE = 0.3
"""Of a box that shows less, nobody could say what it is: it is neither to be found nor counted."""


@dataclass(frozen=True)
class PlaceReader:
    """Reads one example of a folder of places.

    Attributes:
        places: the folder.
        by_name: its places.
        learnable: the label, and what it is learned as.
        modalities: which sensors; all that a place has if None.
        sensor: whose bands to read, None for those of the files.
    """

    places: Places
    by_name: Mapping[str, Place]
    learnable: Learnable
    modalities: Sequence[Modality] | None = None
    sensor: Sensor | None = None

    def __call__(self, item: Item) -> Example:
        """Read an example; see `LabelledData.read`."""
        place = self.by_name[item.name]
        sample = self._padded(self.places.read_sample(place, self.modalities))
        return _EXAMPLES[self.learnable.task](self, place, sample)

    def scene(self, place: Place, sample: Sample) -> Example:
        """One class per place."""
        return self._example(place, sample, self.learnable.classes.index(place.labels[self.learnable.label]))

    def multilabel(self, place: Place, sample: Sample) -> Example:
        """Any number of classes per place."""
        return self._example(place, sample, np.isin(self.learnable.classes, list(place.labels[self.learnable.label])))

    def mask(self, place: Place, sample: Sample) -> Example:
        """One class per pixel, on the grid that the mask is stored on."""
        mask_HW = self._mask(place, sample, self.learnable.label, self.learnable.classes)
        return self._example(place, sample, mask_HW, len(mask_HW) // sample.grid[0])

    def boxes(self, place: Place, sample: Sample) -> Example:
        """Boxes in pixels of the high-resolution image, whatever sensors are read."""
        whole = Window(0, 0, *place.cells)  # as a window: what hangs over the edge is not shown, whatever the file says
        stored = self.places.read_boxes(place, self.learnable.label, whole)
        hidden_N = stored.visible < SHOWN_SHARE
        names = self.places.legends[self.learnable.label].classes
        label_N = np.array([self.learnable.classes.index(name) for name in names], np.int64)[stored.classes]
        if self.learnable.task == "oriented-detection":
            oriented = OrientedBoxes(stored.corners.astype(np.float32), label_N, hidden_N)
            return self._example(place, sample, oriented, CELL_HR_PX)
        corners_N4 = stored.horizontal(place.cells[0] * CELL_HR_PX, place.cells[1] * CELL_HR_PX).astype(np.float32)
        kept_N = (corners_N4[:, 2:] > corners_N4[:, :2]).all(axis=1)  # of a box at the very edge nothing may be left
        upright = Boxes(corners_N4[kept_N], label_N[kept_N], hidden_N[kept_N])
        return self._example(place, sample, upright, CELL_HR_PX)

    def change(self, place: Place, sample: Sample) -> Example:
        """Images of two dates, and where something changed."""
        changed_HW = self._mask(place, sample, self.learnable.label, self.learnable.classes)
        return self._example(place, sample, Change(changed_HW), len(changed_HW) // sample.grid[0])

    def semantic_change(self, place: Place, sample: Sample) -> Example:
        """Images of two dates and the classes of either; without a mask of the change it is where they differ."""
        asked = self.learnable
        assert asked.later is not None
        before_HW = self._mask(place, sample, asked.label, asked.classes)
        after_HW = self._mask(place, sample, asked.later, asked.classes, like_HW=before_HW)
        if asked.change is not None and asked.change in place.masks:
            changed_HW = self._mask(place, sample, asked.change, CHANGE_CLASSES, like_HW=before_HW)
        else:
            changed_HW = differs(before_HW, after_HW)
        target = Change(changed_HW, before_HW, after_HW)
        return self._example(place, sample, target, len(before_HW) // sample.grid[0])

    def _mask(
        self,
        place: Place,
        sample: Sample,
        label: str,
        classes: Sequence[str],
        like_HW: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """A mask as indices of classes, padded like the imagery; on the grid of another one if that is given."""
        legend, stored_HW = self.places.legends[label], self.places.read_mask(place, label)
        table = np.full(256, UNLABELLED, np.uint8)
        for value, name in enumerate(legend.classes):
            if value != legend.ignore:
                table[value] = classes.index(name)
        per_cell = len(stored_HW) // place.cells[0]
        rows, cols = sample.grid
        mask_HW = pad_mask(table[stored_HW], (rows * per_cell, cols * per_cell))
        if like_HW is not None and mask_HW.shape != like_HW.shape:
            raise InputError(f"lies on another grid than {self.learnable.label!r}", file=place.mask_file(label))
        return mask_HW

    def _padded(self, sample: Sample) -> Sample:
        """Imagery in the bands of the sensor that was asked for, in whole windows."""
        wanted = sample if self.sensor is None else sample.read_as({self.sensor.modality: self.sensor})
        return pad_sample(wanted)

    def _example(self, place: Place, sample: Sample, target: Target, per_cell: int | None = None) -> Example:
        if per_cell is None:
            per_cell = max(series.sensor.cell_px for series in sample.series.values())
        size = (place.cells[0] * per_cell, place.cells[1] * per_cell)
        after = self._padded(self.places.read_after(place)) if self.learnable.of_two_dates else None
        return Example(place.name, sample, target, 32 if per_cell == 32 else 1, size, after)


_EXAMPLES: Mapping[Task, Callable[[PlaceReader, Place, Sample], Example]] = {
    "classification": PlaceReader.scene,
    "multilabel": PlaceReader.multilabel,
    "segmentation": PlaceReader.mask,
    "detection": PlaceReader.boxes,
    "oriented-detection": PlaceReader.boxes,
    "change": PlaceReader.change,
    "semantic-change": PlaceReader.semantic_change,
}


def read_places(
    root: Path,
    *,
    task: Task | None = None,
    label: str | None = None,
    classes: Classes | None = None,
    sensor: Sensor | str | None = None,
) -> LabelledData:
    """A folder of places; options as `skysense.data.labelled.open.open_labelled`.

    Raises:
        InputError: a folder that is none, no or several labels that suit, classes that leave out some of the label, a
            sensor without image of the later date where one is needed, or no place with all that it takes.
    """
    places = Places(root)
    chosen = choose(places, task, label)
    if classes is not None:
        if isinstance(classes, Mapping):
            raise InputError("a legend says what the values of a mask are; give classes as a list", file=root)
        chosen = chosen.with_classes(classes, root)
    wanted = None if sensor is None else _sensor(sensor)
    if chosen.of_two_dates and wanted is not None and wanted.modality != "hr":
        raise InputError(f"the later image of a place is of high resolution; {wanted.name} has none", file=root)
    lacking = {place.name: chosen.lacks(place, wanted) for place in places}
    kept = {place.name: place for place in places if lacking[place.name] is None}
    missing = Counter(what for what in lacking.values() if what is not None)
    left_out = [f"places without {what} are left out: {count}" for what, count in missing.items()]
    if not kept:
        raise InputError(f"has no place for {chosen.task} of {chosen.label!r}; {'; '.join(left_out)}", file=root)
    notes = [*(f"left out {one.place}: {one.message}" for one in places.failures), *left_out]
    modalities: tuple[Modality, ...] | None = None if wanted is None else (wanted.modality,)
    if chosen.of_two_dates:
        modalities = ("hr",)
        if any(place.modalities != modalities for place in kept.values()):
            notes.append("of the later date there is the high-resolution image alone: the same is read of the earlier")
    items = tuple(Item(place.name, place.name, place.split, place.lon, place.lat) for place in kept.values())
    reader = PlaceReader(places, kept, chosen, modalities, wanted)
    title = places.title or root.name
    return LabelledData(title, chosen.task, chosen.classes, items, reader, places.simulated, tuple(notes))


def _sensor(sensor: Sensor | str) -> Sensor:
    if isinstance(sensor, Sensor):
        return sensor
    if sensor not in SENSORS:
        raise InputError(f"sensor {sensor!r} is unknown; known are {', '.join(SENSORS)}")
    return SENSORS[sensor]
