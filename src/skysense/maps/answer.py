"""What is asked of every window of a map, whoever answers: features, classes, boxes.

Letters: K channels, h w cells, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from skysense.geo import RegionTable
from skysense.maps.product.layer import Layer
from skysense.observation import Sample

if TYPE_CHECKING:
    import torch

    from skysense.tasks.detection.boxes import Found

Scores = Mapping[str, tuple[int, int]]
"""Channels and pixels per cell of what is blended, by name."""
Rows = dict[str, NDArray[np.float32]]
"""Blended scores ``(K, rows, cols)`` by name, NaN where nothing was observed."""


@dataclass(frozen=True)
class WindowAnswer:
    """What is answered to one window.

    Attributes:
        maps: by name of a score its values ``(K, H, W)`` float32, finite, and what of them counts ``(H, W)``; sides are
            those of the window times the score's pixels per cell.
        found: objects, in pixels of the window as its detector counts them; on no particular device.
    """

    maps: Mapping[str, tuple[NDArray[np.float32], NDArray[np.bool_]]] = field(default_factory=dict)
    found: Found | None = None


@dataclass(frozen=True)
class Regions:
    """Regions whose prototypes a model owns. A window belongs to the region its centre lies in.

    Attributes:
        table: the regions.
        learned: per slot whether its prototypes ever were.
    """

    table: RegionTable
    learned: tuple[bool, ...]

    def has(self, slot: int | None) -> bool:
        """Whether there is geo-context for a slot of the table."""
        return slot is not None and self.learned[slot]


class Answerer(Protocol):
    """Answers windows; lives in one process, with its model on its device.

    Attributes:
        device: where it computes.
        scores: what its answers hold and how fine it is.
        layers: what is written.
        regions: of its model; None without geo-context.
    """

    @property
    def device(self) -> torch.device | str: ...  # noqa: D102
    @property
    def scores(self) -> Scores: ...  # noqa: D102
    @property
    def layers(self) -> tuple[Layer, ...]: ...  # noqa: D102
    @property
    def regions(self) -> Regions | None: ...  # noqa: D102

    def __call__(self, samples: Sequence[Sample]) -> list[WindowAnswer]:
        """Answer a batch of windows, all of one size; an answer per sample."""
        ...

    def encode(self, blended: Rows) -> dict[str, NDArray]:
        """Blended scores as stored numbers of every layer; called from another thread than the answers."""
        ...


class Recipe(Protocol):
    """Makes an answerer in any process; can be pickled.

    Attributes:
        device: where its model runs; a device called ``cuda`` is the current one of the process.
    """

    @property
    def device(self) -> str: ...  # noqa: D102

    def build(self) -> Answerer:
        """The answerer, with its model loaded."""
        ...
