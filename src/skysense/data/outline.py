"""What is known of a place before its pixels are read: enough to decide which of them are wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skysense.geo import Window
from skysense.observation import Sample
from skysense.sensors import Modality

Fetch = Callable[[Window, Mapping[Modality, NDArray[np.int64]]], Sample]
"""Reads a window (in cells) and some frames of each sensor named, in ascending order."""


@dataclass(frozen=True)
class Outline:
    """A place whose pixels have not been read.

    Attributes:
        sample: of the whole place, with its true dates and masks. The values are zeros that take no memory; of a
            high-resolution image whose clouds nobody knows ``valid`` says only whether anything was observed.
        fetch: reads what is wanted of it.
    """

    sample: Sample
    fetch: Fetch

    def in_region(self, region: int | None) -> Outline:
        """The same with another region slot."""

        def fetch(window: Window, frames: Mapping[Modality, NDArray[np.int64]]) -> Sample:
            return replace(self.fetch(window, frames), region=region)

        return Outline(replace(self.sample, region=region), fetch)
