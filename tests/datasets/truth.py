"""What a fake data set holds, as its generator knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass
class Truth:
    """Of every image, by its path below the folder that was written (of a series or a patch: its folder or number).

    Attributes:
        pixels: values as stored, bands in the order of the file ``(C, H, W)``, of series ``(T, C, H, W)``; by name of
            the sensor where there are several.
        labels: the class by name; names of all that apply; a mask of indexes into ``classes`` (255: no label); a list
            of (class, corners, difficult); as the description of the data set has it.
        splits: as published, where there are lists.
        classes: names in the order of the description.
    """

    classes: tuple[str, ...]
    pixels: dict[str, NDArray | dict[str, NDArray]] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
