"""When satellites pass and what their products are called.

Orbit numbers follow from the relative orbit and the date, by the cycles of the missions: 143 orbits in 10 days for
Sentinel-2, 175 in 12 days for Sentinel-1. The constants are those of products that exist, e.g. A041904 is R008.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

BASELINES = (
    ("2015-01-01", "02.04"), ("2017-05-23", "02.05"), ("2017-10-23", "02.06"), ("2018-10-08", "02.09"),
    ("2019-01-21", "02.11"), ("2019-07-08", "02.13"), ("2020-02-04", "02.14"), ("2021-03-30", "03.00"),
    ("2021-06-30", "03.01"), ("2022-01-25", "04.00"), ("2022-12-06", "05.09"), ("2023-12-13", "05.10"),
    ("2024-07-23", "05.11"),
)  # fmt: skip
"""First day of each processing baseline of Sentinel-2 L2A."""


@dataclass(frozen=True)
class Orbiter:
    """What is known of a satellite: one absolute orbit and its day, orbits per cycle, days per cycle, and the shift."""

    orbit: int
    day: str
    cycle: int
    days: int
    shift: int


ORBITERS = {
    "S2A": Orbiter(41904, "2023-07-01", 143, 10, 2),
    "S2B": Orbiter(30802, "2023-01-29", 143, 10, -27),
    "S1A": Orbiter(53501, "2024-04-19", 175, 12, -73),
}


def absolute_orbit(satellite: str, when: datetime, relative: int) -> int:
    """The absolute orbit with a given relative orbit that is nearest to a time."""
    known = ORBITERS[satellite]
    days = (when - datetime.fromisoformat(known.day).replace(tzinfo=UTC)) / timedelta(days=1)
    about = round(known.orbit + days * known.cycle / known.days)
    ahead = (relative - 1 - known.shift - about) % known.cycle
    return about + (ahead if ahead <= known.cycle // 2 else ahead - known.cycle)


def baseline_on(when: datetime) -> str:
    """Processing baseline of products made on a day."""
    return [name for first, name in BASELINES if first <= when.date().isoformat()][-1]


def compact(when: datetime) -> str:
    """``20220105T165109``, as product names have it."""
    return f"{when:%Y%m%dT%H%M%S}"


def zulu(when: datetime) -> str:
    """ISO 8601 with milliseconds and Z."""
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"
