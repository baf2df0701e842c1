"""Objects in an XML file per image, read with the image: reading all of them first takes long.

DIOR has 23,463 such files, which take about four seconds from memory and longer from a disk or over a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring

import numpy as np

from skysense.data.labelled.objects import Objects
from skysense.datasets.card import Card
from skysense.errors import InputError


@dataclass(frozen=True)
class XmlObjects(Mapping[str, Objects]):
    """The objects of every image, each time read from its file.

    Attributes:
        files: by name of the picture.
        about: the data set, which knows the classes.
        place: of an object below the root of a file, as `Element.findall` has it.
        label: place of the name of its class below the object.
        corners: the numbers of an object; what is wrong with it is a `ValueError`.
    """

    files: Mapping[str, Path]
    about: Card
    place: str
    label: str
    corners: Callable[[Element], Sequence[Any]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, picture: str) -> Objects:
        """Read the objects of an image.

        Raises:
            InputError: the file is missing or no annotation, or an object has another class or other numbers.
        """
        file = self.files[picture]
        index_of = _indexes(self.about.classes)
        found = read_xml(file).findall(self.place)
        names = [f"object {number}" for number in range(1, len(found) + 1)]
        labels, corners = [], []
        for name, one in zip(names, found, strict=True):
            label = one.findtext(self.label, "")
            if folded(label) not in index_of:
                raise InputError(
                    f"{name} is of the class {label.strip()!r}, which {self.about.title} does not have",
                    file=file,
                    fix=f"See its classes with: skysense datasets show {self.about.name}",
                )
            labels.append(index_of[folded(label)])
            try:
                corners.append(self.corners(one))
            except ValueError as error:
                raise InputError(f"{name} cannot be read: {error}", file=file) from error
        nothing_to_ignore = np.zeros(len(found), np.bool_)
        return Objects(file, names, np.array(labels, np.int64), nothing_to_ignore, np.array(corners, np.float32))


@cache
def _indexes(classes: tuple[str, ...]) -> Mapping[str, int]:
    return {folded(name): index for index, name in enumerate(classes)}


def folded(name: str) -> str:
    """Names of classes are spelled in many ways in copies: Small Car, small-car, Small_Car, SmallCar."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def read_xml(file: Path) -> Element:
    """The root of an annotation.

    A declaration of a document type is refused, since a few lines of it can stand for gigabytes of text. No data set
    has one.

    Raises:
        InputError: missing, no XML, or no annotation.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError("cannot be read", file=file) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("gb18030", "replace")  # some files are Chinese, whatever they declare
    if "<!DOCTYPE" in text:
        raise InputError("declares a document type, which no annotation does", file=file, fix="Get it again")
    try:
        root = fromstring(text)
    except ParseError as error:
        raise InputError(f"is truncated or no XML ({error})", file=file, fix="Get it again") from error
    if root.tag != "annotation":
        raise InputError(f"is no annotation but <{root.tag}>", file=file)
    return root


def number(text: str | None, what: str) -> float:
    """A coordinate.

    Raises:
        ValueError: it is missing or not a finite number.
    """
    if text is None:
        raise ValueError(f"it has no {what}")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"its {what} is {text.strip()!r}")
    return value
