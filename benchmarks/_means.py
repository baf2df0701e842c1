"""A model that costs nothing: the means of the bands of every cell. What is timed around it is the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.maps.answer import Rows, Scores, WindowAnswer
from skysense.maps.product.layer import Layer
from skysense.observation import Sample


def means(values_CHW: NDArray, cell_px: int) -> NDArray[np.float32]:
    """Means over the cells of an image, ``(C, h, w)``, of every eighth row: the sum must not be what is timed."""
    bands, height, width = values_CHW.shape
    cells = values_CHW.reshape(bands, height // cell_px, cell_px, width // cell_px, cell_px)
    return cells[:, :, :: max(1, cell_px // 4)].mean(axis=(2, 4), dtype=np.float32)


@dataclass(frozen=True)
class Means:
    """Answers with `means` of the only sensor, each repeated.

    Attributes:
        bands: of the sensor.
        repeat: how often: more channels are more to blend and to write.
        device: none.
    """

    bands: int = 3
    repeat: int = 4
    device: str = "cpu"
    regions: None = None

    def build(self) -> Means:
        """Itself."""
        return self

    @property
    def scores(self) -> Scores:
        """One score."""
        return {"means": (self.bands * self.repeat, 1)}

    @property
    def layers(self) -> tuple[Layer, ...]:
        """As features are written."""
        return (Layer("means", "features", tuple(f"mean {at}" for at in range(self.bands * self.repeat)), "float32"),)

    def __call__(self, samples: Sequence[Sample]) -> list[WindowAnswer]:
        """All cells that are at least half observed."""
        answers = []
        for sample in samples:
            (series,) = sample.series.values()
            cell_px = series.sensor.cell_px
            seen_hw = means(series.valid[:1], cell_px)[0] >= 0.5
            values_Khw = np.tile(means(series.values[0], cell_px), (self.repeat, 1, 1))
            answers.append(WindowAnswer({"means": (values_Khw, seen_hw)}))
        return answers

    def encode(self, blended: Rows) -> dict[str, NDArray]:
        """As it is."""
        return dict(blended)
