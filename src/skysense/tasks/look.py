"""The look at every example before anything is learned: what there is, what cannot be used, how many labels.

To read everything takes hours where there are very many examples. So what was found is kept in the folder of the run,
tied to the examples and to how they are read, and a run that goes on looks there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skysense.data.labelled.dataset import LabelledData
from skysense.data.labelled.survey import Progress, Survey, survey
from skysense.errors import ConfigError, InputError
from skysense.files import plain, read_json, write_json
from skysense.model.assembly import SkySense
from skysense.sensors import MODALITIES, Modality
from skysense.tasks.adapted import reading_for
from skysense.tasks.batches import Reading
from skysense.tasks.config import AdaptConfig
from skysense.tasks.detection.config import DetectorConfig
from skysense.tasks.identity import names_digest

LOOK = "look.json"
_FORM = 1
"""Of the file: what was kept in another form is made again."""
_SMALLEST_ANCHOR = 2.0
"""Cells; nothing smaller can be told from its neighbours."""


@dataclass(frozen=True)
class _Found:
    """What reading every example has shown, as plain values for JSON.

    Attributes:
        failures: per example that cannot be used, why.
        items: examples by split.
        training_K: pixels, boxes or examples of each class to learn from.
        warnings: what a person should look at.
        small_side: a quarter of the boxes to learn from are smaller than this, label pixels; None without boxes.
        counts: examples with each sensor.
        per_cell: label pixels on the side of a cell, each number that occurs.
    """

    failures: dict[str, str]
    items: dict[str, int]
    training_K: list[int]
    warnings: list[str]
    small_side: float | None
    counts: dict[Modality, int]
    per_cell: list[int]

    @classmethod
    def of(cls, seen: Survey) -> _Found:
        """The part of a survey that a run needs."""
        sides = seen.box_sides.get("train")
        return cls(
            {failure.item: failure.message for failure in seen.failures},
            dict(seen.items),
            seen.amount_K["train"].tolist() if "train" in seen.amount_K else [],
            seen.warnings(),
            float(np.quantile(sides, 0.25)) if sides else None,
            dict(seen.modalities),
            sorted(seen.per_cell),
        )


@dataclass(frozen=True)
class Look:
    """What one look at every example has shown.

    Attributes:
        data: what can be used, ready for the encoders.
        modalities: to use.
        per_cell: label pixels on the side of a cell.
        found: the numbers.
    """

    data: LabelledData
    modalities: tuple[Modality, ...]
    per_cell: int
    found: _Found

    @property
    def skipped(self) -> dict[str, str]:
        """Per example that cannot be used, why."""
        return self.found.failures

    @property
    def anchor_scale(self) -> float | None:
        """Anchors whose finest level suits the smaller boxes: a quarter of them are smaller; None without boxes."""
        if self.found.small_side is None:
            return None
        cell = self.per_cell / 8 if "hr" in self.modalities else 1  # label pixels of a cell of the finest level
        return float(np.clip(self.found.small_side / cell, _SMALLEST_ANCHOR, DetectorConfig.anchor_scale))

    def notes(self, data: LabelledData) -> list[str]:
        """What a person should know."""
        found, whole = self.found, len(self.data)
        notes = [*data.notes, *found.warnings]
        for key in self.modalities:
            if found.counts[key] < whole:
                notes.append(f"{whole - found.counts[key]} of {whole} examples have no {key}")
        if "val" not in found.items and "test" not in found.items:
            notes.append("no example is marked for validation or testing: how good the model is remains unknown")
        elif "test" not in found.items:
            notes.append(
                "no example is marked for testing: those for validation, which chose the epoch, look a little too good"
            )
        elif "val" not in found.items:
            notes.append("no example is marked for validation: the last epoch is kept")
        return notes


def look_at(
    config: AdaptConfig,
    model: SkySense,
    data: LabelledData,
    opened: Mapping[str, Any],
    out: Path,
    progress: Progress | None = None,
) -> Look:
    """Read every example once, or go by what an earlier start found.

    What could not be read then is tried again: if some of it can be read now, everything is looked at anew.

    Args:
        config: of the run.
        model: that is adapted.
        data: with splits.
        opened: how the data were opened, plain values for JSON.
        out: folder of the run.
        progress: called after every example.

    Raises:
        InputError: no example can be used, or labels of two kinds of grids.
        ConfigError: sensors that the model or the data lack.
        OutputError: what was found cannot be written.
    """
    missing = [key for key in config.modalities or () if key not in model.modalities]
    if missing:
        raise ConfigError(f"{', '.join(missing)} cannot be used: the model reads {', '.join(model.modalities)}")
    wanted = config.modalities or model.modalities
    reading = reading_for(model, wanted, config)
    ready, about, file = reading.prepared(data), _about(reading, data, opened), out / LOOK
    found = _kept(file, about)
    if found is None or _some_can_be_read(ready, found.failures):
        found = _Found.of(survey(ready, progress, workers=config.workers))
        content = plain(asdict(found))
        write_json(file, {"found": content, "digest": _digest(about, content)})
    if "train" not in found.items:
        why = next(iter(found.failures.values()))
        raise InputError(f"{data.title}: no example for training can be used; the first: {why}")
    absent = [key for key in config.modalities or () if not found.counts.get(key)]
    if absent:
        raise ConfigError(f"{', '.join(absent)} cannot be used: no example of {data.title} has it")
    modalities = tuple(key for key in MODALITIES if key in wanted and found.counts.get(key))
    usable = data.take(~data.named(found.failures)) if found.failures else data
    scenes = data.task in ("classification", "multilabel")
    if len(found.per_cell) > 1 and not scenes:
        raise InputError(f"{data.title}: some labels are as fine as the image, others one per cell of 10 m")
    per_cell = max(found.per_cell) if "hr" in modalities or not scenes else 1
    return Look(reading_for(model, modalities, config).prepared(usable), modalities, per_cell, found)


def _about(reading: Reading, data: LabelledData, opened: Mapping[str, Any]) -> dict[str, Any]:
    """What the numbers depend on."""
    content: dict[str, Any] = plain(
        {
            "form": _FORM,
            "data": data.title,
            "task": data.task,
            "classes": data.classes,
            "opened": dict(opened),
            "examples": names_digest(data, splits=True),
            "sensors": {key: asdict(sensor) for key, sensor in reading.sensors.items()},
            "frames": dict(reading.frames),
            "clear_only": reading.clear_only,
        }
    )
    return content


def _kept(file: Path, about: Mapping[str, Any]) -> _Found | None:
    """What was kept, if it is whole and about the same."""
    try:
        kept = read_json(file)
        same = kept["digest"] == _digest(about, kept["found"])
    except (InputError, KeyError, TypeError):  # nothing there, or not what was written
        return None
    return _Found(**kept["found"]) if same else None


def _digest(about: Mapping[str, Any], found: Any) -> str:
    return hashlib.sha256(json.dumps([about, found], sort_keys=True).encode()).hexdigest()


def _some_can_be_read(data: LabelledData, names: Iterable[str]) -> bool:
    failed = set(names)
    for item in data.take(data.named(failed)).items if failed else ():
        try:
            data.read_item(item)
        except InputError:
            continue
        return True
    return False
