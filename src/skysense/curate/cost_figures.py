"""What is known of the cost of a place, with where it comes from and how sure it is.

Uncertain numbers are arrays: the first is the value itself, the others are draws of what it may be. All arithmetic is
done with whole arrays, so that intervals come out at the end without a formula of their own.

Letters: R one value and the draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import yaml
from numpy.typing import NDArray

from skysense.errors import InputError

FILE = Path(__file__).with_name("cost_figures.yaml")
DRAWS = 2000
Kind = Literal["measured", "stated", "estimated"]
Uncertain = NDArray[np.float64]
"""``(R,)``: a value, then draws of what it may be."""

_SHARES = ("kept", "retries")
_AT_LEAST_ONE = ("reads", "images")
_WIDTH = 1.96  # standard deviations from the middle of a normal distribution to the ends of 95 %


@dataclass(frozen=True)
class Figure:
    """A number.

    Attributes:
        value: the best guess.
        low, high: 95 % of what it may be lies between them.
        unit: in words.
        kind: how it is known.
        source: where it comes from.

    Raises:
        ValueError: low, value and high do not ascend from above 0, or an unknown kind.
    """

    value: float
    low: float
    high: float
    unit: str
    kind: Kind
    source: str

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.value <= self.high:
            raise ValueError(f"{self.low}, {self.value}, {self.high} must ascend from above 0")
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown kind {self.kind!r}")

    def draw(self, rng: np.random.Generator) -> Uncertain:
        """The value and draws around it.

        They are log-normal, since costs are products, with a width of its own on either side.
        """
        spread = rng.standard_normal(DRAWS)
        width = np.where(spread < 0, np.log(self.value / self.low), np.log(self.high / self.value))
        return np.concatenate([[self.value], self.value * np.exp(spread * width / _WIDTH)])


@cache
def figures(file: Path = FILE) -> dict[str, Figure]:
    """All figures by name.

    Raises:
        InputError: a figure that is none.
    """
    told = yaml.safe_load(file.read_text(encoding="utf-8"))
    try:
        return {name: Figure(**one) for name, one in told.items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"holds a figure that is none: {error}", file=file) from error


def draw_all(seed: int = 0) -> dict[str, Uncertain]:
    """Values and draws of all figures, independent of each other; the same for the same seed."""
    rng = np.random.default_rng(seed)
    drawn = {name: one.draw(rng) for name, one in figures().items()}
    shares = {name: np.minimum(drawn[name], 1.0) for name in _SHARES}
    return drawn | shares | {name: np.maximum(drawn[name], 1.0) for name in _AT_LEAST_ONE}


@dataclass(frozen=True)
class Estimate:
    """A number for people.

    Attributes:
        value: the best guess.
        low, high: 95 % of what it may be lies between them.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, uncertain: Uncertain) -> Estimate:
        """From a value and draws."""
        low, high = np.quantile(uncertain[1:], [0.025, 0.975])
        return cls(float(uncertain[0]), float(low), float(high))
