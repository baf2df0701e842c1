"""What is assumed of the places that a run learns from."""

from __future__ import annotations

from dataclasses import dataclass

from skysense.errors import ConfigError
from skysense.sensors import MODALITIES, Modality


@dataclass(frozen=True, kw_only=True)
class Places:
    """What is assumed of the places that a run learns from.

    Attributes:
        hr, s2, s1: share of places that have the sensor.
        paired: share of frames of a view that find a partner in the other; all is the most there can be.
        cells: side of a place in cells; 64 is the published 2,048 px.
        s2_series, s1_series: frames that a place has in the mean; the published corpus has 65 and 13.
        regions: occupied regions; 2,100 of the published width make the paper's 215 M numbers.
    """

    hr: float = 1.0
    s2: float = 1.0
    s1: float = 1.0
    paired: float = 1.0
    cells: int = 64
    s2_series: int = 65
    s1_series: int = 13
    regions: int = 2100

    def __post_init__(self) -> None:
        for name in (*MODALITIES, "paired"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"places.{name} = {getattr(self, name)} must be a share of 0 .. 1")
        if not self.hr + self.s2 + self.s1:
            raise ConfigError("places without any sensor: places.hr, places.s2 or places.s1 must be more than 0")
        if min(self.cells, self.s2_series, self.s1_series) < 1 or self.regions < 0:
            raise ConfigError("places.cells and the series must be at least 1, places.regions not negative")

    def share(self, modality: Modality) -> float:
        """Of the places that have a sensor."""
        return {"hr": self.hr, "s2": self.s2, "s1": self.s1}[modality]
