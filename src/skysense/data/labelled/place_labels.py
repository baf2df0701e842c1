"""What the labels of a folder of places can be learned as, and which places have all that this takes.

Labels of the first date stand for themselves. What speaks of the later date serves change: a mask of what changed, and
the classes of that date beside those of the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from skysense.data.labelled.example import Task
from skysense.data.labelled.pairs import CHANGE_CLASSES
from skysense.data.places import Legend, Place, Places
from skysense.data.places_layout import Kind
from skysense.errors import InputError
from skysense.sensors import Sensor

LATER = "{}_after"
"""A mask of the later date is called like the one of the first that it is held against, with this ending."""
_TASKS: Mapping[Kind, tuple[Task, ...]] = {
    "scene": ("classification",),
    "multilabel": ("multilabel",),
    "mask": ("segmentation",),
    "boxes": ("oriented-detection", "detection"),
}
"""What a label of the first date is learned as, by default the first."""
_FIX: Mapping[Task, str] = {
    "change": f"What changed is a mask of the classes {' and '.join(CHANGE_CLASSES)} with after: true in its legend",
    "semantic-change": f"It takes a mask and another of the same classes, called {LATER.format('<its name>')}, with "
    "after: true in its legend",
}


@dataclass(frozen=True)
class Learnable:
    """A label, and what it is learned as.

    Attributes:
        task: kind of answer.
        label: its name; for `semantic-change` the classes of the first date.
        classes: to be told apart; what a mask legend ignores is none of them.
        later: mask with the classes of the later date.
        change: mask of what changed, where there is one beside the classes of both dates.
    """

    task: Task
    label: str
    classes: tuple[str, ...]
    later: str | None = None
    change: str | None = None

    @property
    def of_two_dates(self) -> bool:
        """Whether it takes the later image."""
        return self.task in ("change", "semantic-change")

    def with_classes(self, classes: Sequence[str], root: Path) -> Learnable:
        """The same with the classes of a model, which may know more, in its order; those of `change` are fixed.

        Args:
            classes: by class index.
            root: of the places, for the message.

        Raises:
            InputError: a class of the label is none of them.
        """
        foreign = [name for name in self.classes if name not in classes]
        if foreign:
            raise InputError(
                f"label {self.label!r} has {', '.join(foreign)}, which is none of the classes {', '.join(classes)}",
                file=root,
            )
        return self if self.task == "change" else replace(self, classes=tuple(classes))

    def lacks(self, place: Place, sensor: Sensor | None) -> str | None:
        """What a place would need beside what it has, in words; None if nothing.

        Args:
            place: with or without these labels.
            sensor: the only one to read, if one is named.
        """
        there = {*place.labels, *place.masks, *place.boxes}
        missing = [repr(name) for name in (self.label, self.later) if name is not None and name not in there]
        if missing:
            return missing[0]
        if sensor is not None and sensor.modality not in place.modalities:
            return f"imagery of {sensor.name}"
        if self.label in place.boxes and "hr" not in place.modalities:
            return "the high-resolution image that boxes lie on"
        return "an image of a later date" if self.of_two_dates and not place.after else None


def learnables(legends: Mapping[str, Legend]) -> list[Learnable]:
    """All that can be learned from labels; of one label first what it is mostly used for."""
    changes = [name for name, legend in legends.items() if _is_change(legend)]
    found = []
    for name, legend in legends.items():
        if name in changes:
            found.append(Learnable("change", name, CHANGE_CLASSES))
        elif not legend.after:
            found += [Learnable(task, name, classes_of(legend)) for task in _TASKS[legend.kind]]
            later = LATER.format(name)
            if later in legends and _of_both_dates(legend, legends[later]):
                change = changes[0] if len(changes) == 1 else None
                found.append(Learnable("semantic-change", name, classes_of(legend), later, change))
    return found


def choose(places: Places, task: Task | None, label: str | None) -> Learnable:
    """What to learn.

    Args:
        places: the folder.
        task: if only one will do.
        label: its name, if only one will do.

    Raises:
        InputError: no label suits, or several do; the message names those that are there.
    """
    known = learnables(places.legends)
    suited = [one for one in known if task in (None, one.task) and label in (None, one.label)]
    if suited and len({one.label for one in suited}) == 1:
        return suited[0]
    wanted, fix = "" if task is None else f" for {task}", "Name one of them: option label (--labels.label NAME)"
    if suited:
        found = f"has several labels{wanted}"
    elif label in places.legends:
        found = f"has a label {label!r}, but it is not {wanted.strip() or 'to be learned by itself'}"
    else:
        found = f"has no label{'' if label is None else f' {label!r}'}{wanted}"
    if task is not None and not suited:
        fix = _FIX.get(task, fix)
    raise InputError(f"{found}; its labels are {_listed(places.legends, known)}", file=places.root, fix=fix)


def classes_of(legend: Legend) -> tuple[str, ...]:
    """Classes of a legend without the one that means "no label"."""
    return tuple(name for value, name in enumerate(legend.classes) if value != legend.ignore)


def _is_change(legend: Legend) -> bool:
    return legend.kind == "mask" and legend.after and set(classes_of(legend)) == set(CHANGE_CLASSES)


def _of_both_dates(first: Legend, later: Legend) -> bool:
    masks = first.kind == later.kind == "mask" and later.after
    return masks and set(classes_of(first)) == set(classes_of(later))


def _listed(legends: Mapping[str, Legend], known: list[Learnable]) -> str:
    """Every label with what it serves."""
    words = []
    for name, legend in legends.items():
        tasks = [one.task for one in known if one.label == name]
        words.append(f"{name} ({', '.join(tasks) or f'{legend.kind} of the later date'})")
    return ", ".join(words) or "none"
