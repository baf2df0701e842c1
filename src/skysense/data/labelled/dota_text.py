"""The text of DOTA, the field's format for oriented objects: a line per object, eight numbers, class, difficulty.

A file may begin with the lines ``imagesource:...`` and ``gsd:...``; then every line is
``x1 y1 x2 y2 x3 y3 x4 y4 class difficult``, the corners in pixels, round the object. The difficulty may be missing, as
in what some annotation programs write.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skysense.errors import InputError

_HEADERS = ("imagesource:", "gsd:")
_FIX = "a line is 'x1 y1 x2 y2 x3 y3 x4 y4 class difficult'"


@dataclass(frozen=True)
class DotaObject:
    """One object of a DOTA file.

    Attributes:
        corners: x1, y1, ... x4, y4 in pixels, as in the file.
        label: name of the class; no blanks.
        difficult: 0 for an ordinary object, 1 for one that is hard to see.
    """

    corners: tuple[float, ...]
    label: str
    difficult: int = 0


def parse_dota(text: str, file: str | Path | None = None) -> list[DotaObject]:
    """Read the text of a DOTA file.

    Args:
        text: what is in the file; the two header lines and empty lines are passed over.
        file: named in errors.

    Raises:
        InputError: a line that is not of the format; the message has its number and its words.
    """
    lines = enumerate(text.lstrip("\ufeff").splitlines(), start=1)
    return [
        _parsed(line.split(), number, file)
        for number, line in lines
        if line.strip() and not line.strip().lower().startswith(_HEADERS)
    ]


def _parsed(words: Sequence[str], number: int, file: str | Path | None) -> DotaObject:
    try:
        if len(words) not in (9, 10):
            raise ValueError(f"it has {len(words)} words")
        corners = tuple(map(_finite, words[:8]))
        if len(words) == 10 and not words[9].isdecimal():
            raise ValueError(f"{words[9]!r} is no difficulty, 0 or 1")
    except ValueError as error:
        text = " ".join(words)[:80]
        raise InputError(f"line {number} is no object of DOTA, {error}: {text!r}", file=file, fix=_FIX) from error
    return DotaObject(corners, words[8], int(words[9]) if len(words) == 10 else 0)


def _finite(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{word!r} is no coordinate")
    return value


def dota_line(one: DotaObject) -> str:
    """The line of an object, without its end.

    Raises:
        InputError: not eight corners, or the class cannot stand in a line.
    """
    if len(one.corners) != 8 or not all(math.isfinite(value) for value in one.corners):
        raise InputError(f"{one.corners} are not the eight finite numbers of four corners")
    if len(one.label.split()) != 1 or one.label != one.label.strip():
        raise InputError(f"the class {one.label!r} is not one word", fix="join its words by '-'")
    return " ".join([*(f"{value:.10g}" for value in one.corners), one.label, str(one.difficult)])
