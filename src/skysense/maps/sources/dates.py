"""The day an image was taken, out of the name of its file."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from skysense.data.geotiff import acquisition_day
from skysense.sensors import Modality

_FIRST_DAYS: dict[Modality, datetime.date] = {
    "hr": datetime.date(1920, 1, 1),  # systematic aerial surveys begin
    "s2": datetime.date(2015, 6, 23),  # launch of Sentinel-2A
    "s1": datetime.date(2014, 4, 3),  # launch of Sentinel-1A
}
_DAY = re.compile(r"(?<!\d)(\d{4})(?:(\d{2})(\d{2})(?:\d{6})?(?!\d)|([-_.])(\d{2})\4(\d{2})(?!\d))")


def day_in_name(name: str, modality: Modality) -> np.datetime64:
    """The first date in a name on which the sensor may have been looking; NaT if there is none.

    Products carry the time of acquisition first and that of processing later, so that the first plausible one counts.

    Args:
        name: of a file or folder, e.g. ``S2A_MSIL2A_20220715T103031_N0400_R108_T32TQM_20220715T170000`` or
            ``2022-07-15``.
        modality: since when there have been images of it.
    """
    latest = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)  # the day has begun further east
    for day in _days(name):
        if _FIRST_DAYS[modality] <= day <= latest:
            return np.datetime64(day, "D")
    return np.datetime64("NaT", "D")


def _days(name: str) -> Iterator[datetime.date]:
    for match in _DAY.finditer(name):
        year, month, day = match[1], match[2] or match[5], match[3] or match[6]
        try:
            yield datetime.date(int(year), int(month), int(day))
        except ValueError:
            continue  # eight figures that are no date


def day_of_file(
    given: str | None, tags: dict[str, str], path: Path, names: tuple[str, ...], modality: Modality
) -> tuple[np.datetime64, str]:
    """The day an image was taken, NaT if nobody knows, and a note that says where that comes from.

    What was said counts first, then the tag ``SKYSENSE_DATE``, then the names, and last ``TIFFTAG_DATETIME``, which in
    many files is the time of writing.

    Args:
        given: ``YYYY-MM-DD`` of the person, or None.
        tags: of the file, upper-case names.
        path: the file.
        names: to look at: the file's, then those of the folders around it.
        modality: of its sensor.

    Raises:
        InputError: a date that is none.
    """
    if not given and not tags.get("SKYSENSE_DATE"):
        for name in names:
            day = day_in_name(name, modality)
            if not np.isnat(day):
                return day, f"date {day} (name {name})"
    return acquisition_day(given, tags, path)
