"""What the two formats have in common while a map is being written.

Letters: K bands, H W pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from skysense.geo import Window
from skysense.maps.parts import Part
from skysense.maps.product.layer import Layer
from skysense.maps.product.levels import Level

Put = Callable[[int, NDArray], None]
"""Writes rows of a part: the first of them within the part, a multiple of a tile, and stored numbers ``(K, H, W)`` of
its whole width; ascending without gaps, whole tiles but for the last."""
Read = Callable[[Window], NDArray]
"""Stored numbers ``(K, H, W)`` of a window that may hang over the level's lower and right border, where they are
no-data; several threads may call it."""


class Store(Protocol):
    """Tiles of all layers and levels in a work folder; holds only paths and plain values."""

    def begin(self) -> None:
        """Prepare a folder that is new or was left by a run that was killed."""

    def writing(self, layer: Layer, level: Level, part: Part) -> AbstractContextManager[Put]:
        """Write a part of a level (in pixels); `holds` is true once the block ended well.

        Raises:
            OutputError: no space.
        """

    def reading(self, layer: Layer, level: Level) -> AbstractContextManager[Read]:
        """Read from a level whose parts are there."""

    def holds(self, layer: Layer, level: Level, part: Part) -> bool:
        """Whether a part of a level is there and whole."""

    def pieces(self, layer: Layer) -> int:
        """How often `assemble` calls its ``step``."""

    def assemble(self, layer: Layer, metadata: Mapping[str, Any], step: Callable[[], None]) -> None:
        """Make what is to be handed over of a layer whose levels are whole.

        Raises:
            OutputError: no space; called again, it goes on.
        """

    def close(self, metadata: Mapping[str, Any]) -> None:
        """The last thing before files are handed over."""

    def made(self) -> Sequence[Path]:
        """What `assemble` and `close` made in the folder, in the order of the outputs."""


def threads() -> int:
    """Threads that compress: the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
